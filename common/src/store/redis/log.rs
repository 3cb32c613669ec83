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
use crate::store::merge::{Lifted, Merged, Put};
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
    /// For whoever reads it without what it replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifted: Option<Lifted>,
}

/// The store's time, as well as it is known: what has ended ended before `least`, what is not from the future was issued
/// before `most`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) least: UnixMs,
    pub(super) most: UnixMs,
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
    pub(super) fn recall(&mut self, id: LogId, raw: &Bytes, opened: &Opened, now: Now, counters: &Counters) {
        if self.stamps.contains(&Stamp::of(&opened.header)) {
            return;
        }
        if self.sealed.contains_key(&id) {
            // another log's snapshot, which somebody put there: no two entries of one log have a place in common
            return counters.refused(Refused::Replayed);
        }
        self.read(id, raw, opened, now, counters);
    }

    /// What is kept, sealed, in the log's order.
    pub(super) fn kept(&self) -> impl Iterator<Item = (LogId, &Bytes)> {
        self.sealed.iter().map(|(place, (_, sealed))| (*place, sealed))
    }

    /// How many entries are kept.
    pub(super) fn len(&self) -> usize {
        self.sealed.len()
    }

    /// The next entry of the stream, authentic.
    pub(super) fn read(&mut self, id: LogId, raw: &Bytes, opened: &Opened, now: Now, counters: &Counters) {
        let header = &opened.header;
        let Some(Sealed { entry, lifted }) = unsealed(opened) else {
            return Counters::add(&counters.unreadable, 1);
        };
        let stamp = Stamp::of(header);
        if now.most.after(AHEAD) < header.at {
            return counters.refused(Refused::Future);
        }
        self.newest = self.newest.max(header.at);
        let logged = Logged { id, at: header.at, entry };
        let known = self.stamps.contains(&stamp);
        // what is over may end what is not, and also what comes after it and is older: it is kept up to the log's end
        let over = is_over(&logged, now.least) && lifted.is_none() && !self.merged.knows(&logged.entry);
        if known || (over && is_event(&logged.entry)) {
            self.bury(id);
            return if known { counters.refused(Refused::Replayed) } else { Counters::add(&counters.old, 1) };
        }
        let mut gone = Vec::new();
        let newer = |id| is_newer(&self.sealed, id, &logged.entry, stamp);
        let put = self.merged.put(&logged, lifted, MOST, newer, |id| gone.push(id));
        gone.into_iter().for_each(|id| self.forget(id));
        match put {
            Ok(Put::Kept | Put::InPart) => {
                self.sealed.insert(id, (stamp, raw.clone()));
                self.stamps.insert(stamp);
            }
            Ok(Put::Less) => self.bury(id),
            Ok(Put::Superseded) => {
                self.bury(id);
                return counters.refused(Refused::Replayed);
            }
            // not kept, but told: whoever is here acts on it
            Err(_) => Counters::add(&counters.lost, 1),
        }
        Counters::add(if over { &counters.old } else { &counters.taken }, 1);
        if !self.told.remove(&stamp) && !over {
            self.sinks.iter().for_each(|sink| sink.apply(&logged));
            if put == Ok(Put::InPart) {
                // a follower knows no more of their order than time and place
                let again = self.merged.beside(&logged).map(|newer| Logged { id, ..newer.clone() });
                again.for_each(|newer| self.sinks.iter().for_each(|sink| sink.apply(&newer)));
            }
        }
    }

    /// Forgets what has ended. Not between the entries of a log that is read to its end: what they replace comes before
    /// and after them.
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
    /// `before`: what goes in front of it in one write.
    pub(super) fn prepare(
        &mut self,
        entry: ControlEntry,
        before: &[Sealed],
        now: UnixMs,
    ) -> Result<(UnixMs, Sealed), StoreFault> {
        self.expire(now);
        if !self.merged.has_room(&entry, ENTRIES) {
            return Err(StoreFault::Full("control log"));
        }
        self.newest = now.max(UnixMs(self.newest.0.saturating_add(1)));
        let before = before.iter().map(|before| (&before.entry, before.lifted));
        let lifted = self.merged.replaces(&entry, before);
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

    /// Whether an authentic entry that the log does not have would say something in it: nothing newer outlives it.
    pub(super) fn lacks(&self, opened: &Opened) -> bool {
        let Some(Sealed { entry, lifted }) = unsealed(opened) else { return false };
        let (stamp, at) = (Stamp::of(&opened.header), opened.header.at);
        let logged = Logged { id: LogId(0), at, entry };
        !self.merged.outlives(&logged, lifted, |id| is_newer(&self.sealed, id, &logged.entry, stamp))
    }

    /// What of `before` the log does not have.
    pub(super) fn missing(&self, before: &[(Stamp, Bytes)]) -> Vec<Bytes> {
        let missing = before.iter().filter(|(stamp, _)| !self.stamps.contains(stamp));
        missing.map(|(_, sealed)| sealed.clone()).collect()
    }
}

/// What an authentic record holds; `None`: nothing that this version knows.
fn unsealed(opened: &Opened) -> Option<Sealed> {
    serde_json::from_slice(&opened.body).ok()
}

/// What an authentic entry says; `None`: nothing that this version knows.
pub(super) fn decode(id: LogId, opened: &Opened) -> Option<Logged> {
    unsealed(opened).map(|Sealed { entry, .. }| Logged { id, at: opened.header.at, entry })
}

/// Whether what has that place is newer than an entry of that stamp. Revocations merge by what they say, not by when.
fn is_newer(sealed: &BTreeMap<LogId, (Stamp, Bytes)>, id: LogId, entry: &ControlEntry, stamp: Stamp) -> bool {
    let by_time = !matches!(entry, ControlEntry::Revoke { .. });
    by_time && sealed.get(&id).is_some_and(|(present, _)| *present > stamp)
}

/// Whether an authentic entry says anything at that time.
pub(super) fn lasts(opened: &Opened, now: UnixMs) -> bool {
    unsealed(opened).is_some_and(|Sealed { entry, lifted }| {
        lifted.is_some() || !is_over(&Logged { id: LogId(0), at: opened.header.at, entry }, now)
    })
}

/// It says nothing about what is, but that something is to be done once.
fn is_event(entry: &ControlEntry) -> bool {
    matches!(entry, ControlEntry::Kick { .. } | ControlEntry::Drain { .. })
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
