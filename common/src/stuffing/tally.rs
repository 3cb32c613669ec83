//! What a node counts of logins between two reports.
//!
//! Who got in is told too, once an address and user for as long as they are remembered: what an address is forgiven has to
//! be known before the next token from it is refused at another node.
//!
//! **Bound.** [`FAILED`] addresses with refused logins, and as many with users that nobody was told of yet: more of the first
//! are counted as left out, more of the second are told when they get in again. [`REMEMBERED`] addresses from which
//! somebody got in, in two generations: when the younger is full or [`GENERATION`] old, the elder is forgotten, and
//! whoever gets in again moves into the younger.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::time::Duration;

use super::{ACCOUNTS, FAMILIES, Mark, NETWORKS, Report, Seen, USERS};
use crate::clock::Mono;
use crate::config::model::address_key;

/// Addresses with refused logins.
pub const FAILED: usize = 8_192;
/// Addresses with users, of one generation.
pub const REMEMBERED: usize = 32_768;
/// How long a generation lasts: whoever got in is remembered for as long at least, where there is room, and twice as long
/// at most.
pub const GENERATION: Duration = Duration::from_secs(1_800);

/// What a refused token claims to be, not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// Issuer and subject.
    pub account: Mark,
    /// Issuer, key and algorithm.
    pub family: Mark,
}

#[derive(Default)]
struct Failed {
    refused: u32,
    accounts: Vec<Mark>,
    families: Vec<Mark>,
}

#[derive(Default)]
struct Good {
    users: HashMap<IpAddr, Vec<Mark>>,
}

impl Good {
    fn knows(&self, from: IpAddr, user: Mark) -> bool {
        self.users.get(&from).is_some_and(|users| users.len() >= USERS || users.contains(&user))
    }

    fn add(&mut self, from: IpAddr, user: Mark) {
        note(self.users.entry(from).or_default(), user, USERS);
    }
}

fn note(marks: &mut Vec<Mark>, mark: Mark, bound: usize) {
    if marks.len() < bound && !marks.contains(&mark) {
        marks.push(mark);
    }
}

/// See the module. A call costs a hash probe or two.
#[derive(Default)]
pub struct Tally {
    failed: HashMap<IpAddr, Failed>,
    left_out: u32,
    /// Who got in that nobody was told of.
    untold: HashMap<IpAddr, Vec<Mark>>,
    young: Good,
    old: Good,
    /// When the younger generation began.
    since: Mono,
}

impl Tally {
    /// A login from there was refused.
    pub fn refused(&mut self, from: IpAddr, claimed: Option<Claimed>) {
        let full = self.failed.len() >= FAILED;
        let failed = match self.failed.entry(address_key(from)) {
            Entry::Vacant(_) if full => {
                self.left_out = self.left_out.saturating_add(1);
                return;
            }
            entry => entry.or_default(),
        };
        failed.refused = failed.refused.saturating_add(1);
        if let Some(Claimed { account, family }) = claimed {
            note(&mut failed.accounts, account, ACCOUNTS);
            note(&mut failed.families, family, FAMILIES);
        }
    }

    /// A user got in from there.
    pub fn got_in(&mut self, from: IpAddr, user: Mark, now: Mono) {
        let from = address_key(from);
        if now.since(self.since) >= GENERATION
            || (self.young.users.len() >= REMEMBERED && !self.young.users.contains_key(&from))
        {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        if !self.young.knows(from, user) && self.wants_to_tell(from, user) {
            self.young.add(from, user);
        }
    }

    /// Whether there is room to tell of a user.
    fn wants_to_tell(&mut self, from: IpAddr, user: Mark) -> bool {
        if self.untold.len() >= FAILED && !self.untold.contains_key(&from) {
            return false;
        }
        note(self.untold.entry(from).or_default(), user, USERS);
        true
    }

    /// What there is to say, if anything: at most [`NETWORKS`] addresses, the rest next time.
    pub fn take(&mut self) -> Option<Report> {
        if self.failed.is_empty() && self.untold.is_empty() {
            return None;
        }
        let all = std::mem::take(&mut self.failed);
        let mut seen = Vec::with_capacity(all.len().min(NETWORKS));
        for (from, failed) in all {
            if seen.len() < NETWORKS {
                seen.push(self.seen(from, failed));
            } else {
                self.failed.insert(from, failed);
            }
        }
        seen.iter().for_each(|seen| drop(self.untold.remove(&seen.from)));
        for (from, users) in std::mem::take(&mut self.untold) {
            if seen.len() < NETWORKS {
                seen.push(Seen { users, ..self.seen(from, Failed::default()) });
            } else {
                self.untold.insert(from, users);
            }
        }
        Some(Report { seen, left_out: std::mem::take(&mut self.left_out) })
    }

    /// A report that the store did not take is told again with the next. At the bounds less of it is.
    pub fn give_back(&mut self, report: Report) {
        self.left_out = self.left_out.saturating_add(report.left_out);
        for Seen { from, refused, accounts, families, users, .. } in report.seen {
            for user in users {
                self.wants_to_tell(from, user);
            }
            if refused == 0 {
                continue;
            }
            if self.failed.len() >= FAILED && !self.failed.contains_key(&from) {
                self.left_out = self.left_out.saturating_add(1);
                continue;
            }
            let failed = self.failed.entry(from).or_default();
            failed.refused = failed.refused.saturating_add(refused);
            accounts.into_iter().for_each(|mark| note(&mut failed.accounts, mark, ACCOUNTS));
            families.into_iter().for_each(|mark| note(&mut failed.families, mark, FAMILIES));
        }
    }

    fn seen(&self, from: IpAddr, failed: Failed) -> Seen {
        let mut users = Vec::new();
        for good in [&self.young, &self.old] {
            good.users.get(&from).into_iter().flatten().for_each(|user| note(&mut users, *user, USERS));
        }
        let Failed { refused, accounts, families } = failed;
        Seen { from, refused, accounts, families, users }
    }

    /// Addresses with refused logins that wait to be told of.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.failed.len()
    }
}
