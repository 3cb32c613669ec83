//! The session ledger: who holds a user's slots (STATE §3).

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
    /// Since when (store time).
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
    /// The holder now: same sid, the newcomer's node and epoch, generation + 1.
    pub holder: Holder,
    /// The change that this was.
    pub seq: u64,
}

/// Atomic: every call is one step that no other call sees half done, per user. Time is the store's. Idempotent where
/// it says so. On outage: [`super::StoreFault::Unavailable`] and nothing changed as far as the caller may assume.
pub trait SessionLedger: Send + Sync {
    /// Below the cap: a slot. At the cap: an expired or detached slot is taken first (oldest first), then `on_limit`
    /// decides. A holder that already has a slot gets `Held` again. Never more than `cap` slots exist for a user.
    fn acquire(&self, request: Acquire) -> StoreFuture<'_, Acquired>;

    /// The victim's node says that the session stopped dispatching and its outbox is cut: the slot passes to the
    /// newcomer that waits for it. `None` when the slot is not evicting, or holder does not match.
    fn confirm(&self, user: UserId, victim: Holder) -> StoreFuture<'_, Option<Passed>>;

    /// The newcomer stops waiting: the victim keeps its slot, unless it has passed already, in which case the
    /// newcomer's slot is released.
    fn withdraw(&self, user: UserId, newcomer: Holder) -> StoreFuture<'_, Released>;

    /// The session has stopped. An evicting slot passes to its newcomer instead, as by [`SessionLedger::confirm`]. Matches sid, epoch and generation; otherwise nothing.
    fn release(&self, user: UserId, holder: Holder) -> StoreFuture<'_, Released>;

    /// The socket broke without a close: the slot is kept until `now + window` for the bearer of `token` (a keyed hash
    /// of the resume token; the store never sees the token).
    fn detach(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released>;

    /// Replaces the record of the resume token of a live session (given at `welcome`).
    fn arm(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released>;

    /// A newcomer shows the token: same user, slot live or detached and in its window. Swaps the holder, generation + 1,
    /// count unchanged. `None`: no such record (spent, expired, killed, another user's).
    fn resume(&self, user: UserId, token: [u8; 32], node: NodeId, epoch: NodeEpoch)
    -> StoreFuture<'_, Option<Resumed>>;

    /// Deletes a session's slot and resume record whoever holds it: kick, ban, log-out, expiry.
    fn remove(&self, user: UserId, sid: SessionId) -> StoreFuture<'_, Option<Slot>>;

    /// Whether exactly this holder holds a live slot now.
    fn holds(&self, user: UserId, holder: Holder) -> StoreFuture<'_, bool>;

    /// The user's slots, oldest first.
    fn slots(&self, user: UserId) -> StoreFuture<'_, Vec<Slot>>;

    /// The nodes on which the user has live or evicting slots, each once.
    fn nodes(&self, user: UserId) -> StoreFuture<'_, Vec<NodeId>>;

    /// Frees at most `limit` slots held by `node` in `epoch`, because that life is over. Evicting slots pass on.
    fn reap(&self, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize>;
}
