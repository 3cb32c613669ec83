//! The control log as one process has read it: what is in force, what was already told, and what the stream can do
//! without. No I/O.
//!
//! An entry's place in the merge is its stamp, which is under the MAC: the time of issue, then issuer and sequence. The
//! newest stamp of a target wins whatever the order in the stream, and a stamp that is known is nothing new: an entry
//! that somebody writes again, however often, changes nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::counts::Counters;
use crate::clock::UnixMs;
use crate::ids::NodeEpoch;
use crate::store::StoreFault;
use crate::store::control::{ControlEntry, ControlSink, EVENT_KEPT, KICK_KEPT, LogId, Logged};
use crate::store::merge::{Lifted, Merged};
use crate::store::record::{AHEAD, Header, Opened, Refused};

/// Entries that a process may append, and sinks.
pub(super) const ENTRIES: usize = 200_000;
pub(super) const SINKS: usize = 1_024;

/// Entries that a process keeps of what others appended; and the most that the stream may hold.
pub(super) const MOST: usize = 2 * ENTRIES;

/// Places remembered that the stream can do without.
const DEAD: usize = 4_096;

/// What is sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct Sealed {
    entry: ControlEntry,
    /// For whoever reads a lift without its ban.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifted: Option<Lifted>,
}

/// Which of two entries is newer, and whether they are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Stamp {
    at: UnixMs,
    epoch: NodeEpoch,
    sequence: u64,
}

impl Stamp {
    pub(super) fn of(header: &Header) -> Self {
        Self { at: header.at, epoch: header.issuer.epoch, sequence: header.sequence }
    }
}

#[derive(Default)]
pub(super) struct Log {
    /// The last place that was read.
    pub(super) last: LogId,
    merged: Merged,
    /// Stamp and sealed entry of what is kept.
    sealed: BTreeMap<LogId, (Stamp, Bytes)>,
    stamps: HashSet<Stamp>,
    /// What was kept before the store lost the log: told already.
    told: HashSet<Stamp>,
    /// The newest time of issue that was read or written.
    newest: UnixMs,
    dead: Vec<LogId>,
    sinks: Vec<Arc<dyn ControlSink>>,
}

impl Log {
    /// The same out of a snapshot, which may hold what was read already.
    pub(super) fn recall(&mut self, id: LogId, raw: &Bytes, opened: &Opened, now: UnixMs, counters: &Counters) {
        if !self.stamps.contains(&Stamp::of(&opened.header)) {
            self.read(id, raw, opened, now, counters);
        }
    }

    /// What is kept, sealed, in the log's order.
    pub(super) fn kept(&self) -> impl Iterator<Item = (LogId, &Bytes)> {
        self.sealed.iter().map(|(place, (_, sealed))| (*place, sealed))
    }

    /// How many entries are kept.
    pub(super) fn len(&self) -> usize {
        self.sealed.len()
    }

    /// The next entry of the stream, authentic, at the store's time `now`.
    pub(super) fn read(&mut self, id: LogId, raw: &Bytes, opened: &Opened, now: UnixMs, counters: &Counters) {
        let header = &opened.header;
        let Ok(Sealed { entry, lifted }) = serde_json::from_slice(&opened.body) else {
            return Counters::add(&counters.unreadable, 1);
        };
        let stamp = Stamp::of(header);
        if now.after(AHEAD) < header.at {
            return counters.refused(Refused::Future);
        }
        self.newest = self.newest.max(header.at);
        self.expire(now);
        if self.stamps.contains(&stamp) || self.is_superseded(&entry, stamp) {
            self.bury(id);
            return counters.refused(Refused::Replayed);
        }
        let logged = Logged { id, at: header.at, entry };
        if is_over(&logged, now) {
            self.bury(id);
            return Counters::add(&counters.old, 1);
        }
        let mut gone = Vec::new();
        match self.merged.put(&logged, lifted, MOST, |id| gone.push(id)) {
            Ok(true) => {
                self.sealed.insert(id, (stamp, raw.clone()));
                self.stamps.insert(stamp);
            }
            Ok(false) => self.bury(id),
            // not kept, but told: whoever is here acts on it
            Err(_) => Counters::add(&counters.lost, 1),
        }
        gone.into_iter().for_each(|id| self.forget(id));
        Counters::add(&counters.taken, 1);
        if !self.told.remove(&stamp) {
            self.sinks.iter().for_each(|sink| sink.apply(&logged));
        }
    }

