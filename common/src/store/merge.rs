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
    /// Until when it is kept: as long as it says something, or as long as what it replaced would have, should that come
    /// again. `None`: for ever.
    until: Option<UnixMs>,
    /// What `ends` knows it by: first the end of what it says, then `until`.
    due: Option<UnixMs>,
    weight: Weight,
}

/// What an entry replaced: known to those who knew that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lifted {
    /// When it would have ended.
    pub(super) until: Option<UnixMs>,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It is kept.
    Kept,
    /// Of a lift: it is kept, but one of what it would have ended is newer.
    InPart,
    /// What is there says more.
    Less,
    /// What is there is newer, of everything that it is about.
    Superseded,
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

/// What an entry is about: a lift ends a ban, a restriction, and of a network a door that is shut; each of these words may
/// be replaced alone.
fn subjects(entry: &ControlEntry) -> impl Iterator<Item = Subject> {
    let subjects = match entry {
        ControlEntry::Ban { target, .. } => [Some(Subject::Ban(target.clone())), None, None],
        ControlEntry::Restrict { target, .. } => [Some(Subject::Restrict(target.clone())), None, None],
        ControlEntry::Shut { network, .. } => [Some(Subject::Shut(*network)), None, None],
        ControlEntry::Lift { target } => {
            let shut = match target {
                Target::Network(network) => Some(Subject::Shut(*network)),
                _ => None,
            };
            [Some(Subject::Ban(target.clone())), Some(Subject::Restrict(target.clone())), shut]
        }
        ControlEntry::Revoke { user, .. } => [Some(Subject::Revoke(user.clone())), None, None],
        ControlEntry::Kick { .. } | ControlEntry::Drain { .. } => [None, None, None],
    };
    subjects.into_iter().flatten()
}

/// When what an entry says ends by itself; a lift says nothing that could last.
fn end(entry: &ControlEntry) -> Option<UnixMs> {
    match entry {
        ControlEntry::Lift { .. } => Some(UnixMs(0)),
        ControlEntry::Ban { until, .. } => *until,
        ControlEntry::Restrict { until, .. } | ControlEntry::Shut { until, .. } => Some(*until),
        ControlEntry::Revoke { .. } | ControlEntry::Kick { .. } | ControlEntry::Drain { .. } => None,
    }
}

/// The later of two ends; what has none ends last.
fn later(one: Option<UnixMs>, other: Option<UnixMs>) -> Option<UnixMs> {
    one.zip(other).map(|(one, other)| one.max(other))
}

impl Merged {
    /// What the log says about the same now, each once.
    fn present(&self, entry: &ControlEntry) -> Vec<LogId> {
        self.present_in(&subjects(entry).collect::<Vec<_>>())
    }

    fn present_in(&self, subjects: &[Subject]) -> Vec<LogId> {
        let mut present: Vec<LogId> = subjects.iter().filter_map(|subject| self.newest.get(subject).copied()).collect();
        present.sort_unstable();
        present.dedup();
        present
    }

    /// What the log says about the same beside `logged`.
    pub(super) fn beside(&self, logged: &Logged) -> impl Iterator<Item = &Logged> {
        let others = self.present(&logged.entry).into_iter().filter(|id| *id != logged.id);
        others.filter_map(|id| self.kept.get(&id)).map(|kept| &kept.logged)
    }

    /// Whether the log says something about the same.
    pub(super) fn knows(&self, entry: &ControlEntry) -> bool {
        subjects(entry).any(|subject| self.newest.contains_key(&subject))
    }

