//! The control log: what is kept, merged by target, and the sinks that follow it. Sinks are called under the log's lock.

use std::sync::{Arc, Mutex};

use super::leader::MemoryLeadership;
use super::shard::lock;
use super::{Bounds, ready};
use crate::clock::{Clock, UnixMs};
use crate::store::control::{ControlEntry, ControlLog, ControlSink, LogId, Logged};
use crate::store::leader::Fence;
use crate::store::merge::Merged;
use crate::store::{StoreFault, StoreFuture};

#[derive(Default)]
struct Log {
    last: LogId,
    merged: Merged,
    sinks: Vec<Arc<dyn ControlSink>>,
}

/// Cost of an append: the calls of the sinks, and one walk over what is kept when something has expired, or at the
/// bound.
pub(super) struct MemoryControl {
    clock: Arc<dyn Clock>,
    log: Mutex<Log>,
    entries: usize,
    sinks: usize,
    leadership: Arc<MemoryLeadership>,
}

impl MemoryControl {
    pub(super) fn new(clock: Arc<dyn Clock>, bounds: Bounds, leadership: Arc<MemoryLeadership>) -> Self {
        let (entries, sinks) = (bounds.control_entries, bounds.control_sinks);
        Self { clock, log: Mutex::default(), entries, sinks, leadership }
    }
}

impl Log {
    /// All or none: what has room for the first of many is not asked again.
    fn append_all(&mut self, entries: Vec<ControlEntry>, now: UnixMs, bound: usize) -> Result<LogId, StoreFault> {
        self.merged.expire(now, |_| {});
        if entries.iter().any(|entry| !self.merged.has_room(entry, bound.saturating_sub(entries.len() - 1))) {
            return Err(StoreFault::Full("control log"));
        }
        let mut last = self.last;
        for entry in entries {
            last = self.append(entry, now, bound)?;
        }
        Ok(last)
    }

    fn append(&mut self, entry: ControlEntry, now: UnixMs, bound: usize) -> Result<LogId, StoreFault> {
        let logged = Logged { id: LogId(self.last.0 + 1), at: now, entry };
        self.merged.put(&logged, None, bound, |_| false, |_| {}).map_err(|_| StoreFault::Full("control log"))?;
        self.last = logged.id;
        for sink in &self.sinks {
            sink.apply(&logged);
        }
        Ok(logged.id)
    }
}

impl ControlLog for MemoryControl {
    fn append_all(&self, entries: Vec<ControlEntry>) -> StoreFuture<'_, LogId> {
        ready(lock(&self.log).append_all(entries, self.clock.wall(), self.entries))
    }

    fn append_by(&self, by: Fence, entries: Vec<ControlEntry>) -> StoreFuture<'_, LogId> {
        let append = || lock(&self.log).append_all(entries, self.clock.wall(), self.entries);
        ready(self.leadership.fenced(Some(by), append).and_then(|appended| appended))
    }

    fn follow(&self, sink: Arc<dyn ControlSink>) -> StoreFuture<'_, LogId> {
        let mut log = lock(&self.log);
        if log.sinks.len() >= self.sinks {
            return ready(Err(StoreFault::Full("control sinks")));
        }
        log.merged.expire(self.clock.wall(), |_| {});
        for logged in log.merged.entries() {
            sink.apply(logged);
        }
        log.sinks.push(sink);
        ready(Ok(log.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SessionId, UserId};
    use crate::store::control::Target;

    fn ban(user: &str) -> ControlEntry {
        let target = Target::User(UserId::parse(user).unwrap());
        ControlEntry::Ban { target, until: None, reason: String::new() }
    }

    fn kick(sid: u128) -> ControlEntry {
        ControlEntry::Kick { target: Target::Session(SessionId(sid)), reason: String::new() }
    }

    #[test]
    fn at_the_bound_events_make_room_then_tombstones_and_never_a_ban() {
        let mut log = Log::default();
        let mut append = |entry| log.append_all(vec![entry], UnixMs(1), 3).map_err(|fault| fault.to_string());
        append(kick(1)).unwrap();
        append(ban("a")).unwrap();
        append(ban("b")).unwrap();
        append(ControlEntry::Lift { target: Target::User(UserId::parse("b").unwrap()) }).unwrap();
        append(ban("c")).unwrap();
        append(ban("d")).unwrap();
        assert_eq!(append(ban("e")).unwrap_err(), "the store is full: control log");
        assert_eq!(append(kick(2)).unwrap_err(), "the store is full: control log");
        append(ban("a")).unwrap();
        let users: Vec<u64> = log.merged.entries().map(|logged| logged.id.0).collect();
        assert_eq!(users, [5, 6, 7], "c, d, and a anew");
    }
}
