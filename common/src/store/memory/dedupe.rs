//! Which message ids were taken lately. An entry is a 128-bit keyed hash of who, where and which, and the place that the
//! message got: about 100 bytes.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::shard::Shards;
use crate::clock::Mono;
use crate::ids::{RoomName, UserId};
use crate::store::bus::{DEDUPE_WINDOW, Dedupe, Position};

/// Expired entries dropped by one call.
const SWEEP: usize = 4;

/// An id in its place; only [`Taken::key`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u128);

#[derive(Default)]
struct Shard {
    places: HashMap<Key, Position>,
    /// In the order in which they were taken, which is the order in which they expire.
    order: VecDeque<(Mono, Key)>,
}

/// Bounded by entries, spread evenly over the shards by the hash; a full shard forgets its oldest.
pub(super) struct Taken {
    shards: Shards<Shard>,
    halves: (RandomState, RandomState),
    bound: usize,
}

impl Taken {
    pub(super) fn new(entries: usize) -> Self {
        let bound = (entries / Shards::<Shard>::COUNT).max(1);
        Self { shards: Shards::new(), halves: (RandomState::new(), RandomState::new()), bound }
    }

    /// Forgets all.
    pub(super) fn forget(&self) {
        self.shards.each().for_each(|mut shard| *shard = Shard::default());
    }

    pub(super) fn in_room(&self, dedupe: &Dedupe, room: &RoomName) -> Key {
        self.key(&(0_u8, dedupe, room.as_str()))
    }

    pub(super) fn to_user(&self, dedupe: &Dedupe, to: &UserId) -> Key {
        self.key(&(1_u8, dedupe, to.as_str()))
    }

    /// Two SipHashes under keys that nobody outside knows: an equal key is an equal message.
    fn key(&self, what: &impl std::hash::Hash) -> Key {
        let (high, low) = (self.halves.0.hash_one(what), self.halves.1.hash_one(what));
        Key((u128::from(high) << 64) | u128::from(low))
    }

    /// Where it was taken, if it was.
    pub(super) fn find(&self, key: Key, now: Mono) -> Option<Position> {
        let mut shard = self.shards.lock(&key);
        shard.expire(key, now);
        shard.places.get(&key).copied()
    }

    /// Takes it; false when it was taken before.
    pub(super) fn take(&self, key: Key, place: Position, now: Mono) -> bool {
        let mut shard = self.shards.lock(&key);
        shard.expire(key, now);
        if shard.places.contains_key(&key) {
            return false;
        }
        while shard.order.len() >= self.bound {
            shard.forget_oldest();
        }
        shard.places.insert(key, place);
        shard.order.push_back((now.after(DEDUPE_WINDOW), key));
        true
    }
}

impl Shard {
    /// Drops a few expired entries, and all that are before `key` if that one has expired too.
    fn expire(&mut self, key: Key, now: Mono) {
        let mut budget = SWEEP;
        while budget > 0 || self.places.contains_key(&key) {
            match self.order.front() {
                Some((until, _)) if *until <= now => self.forget_oldest(),
                _ => break,
            }
            budget = budget.saturating_sub(1);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, oldest)) = self.order.pop_front() {
            self.places.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Position = Position { offset: 1, epoch: 1 };

    #[test]
    fn entries_are_bounded_and_the_newest_are_remembered() {
        let taken = Taken::new(640);
        for key in 0..100_000 {
            assert!(taken.take(Key(key), HERE, Mono(0)));
        }
        let held: usize = taken.shards.each().map(|shard| shard.places.len().max(shard.order.len())).sum();
        assert!(held <= 640, "{held}");
        assert_eq!(taken.find(Key(99_999), Mono(1)), Some(HERE));
        assert_eq!(taken.find(Key(0), Mono(1)), None);
    }

    #[test]
    fn an_expired_id_is_new_however_many_expired_before_it() {
        let taken = Taken::new(1 << 20);
        for key in 0..10_000 {
            taken.take(Key(key), HERE, Mono(key as u64));
        }
        let later = Mono(9_999).after(DEDUPE_WINDOW);
        assert_eq!(taken.find(Key(9_999), Mono(later.0 - 1)), Some(HERE));
        assert_eq!(taken.find(Key(9_999), later), None);
    }
}
