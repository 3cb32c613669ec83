//! A slot in the ledger for a newcomer: below the cap, by eviction, or from a node that is dead.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join;
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{SessionId, UserId};
use portcullis_common::store::StoreFault;
use portcullis_common::store::bus::NodeMail;
use portcullis_common::store::session::{Acquire, Acquired, Holder};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use super::guard::Slot;
use super::resume::Grant;
use crate::admit::auth::Identity;
use crate::events::{SlotTaken, StoreFailed};
use crate::node::Node;
use crate::worker::Worker;

/// How long a newcomer waits for its victim to go.
const EVICTION: Duration = Duration::from_secs(1);
/// Slots and memberships of a dead life that one newcomer frees; the next one frees more.
const REAP: usize = 1_000;

/// A slot, and what its session begins with.
pub struct Seat {
    /// Given back, or detached, when dropped.
    pub slot: Slot,
    /// The ledger's sequence of the step that gave it.
    pub seq: u64,
    /// The token that will resume the session.
    pub grant: Option<Grant>,
    /// Since when the session counts, where it is one that goes on.
    pub resumed: Option<UnixMs>,
}

/// A seat for a new session of this identity.
///
/// # Errors
/// `session_limit` with the time after which to try again; `store_unavailable`.
pub async fn seat(worker: &Rc<Worker>, identity: &Identity) -> Result<Seat, Reject> {
    match ask(worker, identity).await {
        Err(reject) if reject.code == Code::SessionLimit && free_dead(worker, &identity.user).await? => {
            ask(worker, identity).await
        }
        answer => answer,
    }
}

pub(super) fn lost(node: &Node, call: &'static str) -> impl Fn(StoreFault) -> Reject {
    move |fault| {
        StoreFailed { call, fault: &fault }.emit(&node.metrics);
        Reject::new(Code::StoreUnavailable, "the ledger did not answer").retry(Duration::from_secs(1))
    }
}

async fn ask(worker: &Rc<Worker>, identity: &Identity) -> Result<Seat, Reject> {
    let node = &worker.node;
    let rules = &node.config.session;
    let holder = Holder {
        sid: SessionId::random(&mut rand::rng()),
        node: node.config.node.id.clone(),
        epoch: node.epoch(),
        generation: 0,
    };
    let user = identity.user.clone();
    let request =
        Acquire { user: user.clone(), holder: holder.clone(), cap: rules.max_per_user, on_limit: rules.on_limit };
    // from here on the slot is given back whatever happens
    let mut slot = Slot::asked(worker, user.clone(), holder.clone());
    let passed = node.bus.await_slot(holder.sid);
    let grant = Grant::fresh(node, identity, &mut rand::rng());
    // one behind the other on one connection: one round trip. Without a slot the second one changes nothing.
    let (answer, armed) = join(node.stores.ledger.acquire(request), arm(node, &user, &holder, grant.as_ref())).await;
    let answer = answer.map_err(lost(node, "ledger.acquire"))?;
    slot.answered();
    let seq = match answer {
        Acquired::Held { seq } => seq,
        Acquired::Full { retry_after } => {
            return Err(Reject::new(Code::SessionLimit, "the user's cap").retry(retry_after));
        }
        Acquired::Evicting { victim, .. } => {
            let mail = NodeMail::Evict { user: user.clone(), victim: victim.clone() };
            let sent = worker.with_bus(|| node.stores.bus.send(victim.node, mail)).await;
            match (sent, actix_rt::time::timeout(EVICTION, passed).await) {
                (Ok(true), Ok(Ok(seq))) => seq,
                _ => return Err(Reject::new(Code::SessionLimit, "the victim did not go in time").retry(EVICTION)),
            }
        }
    };
    // a slot that passed was not there to be armed; in a cluster the second call may also overtake the first
    if !armed? && !arm(node, &user, &holder, grant.as_ref()).await? {
        return Err(Reject::new(Code::Conflict, "the session was ended before it began"));
    }
    SlotTaken { session: slot.holder().sid, user: &identity.user, seq }.emit();
    Ok(Seat { slot: slot.held(), seq, grant, resumed: None })
}

/// Tells the ledger the resume token of a holder; false when it holds nothing.
pub(super) async fn arm(node: &Node, user: &UserId, holder: &Holder, grant: Option<&Grant>) -> Result<bool, Reject> {
    let Some(Grant { name, .. }) = grant else { return Ok(true) };
    let window = node.config.session.resume_window;
    let armed = node.stores.ledger.arm(user.clone(), holder.clone(), *name, window).await;
    Ok(armed.map_err(lost(node, "ledger.arm"))?.seq.is_some())
}

/// Frees what lives that are proved dead still hold of this user's slots; whether there were any.
async fn free_dead(worker: &Rc<Worker>, user: &UserId) -> Result<bool, Reject> {
    let node = &worker.node;
    let slots = node.stores.ledger.slots(user.clone()).await.map_err(lost(node, "ledger.slots"))?;
    let lives: HashSet<_> = slots.into_iter().map(|slot| (slot.holder.node, slot.holder.epoch)).collect();
    let mut freed = 0;
    for (name, epoch) in lives {
        let own = name == node.config.node.id && epoch == node.epoch();
        if !own && node.membership.is_gone(&name, epoch) {
            freed += node.stores.ledger.reap(name.clone(), epoch, REAP).await.map_err(lost(node, "ledger.reap"))?;
            node.stores.presence.reap(name, epoch, REAP).await.map_err(lost(node, "presence.reap"))?;
        }
    }
    Ok(freed > 0)
}
