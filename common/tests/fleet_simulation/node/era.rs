//! Eras and lives: the sessions of a node say that they are there.

use std::collections::BTreeSet;
use std::rc::Rc;

use portcullis_common::config::model::OnLimit;
use portcullis_common::ids::{NodeEpoch, NodeId, UserId};
use portcullis_common::membership;
use portcullis_common::store::StoreFault;
use portcullis_common::store::era::{Era, EraView, Mark, STRANGERS};
use portcullis_common::store::session::{Acquire, Acquired, Holder};

use super::{Fate, Node, Session};
use crate::mutants::Fault;
use crate::net::now;

impl Node {
    pub(super) fn reassert_all(self: &Rc<Self>) {
        let (epoch, era) = (self.life.get(), self.store.stores.eras.era());
        let mut named = Vec::new();
        for session in self.sessions.borrow_mut().values_mut() {
            // in a new era the slot is claimed as it was first
            if session.holder.epoch != epoch && session.era == era && !session.renaming {
                session.renaming = true;
                named.push(session.clone());
            }
        }
        for session in named {
            let node = Rc::clone(self);
            self.spawn(async move { node.reassert(session, epoch).await });
        }
    }

    async fn reassert(self: &Rc<Self>, session: Session, epoch: NodeEpoch) {
        let sid = session.holder.sid.0;
        let holder = Holder { epoch, ..session.holder.clone() };
        let answer = self.claim_slot(&session.user, &holder).await;
        let there = self.sessions.borrow().get(&sid).is_some_and(|s| s.holder == session.holder);
        match answer {
            Ok(Acquired::Held { .. }) if there => {
                if let Some(live) = self.sessions.borrow_mut().get_mut(&sid) {
                    (live.holder, live.renaming) = (holder, false);
                }
            }
            Ok(Acquired::Full { .. } | Acquired::Evicting { .. }) if there => {
                if let Some(live) = self.sessions.borrow_mut().get_mut(&sid) {
                    live.renaming = false;
                }
                self.refused(sid);
            }
            // it ended under way: what it was given meanwhile goes back as it ended
            Ok(_) => self.give_back(session.user, holder, Fate::Detach(session.token)),
            Err(_) => {
                if let Some(live) = self.sessions.borrow_mut().get_mut(&sid) {
                    live.renaming = false;
                }
            }
        }
    }

    async fn claim_slot(&self, user: &UserId, holder: &Holder) -> Result<Acquired, StoreFault> {
        let request = self.request(user, holder);
        self.call(move |store| store.reassert(&request)).await
    }

    pub(super) fn request(&self, user: &UserId, holder: &Holder) -> Acquire {
        Acquire { user: user.clone(), holder: holder.clone(), cap: self.fleet.cap, on_limit: OnLimit::Reject }
    }

    fn refused(self: &Rc<Self>, sid: u128) {
        self.close(sid, false);
    }

    pub(super) async fn keep_era(self: Rc<Self>) {
        let mut wait = 500;
        loop {
            self.sleep(wait).await;
            wait = match self.step().await {
                Ok(view) if view.whole => 500,
                _ => 50,
            };
        }
    }

    pub(super) async fn step(self: &Rc<Self>) -> Result<EraView, StoreFault> {
        let view = match self.call(|store| now(store.stores.eras.look())).await? {
            Some(view) => view,
            None => self.open_era().await?,
        };
        if self.done.get() == Some(view.era) {
            return Ok(view);
        }
        if self.seen.get() != Some(view.era) {
            self.net().say(|| format!("{} sees {}", self.id.as_str(), view.era));
            self.seen.set(Some(view.era));
            self.keep_lease().await;
            // who opened the era may have known less than this node
            for other in self.others().into_iter().filter(|_| !view.whole) {
                self.call(move |store| now(store.stores.eras.mark(view.era, other, Mark::Waiting))).await?;
            }
        }
        if !self.sessions.borrow().is_empty() {
            self.mark(view.era, Mark::Waiting).await?;
        }
        if !self.net().is(Fault::ClaimsAreSkipped) {
            self.claim_all(view.era).await?;
        }
        let view = self.mark(view.era, Mark::Done).await?;
        self.done.set(Some(view.era));
        Ok(view)
    }

    async fn mark(&self, era: Era, mark: Mark) -> Result<EraView, StoreFault> {
        let id = self.id.clone();
        self.call(move |store| now(store.stores.eras.mark(era, id, mark))).await
    }

    /// The other nodes that may have sessions.
    fn others(&self) -> BTreeSet<NodeId> {
        let lives = self.membership.borrow().list();
        let may_live = lives.into_iter().filter(|(_, standing, _)| *standing != membership::Standing::Gone);
        may_live.map(|((node, _), ..)| node).filter(|node| *node != self.id).collect()
    }

    async fn open_era(&self) -> Result<EraView, StoreFault> {
        let mut members = self.others();
        members.insert(self.id.clone());
        self.fleet.is_opened_for(&members);
        self.net().say(|| format!("{} opens an era for {members:?}", self.id.as_str()));
        self.call(move |store| store.open(members.into_iter().collect(), STRANGERS)).await
    }

    async fn claim_all(self: &Rc<Self>, era: Era) -> Result<(), StoreFault> {
        loop {
            let next = self.sessions.borrow().values().find(|s| s.era != Some(era)).cloned();
            let Some(session) = next else { return Ok(()) };
            let answer = self.claim_slot(&session.user, &session.holder).await?;
            let sid = session.holder.sid.0;
            let here = match self.sessions.borrow_mut().get_mut(&sid) {
                Some(live) if live.holder == session.holder => {
                    live.era = Some(era);
                    true
                }
                _ => false,
            };
            match answer {
                Acquired::Held { .. } if here => {
                    let Session { user, holder, token, .. } = session;
                    self.call(move |store| store.arm(&user, &holder, token)).await?;
                }
                Acquired::Held { .. } => {
                    let Session { user, holder, .. } = session;
                    self.call(move |store| store.release(&user, &holder)).await?;
                }
                _ => self.refused(sid),
            }
        }
    }
}
