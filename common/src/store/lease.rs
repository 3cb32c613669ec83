//! Node leases.

use std::time::Duration;

use super::StoreFuture;
use crate::ids::{NodeEpoch, NodeId};

/// A member of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub epoch: NodeEpoch,
    /// What is left of its lease.
    pub remaining: Duration,
}

/// Atomic per node. Time is the store's. Of all lives of a node id at most one holds the lease at any moment.
pub trait Leases: Send + Sync {
    /// Takes the lease for a life that has just begun. False when another life of the same node id holds it unexpired.
    /// Idempotent; the ttl begins anew. An epoch whose lease lapsed must never take it again: the store does not
    /// remember it, the node does.
    ///
    /// # Errors
    /// [`super::StoreFault::Full`] at the store's bound on nodes.
    fn take(&self, node: NodeId, epoch: NodeEpoch, ttl: Duration) -> StoreFuture<'_, bool>;

    /// Prolongs the lease to `now + ttl` if `epoch` holds it. A lapsed epoch is never renewed.
    fn renew(&self, node: NodeId, epoch: NodeEpoch, ttl: Duration) -> StoreFuture<'_, bool>;

    /// Gives the lease up if `epoch` holds it.
    fn release(&self, node: NodeId, epoch: NodeEpoch) -> StoreFuture<'_, bool>;

    /// The living members, by node id.
    fn members(&self) -> StoreFuture<'_, Vec<Member>>;
}
