//! What one room kept: bounded by count, age and bytes, in the order of offsets, possibly with gaps.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clock::Mono;
use crate::config::model;
use crate::store::bus::Record;

/// Bookkeeping of a kept record, roughly.
const OVERHEAD: usize = 96;

/// The bytes that all rooms keep together, and the bounds.
pub(super) struct Budget {
    used: AtomicUsize,
    all: usize,
    room: usize,
}

impl Budget {
    pub(super) fn new(all: usize, room: usize) -> Self {
        Self { used: AtomicUsize::new(0), all, room }
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

pub(super) struct Kept {
    pub(super) offset: u64,
    at: Mono,
    pub(super) record: Record,
}

impl Kept {
    fn cost(&self) -> usize {
        self.record.body.len() + OVERHEAD
    }
}

/// Empty for most rooms.
pub(super) struct History {
    records: VecDeque<Kept>,
    bytes: usize,
    keep: model::History,
}

impl History {
    pub(super) fn new(keep: model::History) -> Self {
        Self { records: VecDeque::new(), bytes: 0, keep }
    }

    /// Keeps a record under the rule of now, unless it alone is over a bound.
    pub(super) fn push(&mut self, offset: u64, record: Record, keep: model::History, now: Mono, budget: &Budget) {
        self.keep = keep;
        let kept = Kept { offset, at: now, record };
        let cost = kept.cost();
        if cost > budget.room {
            return self.prune(now, budget);
        }
        while !self.records.is_empty() && (self.bytes + cost > budget.room || budget.used_with(cost) > budget.all) {
            self.forget_oldest(budget);
        }
        if budget.used_with(cost) <= budget.all {
            budget.used.fetch_add(cost, Ordering::Relaxed);
            self.bytes += cost;
            self.records.push_back(kept);
        }
        self.prune(now, budget);
    }

    /// Drops what is too old or too much.
    pub(super) fn prune(&mut self, now: Mono, budget: &Budget) {
        while self.records.len() > self.keep.count as usize {
            self.forget_oldest(budget);
        }
        while self.records.front().is_some_and(|oldest| oldest.at.after(self.keep.age) <= now) {
            self.forget_oldest(budget);
        }
    }

    /// Keeps nothing.
    pub(super) fn clear(&mut self, budget: &Budget) {
        while !self.records.is_empty() {
            self.forget_oldest(budget);
        }
    }

    fn forget_oldest(&mut self, budget: &Budget) {
        if let Some(oldest) = self.records.pop_front() {
            self.bytes -= oldest.cost();
            budget.used.fetch_sub(oldest.cost(), Ordering::Relaxed);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What was kept after `offset`, in order. Cost: a binary search.
    pub(super) fn after(&self, offset: u64) -> impl Iterator<Item = &Kept> {
        self.records.range(self.records.partition_point(|kept| kept.offset <= offset)..)
    }
}

impl Budget {
    fn used_with(&self, cost: usize) -> usize {
        self.used.load(Ordering::Relaxed).saturating_add(cost)
    }
}
