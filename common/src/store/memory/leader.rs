//! The election of the leading coordinator and its fence: one term, one number.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lease::MemoryLeases;
use super::ready;
use super::shard::lock;
use crate::clock::{Clock, Mono};
use crate::ids::{NodeEpoch, NodeId};
use crate::store::leader::{Candidate, Fence, Leadership, Remains, Stood, Term};
use crate::store::presence::Presence;
use crate::store::session::SessionLedger;
use crate::store::{StoreFault, StoreFuture};

struct Held {
    who: Candidate,
    until: Mono,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// The number of the last term; 0 before the first.
    last: u64,
    /// The latest term that has written.
    fence: u64,
}

/// Also keeps the fence, which every write of a leader passes under the same lock.
pub(super) struct MemoryLeadership {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl MemoryLeadership {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State, Mono) -> T) -> T {
        let now = self.clock.mono();
        let mut state = lock(&self.state);
        state.held.take_if(|held| held.until <= now);
        act(&mut state, now)
    }

    /// Writes in the name of a leader, if no later one has written, or of a node.
    pub(super) fn fenced<T>(&self, by: Option<Fence>, write: impl FnOnce() -> T) -> Result<T, StoreFault> {
        let mut state = lock(&self.state);
        if let Some(Fence(term)) = by {
            if state.fence > term {
                return Err(StoreFault::Fenced);
            }
            state.fence = term;
        }
        Ok(write())
    }
}

impl State {
    /// The candidate's own term.
    fn mine(&mut self, who: &Candidate, fence: Fence) -> Option<&mut Held> {
        let number = self.last;
        self.held.as_mut().filter(|held| held.who.life == who.life && number == fence.0)
    }
}

impl Leadership for MemoryLeadership {
    fn stand(&self, who: Candidate, ttl: Duration) -> StoreFuture<'_, Stood> {
        ready(Ok(self.with(|state, now| {
            match &state.held {
                Some(held) if held.who.life != who.life => {
                    let (id, remaining) = (held.who.id.clone(), held.until.since(now));
                    return Stood::Led(Term { id, fence: Fence(state.last), remaining });
                }
                Some(_) => {}
                None => state.last += 1,
            }
            state.held = Some(Held { who, until: now.after(ttl) });
            Stood::Elected(Fence(state.last))
        })))
    }

    fn renew(&self, who: Candidate, fence: Fence, ttl: Duration) -> StoreFuture<'_, bool> {
        ready(Ok(self.with(|state, now| match state.mine(&who, fence) {
            Some(held) => {
                held.until = now.after(ttl);
                true
            }
            None => false,
        })))
    }

    fn resign(&self, who: Candidate, fence: Fence) -> StoreFuture<'_, bool> {
        ready(Ok(self.with(|state, _| {
            let mine = state.mine(&who, fence).is_some();
            if mine {
                state.held = None;
            }
            mine
        })))
    }

    fn term(&self) -> StoreFuture<'_, Option<Term>> {
        ready(Ok(self.with(|state, now| {
            let term = |held: &Held| Term {
                id: held.who.id.clone(),
                fence: Fence(state.last),
                remaining: held.until.since(now),
            };
            state.held.as_ref().map(term)
        })))
    }

    fn proclaim(&self, fence: Fence) -> StoreFuture<'_, ()> {
        ready(self.fenced(Some(fence), || ()))
    }
}

/// What lives leave behind, over the roles that keep it.
pub(super) struct MemoryRemains {
    pub(super) leases: Arc<MemoryLeases>,
    pub(super) ledger: Arc<dyn SessionLedger>,
    pub(super) presence: Arc<dyn Presence>,
    pub(super) leadership: Arc<MemoryLeadership>,
}

impl Remains for MemoryRemains {
    fn lapsed(&self) -> StoreFuture<'_, Vec<(NodeId, NodeEpoch)>> {
        ready(Ok(self.leases.lapsed()))
    }

    fn reap_slots(&self, by: Option<Fence>, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize> {
        // a call of this store acts when it is made, so it is carried out behind the fence
        match self.leadership.fenced(by, || self.ledger.reap(node, epoch, limit)) {
            Ok(reaped) => reaped,
            Err(fault) => ready(Err(fault)),
        }
    }

    fn reap_members(&self, by: Option<Fence>, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize> {
        match self.leadership.fenced(by, || self.presence.reap(node, epoch, limit)) {
            Ok(reaped) => reaped,
            Err(fault) => ready(Err(fault)),
        }
    }

    fn bury(&self, by: Option<Fence>, node: NodeId, epoch: NodeEpoch) -> StoreFuture<'_, bool> {
        ready(self.leadership.fenced(by, || self.leases.bury(&node, epoch)))
    }
}
