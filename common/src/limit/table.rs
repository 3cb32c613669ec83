//! The keys that a node counts, bounded.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::count::{Answer, Count, Order, Took};
use super::plan::Plan;
use crate::gcra::Tat;
use crate::store::limit::Leased;

/// What the node knows of the world as it takes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the store is believed to answer.
    pub up: bool,
    /// Whether the message may wait; else this node's share decides where the store would have to be asked.
    pub patient: bool,
    /// Monotonic ns.
    pub now: u64,
}

/// Entries looked at for an idle one when the table is full: bounds the cost of one call.
const SWEEP: usize = 16;

/// One part of a node's keys, under one lock of its holder's.
///
/// At the bound an idle key, which equals one never seen, gives way; where none is found, the new key shares one local
/// count with all such of this table, at this node's share of its limit: whoever makes up names gets the rate of one, and
/// no key that is known already is affected.
#[derive(Debug)]
pub struct Table<K> {
    index: HashMap<K, usize>,
    slots: Vec<(K, Count)>,
    /// Where the search for an idle entry goes on.
    hand: usize,
    overflow: Tat,
    bound: usize,
    /// Since when this node counts: what a former life of it let in on credit is paid by then.
    born: u64,
}

impl<K: Clone + Eq + Hash> Table<K> {
    /// A table of at most `bound` keys, at least 1, of a node that begins to count now.
    #[must_use]
    pub fn new(bound: usize, now: u64) -> Self {
        Self {
            index: HashMap::new(),
            slots: Vec::new(),
            hand: 0,
            overflow: Tat::default(),
            bound: bound.max(1),
            born: now,
        }
    }

    /// Takes one message of a key. An [`Order`] of the answer has to be carried out, and [`Self::answered`] or
    /// [`Self::failed`].
    pub fn take(&mut self, key: &K, plan: &Plan, standing: Standing) -> Took {
        let born = self.born;
        let at = self.place(key, standing.now);
        match at.and_then(|at| self.slots.get_mut(at)) {
            Some((_, count)) => count.take(plan, standing, born),
            None => {
                let took = plan.share.take(&mut self.overflow, standing.now, 1);
                let answer = took.map_or_else(Answer::Wait, |()| Answer::Yes);
                Took { answer, order: None, alone: true }
            }
        }
    }

    /// Begins the call that a message of this key will need soon, and takes nothing.
    pub fn prepare(&mut self, key: &K, plan: &Plan, standing: Standing) -> Option<Order> {
        let at = self.place(key, standing.now)?;
        self.slots.get_mut(at).and_then(|(_, count)| count.prepare(plan, standing))
    }

    /// How long until [`Self::take`] would let one in, as far as is known.
    #[must_use]
    pub fn wait(&self, key: &K, plan: &Plan, standing: Standing) -> Duration {
        match self.get(key) {
            Some(count) => count.wait(plan, standing.up, standing.now),
            None if self.slots.len() < self.bound => Duration::ZERO,
            None => plan.share.wait(self.overflow, standing.now, 1),
        }
    }

    /// Gives back what was taken a moment ago.
    pub fn give_back(&mut self, key: &K, plan: &Plan, standing: Standing) {
        match self.get_mut(key) {
            Some(count) => count.give_back(plan, standing.up, standing.now),
            None => plan.share.give_back(&mut self.overflow, 1),
        }
    }

    /// A call for the key was answered.
    pub fn answered(&mut self, key: &K, plan: &Plan, order: Order, leased: Leased, now: u64) {
        if let Some(count) = self.get_mut(key) {
            count.answered(plan, order, leased, now);
        }
    }

    /// A call for the key failed.
    pub fn failed(&mut self, key: &K, now: u64) {
        if let Some(count) = self.get_mut(key) {
            count.failed(now);
        }
    }

    /// Whether a call for the key is under way.
    #[must_use]
    pub fn asked(&self, key: &K) -> bool {
        self.get(key).is_some_and(Count::asked)
    }

    /// How many keys are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn get(&self, key: &K) -> Option<&Count> {
        self.slots.get(*self.index.get(key)?).map(|(_, count)| count)
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut Count> {
        self.slots.get_mut(*self.index.get(key)?).map(|(_, count)| count)
    }

    /// A slot for a key, made where there is room or an idle one gives way.
    fn place(&mut self, key: &K, now: u64) -> Option<usize> {
        if let Some(at) = self.index.get(key) {
            return Some(*at);
        }
        let fresh = (key.clone(), Count::default());
        let len = self.slots.len();
        if len < self.bound {
            self.index.insert(key.clone(), len);
            self.slots.push(fresh);
            return Some(len);
        }
        for _ in 0..SWEEP.min(len) {
            let at = self.hand % len;
            self.hand = at + 1;
            let Some(slot) = self.slots.get_mut(at).filter(|(_, count)| count.idle(now)) else { continue };
            let (old, _) = std::mem::replace(slot, fresh);
            self.index.remove(&old);
            self.index.insert(key.clone(), at);
            return Some(at);
        }
        None
    }
}
