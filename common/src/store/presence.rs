//! Who is in a room, over all nodes.

use super::StoreFuture;
use crate::ids::{NodeEpoch, NodeId, RoomName, SessionId, UserId};

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupant {
    /// The session.
    pub sid: SessionId,
    /// Its user.
    pub user: UserId,
    /// The node with the socket.
    pub node: NodeId,
    /// That node's life.
    pub epoch: NodeEpoch,
}

/// What an entry or exit changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Sessions in the room now.
    pub sessions: usize,
    /// The user was not in the room before (entry), or has no session left in it (exit).
    pub user_changed: bool,
}

/// Atomic per room.
pub trait Presence: Send + Sync {
    /// Enters; idempotent by session. A session that is there already is there on this node from now on (it resumed).
    ///
    /// # Errors
    /// [`super::StoreFault::Full`] at the store's bound on rooms or occupants; nothing changed.
    fn enter(&self, room: RoomName, occupant: Occupant) -> StoreFuture<'_, Change>;

    /// Leaves; idempotent. Nothing when the session is in the room by another life of a node than `epoch`: a late exit
    /// of the node from which a session was resumed must not take it out. Two connections of one session on one node
    /// are for that node to put in order.
    fn exit(&self, room: RoomName, sid: SessionId, epoch: NodeEpoch) -> StoreFuture<'_, Change>;

    /// The room's users, each once, at most `limit`, in no particular order, and how many sessions there are. Cost:
    /// O(limit).
    fn list(&self, room: RoomName, limit: usize) -> StoreFuture<'_, (Vec<UserId>, usize)>;

    /// Removes at most `limit` entries of a node's life that is over; the answer is how many, and less than `limit`
    /// means that none is left. Cost: may look at every room.
    fn reap(&self, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize>;
}
