//! The bus: rooms in one order for all, and mail to nodes.

use std::sync::Arc;

use bytes::Bytes;

use super::StoreFuture;
use super::session::{Holder, Passed};
use crate::config::model::History;
use crate::ids::{ClientId, NodeId, RoomName, SessionId, TenantId, UserId};

/// One message on its way: a canonical JSON object, complete but for what only the store knows (`offset`, `epoch`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The JSON object, from `{` to `}`.
    pub body: Bytes,
    /// A session that does not get it (its sender, where the type says `echo = false`).
    pub exclude: Option<SessionId>,
}

/// Makes a message idempotent for five minutes: the same user, destination and id is taken once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dedupe {
    /// The sender.
    pub user: UserId,
    /// The client's id.
    pub id: ClientId,
}

/// How long a [`Dedupe`] is remembered, from the first time it was taken. A store that is bounded in entries may forget
/// the oldest earlier.
pub const DEDUPE_WINDOW: std::time::Duration = std::time::Duration::from_secs(300);

/// A place in a room's order. The epoch changes when the room's history is lost; offsets of two epochs do not compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Counts the room's messages, from 1.
    pub offset: u64,
    /// The life of the room's order: random, from 1 to 2^53 − 1, so that every JSON reader keeps it exact. 0 is the
    /// epoch of no room.
    pub epoch: u64,
}

impl Position {
    /// Whether it is of the same epoch as `other` and not later.
    #[must_use]
    pub fn not_after(self, other: Self) -> bool {
        self.epoch == other.epoch && self.offset <= other.offset
    }
}

/// The store took the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Where it stands (for a duplicate: where the first one stands).
    pub position: Position,
    /// The same message was taken before; nothing was delivered again.
    pub duplicate: bool,
}

/// A room message as a node gets it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The room.
    pub room: RoomName,
    /// Where it stands.
    pub position: Position,
    /// What it is.
    pub record: Record,
}

/// What came back for one who was away.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// What was missed, in order, the earliest first.
    pub records: Vec<Delivery>,
    /// `since` is of the room's present epoch, and `records` continue it without a gap, up to `position` unless
    /// `limit` cut them off.
    pub complete: bool,
    /// The room's position now; `{0, 0}` when the store does not know the room.
    pub position: Position,
}

/// Mail from node to node.
#[derive(Debug, Clone)]
pub enum NodeMail {
    /// A message for the sessions that a user has on this node.
    ToUser {
        /// The user.
        user: UserId,
        /// Only for sessions of this tenant, where the message may not leave it.
        tenant: Option<TenantId>,
        /// The message.
        record: Record,
    },
    /// Stop this session, then confirm in the ledger.
    Evict {
        /// Its user.
        user: UserId,
        /// The session to stop.
        victim: Holder,
    },
    /// The slot this newcomer waits for is its own now.
    Passed(Passed),
}

/// Where a node takes what the bus brings. Called on whatever thread the store uses, for one room in the room's order.
/// A store may hold the room's lock meanwhile (that is what makes it one order for all), so a sink must not block and
/// must not call the bus, not even for another room.
pub trait BusSink: Send + Sync {
    /// A message of a subscribed room.
    fn deliver(&self, delivery: Delivery);
    /// Mail for this node.
    fn mail(&self, mail: NodeMail);
}

/// Order: all subscribers of a room get its messages in one order, the order of their offsets, each at most once; a
/// subscriber that missed some sees it by the jump. A sender's messages keep their order. `publish` answers when the
/// store has taken the message; delivery may come before or after the answer. On outage nothing is queued.
///
/// A room's order lives while the room has a subscriber or kept messages, and for ten minutes after the last publish,
/// subscribe or unsubscribe; after that it may be forgotten, and begins anew in another epoch.
pub trait Bus: Send + Sync {
    /// Names the one sink of a node, instead of the one before; before it nothing is delivered there.
    fn attach(&self, node: NodeId, sink: Arc<dyn BusSink>);

    /// The node is gone: its sink and its subscriptions are dropped. Cost: may look at every room.
    fn detach(&self, node: NodeId);

    /// The node wants the room's messages from now on. Idempotent. Answers the room's position at that moment: every
    /// later message will be delivered.
    ///
    /// # Errors
    /// [`super::StoreFault::Full`] at the store's bound on rooms.
    fn subscribe(&self, node: NodeId, room: RoomName) -> StoreFuture<'_, Position>;

    /// The node has no member in the room any more. Idempotent.
    fn unsubscribe(&self, node: NodeId, room: RoomName) -> StoreFuture<'_, ()>;

    /// Appends to the room's order, keeps it as `keep` says, and delivers it: one step. The offset counts on whether
    /// or not anybody is subscribed. A duplicate (see [`Dedupe`]) is neither counted, kept nor delivered.
    ///
    /// # Errors
    /// [`super::StoreFault::Full`] at the store's bound on rooms; nothing was taken. At a bound on what is kept, older
    /// messages of the room are forgotten instead, or this one is not kept: [`Recovery::complete`] tells.
    fn publish(
        &self,
        room: RoomName,
        record: Record,
        dedupe: Option<Dedupe>,
        keep: Option<History>,
    ) -> StoreFuture<'static, Published>;

    /// What the room kept after `since`, at most `limit` records; none when `since` is of another epoch or lies in the
    /// future. Changes nothing.
    fn recover(&self, room: RoomName, since: Position, limit: usize) -> StoreFuture<'_, Recovery>;

    /// Mail to a node. False when the node has no sink.
    fn send(&self, node: NodeId, mail: NodeMail) -> StoreFuture<'_, bool>;

    /// Takes a direct message's id: false when the same user has sent the same id to the same user in the last
    /// [`DEDUPE_WINDOW`].
    fn first(&self, dedupe: Dedupe, to: UserId) -> StoreFuture<'_, bool>;
}