    /// Until when what `entry` replaces would have lasted, where that is longer than itself: so long it has to be
    /// remembered. `None`: there is nothing like that. `before`: what is to come in front of it, a step for each.
    pub(super) fn replaces<'a>(
        &self,
        entry: &ControlEntry,
        before: impl Iterator<Item = (&'a ControlEntry, Option<Lifted>)>,
    ) -> Option<Lifted> {
        let own = end(entry);
        let kept = self.present(entry).into_iter().filter_map(|id| self.kept.get(&id));
        let kept = kept.filter(|kept| kept.weight != Weight::Event).map(|kept| kept.until);
        let same = before.filter(|(other, _)| subjects(other).any(|one| subjects(entry).any(|other| one == other)));
        let same = same.map(|(other, lifted)| lifted.map_or(end(other), |lifted| later(end(other), lifted.until)));
        let until = kept.chain(same).reduce(later)?;
        (later(own, until) != own).then_some(Lifted { until })
    }

    /// Whether an entry is all that the log says about what it is about.
    fn holds_all(&self, logged: &Logged) -> bool {
        subjects(&logged.entry).all(|subject| self.newest.get(&subject) == Some(&logged.id))
    }

    /// Of what is there, what goes when the entry takes the place of it in these subjects: a lift of which half is left
    /// stays.
    fn goes(&self, taken: &[Subject]) -> Vec<LogId> {
        let left = |kept: &Kept| {
            subjects(&kept.logged.entry)
                .any(|subject| !taken.contains(&subject) && self.newest.get(&subject) == Some(&kept.logged.id))
        };
        let mut ids = self.present_in(taken);
        ids.retain(|id| self.kept.get(id).is_some_and(|kept| !left(kept)));
        ids
    }

    /// How the entry would be kept: when what it says ends, until when it is kept, and with what weight; `None`: what is
    /// there says more.
    fn rank(&self, logged: &Logged, lifted: Option<Lifted>) -> Option<(Option<UnixMs>, Option<UnixMs>, Weight)> {
        let lifted = match (self.replaces(&logged.entry, std::iter::empty()), lifted) {
            (Some(here), Some(there)) => Some(Lifted { until: later(here.until, there.until) }),
            (here, there) => here.or(there),
        };
        let so_long = |ends, weight| Some((ends, lifted.map_or(ends, |lifted| later(ends, lifted.until)), weight));
        let event = |kept| {
            let ends = Some(logged.at.after(kept));
            Some((ends, ends, Weight::Event))
        };
        match &logged.entry {
            ControlEntry::Kick { .. } => event(KICK_KEPT),
            ControlEntry::Drain { .. } => event(EVENT_KEPT),
            ControlEntry::Ban { until, .. } => so_long(*until, Weight::State),
            ControlEntry::Restrict { until, .. } | ControlEntry::Shut { until, .. } => {
                so_long(Some(*until), Weight::Restriction)
            }
            ControlEntry::Lift { .. } => match lifted {
                Some(Lifted { until }) => Some((until, until, Weight::Tombstone)),
                None => event(EVENT_KEPT),
            },
            ControlEntry::Revoke { issued_until, .. } => {
                let said = self.present(&logged.entry);
                let said = said.first().and_then(|id| self.kept.get(id)).map(|kept| &kept.logged.entry);
                let more = matches!(said, Some(ControlEntry::Revoke { issued_until: t, .. }) if t > issued_until);
                let ends = Some(issued_until.after(REVOKE_KEPT));
                (!more).then_some((ends, ends, Weight::State))
            }
        }
    }

    /// Forgets what has ended. Cost: nothing, or a few steps for each that has.
    pub(super) fn expire(&mut self, now: UnixMs, mut gone: impl FnMut(LogId)) {
        while let Some((due, id)) = self.ends.first().copied() {
            if due > now {
                return;
            }
            match self.kept.get_mut(&id) {
                // it says nothing any more, but that what it replaced is over
                Some(kept) if later(kept.until, Some(due)) != Some(due) => {
                    self.ends.pop_first();
                    (kept.due, kept.weight) = (kept.until, Weight::Tombstone);
                    self.ends.extend(kept.until.map(|until| (until, id)));
                }
                _ => {
                    self.drop(id);
                    gone(id);
                }
            }
        }
    }

