//! Entries of one kind: bounded, the newest word about a key wins, tombstones.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::UnixMs;
use portcullis_common::store::control::LogId;

/// Entries of a kind before it is worth looking for some that have ended.
const SWEEP: usize = 1_024;

/// The longest that a tombstone is kept; a log that is read again is read in minutes.
const TOMBSTONE: Duration = Duration::from_hours(24);

/// The end of what has none.
pub(super) const NEVER: UnixMs = UnixMs(u64::MAX);

/// What is known of one target.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Refuses before then; in a revocation the latest `iat` that is refused.
    pub(super) until: UnixMs,
    /// When the entry says nothing any more and may be forgotten.
    pub(super) ends: UnixMs,
    /// Orders entries of one target.
    pub(super) stamp: (UnixMs, LogId),
    /// A tombstone.
    pub(super) lifted: bool,
    /// Of a restriction: live sessions end.
    pub(super) close: bool,
    /// What was said when it was made.
    pub(super) reason: Option<Arc<str>>,
}

impl Entry {
    pub(super) fn in_force(&self, now: UnixMs) -> bool {
        !self.lifted && now < self.until
    }
}

/// Entries of one kind, bounded.
pub(super) struct Kind<K> {
    pub(super) entries: HashMap<K, Entry>,
    room: usize,
    pub(super) lost: u64,
    /// With so many entries it is looked for those that have ended.
    sweep: usize,
}

impl<K: Eq + Hash + Clone> Kind<K> {
    pub(super) fn new(room: usize) -> Self {
        Self { entries: HashMap::new(), room, lost: 0, sweep: SWEEP.min(room) }
    }

    /// Takes an entry if it is newer than what is known; `gone` is told what had to go, which may be the newcomer.
    pub(super) fn put(&mut self, key: K, entry: Entry, mut gone: impl FnMut(&K)) {
        if let Some(known) = self.entries.get_mut(&key) {
            if known.stamp <= entry.stamp {
                *known = entry;
            }
            return;
        }
        if self.entries.len() >= self.sweep {
            let now = entry.stamp.0;
            self.entries.retain(|key, e| {
                let stays = e.ends > now;
                if !stays {
                    gone(key);
                }
                stays
            });
            self.sweep = (self.entries.len() * 2).clamp(SWEEP.min(self.room), self.room);
        }
        if self.entries.len() >= self.room {
            let soonest =
                self.entries.iter().min_by_key(|(_, e)| (e.ends, e.stamp)).map(|(k, e)| (k.clone(), e.clone()));
            match soonest {
                Some((key, first)) if first.ends <= entry.ends => {
                    self.lost += u64::from(!first.lifted);
                    self.entries.remove(&key);
                    gone(&key);
                }
                _ => {
                    self.lost += u64::from(!entry.lifted);
                    return gone(&key);
                }
            }
        }
        self.entries.insert(key, entry);
    }

    pub(super) fn lift(&mut self, key: &K, stamp: (UnixMs, LogId), gone: impl FnMut(&K)) {
        let known = self.entries.get(key);
        let ends = known.map_or(NEVER, |e| e.ends).min(stamp.0.after(TOMBSTONE));
        self.put(key.clone(), Entry { until: UnixMs(0), ends, stamp, lifted: true, close: false, reason: None }, gone);
    }
}
