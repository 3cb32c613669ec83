//! What the control log keeps: the rules by which entries merge, last and end, without clock, lock or order of delivery.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::control::{ControlEntry, EVENT_KEPT, LogId, Logged, REVOKE_KEPT, Target};
use crate::clock::UnixMs;
use crate::ids::UserId;

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

/// What a lift lifted: known to those who knew the ban.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lifted {
    /// When the ban would have ended.
    pub(super) until: Option<UnixMs>,
}

/// There is no room, and nothing that would make some.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Entries in force and events of the last minute, by place.
#[derive(Default)]
pub(super) struct Merged {
    kept: BTreeMap<LogId, Kept>,
    newest: HashMap<Subject, LogId>,
    /// Nothing expires before.
    earliest: Option<UnixMs>,
}

fn subject(entry: &ControlEntry) -> Option<Subject> {
    match entry {
        ControlEntry::Ban { target, .. } | ControlEntry::Lift { target } => Some(Subject::Ban(target.clone())),
        ControlEntry::Revoke { user, .. } => Some(Subject::Revoke(user.clone())),
        ControlEntry::Kick { .. } | ControlEntry::Drain { .. } => None,
    }
}

impl Merged {
    /// What the log says about the same subject now.
    fn present(&self, subject: Option<&Subject>) -> Option<&Kept> {
        self.kept.get(self.newest.get(subject?)?)
    }

    /// The place of what `entry` would replace.
    pub(super) fn replaced_by(&self, entry: &ControlEntry) -> Option<LogId> {
        self.present(subject(entry).as_ref()).map(|kept| kept.logged.id)
    }

    /// Until when a lift of this target has to be remembered; `None`: there is nothing to lift.
    pub(super) fn tombstone(&self, entry: &ControlEntry) -> Option<Lifted> {
        let lift = matches!(entry, ControlEntry::Lift { .. });
        let present = self.present(subject(entry).as_ref()).filter(|kept| lift && kept.weight != Weight::Event);
        present.map(|kept| Lifted { until: kept.until })
    }

    /// How the entry would be kept: until when and with what weight; `None`: what is there says more.
    fn rank(
        &self,
        logged: &Logged,
        lifted: Option<Lifted>,
        present: Option<&Kept>,
    ) -> Option<(Option<UnixMs>, Weight)> {
        let event = (Some(logged.at.after(EVENT_KEPT)), Weight::Event);
        match &logged.entry {
            ControlEntry::Kick { .. } | ControlEntry::Drain { .. } => Some(event),
            ControlEntry::Ban { until, .. } => Some((*until, Weight::State)),
            ControlEntry::Lift { .. } => {
                let known = present.filter(|kept| kept.weight != Weight::Event).map(|kept| kept.until);
                let until = known.or(lifted.map(|lifted| lifted.until));
                Some(until.map_or(event, |until| (until, Weight::Tombstone)))
            }
            ControlEntry::Revoke { issued_until, .. } => {
                let said = present.map(|kept| &kept.logged.entry);
                let more = matches!(said, Some(ControlEntry::Revoke { issued_until: t, .. }) if t > issued_until);
                (!more).then(|| (Some(issued_until.after(REVOKE_KEPT)), Weight::State))
            }
        }
    }

    /// Forgets what has ended. Cost: nothing, or a walk over all.
    pub(super) fn expire(&mut self, now: UnixMs, mut gone: impl FnMut(LogId)) {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return;
        }
        self.kept.retain(|id, kept| {
            let stays = kept.until.is_none_or(|until| until > now);
            if !stays {
                gone(*id);
            }
            stays
        });
        let kept = &self.kept;
        self.newest.retain(|_, id| kept.contains_key(id));
        self.earliest = kept.values().filter_map(|kept| kept.until).min();
    }

    /// The oldest event, else the oldest tombstone.
    fn dispensable(&self) -> Option<LogId> {
        let oldest = |weight| self.kept.iter().find(|(_, kept)| kept.weight == weight).map(|(id, _)| *id);
        oldest(Weight::Event).or_else(|| oldest(Weight::Tombstone))
    }

    /// Whether [`Self::put`] would find room.
    pub(super) fn has_room(&self, entry: &ControlEntry, bound: usize) -> bool {
        self.kept.len() < bound || self.replaced_by(entry).is_some() || self.dispensable().is_some()
    }

    /// Keeps the entry, unless what is there says more; `lifted` is what its issuer knew of what it lifts, and `gone` gets the places of what had to go for it. True: it is
    /// kept.
    pub(super) fn put(
        &mut self,
        logged: &Logged,
        lifted: Option<Lifted>,
        bound: usize,
        mut gone: impl FnMut(LogId),
    ) -> Result<bool, Full> {
        let subject = subject(&logged.entry);
        let present = self.present(subject.as_ref());
        let Some((until, weight)) = self.rank(logged, lifted, present) else { return Ok(false) };
        if present.is_none() && self.kept.len() >= bound {
            let id = self.dispensable().ok_or(Full)?;
            self.kept.remove(&id);
            self.newest.retain(|_, newest| *newest != id);
            gone(id);
        }
        let before = subject.and_then(|subject| self.newest.insert(subject, logged.id));
        if let Some(before) = before.filter(|before| *before != logged.id) {
            self.kept.remove(&before);
            gone(before);
        }
        self.earliest = self.earliest.into_iter().chain(until).min();
        self.kept.insert(logged.id, Kept { logged: logged.clone(), until, weight });
        Ok(true)
    }

    /// What is kept, in the log's order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Logged> {
        self.kept.values().map(|kept| &kept.logged)
    }
}
