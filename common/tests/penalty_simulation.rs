//! A seeded simulation of one account over several nodes: random evidence, pauses, reconnects and clocks that step back,
//! against what must always be true; and the same against accounts that are wrong on purpose. A failure names its seed.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, reason = "test code")]

use std::time::Duration;

use portcullis_common::clock::UnixMs;
use portcullis_common::penalty::{Account, Ladder, Step};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SCHEDULES: u64 = 20_000;
const STEPS: usize = 60;
const NODES: usize = 3;

fn ladder() -> Ladder {
    Ladder {
        half_life: Duration::from_secs(600),
        restrict: 100.0,
        disconnect: 300.0,
        ban: 1e9,
        first: Duration::from_secs(20),
        longest: Duration::from_secs(3_000),
        memory: Duration::from_secs(5_000),
    }
}

/// How an account can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    DecaySkipped,
    DecayTwice,
    ResetByReconnect,
    StrikesResetByReconnect,
    ForgivenWhenLetIn,
    StrikesNeverForgotten,
    StrikesForgottenAtOnce,
    MovedByEvidence,
    ShortenedByTheNextStep,
    DelayNotDoubled,
    DelayUnbounded,
    LetInEarly,
    EvidenceTwice,
    EachNodeByItself,
    ClockBackIsEvidence,
}

impl Fault {
    const ALL: [Self; 15] = [
        Self::DecaySkipped,
        Self::DecayTwice,
        Self::ResetByReconnect,
        Self::StrikesResetByReconnect,
        Self::ForgivenWhenLetIn,
        Self::StrikesNeverForgotten,
        Self::StrikesForgottenAtOnce,
        Self::MovedByEvidence,
        Self::ShortenedByTheNextStep,
        Self::DelayNotDoubled,
        Self::DelayUnbounded,
        Self::LetInEarly,
        Self::EvidenceTwice,
        Self::EachNodeByItself,
        Self::ClockBackIsEvidence,
    ];
}

/// The account of all nodes, with a fault or without.
struct Subject {
    accounts: [Account; NODES],
    fault: Option<Fault>,
}

impl Subject {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn account(&mut self, node: usize) -> &mut Account {
        let node = if self.has(Fault::EachNodeByItself) { node } else { 0 };
        &mut self.accounts[node]
    }

    fn ladder(&self) -> Ladder {
        let mut ladder = ladder();
        match self.fault {
            Some(Fault::DecayTwice) => ladder.half_life /= 2,
            Some(Fault::StrikesNeverForgotten) => ladder.memory *= 1_000_000,
            Some(Fault::DelayUnbounded) => ladder.longest *= 1_000,
            _ => {}
        }
        ladder
    }

    fn charge(&mut self, node: usize, weight: f64, now: UnixMs) -> Step {
        let (fault, ladder) = (self.fault, self.ladder());
        let account = self.account(node);
        let before = *account;
        match fault {
            Some(Fault::DecaySkipped) => account.at = now,
            Some(Fault::ForgivenWhenLetIn) if account.step != Step::None && account.kept_out(now).is_none() => {
                account.points = 0.0;
            }
            Some(Fault::StrikesForgottenAtOnce) if account.strikes_at(&ladder, now) < account.strikes => {
                account.strikes = 0;
            }
            Some(Fault::DelayNotDoubled) => account.strikes = 0,
            Some(Fault::ClockBackIsEvidence) if now < account.at => account.points *= 2.0,
            _ => {}
        }
        let weight = if fault == Some(Fault::EvidenceTwice) { weight * 2.0 } else { weight };
        let step = account.charge(&ladder, weight, now);
        match fault {
            Some(Fault::MovedByEvidence) if account.kept_out(now).is_some() && step == Step::None => {
                account.until = account.until.after(Duration::from_secs(1));
            }
            Some(Fault::ShortenedByTheNextStep) if before.kept_out(now).is_some() && step != Step::None => {
                account.until = now.after(ladder.first);
            }
            _ => {}
        }
        step
    }

    fn reconnect(&mut self, node: usize) {
        let fault = self.fault;
        let account = self.account(node);
        match fault {
            Some(Fault::ResetByReconnect) => *account = Account::default(),
            Some(Fault::StrikesResetByReconnect) => account.strikes = 0,
            _ => {}
        }
    }

    fn kept_out(&mut self, node: usize, now: UnixMs) -> Option<UnixMs> {
        let early = if self.has(Fault::LetInEarly) { Duration::from_secs(1) } else { Duration::ZERO };
        self.account(node).kept_out(now.after(early))
    }
}

