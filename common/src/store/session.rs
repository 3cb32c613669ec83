//! The session ledger: who holds a user's slots.

use std::time::Duration;

use super::StoreFuture;
use crate::clock::UnixMs;
use crate::config::model::OnLimit;
use crate::ids::{NodeEpoch, NodeId, SessionId, UserId};

/// The holder of a slot: a session, on a node, in one life of that node, in one generation of the session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The session.
    pub sid: SessionId,
    /// The node with the socket.
    pub node: NodeId,
    /// The life of that node.
    pub epoch: NodeEpoch,
    /// 0 for a new session; one more at each resume, so that a late release of an old holder frees nothing.
    pub generation: u32,
}

/// A request for a slot.
#[derive(Debug, Clone)]
pub struct Acquire {
    /// Whose slot.
    pub user: UserId,
    /// For whom.
    pub holder: Holder,
    /// At most so many slots for this user.
    pub cap: u32,
    /// What to do at the cap.
    pub on_limit: OnLimit,
}

/// The answer to [`SessionLedger::acquire`]. `seq` counts the changes of this user's ledger: evidence for audits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// The slot is held.
    Held {
        /// The change that this was.
        seq: u64,
    },
    /// `victim` was asked to go; the slot passes when its node confirms. Until then the newcomer holds nothing.
    Evicting {
        /// The change that this was.
        seq: u64,
        /// The session that has to stop first.
        victim: Holder,
    },
    /// No slot, and none to be had.
    Full {
        /// When it is worth another try.
        retry_after: Duration,
    },
}

/// A slot's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotState {
    /// A socket is there.
    Live,
    /// The socket broke; the slot is kept for a resume until then.
    Detached {
        /// End of the resume window.
        until: UnixMs,
    },
    /// Being handed to another session.
    Evicting {
        /// The newcomer.
        by: Holder,
    },
}

/// A slot as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Who holds it.
    pub holder: Holder,
    /// How.
    pub state: SlotState,
    /// Since when the session counts (store time); a resume does not change it, a pass begins it anew.
    pub since: UnixMs,
}

/// The slot passed from victim to newcomer, in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Who holds it now.
    pub to: Holder,
    /// The change that this was.
    pub seq: u64,
}

/// How a session stopped counting, or whether it did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// The change, if there was one: `None` when sid, epoch and generation matched no slot.
    pub seq: Option<u64>,
    /// The slot was promised to a newcomer and is its own now, in the same step: tell its node.
    pub passed: Option<Passed>,
}

/// What a resume gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// The holder before: to be kicked if it still had a socket.
    pub previous: Holder,
    /// The slot was live: the one before may still have a socket.
    pub was_live: bool,
    /// The holder now: same sid, the newcomer's node and epoch, generation + 1.
    pub holder: Holder,
    /// Since when the session counts (store time).
    pub since: UnixMs,
    /// The change that this was.
    pub seq: u64,
}

/// Atomic: every call is one step that no other call sees half done, per user. Time is the store's. Idempotent where
/// it says so. On outage: [`super::StoreFault::Unavailable`] and nothing changed as far as the caller may assume. In another
/// era than the store's: [`super::StoreFault::Era`] and nothing changed; slots, waits and tokens end with their era.
///
/// `seq` is strictly increasing for a user, also over times in which the store knew nothing of that user; it is not
/// dense. Sorting what the calls of a user answered by `seq` gives the order in which they took effect.
///
/// A slot counts against the cap in every state. A detached slot whose window has ended is no slot: no call sees it.
pub trait SessionLedger: Send + Sync {
    /// Below the cap: a slot. At the cap: detached slots make room first (oldest session first), then `on_limit`
    /// decides. An acquire never makes a user have more than `cap` slots; where the cap was lowered below what a user
    /// has, `Reject` refuses until enough have ended, and `EvictOldest` passes slots one for one.
    ///
    /// `EvictOldest` marks the oldest live slot for this newcomer alone: a second newcomer gets the next live one, and
    /// `Full` when all are being evicted. The caller mails [`super::bus::NodeMail::Evict`] to the victim's node, waits,
    /// and calls [`SessionLedger::withdraw`] if it gives up.
    ///
    /// Idempotent: a holder that has a slot gets `Held` again (detached: it is live again), one that waits gets the
    /// same `Evicting` again, both with a new `seq`. The same sid and generation on the same node in another life of
    /// that node takes the slot, or the wait, over in place: so a node re-asserts its sessions after its lease lapsed.
    /// Any other holder of a sid that has a slot or waits for one gets `Full`: a session never has two slots.
    ///
    /// # Errors
    /// [`super::StoreFault::Full`] at the store's own bound on sessions.
    /// [`super::StoreFault::Era`] while the store's era is not whole ([`super::era::Eras`]).
    fn acquire(&self, request: Acquire) -> StoreFuture<'_, Acquired>;

