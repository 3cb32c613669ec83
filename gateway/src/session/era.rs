//! The node's part in the store's eras: it notices that the store forgot, opens the next era or joins the one that
//! another node opened, claims the slots of its sessions in it, and says when it has.
//!
//! One task a node. What it has to do it finds out anew at every step, so a step that failed is simply made again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, select};
use portcullis_common::config::model::OnLimit;
use portcullis_common::store::StoreFault;
use portcullis_common::store::era::{Era, EraView, Mark, PATIENCE, STRANGERS};
use portcullis_common::store::session::{Acquire, Acquired};

use super::manager::{Estate, tell};
use super::registry::SessionEntry;
use super::talk::Stop;
use crate::events::{EraBegan, EraClaimed, SlotTaken, StoreFailed};

/// How often the era is looked at when nothing says that it is over.
const LOOK: Duration = Duration::from_millis(500);
/// While it is not whole, and newcomers wait for that.
const IMPATIENT: Duration = Duration::from_millis(50);
/// Between two steps at least, whatever alarms there are.
const PAUSE: Duration = Duration::from_millis(10);
/// Sessions that claim their slots at once: one pipelined write, a few milliseconds of the store.
const CLAIMS: usize = 256;

/// Keeps the node in the store's present era.
pub struct EraKeeper {
    estate: Arc<Estate>,
    /// The last era that this node has seen.
    seen: Option<Era>,
    /// The last one in which it has claimed everything and said so.
    done: Option<Era>,
}

impl EraKeeper {
    /// Brings a node that has just taken its lease into the store's era, waits until that is whole, and goes on in the
    /// background.
    ///
    /// # Errors
    /// The store's.
    pub async fn join(estate: Arc<Estate>) -> Result<(), StoreFault> {
        let mut keeper = Self { estate, seen: None, done: None };
        let until = keeper.estate.clock.mono().after(2 * PATIENCE);
        loop {
            let answer = keeper.step().await;
            let whole = answer.as_ref().is_ok_and(|view| view.whole);
            if whole || keeper.estate.clock.mono() >= until {
                // an era that is not whole in time is no reason not to start: newcomers are told when to come again
                answer?;
                break;
            }
            actix_rt::time::sleep(IMPATIENT).await;
        }
        actix_rt::spawn(keeper.run());
        Ok(())
    }

    async fn run(mut self) {
        let estate = Arc::clone(&self.estate);
        let mut wait = LOOK;
        loop {
            let alarm = estate.stores.eras.alarm();
            select(alarm, Box::pin(actix_rt::time::sleep(wait))).await;
            wait = match self.step().await {
                Ok(view) if view.whole => LOOK,
                // a store that is away is reported by the renewal of the lease
                Ok(_) | Err(StoreFault::Era | StoreFault::Unavailable(_)) => IMPATIENT,
                Err(fault) => {
                    StoreFailed { call: "eras", fault: &fault }.emit(&estate.metrics);
                    LOOK
                }
            };
            actix_rt::time::sleep(PAUSE).await;
        }
    }

    async fn step(&mut self) -> Result<EraView, StoreFault> {
        let Estate { stores, node, registry, metrics, .. } = &*self.estate;
        let view = match stores.eras.look().await? {
            Some(view) => view,
            None => self.open().await?,
        };
        if self.done == Some(view.era) {
            return Ok(view);
        }
        if self.seen != Some(view.era) {
            let sessions = registry.count();
            if self.seen.replace(view.era).is_some() {
                EraBegan { node, era: view.era, sessions }.emit(metrics);
            }
            self.estate.keep_lease().await;
            self.speak_for_others(&view).await?;
        }
        if registry.count() > 0 {
            stores.eras.mark(view.era, node.clone(), Mark::Waiting).await?;
        }
        let lost = self.claim(view.era).await?;
        let view = stores.eras.mark(view.era, node.clone(), Mark::Done).await?;
        EraClaimed { node, era: view.era, lost }.emit();
        self.done = Some(view.era);
        Ok(view)
    }

    /// Who opened the era may have known less than this node: a member with sessions that cannot say so itself, because it
    /// is cut off, is waited for all the same.
    async fn speak_for_others(&self, view: &EraView) -> Result<(), StoreFault> {
        let Estate { stores, node, membership, .. } = &*self.estate;
        if !view.whole {
            for other in membership.nodes().into_iter().filter(|other| other != node) {
                stores.eras.mark(view.era, other, Mark::Waiting).await?;
            }
        }
        Ok(())
    }

    async fn open(&self) -> Result<EraView, StoreFault> {
        let Estate { stores, node, membership, .. } = &*self.estate;
        let mut members = membership.nodes();
        if !members.contains(node) {
            members.push(node.clone());
        }
        // a node that joined a moment ago may be known to nobody but the store that forgot it
        stores.eras.open(members, STRANGERS).await
    }

    /// Claims the slot of every session that has none in this era; how many were told that there is none for them.
    async fn claim(&self, era: Era) -> Result<usize, StoreFault> {
        let Estate { stores, registry, cap, .. } = &*self.estate;
        let mut lost = 0;
        loop {
            let batch = registry.select(CLAIMS, |entry| entry.era != Some(era));
            if batch.is_empty() {
                return Ok(lost);
            }
            let claims = batch.iter().map(|entry| {
                let (user, holder) = (entry.user.clone(), entry.holder.clone());
                stores.ledger.reassert(Acquire { user, holder, cap: *cap, on_limit: OnLimit::Reject })
            });
            let answers = join_all(claims.collect::<Vec<_>>()).await;
            for (entry, answer) in batch.iter().zip(answers) {
                lost += usize::from(!self.claimed(entry, era, &answer?).await?);
            }
        }
    }

    /// False: there was no slot, and the session is told.
    async fn claimed(&self, entry: &Arc<SessionEntry>, era: Era, answer: &Acquired) -> Result<bool, StoreFault> {
        let Estate { stores, registry, .. } = &*self.estate;
        let SessionEntry { user, holder, .. } = &**entry;
        let here = registry.claim(holder, era);
        match answer {
            Acquired::Held { seq } if here => {
                SlotTaken { session: holder.sid, user, seq: *seq }.emit();
                tell(&[Arc::clone(entry)], &Stop::Reenter);
                Ok(true)
            }
            // it ended under way, and what it gave back was given back before it was claimed
            Acquired::Held { .. } => stores.ledger.release(user.clone(), holder.clone()).await.map(|_| true),
            Acquired::Evicting { .. } | Acquired::Full { .. } => {
                tell(&[Arc::clone(entry)], &Stop::Evicted);
                Ok(!here)
            }
        }
    }
}
