//! Locks by key: a key always meets the same lock, different keys rarely do.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many locks; more than the cores of any machine this runs on, few enough that empty ones cost nothing.
const SHARDS: usize = 64;

/// A fixed number of `T`, each behind a lock, chosen by a keyed hash that nobody outside can predict.
pub(super) struct Shards<T> {
    first: Mutex<T>,
    rest: Box<[Mutex<T>]>,
    hasher: RandomState,
}

impl<T: Default> Shards<T> {
    pub(super) fn new() -> Self {
        let rest = (1..SHARDS).map(|_| Mutex::default()).collect();
        Self { first: Mutex::default(), rest, hasher: RandomState::new() }
    }
}

impl<T> Shards<T> {
    /// How many there are.
    pub(super) const COUNT: usize = SHARDS;

    /// The shard of `key`, locked.
    pub(super) fn lock<K: Hash + ?Sized>(&self, key: &K) -> MutexGuard<'_, T> {
        let place = (self.hasher.hash_one(key) % SHARDS as u64) as usize;
        lock(place.checked_sub(1).and_then(|index| self.rest.get(index)).unwrap_or(&self.first))
    }

    /// Every shard, locked one after the other.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        std::iter::once(&self.first).chain(self.rest.iter()).map(lock)
    }
}

/// Locks, also after a panic under the lock: every change of this store is complete before foreign code (a sink) runs.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