/// What is true, from the whole history.
#[derive(Default)]
struct Truth {
    evidence: Vec<(f64, UnixMs)>,
    strikes: u32,
    forget_at: Option<UnixMs>,
    until: UnixMs,
    step: Step,
}

impl Truth {
    fn points(&self, now: UnixMs) -> f64 {
        let half_life = ladder().half_life.as_millis() as f64;
        let left = |(weight, at): &(f64, UnixMs)| weight * (-(now.0.saturating_sub(at.0) as f64) / half_life).exp2();
        self.evidence.iter().map(left).sum()
    }

    fn forget(&mut self, now: UnixMs) {
        while let Some(at) = self.forget_at.filter(|at| self.strikes > 0 && *at <= now) {
            self.strikes -= 1;
            self.forget_at = Some(at.after(ladder().memory));
        }
    }

    fn charge(&mut self, weight: f64, now: UnixMs) -> Step {
        let l = ladder();
        self.evidence.push((weight, now));
        self.forget(now);
        if now >= self.until {
            self.step = Step::None;
        }
        let points = self.points(now);
        let worth = match points {
            p if p >= l.disconnect => Step::Disconnect,
            p if p >= l.restrict => Step::Restrict,
            _ => Step::None,
        };
        if worth <= self.step {
            return Step::None;
        }
        self.step = worth;
        self.strikes += 1;
        let delay = 20_000.0 * 2f64.powi(self.strikes as i32 - 1);
        let calm = 600_000.0 * (points / 50.0).log2();
        let keeps = delay.max(calm.ceil()).min(3_000_000.0) as u64;
        self.until = self.until.max(UnixMs(now.0 + keeps));
        self.forget_at = Some(self.until.after(l.memory));
        worth
    }
}

fn one(seed: u64, fault: Option<Fault>) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut subject = Subject { accounts: [Account::default(); NODES], fault };
    let (mut truth, mut now) = (Truth::default(), UnixMs(1_800_000_000_000));
    for n in 0..STEPS {
        let node = rng.random_range(0..NODES);
        let failed = |what: String| Err(format!("seed {seed}, step {n}: {what}"));
        match rng.random_range(0..10) {
            0..5 => {
                let weight = [0.5, 5.0, 20.0, 60.0, 120.0, 350.0][rng.random_range(0..6)];
                let (told, expected) = (subject.charge(node, weight, now), truth.charge(weight, now));
                if told != expected {
                    return failed(format!("step {told:?}, not {expected:?}"));
                }
            }
            5 => now = now.after(Duration::from_millis(rng.random_range(1..50))),
            6 => now = now.after(Duration::from_millis(rng.random_range(1..120_000))),
            7 => now = now.after(Duration::from_secs(rng.random_range(1..8_000))),
            // to the very moment at which it is let in, or a millisecond before
            8 if truth.until > now => now = UnixMs(truth.until.0 - rng.random_range(0..2)),
            _ => subject.reconnect(node),
        }
        let expected = (now < truth.until).then_some(truth.until);
        let told = subject.kept_out(node, now);
        if told.map(|t| t.0 / 2) != expected.map(|t| t.0 / 2)
            && told.zip(expected).is_none_or(|(a, b)| a.0.abs_diff(b.0) > 1)
        {
            return failed(format!("kept out until {told:?}, not {expected:?}"));
        }
        let ladder = subject.ladder();
        let points = subject.account(node).points_at(&ladder, now);
        if (points - truth.points(now)).abs() > 1e-6 * points.max(1.0) {
            return failed(format!("{points} points, not {}", truth.points(now)));
        }
    }
    Ok(())
}

#[test]
fn no_schedule_breaks_an_account() {
    (0..SCHEDULES).for_each(|seed| one(seed, None).unwrap_or_else(|why| panic!("{why}")));
}

#[test]
fn every_mutant_is_caught() {
    for fault in Fault::ALL.into_iter().filter(|fault| *fault != Fault::ClockBackIsEvidence) {
        match (0..500).find_map(|seed| one(seed, Some(fault)).err()) {
            Some(why) => println!("{fault:?}: {why}"),
            None => panic!("{fault:?} was not caught"),
        }
    }
    // the truth above knows no clock that steps back
    let back = |fault| {
        let mut subject = Subject { accounts: [Account::default(); NODES], fault };
        subject.charge(0, 60.0, UnixMs(10_000_000));
        subject.charge(0, 0.5, UnixMs(9_000_000))
    };
    assert_eq!((back(None), back(Some(Fault::ClockBackIsEvidence))), (Step::None, Step::Restrict));
}
