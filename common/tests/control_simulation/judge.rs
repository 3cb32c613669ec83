//! What must be true of what processes were told.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_common::clock::UnixMs;
use portcullis_common::store::control::{ControlEntry, Logged, Target};

use crate::store::{Issued, Stamp, Store};

/// What entries merge by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Ban(String),
    Restrict(String),
    Revoke(String),
}

fn name(target: &Target) -> String {
    format!("{target:?}")
}

pub fn subjects(entry: &ControlEntry) -> Vec<Subject> {
    match entry {
        ControlEntry::Ban { target, .. } => vec![Subject::Ban(name(target))],
        ControlEntry::Restrict { target, .. } => vec![Subject::Restrict(name(target))],
        ControlEntry::Lift { target } => vec![Subject::Ban(name(target)), Subject::Restrict(name(target))],
        ControlEntry::Revoke { user, .. } => vec![Subject::Revoke(name(&Target::User(user.clone())))],
        // the schedules have none of the last
        ControlEntry::Kick { .. } | ControlEntry::Drain { .. } | ControlEntry::Shut { .. } => Vec::new(),
    }
}

/// Until when an entry refuses somebody; 0: it does not.
fn until(entry: &ControlEntry) -> u64 {
    match entry {
        ControlEntry::Ban { until, .. } => until.map_or(u64::MAX, |until| until.0),
        ControlEntry::Restrict { until, .. } => until.0,
        ControlEntry::Revoke { .. } => u64::MAX,
        _ => 0,
    }
}

/// Of two entries about one subject, which counts: of revocations the furthest, else the newest.
fn rank(issued: &Issued) -> (u64, Stamp) {
    match &issued.entry {
        ControlEntry::Revoke { issued_until, .. } => (issued_until.0, issued.stamp),
        _ => (0, issued.stamp),
    }
}

/// What counts of each subject.
fn newest<'a>(store: &'a Store, numbers: impl Iterator<Item = &'a usize>) -> BTreeMap<Subject, usize> {
    let mut newest: BTreeMap<Subject, usize> = BTreeMap::new();
    for number in numbers {
        for subject in subjects(&store.issued[*number].entry) {
            let known = newest.entry(subject).or_insert(*number);
            if rank(&store.issued[*known]) < rank(&store.issued[*number]) {
                *known = *number;
            }
        }
    }
    newest
}

/// What somebody who was told `told` does not know of what counts in the store's log since before `since`.
pub fn unknown(store: &Store, told: &BTreeSet<usize>, since: u64, now: u64) -> Option<usize> {
    let words = newest(store, told.iter());
    let kick = |number: &&usize| matches!(store.issued[**number].entry, ControlEntry::Kick { .. });
    let kicks = store.log.has.keys().filter(kick).filter(|number| !told.contains(number)).copied();
    let no_need = |subject: &Subject, number: usize| {
        let issued = &store.issued[number];
        let word = words.get(subject).map(|word| &store.issued[*word]);
        let ends = until(&issued.entry);
        word.is_some_and(|word| rank(word) >= rank(issued))
            // what refuses nobody says something only to those who know what it ends
            || (ends <= now && word.is_none_or(|word| until(&word.entry) <= now || !knew(issued, word)))
    };
    let states = newest(store, store.log.has.keys());
    let states = states.into_iter().filter(|(subject, number)| !no_need(subject, *number)).map(|(_, number)| number);
    kicks.chain(states).find(|number| store.log.has.get(number).is_some_and(|appended| *appended < since))
}

/// Whether an entry was made by somebody who knew of the other. Of two that were made at once the newer counts while both
/// last, and whoever meets the older one later does not know.
fn knew(issued: &Issued, other: &Issued) -> bool {
    issued.knew.iter().any(|known| *known == other.number)
}

