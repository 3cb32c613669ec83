//! What a receiver remembers of records it took, so that each is taken once and in its issuer's order: the highest
//! sequence of every (node, epoch, channel). Lower is a replay, a jump is a loss.
//!
//! A record is taken within [`FRESH`] of its issue, so an entry may be forgotten as soon as its newest record is older
//! than that: no replay of it would be fresh. When the table is full before that, the entry with the oldest record goes,
//! and its time becomes the floor: whoever is not in the table has to be newer than the floor. A full table can thus
//! cost a record of a source long silent, never let a replay through. The same idea as the window of TLS 1.3 early data
//! (RFC 8446, section 8.2).

use std::collections::HashMap;

use super::record::{FRESH, Header, Issuer, Refused};
use crate::clock::UnixMs;

/// Names a channel within this process.
pub type ChannelId = u64;

#[derive(Debug, Clone, Copy)]
struct Highest {
    sequence: u64,
    /// The latest time that a taken record named.
    at: UnixMs,
}

/// What a record that was taken tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Records of this issuer on this channel that never came; 0 for the first one that is seen.
    pub lost: u64,
}

/// The table. Cost: one look-up a record; a walk over the table when it is full, after which at least a sixteenth of it
/// is free.
#[derive(Debug)]
pub struct ReplayGuard {
    highest: HashMap<(Issuer, ChannelId), Highest>,
    bound: usize,
    floor: UnixMs,
}

