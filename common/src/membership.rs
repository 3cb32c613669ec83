//! Which lives of which nodes belong to the fleet, and which are over: plain state, told what each poll of the leases
//! answered.
//!
//! A life is gone when it was absent from every poll over [`PROOF`], at least [`POLLS`] of them in a row, each of which
//! the store answered. Absences count from when the lease that was seen last would have run out: a store that forgets
//! leases, or goes back behind them, ends nobody's right to act in their name. A store that pauses lets leases run out that
//! nobody could renew; so after a silence that may have cost a lease, absences count only from [`SETTLE`] on, when every
//! node that lives has had time for a new lease.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Mono;
use crate::ids::{NodeEpoch, NodeId};
use crate::store::lease::Member;

/// How long a life has to be absent.
pub const PROOF: Duration = Duration::from_secs(3);
/// In how many answered polls in a row at least.
pub const POLLS: u32 = 3;
/// A longer silence of the store may have cost a lease that was renewed in time: half of what one lasts.
pub const SILENCE: Duration = Duration::from_secs(5);
/// How long nodes have to take a new lease after such a silence. They try every second.
pub const SETTLE: Duration = Duration::from_secs(5);
/// How long a life has to be absent while a later life of its node is there, whose sessions may still be taking over
/// the slots that they hold in the name of the earlier one.
pub const SUCCESSION: Duration = Duration::from_secs(10);
/// Lives that are watched for their absence; further ones are not, until others are buried.
const WATCHED: usize = 8_192;

/// One life of a node.
pub type Life = (NodeId, NodeEpoch);

/// What is known of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Its lease runs.
    Joined,
    /// Its lease does not run; that may be the store's fault.
    Suspect,
    /// It is over: what it left behind is nobody's.
    Gone,
}

/// A life became something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub life: Life,
    /// What it is now.
    pub now: Standing,
}

struct Absence {
    /// When its lease would have run out, as it was seen last.
    ends: Mono,
    since: Mono,
    /// Answered polls in a row without it, since `since`.
    polls: u32,
    gone: bool,
}

impl Absence {
    fn new(ends: Mono, since: Mono) -> Self {
        Self { ends, since: since.max(ends), polls: 0, gone: false }
    }
}

/// The view of one observer. Nothing in it is shared; a poll costs O(lives).
#[derive(Default)]
pub struct Membership {
    alive: BTreeMap<Life, Duration>,
    absent: BTreeMap<Life, Absence>,
    /// When the store last answered.
    answered: Option<Mono>,
    /// Absences count from here on.
    settled: Mono,
    /// A poll was not answered since the last one that was.
    broken: bool,
}

impl Membership {
    /// A poll that was sent at `sent` was answered by `now`: `members` hold a lease, and `lapsed` are remembered without
    /// one. What changed, by life.
    pub fn answered(&mut self, members: &[Member], lapsed: &[Life], sent: Mono, now: Mono) -> Vec<Change> {
        let silent = self.answered.is_none_or(|last| now.since(last) > SILENCE);
        if silent {
            self.settled = now.after(SETTLE);
        }
        let mut changes = Vec::new();
        if silent || self.broken {
            self.forget_proofs(now, &mut changes);
        }
        self.broken = false;
        let seen = self.answered.replace(now).unwrap_or(now);
        let alive: BTreeMap<Life, Duration> =
            members.iter().map(|m| ((m.node.clone(), m.epoch), m.remaining)).collect();
        let before = std::mem::replace(&mut self.alive, alive);
        for life in self.alive.keys().filter(|life| !before.contains_key(life)) {
            self.absent.remove(life);
            changes.push(Change { life: life.clone(), now: Standing::Joined });
        }
        let before = before.into_iter().map(|(life, left)| (life, seen.after(left)));
        for (life, ends) in before.chain(lapsed.iter().map(|life| (life.clone(), Mono(0)))) {
            if !self.alive.contains_key(&life) && !self.absent.contains_key(&life) && self.absent.len() < WATCHED {
                changes.push(Change { life: life.clone(), now: Standing::Suspect });
                self.absent.insert(life, Absence::new(ends, now.max(self.settled)));
            }
        }
        self.judge(sent, now, &mut changes);
        changes
    }

