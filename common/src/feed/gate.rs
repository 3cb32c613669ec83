//! What lists have to pass before they become a feed. A list that was cut off, that came as somebody's error page, or
//! that suddenly names half of the Internet stops here, and the nodes keep what they have.

use std::fmt;

use ipnet::IpNet;

use super::list::{List, Wrong};
use super::reserved::{Overlap, overlap};
use super::{ENTRIES, Score};
use crate::trie::NetworkMarks;

/// So many networks more or fewer are no jump, however short the list.
pub const SLACK: usize = 32;

/// Lines that a refusal names.
const NAMED: usize = 5;

/// How much is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gates {
    /// Lines that may be wrong, in per cent of all.
    pub errors: u8,
    /// By how much the feed may grow or shrink against the one before, in per cent.
    pub change: u16,
    /// The shortest prefix of an IPv4 network.
    pub widest_v4: u8,
    /// The shortest prefix of an IPv6 network.
    pub widest_v6: u8,
}

impl Default for Gates {
    fn default() -> Self {
        Self { errors: 1, change: 50, widest_v4: 10, widest_v6: 20 }
    }
}

/// A line of a list, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which list.
    pub list: String,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.list, self.line)
    }
}

/// Why lists become no feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// More wrong lines than may be.
    #[error("{bad} of {lines} lines are wrong, more than {most} %{}", named(first))]
    Errors {
        /// Lines that are wrong.
        bad: usize,
        /// Lines that say something.
        lines: usize,
        /// Per cent that may be.
        most: u8,
        /// The first of them.
        first: Vec<(Place, Wrong)>,
    },
    /// A network that is wider than may be.
    #[error("{place}: {network} is wider than /{most}")]
    Wide {
        /// Where.
        place: Place,
        /// Which.
        network: IpNet,
        /// What may be.
        most: u8,
    },
    /// A network with a reserved range in it.
    #[error("{place}: {network} holds a reserved range")]
    Reserved {
        /// Where.
        place: Place,
        /// Which.
        network: IpNet,
    },
    /// A list says that it has another number of records: it was cut off.
    #[error("{list}: says that it has {promised} records, and has {found}: it was cut off")]
    Cut {
        /// Which list.
        list: String,
        /// Records that it says it has.
        promised: usize,
        /// Records that it has.
        found: usize,
    },
    /// Nothing is left.
    #[error("no network is left")]
    Empty,
    /// More than a feed may have.
    #[error("{0} networks are more than {ENTRIES}")]
    Many(usize),
    /// Much more or much less than before.
    #[error("{after} networks, where the version before has {before}: a change by more than {most} %")]
    Jump {
        /// Networks of the version before.
        before: usize,
        /// Networks now.
        after: usize,
        /// Per cent that may be.
        most: u16,
    },
}

fn named(first: &[(Place, Wrong)]) -> String {
    first.iter().map(|(place, wrong)| format!("; {place} {wrong}")).collect()
}

/// What became of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Lines that say something.
    pub lines: usize,
    /// Wrong ones.
    pub bad: usize,
    /// With the score 0.
    pub clean: usize,
    /// Inside of reserved ranges.
    pub reserved: usize,
    /// There twice, or inside of a wider one that is as bad.
    pub duplicates: usize,
    /// Networks that are left.
    pub entries: usize,
}

/// Holds lists, each with its name, against the gates; `before` is how many networks the version before has. Networks in
/// reserved ranges are left out and counted, of a network that is there twice the highest score counts, and what a wider
/// one says as well is left out. Cost: a trie of all.
///
/// # Errors
/// Everything that stops them, at most [`NAMED`] of one kind.
pub fn pass(
    lists: &[(String, List)],
    gates: &Gates,
    before: Option<usize>,
) -> (Tally, Result<NetworkMarks, Vec<Stopped>>) {
    let mut tally = Tally::default();
    let mut stopped = of_lines(lists, gates, &mut tally);
    let mut all = NetworkMarks::default();
    let (mut wide, mut around) = (Vec::new(), Vec::new());
    for (name, list) in lists {
        for entry in &list.listed {
            let (network, place) = (entry.network, || Place { list: name.clone(), line: entry.line });
            let most = if matches!(network, IpNet::V4(_)) { gates.widest_v4 } else { gates.widest_v6 };
            match overlap(&network) {
                Overlap::Inside => tally.reserved += 1,
                Overlap::Around if around.len() < NAMED => around.push(Stopped::Reserved { place: place(), network }),
                Overlap::None if network.prefix_len() < most && wide.len() < NAMED => {
                    wide.push(Stopped::Wide { place: place(), network, most });
                }
                Overlap::Around | Overlap::None => {
                    if let Some(old) = all.insert(network, entry.score.mark()) {
                        tally.duplicates += 1;
                        all.insert(network, old.max(entry.score.mark()));
                    }
                }
            }
        }
    }
    stopped.extend(wide.into_iter().chain(around));
    let kept = without_covered(&all);
    tally.duplicates += all.len() - kept.len();
    tally.entries = kept.len();
    stopped.extend(of_size(kept.len(), gates, before));
    (tally, if stopped.is_empty() { Ok(kept) } else { Err(stopped) })
}

/// What counting lines tells.
fn of_lines(lists: &[(String, List)], gates: &Gates, tally: &mut Tally) -> Vec<Stopped> {
    let mut stopped = Vec::new();
    for (name, list) in lists {
        tally.lines += list.lines;
        tally.bad += list.bad;
        tally.clean += list.clean;
        if list.bad * 100 > list.lines * usize::from(gates.errors) {
            let first = list.wrong.iter().take(NAMED);
            let first = first.map(|(line, wrong)| (Place { list: name.clone(), line: *line }, *wrong)).collect();
            stopped.push(Stopped::Errors { bad: list.bad, lines: list.lines, most: gates.errors, first });
        }
        if let Some(promised) = list.promised.filter(|promised| *promised != list.lines) {
            stopped.push(Stopped::Cut { list: name.clone(), promised, found: list.lines });
        }
    }
    stopped
}

fn of_size(after: usize, gates: &Gates, before: Option<usize>) -> Option<Stopped> {
    if after == 0 {
        return Some(Stopped::Empty);
    }
    if after > ENTRIES {
        return Some(Stopped::Many(after));
    }
    let before = before?;
    let change = before.abs_diff(after);
    let jumps = change > SLACK && change * 100 > before * usize::from(gates.change);
    jumps.then_some(Stopped::Jump { before, after, most: gates.change })
}

/// Without the networks that lie in a wider one which is as bad or worse: of what is left the narrowest that holds an
/// address has the highest score.
fn without_covered(all: &NetworkMarks) -> NetworkMarks {
    let mut kept = NetworkMarks::default();
    all.each(|network, mark| {
        let says_it = |wider: IpNet, other| wider.prefix_len() < network.prefix_len() && other >= mark;
        if !all.any(network.addr(), says_it) {
            kept.insert(network, mark);
        }
    });
    kept
}

/// The score that a mark stands for.
pub(super) fn score_of(mark: std::num::NonZeroU8) -> Option<Score> {
    Score::new(mark.get())
}
