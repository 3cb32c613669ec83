//! What the control log keeps: the rules by which entries merge, last and end, without clock, lock or order of delivery.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::control::{ControlEntry, EVENT_KEPT, KICK_KEPT, LogId, Logged, REVOKE_KEPT, Target};
use crate::clock::UnixMs;
use crate::ids::UserId;

/// What entries merge by.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Subject {
    Ban(Target),
    Restrict(Target),
    Shut(IpNet),
    Revoke(UserId),
}

/// How much an entry matters when room is short: the first goes first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Kick, drain: matters for a moment.
    Event,
    /// Ends by itself, soon.
    Restriction,
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

/// Entries in force and recent events, by place.
#[derive(Default)]
pub(super) struct Merged {
    kept: BTreeMap<LogId, Kept>,
    newest: HashMap<Subject, LogId>,
    /// What ends, by when.
    ends: BTreeSet<(UnixMs, LogId)>,
}

fn subject(entry: &ControlEntry) -> Option<Subject> {
    match entry {
        ControlEntry::Ban { target, .. } | ControlEntry::Lift { target } => Some(Subject::Ban(target.clone())),
        ControlEntry::Restrict { target, .. } => Some(Subject::Restrict(target.clone())),
        ControlEntry::Shut { network, .. } => Some(Subject::Shut(*network)),
        ControlEntry::Revoke { user, .. } => Some(Subject::Revoke(user.clone())),
        ControlEntry::Kick { .. } | ControlEntry::Drain { .. } => None,
    }
}

/// What a lift ends besides a ban: a restriction, and a door that is shut.
fn ended(entry: &ControlEntry) -> [Option<Subject>; 2] {
    match entry {
        ControlEntry::Lift { target: Target::Network(network) } => {
            [Some(Subject::Restrict(Target::Network(*network))), Some(Subject::Shut(*network))]
        }
        ControlEntry::Lift { target } => [Some(Subject::Restrict(target.clone())), None],
        _ => [None, None],
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

    /// The place of a lift that ends a restriction like `entry`, if it is the newer of the two.
    pub(super) fn lifted_by(&self, entry: &ControlEntry) -> Option<LogId> {
        let target = match entry {
            ControlEntry::Restrict { target, .. } => target.clone(),
            ControlEntry::Shut { network, .. } => Target::Network(*network),
            _ => return None,
        };
        let present = self.present(Some(&Subject::Ban(target)));
        present.filter(|kept| matches!(kept.logged.entry, ControlEntry::Lift { .. })).map(|kept| kept.logged.id)
    }

    /// Until when a lift of this target has to be remembered; `None`: there is nothing to lift.
    pub(super) fn tombstone(&self, entry: &ControlEntry) -> Option<Lifted> {
        if !matches!(entry, ControlEntry::Lift { .. }) {
            return None;
        }
        let ban = self.present(subject(entry).as_ref()).filter(|kept| kept.weight != Weight::Event);
        let [restriction, shut] = ended(entry);
        let all = [ban, self.present(restriction.as_ref()), self.present(shut.as_ref())];
        // what has no end ends last
        let until = all.into_iter().flatten().map(|kept| kept.until).max_by_key(|until| (until.is_none(), *until));
        until.map(|until| Lifted { until })
    }

    /// How the entry would be kept: until when and with what weight; `None`: what is there says more.
    fn rank(&self, logged: &Logged, lifted: Option<Lifted>) -> Option<(Option<UnixMs>, Weight)> {
        let event = (Some(logged.at.after(EVENT_KEPT)), Weight::Event);
        match &logged.entry {
            ControlEntry::Kick { .. } => Some((Some(logged.at.after(KICK_KEPT)), Weight::Event)),
            ControlEntry::Drain { .. } => Some(event),
            ControlEntry::Ban { until, .. } => Some((*until, Weight::State)),
            ControlEntry::Restrict { until, .. } | ControlEntry::Shut { until, .. } => {
                Some((Some(*until), Weight::Restriction))
            }
            ControlEntry::Lift { .. } => {
                let lifted = self.tombstone(&logged.entry).or(lifted);
                Some(lifted.map_or(event, |lifted| (lifted.until, Weight::Tombstone)))
            }
            ControlEntry::Revoke { issued_until, .. } => {
                let said = self.present(subject(&logged.entry).as_ref()).map(|kept| &kept.logged.entry);
                let more = matches!(said, Some(ControlEntry::Revoke { issued_until: t, .. }) if t > issued_until);
                (!more).then(|| (Some(issued_until.after(REVOKE_KEPT)), Weight::State))
            }
        }
    }

    /// Forgets what has ended. Cost: nothing, or a few steps for each that has.
    pub(super) fn expire(&mut self, now: UnixMs, mut gone: impl FnMut(LogId)) {
        while let Some((until, id)) = self.ends.first().copied() {
            if until > now {
                return;
            }
            self.drop(id);
            gone(id);
        }
    }

    /// Takes an entry out.
    fn drop(&mut self, id: LogId) {
        let Some(kept) = self.kept.remove(&id) else { return };
        if let Some(until) = kept.until {
            self.ends.remove(&(until, id));
        }
        if let Some(subject) = subject(&kept.logged.entry)
            && self.newest.get(&subject) == Some(&id)
        {
            self.newest.remove(&subject);
        }
    }

    /// The oldest event, else the oldest restriction, else the oldest tombstone.
    fn dispensable(&self) -> Option<LogId> {
        let oldest = |weight| self.kept.iter().find(|(_, kept)| kept.weight == weight).map(|(id, _)| *id);
        oldest(Weight::Event).or_else(|| oldest(Weight::Restriction)).or_else(|| oldest(Weight::Tombstone))
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
        let Some((until, weight)) = self.rank(logged, lifted) else { return Ok(false) };
        let replaced = self.replaced_by(&logged.entry);
        if replaced.is_none() && self.kept.len() >= bound {
            let id = self.dispensable().ok_or(Full)?;
            self.drop(id);
            gone(id);
        }
        let ended = ended(&logged.entry).into_iter().flatten();
        let ended: Vec<LogId> = ended.filter_map(|subject| self.newest.get(&subject).copied()).collect();
        for before in replaced.into_iter().chain(ended).filter(|before| *before != logged.id) {
            self.drop(before);
            gone(before);
        }
        if let Some(subject) = subject(&logged.entry) {
            self.newest.insert(subject, logged.id);
        }
        self.ends.extend(until.map(|until| (until, logged.id)));
        self.kept.insert(logged.id, Kept { logged: logged.clone(), until, weight });
        Ok(true)
    }

    /// What is kept, in the log's order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Logged> {
        self.kept.values().map(|kept| &kept.logged)
    }
}