    /// A poll was not answered: absences that are not proved yet have to be proved from the beginning.
    pub fn unanswered(&mut self) {
        self.broken = true;
    }

    fn forget_proofs(&mut self, now: Mono, changes: &mut Vec<Change>) {
        let since = now.max(self.settled);
        for (life, absence) in &mut self.absent {
            if absence.gone {
                changes.push(Change { life: life.clone(), now: Standing::Suspect });
            }
            *absence = Absence::new(absence.ends, since);
        }
    }

    /// Counts a poll for every life that is absent.
    fn judge(&mut self, sent: Mono, now: Mono, changes: &mut Vec<Change>) {
        let nodes: BTreeSet<&NodeId> = self.alive.keys().map(|(node, _)| node).collect();
        for (life, absence) in &mut self.absent {
            if absence.gone || now < absence.since {
                continue;
            }
            absence.polls = absence.polls.saturating_add(1);
            let long = if nodes.contains(&life.0) { SUCCESSION } else { PROOF };
            if absence.polls >= POLLS && sent.since(absence.since) >= long {
                absence.gone = true;
                changes.push(Change { life: life.clone(), now: Standing::Gone });
            }
        }
    }

    /// The lives that are over and may have left something behind, in no particular order of death.
    pub fn gone(&self) -> Vec<Life> {
        self.absent.iter().filter(|(_, absence)| absence.gone).map(|(life, _)| life.clone()).collect()
    }

    /// Nothing is left of a life that is gone.
    pub fn buried(&mut self, life: &Life) {
        self.absent.remove(life);
    }

    /// Every life that is known, with what is left of its lease as of the last answered poll.
    pub fn list(&self) -> Vec<(Life, Standing, Duration)> {
        let absent = self.absent.iter().map(|(life, absence)| {
            let standing = if absence.gone { Standing::Gone } else { Standing::Suspect };
            (life.clone(), standing, Duration::ZERO)
        });
        let alive = self.alive.iter().map(|(life, left)| (life.clone(), Standing::Joined, *left));
        alive.chain(absent).collect()
    }