    /// There is a newer word about the same target. Revocations merge by what they say, not by when.
    fn is_superseded(&self, entry: &ControlEntry, stamp: Stamp) -> bool {
        let merges_by_time = !matches!(entry, ControlEntry::Revoke { .. });
        let present = [self.merged.replaced_by(entry).filter(|_| merges_by_time), self.merged.lifted_by(entry)];
        present.iter().flatten().filter_map(|id| self.sealed.get(id)).any(|(present, _)| *present > stamp)
    }

    pub(super) fn expire(&mut self, now: UnixMs) {
        let mut gone = Vec::new();
        self.merged.expire(now, |id| gone.push(id));
        gone.into_iter().for_each(|id| self.forget(id));
    }

    fn forget(&mut self, id: LogId) {
        if let Some((stamp, _)) = self.sealed.remove(&id) {
            self.stamps.remove(&stamp);
        }
        self.bury(id);
    }

    /// Beyond the bound the stream keeps it until somebody reads the log from its beginning.
    fn bury(&mut self, id: LogId) {
        if self.dead.len() < DEAD {
            self.dead.push(id);
        }
    }

    /// What the stream can do without, if it is worth a command.
    pub(super) fn dead(&mut self, least: usize) -> Vec<LogId> {
        if self.dead.len() < least { Vec::new() } else { std::mem::take(&mut self.dead) }
    }

    /// What to seal, and the time of issue to seal it with: the store's, and later than everything that was read, so
    /// that a clock that was set back cannot make this the older entry.
    pub(super) fn prepare(&mut self, entry: ControlEntry, now: UnixMs) -> Result<(UnixMs, Sealed), StoreFault> {
        self.expire(now);
        if !self.merged.has_room(&entry, ENTRIES) {
            return Err(StoreFault::Full("control log"));
        }
        self.newest = now.max(UnixMs(self.newest.0.saturating_add(1)));
        let lifted = self.merged.tombstone(&entry);
        Ok((self.newest, Sealed { entry, lifted }))
    }

    /// A new follower gets what is in force.
    pub(super) fn tell(&mut self, sink: Arc<dyn ControlSink>, now: UnixMs) -> Result<LogId, StoreFault> {
        if self.sinks.len() >= SINKS {
            return Err(StoreFault::Full("control sinks"));
        }
        self.expire(now);
        self.merged.entries().for_each(|logged| sink.apply(logged));
        self.sinks.push(sink);
        Ok(self.last)
    }

    /// The store lost the log: it is read again from the beginning, and what was in force here is the answer, for
    /// [`Self::missing`] to compare.
    pub(super) fn begin_anew(&mut self, now: UnixMs) -> Vec<(Stamp, Bytes)> {
        self.expire(now);
        let kept: Vec<(Stamp, Bytes)> = std::mem::take(&mut self.sealed).into_values().collect();
        if self.told.len() > MOST {
            self.told.clear();
        }
        // what was not read again since the last time was told too
        self.told.extend(kept.iter().map(|(stamp, _)| *stamp));
        self.stamps.clear();
        self.dead.clear();
        self.merged = Merged::default();
        self.last = LogId(0);
        kept
    }

    /// What of `before` the log does not have.
    pub(super) fn missing(&self, before: Vec<(Stamp, Bytes)>) -> Vec<Bytes> {
        before.into_iter().filter(|(stamp, _)| !self.stamps.contains(stamp)).map(|(_, sealed)| sealed).collect()
    }
}

/// What an authentic entry says; `None`: nothing that this version knows.
pub(super) fn decode(id: LogId, opened: &Opened) -> Option<Logged> {
    let sealed: Sealed = serde_json::from_slice(&opened.body).ok()?;
    Some(Logged { id, at: opened.header.at, entry: sealed.entry })
}

/// It ended before it was read.
fn is_over(logged: &Logged, now: UnixMs) -> bool {
    match &logged.entry {
        ControlEntry::Kick { .. } => logged.at.after(KICK_KEPT) <= now,
        ControlEntry::Drain { .. } => logged.at.after(EVENT_KEPT) <= now,
        ControlEntry::Restrict { until, .. } | ControlEntry::Shut { until, .. } => *until <= now,
        ControlEntry::Ban { until, .. } => until.is_some_and(|until| until <= now),
        // a lift may end a ban that is still in force somewhere, and neither does harm
        ControlEntry::Lift { .. } | ControlEntry::Revoke { .. } => false,
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