    /// [`SessionLedger::acquire`] for a session that lives already: after the store forgot (in the new era, whole or
    /// not), or in its node's next life. Never evicts: `Full` where there is no slot.
    fn reassert(&self, request: Acquire) -> StoreFuture<'_, Acquired>;

    /// The victim's node says that the session stopped dispatching and its outbox is cut: the slot passes to the
    /// newcomer that waits for it, in one step. `None`, and nothing changed, when the slot is not evicting (the
    /// newcomer withdrew) or the holder does not match: the caller, whose session has stopped, then releases.
    fn confirm(&self, user: UserId, victim: Holder) -> StoreFuture<'_, Option<Passed>>;

    /// The newcomer stops waiting: the victim keeps its slot, unless it has passed already, in which case the
    /// newcomer's slot is released.
    fn withdraw(&self, user: UserId, newcomer: Holder) -> StoreFuture<'_, Released>;

    /// The session has stopped. An evicting slot passes to its newcomer instead, as by [`SessionLedger::confirm`]. Matches sid, epoch and generation; otherwise nothing.
    fn release(&self, user: UserId, holder: Holder) -> StoreFuture<'_, Released>;

    /// The socket broke without a close: the slot is kept until `now + window` for the bearer of `token` (a keyed hash
    /// of the resume token; the store never sees the token). A predecessor of `token` that was still good stays good
    /// as long. An evicting slot is not kept: it passes, as with [`SessionLedger::release`]. Detaching again begins
    /// the window anew.
    fn detach(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released>;

    /// The session's resume token is `token` from now on (given at `welcome`): good while the slot is live, and in the
    /// window of its detachment. The token before it stays good until [`SessionLedger::spend`], until its successor is
    /// shown, or for `window`, whichever is first: a lost `welcome` strands nobody. A token between the two that was
    /// never proved is dropped, so at most two are good at once.
    fn arm(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released>;

    /// The first frame after the `welcome` with the armed token has arrived: the client has that token, so the one
    /// before it is spent. Nothing when there is none, or the holder does not match.
    fn spend(&self, user: UserId, holder: Holder) -> StoreFuture<'_, Released>;

    /// A newcomer shows a token: same user, slot live, or detached and in its window; not while it is being evicted.
    /// Swaps the holder, generation + 1, count and age unchanged; the slot is live. The token shown stays good (and is
    /// the predecessor of what the new holder arms); the other one, if there was one, is dropped. `None`: no such
    /// record (spent, expired, killed, another user's, of an earlier era).
    ///
    /// # Errors
    /// [`super::StoreFault::Era`] while the store's era is not whole.
    fn resume(&self, user: UserId, token: [u8; 32], node: NodeId, epoch: NodeEpoch)
    -> StoreFuture<'_, Option<Resumed>>;

    /// Deletes a session's slot and resume record whoever holds it: kick, ban, log-out, expiry. An evicting slot
    /// passes to its newcomer. A session that only waits stops waiting, as by [`SessionLedger::withdraw`], and the
    /// answer is `None`.
    fn remove(&self, user: UserId, sid: SessionId) -> StoreFuture<'_, Option<Slot>>;

    /// Whether exactly this holder (sid, epoch and generation) holds a live slot now. A victim holds its slot until it
    /// has passed; a newcomer that waits holds none.
    fn holds(&self, user: UserId, holder: Holder) -> StoreFuture<'_, bool>;

    /// The user's slots, oldest session first.
    fn slots(&self, user: UserId) -> StoreFuture<'_, Vec<Slot>>;

    /// The nodes on which the user has live or evicting slots, each once.
    fn nodes(&self, user: UserId) -> StoreFuture<'_, Vec<NodeId>>;

    /// Frees at most `limit` slots with a socket that `node` held in `epoch`, because that life is over; the answer is
    /// how many. Evicting ones pass on; a newcomer of that life that waits stops waiting. Detached slots stay: their
    /// socket was gone before, and their window ends by itself. Less than `limit` means that none is left. Cost: may
    /// look at every slot of the store.
    fn reap(&self, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize>;
}