    /// When the store last answered a poll.
    pub fn last_answer(&self) -> Option<Mono> {
        self.answered
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn life(name: &str, epoch: u128) -> Life {
        (NodeId::parse(name).unwrap(), NodeEpoch(epoch))
    }

    fn member(name: &str, epoch: u128) -> Member {
        let (node, epoch) = life(name, epoch);
        // it is over as soon as it is not seen any more
        Member { node, epoch, remaining: Duration::ZERO }
    }

    /// A view that is polled twice a second, long after its start.
    struct Polled {
        view: Membership,
        now: u64,
    }

    impl Polled {
        fn new(members: &[Member]) -> Self {
            let mut polled = Self { view: Membership::default(), now: 1_000_000 };
            polled.poll_for(6_000, members, &[]);
            polled
        }

        fn poll(&mut self, members: &[Member], lapsed: &[Life]) -> Vec<Change> {
            self.now += 500;
            self.view.answered(members, lapsed, Mono(self.now), Mono(self.now))
        }

        /// Polls for so many milliseconds; when, from the beginning, each life was found to be gone.
        fn poll_for(&mut self, ms: u64, members: &[Member], lapsed: &[Life]) -> Vec<(u64, Life)> {
            let began = self.now;
            let mut gone = Vec::new();
            while self.now < began + ms {
                let changes = self.poll(members, lapsed);
                let deaths = changes.into_iter().filter(|change| change.now == Standing::Gone);
                gone.extend(deaths.map(|change| (self.now - began, change.life)));
            }
            gone
        }
    }

    #[test]
    fn a_life_that_is_absent_from_every_answered_poll_over_three_seconds_is_gone() {
        let (a, b) = (member("a", 1), member("b", 1));
        let mut polled = Polled::new(&[a.clone(), b]);
        let gone = polled.poll_for(6_000, std::slice::from_ref(&a), &[]);
        assert_eq!(gone, [(3_500, life("b", 1))], "the first poll without it, and three seconds");
        assert_eq!(polled.view.gone(), [life("b", 1)]);
        polled.view.buried(&life("b", 1));
        assert!(polled.poll_for(6_000, &[a], &[]).is_empty(), "it is buried once");
    }

    #[test]
    fn a_lease_that_the_store_forgot_counts_up_to_its_end() {
        let forgotten = Member { remaining: Duration::from_secs(8), ..member("b", 1) };
        let mut polled = Polled::new(&[forgotten]);
        // half a second of it was over at the first poll without it
        assert_eq!(polled.poll_for(12_000, &[], &[life("b", 1)]), [(11_000, life("b", 1))]);
        // nor does a later life of the node, whose lease comes back with an old copy of the store, make it shorter
        let forgotten = Member { remaining: Duration::from_secs(8), ..member("b", 2) };
        let mut polled = Polled::new(&[forgotten]);
        polled.poll_for(5_500, &[member("b", 1)], &[]);
        assert!(polled.view.gone().is_empty());
        let over = polled.poll_for(6_000, &[], &[]).into_iter().map(|(at, life)| (at + 5_500, life));
        assert!(over.eq([(9_000, life("b", 1)), (11_000, life("b", 2))]));
    }

    #[test]
    fn it_is_suspect_before_and_listed_as_what_it_is() {
        let mut polled = Polled::new(&[member("a", 1), member("b", 1)]);
        let changes = polled.poll(&[member("a", 1)], &[]);
        assert_eq!(changes, [Change { life: life("b", 1), now: Standing::Suspect }]);
        let standings: Vec<_> = polled.view.list().into_iter().map(|(life, standing, _)| (life, standing)).collect();
        assert_eq!(standings, [(life("a", 1), Standing::Joined), (life("b", 1), Standing::Suspect)]);
    }

    #[test]
    fn a_poll_that_is_not_answered_makes_the_proof_begin_anew() {
        let mut polled = Polled::new(&[member("b", 1)]);
        polled.poll_for(3_000, &[], &[]);
        polled.view.unanswered();
        assert_eq!(polled.poll_for(5_000, &[], &[]), [(3_500, life("b", 1))]);
    }

    #[test]
    fn a_store_that_paused_for_longer_than_a_lease_proves_nobody_gone_until_all_had_time_to_come_back() {
        let mut polled = Polled::new(&[member("a", 1), member("b", 1)]);
        for _ in 0..30 {
            polled.now += 500;
            polled.view.unanswered();
        }
        // all leases have run out; the nodes come back with new lives, the slow one after four seconds
        assert!(polled.poll_for(4_000, &[member("a", 2)], &[life("b", 1)]).is_empty());
        let gone = polled.poll_for(12_000, &[member("a", 2), member("b", 2)], &[]);
        let lives: Vec<Life> = gone.into_iter().map(|(_, life)| life).collect();
        assert_eq!(lives, [life("a", 1), life("b", 1)], "the lives before are over all the same");
    }

    #[test]
    fn an_observer_that_was_stopped_itself_takes_nobody_for_gone_because_of_it() {
        let mut polled = Polled::new(&[member("a", 1), member("b", 1)]);
        polled.poll(&[member("a", 1)], &[]);
        polled.now += 60_000;
        assert_eq!(polled.poll_for(9_000, &[member("a", 1)], &[]), [(8_500, life("b", 1))], "settled first");
    }

    #[test]
    fn a_life_that_comes_back_begins_anew() {
        let mut polled = Polled::new(&[member("b", 1)]);
        polled.poll_for(3_000, &[], &[]);
        assert_eq!(polled.poll(&[member("b", 1)], &[]), [Change { life: life("b", 1), now: Standing::Joined }]);
        assert!(polled.poll_for(3_000, &[], &[]).is_empty());
    }

    #[test]
    fn a_later_life_of_the_node_gets_time_to_take_over_what_the_earlier_one_held() {
        let mut polled = Polled::new(&[member("b", 1)]);
        assert_eq!(polled.poll_for(12_000, &[member("b", 2)], &[]), [(10_500, life("b", 1))]);
    }

    #[test]
    fn a_life_that_ended_before_anybody_looked_is_found_by_what_the_store_remembers() {
        let mut polled = Polled::new(&[]);
        let lapsed = [life("dead", 1)];
        assert_eq!(polled.poll_for(4_000, &[], &lapsed), [(3_500, life("dead", 1))]);
    }

    #[test]
    fn at_its_bound_it_watches_no_further_lives_and_forgets_none() {
        let mut polled = Polled::new(&[]);
        let lapsed: Vec<Life> = (0..WATCHED as u128 + 10).map(|epoch| life("x", epoch)).collect();
        assert_eq!(polled.poll_for(4_000, &[], &lapsed).len(), WATCHED);
        assert_eq!(polled.view.list().len(), WATCHED);
    }

    /// One step of a schedule.
    #[derive(Debug, Clone)]
    enum Step {
        Answered {
            took: u64,
            there: [bool; 3],
        },
        Unanswered,
        /// The clock of the observer jumps; it did not look in between.
        Jump(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0u64..400, proptest::array::uniform3(prop::bool::weighted(0.3)))
                .prop_map(|(took, there)| Step::Answered { took, there }),
            1 => Just(Step::Unanswered),
            1 => (0u64..20_000).prop_map(Step::Jump),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        /// Whatever happens: who is gone was absent from every poll over three seconds, all of them answered, three of
        /// them at least, and no silence that may have cost a lease was among or shortly before them.
        #[test]
        fn nobody_is_gone_without_the_proof(steps in proptest::collection::vec(step(), 1..120)) {
            let mut view = Membership::default();
            let mut now = 5_000u64;
            // what happened: when a poll was sent and answered, and who was there; `None` where it was not answered
            let mut history: Vec<(u64, u64, Option<[bool; 3]>)> = Vec::new();
            for step in steps {
                now += 500;
                match step {
                    Step::Jump(by) => now += by,
                    Step::Unanswered => {
                        history.push((now, now, None));
                        view.unanswered();
                    }
                    Step::Answered { took, there } => {
                        let sent = now;
                        now += took;
                        history.push((sent, now, Some(there)));
                        let members: Vec<Member> =
                            (0..3u8).filter(|n| there[usize::from(*n)]).map(|n| member(&format!("n{n}"), 1)).collect();
                        for change in view.answered(&members, &[], Mono(sent), Mono(now)) {
                            if change.now == Standing::Gone {
                                let place = usize::from(change.life.0.as_str().as_bytes()[1] - b'0');
                                proved(&history, place)?;
                            }
                        }
                    }
                }
            }
        }

        /// In quiet times everybody who is away is found, in time.
        #[test]
        fn in_quiet_times_who_is_away_is_found(steps in proptest::collection::vec(step(), 0..40)) {
            let mut view = Membership::default();
            let mut now = 5_000u64;
            for step in steps {
                now += 500;
                match step {
                    Step::Jump(by) => now += by,
                    Step::Unanswered => view.unanswered(),
                    Step::Answered { .. } => {
                        view.answered(&[member("n0", 1)], &[], Mono(now), Mono(now));
                    }
                }
            }
            let until = now + 10_000;
            while now < until {
                now += 500;
                view.answered(&[], &[life("n0", 1)], Mono(now), Mono(now));
            }
            prop_assert_eq!(view.gone(), [life("n0", 1)]);
        }
    }

    fn proved(history: &[(u64, u64, Option<[bool; 3]>)], place: usize) -> Result<(), TestCaseError> {
        let run = history.iter().rev().take_while(|(_, _, there)| there.is_some_and(|there| !there[place]));
        let run: Vec<_> = run.collect();
        let (last, first) = (run.first().unwrap(), run.last().unwrap());
        prop_assert!(run.len() >= 3, "{} polls", run.len());
        prop_assert!(last.0 - first.1 >= 3_000, "{first:?} … {last:?}");
        // the last silence before the end
        let answers: Vec<_> = history.iter().filter(|(_, _, there)| there.is_some()).collect();
        let silence = answers.windows(2).rev().find(|pair| pair[1].1 - pair[0].1 > 5_000).map(|pair| pair[1].1);
        let silence = silence.unwrap_or(answers[0].1);
        prop_assert!(last.0 >= silence + 8_000, "{} after a silence", last.0 - silence);
        Ok(())
    }
}
