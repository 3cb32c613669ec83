//! Counts of one node that its connections share: users, addresses, tenants, the node. Bounded in memory, no I/O.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_common::gcra::{Gcra, Tat};

use super::rate::{Allowance, Key, Taken};

/// Locks of the table; workers rarely meet at one.
const SHARDS: usize = 64;

/// Counts that the table remembers.
pub const COUNTS: usize = 65_536;

/// Entries looked at for an idle one when a shard is full: bounds the cost of one call.
const SWEEP: usize = 16;

#[derive(Default)]
struct Shard {
    /// Where a count stands in `slots`.
    index: HashMap<Key, usize>,
    slots: Vec<(Key, Gcra, Tat)>,
    /// Where the search for an idle entry goes on.
    hand: usize,
    /// Charged for every count that finds no room.
    overflow: Tat,
}

/// The node's own table: exact, and never asks anybody.
///
/// At most [`COUNTS`] are remembered (about 10 MB with short names). Where a new one finds its shard full, up to 16
/// entries are looked at, and one that is full again, which equals one never seen, gives way. If there is none, the new
/// one shares one count with all such of the shard: whoever makes up names gets the rate of one, and nobody who is known
/// already is affected.
pub struct Buckets {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    per_shard: usize,
}

impl Default for Buckets {
    fn default() -> Self {
        Self::with_room(COUNTS)
    }
}

impl Buckets {
    /// A table that remembers at most `counts`, rounded up to a multiple of 64.
    #[must_use]
    pub fn with_room(counts: usize) -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            hasher: RandomState::new(),
            per_shard: counts.div_ceil(SHARDS).max(1),
        }
    }

    /// A poisoned lock is taken all the same: every critical section leaves numbers that are legal.
    fn shard(&self, key: &Key) -> Option<MutexGuard<'_, Shard>> {
        let hash = self.hasher.hash_one(key) % SHARDS as u64;
        let shard = self.shards.get(usize::try_from(hash).unwrap_or(0))?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shard {
    /// A slot for a count, made where there is room or an idle one gives way.
    fn place(&mut self, key: &Key, gcra: &Gcra, now: u64, room: usize) -> Option<usize> {
        if let Some(at) = self.index.get(key) {
            return Some(*at);
        }
        let fresh = (key.clone(), *gcra, Tat::default());
        let len = self.slots.len();
        if len < room {
            self.index.insert(key.clone(), len);
            self.slots.push(fresh);
            return Some(len);
        }
        for _ in 0..SWEEP.min(len) {
            let at = self.hand % len;
            self.hand = at + 1;
            let Some(slot) = self.slots.get_mut(at).filter(|(_, gcra, tat)| gcra.idle(*tat, now)) else { continue };
            let (old, ..) = std::mem::replace(slot, fresh);
            self.index.remove(&old);
            self.index.insert(key.clone(), at);
            return Some(at);
        }
        None
    }

    fn tat(&mut self, at: Option<usize>) -> &mut Tat {
        match at.and_then(|at| self.slots.get_mut(at)) {
            Some((_, _, tat)) => tat,
            None => &mut self.overflow,
        }
    }
}

impl Allowance for Buckets {
    fn take(&self, key: &Key, gcra: &Gcra, now: u64, _: bool) -> Taken {
        let Some(mut shard) = self.shard(key) else { return Taken::Yes };
        let at = shard.place(key, gcra, now, self.per_shard);
        gcra.take(shard.tat(at), now, 1).map_or_else(Taken::Wait, |()| Taken::Yes)
    }

    fn wait(&self, key: &Key, gcra: &Gcra, now: u64) -> Duration {
        let Some(mut shard) = self.shard(key) else { return Duration::ZERO };
        match shard.index.get(key).copied() {
            None if shard.slots.len() < self.per_shard => Duration::ZERO,
            at => gcra.wait(*shard.tat(at), now, 1),
        }
    }

    fn give_back(&self, key: &Key, gcra: &Gcra, _: u64) {
        let Some(mut shard) = self.shard(key) else { return };
        let at = shard.index.get(key).copied();
        gcra.give_back(shard.tat(at), 1);
    }
}

#[cfg(test)]
mod tests {
    use portcullis_common::config::model::{Limit, Rate};

    use super::super::rate::Counted;
    use super::*;

    fn key(user: &str) -> Key {
        Key { limit: "heavy".into(), counted: Counted::User(user.into()) }
    }

    fn one_a_second() -> Gcra {
        Gcra::new(Limit { rate: Rate { count: 1, period: Duration::from_secs(1) }, burst: 2 })
    }

    const S: u64 = 1_000_000_000;

    #[test]
    fn each_user_has_a_count_and_what_is_given_back_is_there_again() {
        let (table, gcra) = (Buckets::default(), one_a_second());
        assert_eq!(
            [0, 0, 0].map(|_| table.take(&key("a"), &gcra, 9 * S, true)),
            [Taken::Yes, Taken::Yes, Taken::Wait(Duration::from_secs(1))]
        );
        assert_eq!(table.take(&key("b"), &gcra, 9 * S, true), Taken::Yes);
        assert_eq!(table.wait(&key("a"), &gcra, 9 * S), Duration::from_secs(1));
        assert_eq!(table.wait(&key("c"), &gcra, 9 * S), Duration::ZERO);
        table.give_back(&key("a"), &gcra, 9 * S);
        assert_eq!(table.take(&key("a"), &gcra, 9 * S, true), Taken::Yes);
    }

    #[test]
    fn names_made_up_by_the_thousand_get_little_and_harm_nobody() {
        let (table, gcra) = (Buckets::with_room(64), one_a_second());
        assert_eq!(table.take(&key("known"), &gcra, S, true), Taken::Yes);
        let passed = (0..20_000).filter(|n| table.take(&key(&format!("x{n}")), &gcra, S, true) == Taken::Yes).count();
        assert!(passed <= 64 * 3, "{passed}: one for each slot, two for each shard's rest");
        assert_eq!(table.take(&key("known"), &gcra, S, true), Taken::Yes);
        for n in 60..124 {
            assert_eq!(table.take(&key(&format!("y{n}")), &gcra, n * S, true), Taken::Yes, "what is idle gives way");
        }
    }
}
