//! Limits that processes share: one map, and an index by when a count says nothing any more.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use super::era::{MemoryEras, Part, Told, When};
use super::ready;
use super::shard::lock;
use crate::clock::Clock;
use crate::store::limit::{Ask, Drawn, Leased, LimitCounts, LimitKey, draw};
use crate::store::{StoreFault, StoreFuture};

/// Counts dropped by one call that say nothing any more.
const SWEEP: usize = 8;

#[derive(Clone, Default)]
struct Counts {
    told: Told,
    /// The theoretical arrival time, in ns of the store's clock.
    tats: HashMap<Arc<LimitKey>, u64>,
    by_end: BTreeSet<(u64, Arc<LimitKey>)>,
}

/// One process's way to the counts.
pub(super) struct MemoryCounts {
    all: Arc<AllCounts>,
    eras: Arc<MemoryEras>,
}

/// The counts themselves. They outlive eras.
pub(super) struct AllCounts {
    clock: Arc<dyn Clock>,
    counts: Mutex<Counts>,
    copied: Mutex<Counts>,
    bound: usize,
}

impl MemoryCounts {
    pub(super) fn new(all: Arc<AllCounts>, eras: Arc<MemoryEras>) -> Self {
        Self { all, eras }
    }
}

impl AllCounts {
    pub(super) fn new(clock: Arc<dyn Clock>, bound: usize) -> Self {
        Self { clock, counts: Mutex::default(), copied: Mutex::default(), bound }
    }
}

impl Part for AllCounts {
    fn tell(&self, told: Told) {
        let mut counts = lock(&self.counts);
        if told.follows(counts.told) {
            counts.told = told;
        }
    }

    fn forget(&self) {
        *lock(&self.counts) = Counts::default();
    }

    fn copy(&self) {
        *lock(&self.copied) = lock(&self.counts).clone();
    }

    fn go_back(&self) {
        *lock(&self.counts) = lock(&self.copied).clone();
    }
}

impl Counts {
    fn sweep(&mut self, now: u64) {
        for _ in 0..SWEEP {
            if self.by_end.first().is_none_or(|(tat, _)| *tat > now) {
                break;
            }
            if let Some((_, key)) = self.by_end.pop_first() {
                self.tats.remove(&key);
            }
        }
    }

    fn lease(&mut self, ask: Ask, now: u64, bound: usize) -> Result<Leased, StoreFault> {
        self.sweep(now);
        let before = self.tats.get(&ask.key).copied();
        if before.is_none() && self.tats.len() >= bound {
            return Err(StoreFault::Full("counts of limits"));
        }
        let Drawn { tat, leased } = draw(before.unwrap_or_default(), &ask, now);
        let key = match self.tats.get_key_value(&ask.key) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::new(ask.key),
        };
        if let Some(before) = before {
            self.by_end.remove(&(before, Arc::clone(&key)));
        }
        self.by_end.insert((tat, Arc::clone(&key)));
        self.tats.insert(key, tat);
        Ok(leased)
    }
}

impl LimitCounts for MemoryCounts {
    fn lease(&self, ask: Ask) -> StoreFuture<'_, Leased> {
        let mut counts = lock(&self.all.counts);
        let answer = self.eras.check(counts.told, When::Any);
        ready(answer.and_then(|()| counts.lease(ask, self.all.clock.nanos(), self.all.bound)))
    }
}