    /// Takes an entry out.
    fn drop(&mut self, id: LogId) {
        let Some(kept) = self.kept.remove(&id) else { return };
        if let Some(due) = kept.due {
            self.ends.remove(&(due, id));
        }
        for subject in subjects(&kept.logged.entry) {
            if self.newest.get(&subject) == Some(&id) {
                self.newest.remove(&subject);
            }
        }
    }

    /// The oldest event, else the oldest restriction, else the oldest tombstone.
    fn dispensable(&self) -> Option<LogId> {
        let oldest = |weight| self.kept.iter().find(|(_, kept)| kept.weight == weight).map(|(id, _)| *id);
        oldest(Weight::Event).or_else(|| oldest(Weight::Restriction)).or_else(|| oldest(Weight::Tombstone))
    }

    /// Whether [`Self::put`] would find room.
    pub(super) fn has_room(&self, entry: &ControlEntry, bound: usize) -> bool {
        let taken: Vec<Subject> = subjects(entry).collect();
        self.kept.len() < bound || !self.goes(&taken).is_empty() || self.dispensable().is_some()
    }

    /// Keeps the entry, unless what is there says more; `lifted` is what its issuer knew of what it replaces, `newer` says
    /// which places hold newer words than this one, and `gone` gets the places of what had to go for it.
    pub(super) fn put(
        &mut self,
        logged: &Logged,
        lifted: Option<Lifted>,
        bound: usize,
        newer: impl Fn(LogId) -> bool,
        mut gone: impl FnMut(LogId),
    ) -> Result<Put, Full> {
        let Some((ends, until, weight)) = self.rank(logged, lifted) else { return Ok(Put::Less) };
        let about: Vec<Subject> = subjects(&logged.entry).collect();
        let is_free = |subject: &&Subject| !self.newest.get(*subject).is_some_and(|id| newer(*id));
        let taken: Vec<Subject> = about.iter().filter(is_free).cloned().collect();
        if taken.is_empty() && !about.is_empty() {
            self.outlive(&logged.entry, until);
            return Ok(Put::Superseded);
        }
        let put = if taken.len() < about.len() { Put::InPart } else { Put::Kept };
        let goes = self.goes(&taken);
        if goes.is_empty() && self.kept.len() >= bound {
            let id = self.dispensable().ok_or(Full)?;
            self.drop(id);
            gone(id);
        }
        for before in goes.into_iter().filter(|before| *before != logged.id) {
            self.drop(before);
            gone(before);
        }
        self.newest.extend(taken.into_iter().map(|subject| (subject, logged.id)));
        self.ends.extend(ends.map(|ends| (ends, logged.id)));
        self.kept.insert(logged.id, Kept { logged: logged.clone(), until, due: ends, weight });
        Ok(put)
    }

    /// Whether an entry would change nothing: of all that it is about something newer is there, and is kept as long as the
    /// entry would be.
    pub(super) fn outlives(&self, logged: &Logged, lifted: Option<Lifted>, newer: impl Fn(LogId) -> bool) -> bool {
        let Some((_, until, _)) = self.rank(logged, lifted) else { return true };
        let mut about = subjects(&logged.entry).peekable();
        let longer = |id: &LogId| self.kept.get(id).is_some_and(|kept| later(kept.until, until) == kept.until);
        about.peek().is_some() && about.all(|one| self.newest.get(&one).is_some_and(|id| newer(*id) && longer(id)))
    }

    /// What is newer than an entry is kept as long as that would have been, should it come again.
    fn outlive(&mut self, entry: &ControlEntry, until: Option<UnixMs>) {
        for id in self.present(entry) {
            if let Some(kept) = self.kept.get_mut(&id) {
                kept.until = later(kept.until, until);
            }
        }
    }

    /// What says something to one who knows nothing, in the log's order: not what is kept against its predecessors alone.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Logged> {
        let says = |kept: &&Kept| match kept.logged.entry {
            ControlEntry::Lift { .. } => self.holds_all(&kept.logged),
            _ => kept.weight != Weight::Tombstone,
        };
        self.kept.values().filter(says).map(|kept| &kept.logged)
    }
}
