//! Node leases: one map, ordered by node id.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ready;
use super::shard::lock;
use crate::clock::{Clock, Mono};
use crate::ids::{NodeEpoch, NodeId};
use crate::store::lease::{Leases, Member};
use crate::store::{StoreFault, StoreFuture};

struct Lease {
    epoch: NodeEpoch,
    until: Mono,
}

/// Every call drops what has lapsed; there are few nodes.
pub(super) struct MemoryLeases {
    clock: Arc<dyn Clock>,
    leases: Mutex<BTreeMap<NodeId, Lease>>,
    bound: usize,
}

impl MemoryLeases {
    pub(super) fn new(clock: Arc<dyn Clock>, bound: usize) -> Self {
        Self { clock, leases: Mutex::default(), bound }
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<NodeId, Lease>, Mono) -> T) -> T {
        let now = self.clock.mono();
        let mut leases = lock(&self.leases);
        leases.retain(|_, lease| lease.until > now);
        act(&mut leases, now)
    }
}

impl Leases for MemoryLeases {
    fn take(&self, node: NodeId, epoch: NodeEpoch, ttl: Duration) -> StoreFuture<'_, bool> {
        ready(self.with(|leases, now| {
            let taken = leases.get(&node).map(|lease| lease.epoch == epoch);
            if taken.is_none() && leases.len() >= self.bound {
                return Err(StoreFault::Full("nodes"));
            }
            if taken == Some(false) {
                return Ok(false);
            }
            leases.insert(node, Lease { epoch, until: now.after(ttl) });
            Ok(true)
        }))
    }

    fn renew(&self, node: NodeId, epoch: NodeEpoch, ttl: Duration) -> StoreFuture<'_, bool> {
        ready(Ok(self.with(|leases, now| match leases.get_mut(&node) {
            Some(lease) if lease.epoch == epoch => {
                lease.until = now.after(ttl);
                true
            }
            _ => false,
        })))
    }

    fn release(&self, node: NodeId, epoch: NodeEpoch) -> StoreFuture<'_, bool> {
        ready(Ok(self.with(|leases, _| {
            let holds = leases.get(&node).is_some_and(|lease| lease.epoch == epoch);
            if holds {
                leases.remove(&node);
            }
            holds
        })))
    }

    fn members(&self) -> StoreFuture<'_, Vec<Member>> {
        ready(Ok(self.with(|leases, now| {
            let member = |(node, lease): (&NodeId, &Lease)| Member {
                node: node.clone(),
                epoch: lease.epoch,
                remaining: lease.until.since(now),
            };
            leases.iter().map(member).collect()
        })))
    }
}
