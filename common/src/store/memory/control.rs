//! The control log: what is kept, merged by target, and the sinks that follow it. Sinks are called under the log's lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use super::shard::lock;
use super::{Bounds, ready};
use crate::clock::{Clock, UnixMs};
use crate::ids::UserId;
use crate::store::control::{ControlEntry, ControlLog, ControlSink, EVENT_KEPT, LogId, Logged, REVOKE_KEPT, Target};
use crate::store::{StoreFault, StoreFuture};

/// What entries merge by.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Subject {
    Ban(Target),
    Revoke(UserId),
}

/// How much an entry matters when room is short.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Kick, drain: matters for a moment.
    Event,
    /// Lift: matters to those who still have the ban.
    Tombstone,
    /// Ban, revocation: in force.
    State,
}

struct Kept {
    logged: Logged,
    until: Option<UnixMs>,
    weight: Weight,
}

#[derive(Default)]
struct Log {
    last: LogId,
    kept: BTreeMap<LogId, Kept>,
    newest: HashMap<Subject, LogId>,
    /// Nothing expires before.
    earliest: Option<UnixMs>,
    sinks: Vec<Arc<dyn ControlSink>>,
}

/// Cost of an append: the calls of the sinks, and one walk over what is kept when something has expired, or at the
/// bound.
pub(super) struct MemoryControl {
    clock: Arc<dyn Clock>,
    log: Mutex<Log>,
    entries: usize,
    sinks: usize,
}

impl MemoryControl {
    pub(super) fn new(clock: Arc<dyn Clock>, bounds: Bounds) -> Self {
        Self { clock, log: Mutex::default(), entries: bounds.control_entries, sinks: bounds.control_sinks }
    }
}

fn subject(entry: &ControlEntry) -> Option<Subject> {
    match entry {
        ControlEntry::Ban { target, .. } | ControlEntry::Lift { target } => Some(Subject::Ban(target.clone())),
        ControlEntry::Revoke { user, .. } => Some(Subject::Revoke(user.clone())),
        ControlEntry::Kick { .. } | ControlEntry::Drain { .. } => None,
    }
}

impl Log {
    /// What the log says about the same subject now.
    fn present(&self, subject: Option<&Subject>) -> Option<&Kept> {
        self.kept.get(self.newest.get(subject?)?)
    }

    /// How the entry would be kept: until when and with what weight; `None`: what is there says more.
    fn rank(&self, entry: &ControlEntry, present: Option<&Kept>, now: UnixMs) -> Option<(Option<UnixMs>, Weight)> {
        let event = (Some(now.after(EVENT_KEPT)), Weight::Event);
        match entry {
            ControlEntry::Kick { .. } | ControlEntry::Drain { .. } => Some(event),
            ControlEntry::Ban { until, .. } => Some((*until, Weight::State)),
            ControlEntry::Lift { .. } => match present {
                Some(kept) if kept.weight != Weight::Event => Some((kept.until, Weight::Tombstone)),
                _ => Some(event),
            },
            ControlEntry::Revoke { issued_until, .. } => {
                let said = present.map(|kept| &kept.logged.entry);
                let more = matches!(said, Some(ControlEntry::Revoke { issued_until: t, .. }) if t > issued_until);
                (!more).then(|| (Some(issued_until.after(REVOKE_KEPT)), Weight::State))
            }
        }
    }

    fn expire(&mut self, now: UnixMs) {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return;
        }
        self.kept.retain(|_, kept| kept.until.is_none_or(|until| until > now));
        let kept = &self.kept;
        self.newest.retain(|_, id| kept.contains_key(id));
        self.earliest = kept.values().filter_map(|kept| kept.until).min();
    }

    /// Forgets the oldest event, else the oldest tombstone; false: there is neither.
    fn make_room(&mut self) -> bool {
        let oldest = |weight| self.kept.iter().find(|(_, kept)| kept.weight == weight).map(|(id, _)| *id);
        let Some(id) = oldest(Weight::Event).or_else(|| oldest(Weight::Tombstone)) else { return false };
        self.kept.remove(&id);
        self.newest.retain(|_, newest| *newest != id);
        true
    }

    fn append(&mut self, entry: ControlEntry, now: UnixMs, bound: usize) -> Result<LogId, StoreFault> {
        self.expire(now);
        let subject = subject(&entry);
        let rank = self.rank(&entry, self.present(subject.as_ref()), now);
        let replaces = self.present(subject.as_ref()).is_some();
        if rank.is_some() && !replaces && self.kept.len() >= bound && !self.make_room() {
            return Err(StoreFault::Full("control log"));
        }
        self.last.0 += 1;
        let logged = Logged { id: self.last, at: now, entry };
        if let Some((until, weight)) = rank {
            let before = subject.and_then(|subject| self.newest.insert(subject, logged.id));
            before.map(|before| self.kept.remove(&before));
            self.earliest = self.earliest.into_iter().chain(until).min();
            self.kept.insert(logged.id, Kept { logged: logged.clone(), until, weight });
        }
        for sink in &self.sinks {
            sink.apply(&logged);
        }
        Ok(logged.id)
    }
}

impl ControlLog for MemoryControl {
    fn append(&self, entry: ControlEntry) -> StoreFuture<'_, LogId> {
        ready(lock(&self.log).append(entry, self.clock.wall(), self.entries))
    }

    fn follow(&self, sink: Arc<dyn ControlSink>) -> StoreFuture<'_, LogId> {
        let mut log = lock(&self.log);
        if log.sinks.len() >= self.sinks {
            return ready(Err(StoreFault::Full("control sinks")));
        }
        log.expire(self.clock.wall());
        for kept in log.kept.values() {
            sink.apply(&kept.logged);
        }
        log.sinks.push(sink);
        ready(Ok(log.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;

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
        let mut append = |entry| log.append(entry, UnixMs(1), 3).map_err(|fault| fault.to_string());
        append(kick(1)).unwrap();
        append(ban("a")).unwrap();
        append(ban("b")).unwrap();
        append(ControlEntry::Lift { target: Target::User(UserId::parse("b").unwrap()) }).unwrap();
        append(ban("c")).unwrap();
        append(ban("d")).unwrap();
        assert_eq!(append(ban("e")).unwrap_err(), "the store is full: control log");
        assert_eq!(append(kick(2)).unwrap_err(), "the store is full: control log");
        append(ban("a")).unwrap();
        let users: Vec<u64> = log.kept.keys().map(|id| id.0).collect();
        assert_eq!(users, [5, 6, 7], "c, d, and a anew");
    }
}
