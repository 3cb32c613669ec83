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
    /// Enters; idempotent by session.
    fn enter(&self, room: RoomName, occupant: Occupant) -> StoreFuture<'_, Change>;

    /// Leaves; idempotent.
    fn exit(&self, room: RoomName, sid: SessionId) -> StoreFuture<'_, Change>;

    /// The room's users, each once, at most `limit`, and how many sessions there are.
    fn list(&self, room: RoomName, limit: usize) -> StoreFuture<'_, (Vec<UserId>, usize)>;

    /// Removes at most `limit` entries of a node's life that is over.
    fn reap(&self, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize>;
}
