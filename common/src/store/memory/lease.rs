//! Node leases: one map, ordered by node id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ready;
use super::shard::lock;
use crate::clock::{Clock, Mono};
use crate::ids::{NodeEpoch, NodeId};
use crate::store::lease::{Leases, Member};
use crate::store::{StoreFault, StoreFuture};

#[derive(Clone)]
struct Lease {
    epoch: NodeEpoch,
    until: Mono,
}

/// Lives remembered until somebody has cleared up after them.
const LIVES: usize = 4_096;

#[derive(Clone, Default)]
struct State {
    leases: BTreeMap<NodeId, Lease>,
    /// From the lease to its return or the life's burial.
    lives: BTreeSet<(NodeId, NodeEpoch)>,
}

/// Every call drops what has lapsed; there are few nodes.
pub(super) struct MemoryLeases {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    copied: Mutex<State>,
    bound: usize,
}

impl MemoryLeases {
    pub(super) fn new(clock: Arc<dyn Clock>, bound: usize) -> Self {
        Self { clock, state: Mutex::default(), copied: Mutex::default(), bound }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State, Mono) -> T) -> T {
        let now = self.clock.mono();
        let mut state = lock(&self.state);
        state.leases.retain(|_, lease| lease.until > now);
        act(&mut state, now)
    }

    /// The lives of [`Remains::lapsed`](crate::store::leader::Remains::lapsed).
    pub(super) fn lapsed(&self) -> Vec<(NodeId, NodeEpoch)> {
        self.with(|state, _| state.lives.iter().filter(|(node, epoch)| !state.runs(node, *epoch)).cloned().collect())
    }

    /// See [`Remains::bury`](crate::store::leader::Remains::bury).
    pub(super) fn bury(&self, node: &NodeId, epoch: NodeEpoch) -> bool {
        self.with(|state, _| !state.runs(node, epoch) && state.lives.remove(&(node.clone(), epoch)))
    }
}

impl State {
    fn runs(&self, node: &NodeId, epoch: NodeEpoch) -> bool {
        self.leases.get(node).is_some_and(|lease| lease.epoch == epoch)
    }
}

/// What the server loses.
impl MemoryLeases {
    /// The nodes whose lease runs.
    pub(super) fn living(&self) -> Vec<NodeId> {
        self.with(|state, _| state.leases.keys().cloned().collect())
    }

    pub(super) fn forget(&self) {
        *lock(&self.state) = State::default();
    }

    pub(super) fn copy(&self) {
        *lock(&self.copied) = lock(&self.state).clone();
    }

    pub(super) fn go_back(&self) {
        *lock(&self.state) = lock(&self.copied).clone();
    }
}

impl Leases for MemoryLeases {
    fn take(&self, node: NodeId, epoch: NodeEpoch, ttl: Duration) -> StoreFuture<'_, bool> {
        ready(self.with(|State { leases, lives }, now| {
            let taken = leases.get(&node).map(|lease| lease.epoch == epoch);
            if taken.is_none() && leases.len() >= self.bound {
                return Err(StoreFault::Full("nodes"));
            }
            if taken == Some(false) {
                return Ok(false);
            }
            if lives.len() < LIVES {
                lives.insert((node.clone(), epoch));
            }
            leases.insert(node, Lease { epoch, until: now.after(ttl) });
            Ok(true)
        }))
    }

    fn renew(&self, node: NodeId, epoch: NodeEpoch, ttl: Duration) -> StoreFuture<'_, bool> {
        ready(Ok(self.with(|state, now| match state.leases.get_mut(&node) {
            Some(lease) if lease.epoch == epoch => {
                lease.until = now.after(ttl);
                true
            }
            _ => false,
        })))
    }

    fn release(&self, node: NodeId, epoch: NodeEpoch) -> StoreFuture<'_, bool> {
        ready(Ok(self.with(|state, _| {
            let holds = state.runs(&node, epoch);
            if holds {
                state.leases.remove(&node);
                state.lives.remove(&(node, epoch));
            }
            holds
        })))
    }

    fn members(&self) -> StoreFuture<'_, Vec<Member>> {
        ready(Ok(self.with(|state, now| {
            let member = |(node, lease): (&NodeId, &Lease)| Member {
                node: node.clone(),
                epoch: lease.epoch,
                remaining: lease.until.since(now),
            };
            state.leases.iter().map(member).collect()
        })))
    }
}