impl ReplayGuard {
    /// Remembers at most `bound` issuers times channels (at least one).
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { highest: HashMap::new(), bound: bound.max(1), floor: UnixMs(0) }
    }

    /// Whether [`Self::take`] would take it. Changes nothing.
    ///
    /// # Errors
    /// [`Refused::Replayed`].
    pub fn check(&self, channel: ChannelId, header: &Header) -> Result<(), Refused> {
        let known = self.highest.get(&(header.issuer.clone(), channel));
        let replayed = known.map_or(header.at <= self.floor, |known| header.sequence <= known.sequence);
        if replayed { Err(Refused::Replayed) } else { Ok(()) }
    }

    /// Takes a record that is authentic and fresh at `now`.
    ///
    /// # Errors
    /// [`Refused::Replayed`].
    pub fn take(&mut self, channel: ChannelId, header: &Header, now: UnixMs) -> Result<Taken, Refused> {
        self.check(channel, header)?;
        let source = (header.issuer.clone(), channel);
        if let Some(known) = self.highest.get_mut(&source) {
            let lost = header.sequence - known.sequence - 1;
            *known = Highest { sequence: header.sequence, at: known.at.max(header.at) };
            return Ok(Taken { lost });
        }
        if self.highest.len() >= self.bound {
            self.make_room(now);
        }
        self.highest.insert(source, Highest { sequence: header.sequence, at: header.at });
        Ok(Taken { lost: 0 })
    }

    /// Forgets what no replay can hurt, and if that is not enough the oldest sixteenth, which raises the floor.
    fn make_room(&mut self, now: UnixMs) {
        self.highest.retain(|_, known| known.at.after(FRESH) >= now);
        let wanted = self.bound - self.bound.div_ceil(16);
        if self.highest.len() <= wanted {
            return;
        }
        let mut times: Vec<UnixMs> = self.highest.values().map(|known| known.at).collect();
        let excess = times.len() - wanted;
        let (_, newest_to_go, _) = times.select_nth_unstable(excess - 1);
        let floor = *newest_to_go;
        self.highest.retain(|_, known| known.at > floor);
        self.floor = self.floor.max(floor);
    }

    /// How many issuers times channels are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.highest.len()
    }

    /// Nothing was taken lately.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.highest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{NodeEpoch, NodeId};

    fn header(life: u128, sequence: u64, at: u64) -> Header {
        let issuer = Issuer { node: NodeId::parse("gw").unwrap(), epoch: NodeEpoch(life) };
        Header { issuer, sequence, at: UnixMs(at) }
    }

    fn take(guard: &mut ReplayGuard, channel: ChannelId, life: u128, sequence: u64) -> Result<u64, Refused> {
        guard.take(channel, &header(life, sequence, 1_000), UnixMs(1_000)).map(|taken| taken.lost)
    }

    #[test]
    fn lower_is_a_replay_and_a_jump_is_a_loss() {
        let mut guard = ReplayGuard::new(8);
        assert_eq!(take(&mut guard, 1, 1, 5), Ok(0), "the first that is seen");
        assert_eq!(take(&mut guard, 1, 1, 6), Ok(0));
        assert_eq!(take(&mut guard, 1, 1, 6), Err(Refused::Replayed));
        assert_eq!(take(&mut guard, 1, 1, 1), Err(Refused::Replayed));
        assert_eq!(take(&mut guard, 1, 1, 10), Ok(3));
        assert_eq!(take(&mut guard, 1, 1, u64::MAX), Ok(u64::MAX - 11));
        assert_eq!(take(&mut guard, 1, 1, u64::MAX), Err(Refused::Replayed));
    }

    #[test]
    fn channels_and_lives_of_a_node_do_not_mix() {
        let mut guard = ReplayGuard::new(8);
        assert_eq!(take(&mut guard, 1, 1, 5), Ok(0));
        assert_eq!(take(&mut guard, 2, 1, 1), Ok(0));
        assert_eq!(take(&mut guard, 1, 2, 1), Ok(0));
        assert_eq!(take(&mut guard, 1, 1, 5), Err(Refused::Replayed));
    }

    #[test]
    fn checking_changes_nothing() {
        let guard = ReplayGuard::new(8);
        assert_eq!(guard.check(1, &header(1, 1, 1)), Ok(()));
        assert!(guard.is_empty());
    }

    #[test]
    fn a_full_table_forgets_what_is_stale_first_and_refuses_nobody_for_it() {
        let mut guard = ReplayGuard::new(4);
        for life in 0..4 {
            guard.take(1, &header(life, 1, 1_000), UnixMs(1_000)).unwrap();
        }
        assert!(guard.take(1, &header(9, 1, 31_500), UnixMs(31_500)).is_ok());
        assert_eq!(guard.len(), 1);
        assert!(guard.check(1, &header(10, 1, 2)).is_ok(), "no floor was needed");
    }

    #[test]
    fn a_full_table_of_fresh_entries_refuses_replays_of_those_it_forgot() {
        let mut guard = ReplayGuard::new(4);
        for life in 0..1_000_u64 {
            guard.take(1, &header(u128::from(life), 1, 2_000 + life), UnixMs(3_000)).unwrap();
            assert!(guard.len() <= 4);
        }
        for life in 0..1_000_u64 {
            let again = guard.check(1, &header(u128::from(life), 1, 2_000 + life));
            assert_eq!(again, Err(Refused::Replayed), "{life}");
        }
        assert!(guard.check(1, &header(5_000, 1, 3_000)).is_ok(), "newer than all that was forgotten");
    }

    proptest! {
        #[test]
        fn nothing_fresh_is_ever_taken_twice(
            steps in proptest::collection::vec((0..6_u128, 0..3_u64, 1..20_u64, 0..60_000_u64), 1..300)
        ) {
            let mut guard = ReplayGuard::new(3);
            let mut taken = std::collections::HashSet::new();
            let mut now = 100_000;
            for (life, channel, sequence, drift) in steps {
                now += drift / 60;
                // an issuer's clock may be wrong by up to 30 s, but a record has one time for ever
                let header = header(life, sequence, 70_000 + sequence * 1_000 + u64::try_from(life).unwrap());
                if super::super::record::fresh(header.at, UnixMs(now)).is_err() {
                    continue;
                }
                if guard.take(channel, &header, UnixMs(now)).is_ok() {
                    prop_assert!(taken.insert((life, channel, sequence)), "{life} {channel} {sequence}");
                }
            }
        }
    }
}