/// What two words are about of which neither's issuer knew the other, because a log was lost between them, and that were
/// issued at once, as far as the servers' clocks can tell, or of which the newer is over. Which of them counts is the log's
/// to say; whoever was told the newer one before the loss goes by that one until it starts again.
pub fn contested(store: &Store, told: &BTreeSet<usize>, apart: u64, now: UnixMs) -> BTreeSet<Subject> {
    let mut contested = BTreeSet::new();
    let told: Vec<&Issued> = told.iter().map(|number| &store.issued[*number]).collect();
    for (at, one) in told.iter().enumerate() {
        for other in &told[..at] {
            let newer = if rank(one) > rank(other) { one } else { other };
            let close = one.stamp.0.abs_diff(other.stamp.0) <= apart || until(&newer.entry) <= now.0;
            let strangers = close && !knew(one, other) && !knew(other, one);
            let about = subjects(&other.entry);
            contested.extend(subjects(&one.entry).into_iter().filter(|subject| strangers && about.contains(subject)));
        }
    }
    contested
}

fn lift_of_nothing(store: &Store, number: usize) -> bool {
    let issued = &store.issued[number];
    matches!(issued.entry, ControlEntry::Lift { .. })
        && !issued.knew.iter().any(|known| {
            let known = &store.issued[*known].entry;
            subjects(&issued.entry).iter().any(|subject| subjects(known).contains(subject)) && until(known) > 0
        })
}

/// What refuses somebody now, by subject, and the kicks, out of what was told to one who asks now.
pub fn in_force(told: &[Logged], now: UnixMs) -> BTreeMap<Subject, String> {
    let mut newest: BTreeMap<Subject, &Logged> = BTreeMap::new();
    for logged in told {
        for subject in subjects(&logged.entry) {
            let known = newest.entry(subject).or_insert(logged);
            let more = match (&known.entry, &logged.entry) {
                (ControlEntry::Revoke { issued_until: known, .. }, ControlEntry::Revoke { issued_until, .. }) => {
                    issued_until > known
                }
                _ => (logged.at, logged.id) >= (known.at, known.id),
            };
            if more {
                *known = logged;
            }
        }
    }
    let words = newest.into_iter().filter(|(_, logged)| until(&logged.entry) > now.0);
    words.map(|(subject, logged)| (subject, format!("{:?} {:?}", logged.at, logged.entry))).collect()
}

pub fn kicks(told: &[Logged]) -> BTreeSet<String> {
    let kicks = told.iter().filter(|logged| matches!(logged.entry, ControlEntry::Kick { .. }));
    kicks.map(|logged| format!("{:?}", logged.entry)).collect()
}

/// What everybody knows in the end against what somebody always knew: nothing of that is lost, nothing that was taken
/// back has come again. `slack`: how far the servers' clocks were apart.
pub fn outcome(
    store: &Store,
    known: &BTreeSet<usize>,
    always: &BTreeSet<usize>,
    now: UnixMs,
    slack: u64,
) -> Result<(), String> {
    let (words, expected) = (newest(store, known.iter()), newest(store, always.iter()));
    for (subject, number) in &expected {
        let issued = &store.issued[*number];
        let word = words.get(subject).map(|word| (*word, &store.issued[*word]));
        let older = word.is_none_or(|(_, word)| rank(word) < rank(issued));
        // what was newer may be lost, or over; whoever had read it had let go of this one
        let replaced =
            |other: &Issued| other.appended && subjects(&other.entry).contains(subject) && rank(other) > rank(issued);
        if older && until(&issued.entry) > now.0 + slack && !store.issued.iter().any(replaced) {
            return Err(format!("{subject:?}: lost is {number} {issued:?}, known is {word:?}"));
        }
        let Some((back, word)) = word.filter(|(_, word)| older && until(&word.entry) > now.0 + slack) else { continue };
        // an old snapshot in the place of a new one takes words back to those who come before anybody puts it right
        if issued.knew.contains(&back) && !lift_of_nothing(store, *number) && !store.attacked {
            return Err(format!("{subject:?}: {back} {word:?} is back, although {number} {issued:?}"));
        }
    }
    for number in always.iter().filter(|_| !store.attacked) {
        if matches!(store.issued[*number].entry, ControlEntry::Kick { .. }) && !known.contains(number) {
            return Err(format!("a kick is lost: {number}"));
        }
    }
    Ok(())
}
