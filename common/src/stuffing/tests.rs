use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::detector::Detector;
use super::tally::{Claimed, Tally};
use super::verdict::Why;
use super::*;
use crate::clock::{Mono, UnixMs};
use crate::config::model::{Config, Rate, Stuffing};
use crate::config::secret::Secret;

mod tally;

fn rules() -> Stuffing {
    Config::dev(Secret::new(vec![7; 32]), 0, 0).unwrap().stuffing
}

fn ip(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    Ipv4Addr::new(a, b, c, d).into()
}

/// A wrong token of this account, of the family that most forgers use.
fn forged(account: u64) -> Option<Claimed> {
    Some(Claimed { account: Mark(account), family: Mark(1) })
}

/// What is broken about the world, to see that somebody notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutant {
    None,
    /// Nodes do not say who got in.
    UsersForgotten,
    /// Nothing ever leaves the window.
    NothingFades,
    /// A node's reports are judged without those of the others.
    NodesApart,
    /// Doors stay shut.
    NeverOpened,
    /// One who was shut out is not known again.
    StrikesForgotten,
    /// Nodes say who got in only of addresses from which they refused somebody.
    GoodNotTold,
}

/// Nodes, their leader, and the addresses whose doors are shut.
struct World {
    rng: StdRng,
    mutant: Mutant,
    tallies: Vec<Tally>,
    detectors: Vec<Detector>,
    doors: Vec<(ipnet::IpNet, u64)>,
    why: BTreeMap<IpAddr, Why>,
    /// Refused before anything was checked, and checked, by group.
    shut: BTreeMap<&'static str, u32>,
    checked: BTreeMap<&'static str, u32>,
    now: u64,
}

const START: u64 = 1_800_000_000_000;

impl World {
    fn new(seed: u64, rules: &Stuffing, mutant: Mutant) -> Self {
        let leaders = if mutant == Mutant::NodesApart { 3 } else { 1 };
        Self {
            rng: StdRng::seed_from_u64(seed),
            mutant,
            tallies: (0..3).map(|_| Tally::default()).collect(),
            detectors: (0..leaders).map(|_| Detector::new(rules.clone())).collect(),
            doors: Vec::new(),
            why: BTreeMap::new(),
            shut: BTreeMap::new(),
            checked: BTreeMap::new(),
            now: START,
        }
    }

    fn is_shut(&self, from: IpAddr) -> bool {
        let kept = |until: u64| until > self.now || self.mutant == Mutant::NeverOpened;
        self.doors.iter().any(|(network, until)| kept(*until) && network.contains(&from))
    }

    /// Somebody knocks at any node; whether it was let in, or at least looked at.
    fn knock(&mut self, group: &'static str, from: IpAddr, user: Result<u64, Option<Claimed>>) -> bool {
        if self.is_shut(from) {
            *self.shut.entry(group).or_default() += 1;
            return false;
        }
        *self.checked.entry(group).or_default() += 1;
        let node = self.rng.random_range(0..3);
        match user {
            Ok(user) => self.tallies[node].got_in(from, Mark(user), Mono(self.now - START)),
            Err(claimed) => self.tallies[node].refused(from, claimed),
        }
        true
    }

    /// A second goes by: nodes report, some of it late, the leader judges.
    fn second(&mut self) {
        self.now += 1_000;
        for node in 0..3 {
            let Some(mut report) = self.tallies[node].take() else { continue };
            if self.rng.random_bool(0.1) {
                // the store did not take it
                self.tallies[node].give_back(report);
                continue;
            }
            for seen in &mut report.seen {
                if self.mutant == Mutant::UsersForgotten {
                    seen.users.clear();
                }
            }
            if self.mutant == Mutant::GoodNotTold {
                report.seen.retain(|seen| seen.refused > 0);
            }
            let read = Report::read(&report.write()).unwrap();
            let at = if self.mutant == Mutant::NothingFades { START } else { self.now };
            let leader = if self.detectors.len() > 1 { node } else { 0 };
            self.detectors[leader].take(&read, UnixMs(at));
        }
        let at = if self.mutant == Mutant::NothingFades { START } else { self.now };
        for detector in &mut self.detectors {
            for decision in detector.judge(UnixMs(at)).decisions {
                let keep = decision.until.0 - at;
                let keep = if self.mutant == Mutant::StrikesForgotten { keep.min(300_000) } else { keep };
                self.doors.push((decision.network, self.now + keep));
                self.why.insert(decision.network.addr(), decision.why);
            }
        }
    }

    /// How much of a group's knocking was shut out since the numbers were cleared.
    fn part_shut(&self, group: &str) -> f64 {
        let (shut, checked) = (self.shut.get(group).copied(), self.checked.get(group).copied());
        let (shut, checked) = (shut.unwrap_or_default(), checked.unwrap_or_default());
        f64::from(shut) / f64::from((shut + checked).max(1))
    }
}

/// 200 addresses try 2,000 accounts, while others get in: from addresses of their own, from offices whose people mistype,
/// from the very networks that attackers are in. What was wrong with it.
fn stuffing(seed: u64, mutant: Mutant) -> Vec<String> {
    let mut world = World::new(seed, &rules(), mutant);
    let mut wrong = Vec::new();
    let attackers: Vec<IpAddr> = (0..200_u32)
        .map(|n| ip(198, 18 + u8::try_from(n % 4).unwrap(), u8::try_from(n / 4).unwrap(), world.rng.random()))
        .collect();
    let home = |n: u64| ip(203, 0, u8::try_from(n / 250).unwrap(), u8::try_from(n % 250).unwrap());
    let office = |n: u64| ip(192, 0, 2, u8::try_from(n % 4).unwrap());
    let mut tried = 0_u64;
    for second in 0..60 {
        for (n, from) in attackers.iter().enumerate() {
            // ten accounts each; the same that people at home have
            let account = 10_000 + (n as u64) * 10 + world.rng.random_range(0..10);
            tried += u64::from(world.knock("attackers", *from, Err(forged(account))));
        }
        for n in 0..8 {
            let user = second * 8 + n;
            world.knock("homes", home(user), Ok(10_000 + user));
            world.knock("offices", office(user), Ok(50_000 + user));
            if n == 0 {
                world.knock("mistypes", office(user), Err(forged(50_000 + user)));
            }
        }
        // one who lives beside an attacker
        world.knock("neighbours", ip(198, 18, 3, 255), Ok(77));
        world.second();
        if second == 10 {
            if world.part_shut("attackers") > 0.9 && tried < 200 {
                wrong.push("they were shut out before they did anything".to_owned());
            }
            world.shut.remove("attackers");
            world.checked.remove("attackers");
        }
    }
    for good in ["homes", "offices", "neighbours", "mistypes"] {
        if world.part_shut(good) > 0.0 {
            wrong.push(format!("{good}: {} shut out", world.part_shut(good)));
        }
    }
    if world.part_shut("attackers") < 0.99 {
        wrong.push(format!("attackers: {} shut out", world.part_shut("attackers")));
    }
    wrong
}

/// An hour and a half of what is no attack, of what is a slow one, and of one that goes on and on. What was wrong with it.
fn long(seed: u64, mutant: Mutant) -> Vec<String> {
    let mut world = World::new(seed, &rules(), mutant);
    let mut wrong = Vec::new();
    let (office, scanner, stubborn, slow) =
        (ip(192, 0, 2, 1), ip(198, 51, 100, 9), ip(198, 51, 100, 77), ip(8, 8, 8, 8));
    let clumsy = |n: u64| ip(203, 0, 113, u8::try_from(n % 200).unwrap());
    let mut stubborn_checked = Vec::new();
    for second in 0..5_400_u64 {
        if second % 15 == 0 {
            world.knock("office", office, Ok(second % 400));
        }
        if second % 20 == 7 {
            world.knock("office", office, Err(forged(world.now % 400)));
        }
        // an account a minute: not what this is about
        if second % 60 == 0 {
            world.knock("slow", slow, Err(forged(1_000 + second)));
        }
        // a device with a token that is wrong, again and again, and its neighbours
        if second % 7 == 0 {
            world.knock("device", clumsy(3), Err(forged(3)));
        }
        if second % 40 == 0 {
            world.knock("clumsy", clumsy(second), Err(forged(second % 200)));
        }
        for _ in 0..5 {
            world.knock("scanner", scanner, Err(None));
        }
        let account = world.rng.random();
        if world.knock("stubborn", stubborn, Err(forged(account))) {
            stubborn_checked.push(second);
        }
        world.second();
    }
    for good in ["office", "slow", "device", "clumsy"] {
        if world.part_shut(good) > 0.0 {
            wrong.push(format!("{good}: {} shut out", world.part_shut(good)));
        }
    }
    if world.why.get(&scanner) != Some(&Why::Scanning) || world.part_shut("scanner") < 0.9 {
        wrong.push(format!("the scanner: {} {:?}", world.part_shut("scanner"), world.why.get(&scanner)));
    }
    // each time it is let in again it is caught sooner, and stays out for twice as long
    let times = stubborn_checked.windows(2).filter(|pair| pair[1] - pair[0] > 100).map(|pair| pair[1] - pair[0]);
    let times: Vec<u64> = times.collect();
    if times.len() < 3 || times.windows(2).any(|pair| pair[1] < pair[0] * 18 / 10) || stubborn_checked.len() > 60 {
        wrong.push(format!("the stubborn one was out for {times:?}, checked {}", stubborn_checked.len()));
    }
    wrong
}

/// Several seeds; any fault counts.
fn faults(run: fn(u64, Mutant) -> Vec<String>, seeds: std::ops::Range<u64>, mutant: Mutant) -> Vec<String> {
    let all = seeds.map(|seed| run(seed, mutant).into_iter().map(|wrong| format!("seed {seed}: {wrong}")).collect());
    all.collect::<Vec<Vec<_>>>().concat()
}

#[test]
fn stuffing_from_200_addresses_is_shut_out_and_nobody_else_is() {
    assert_eq!(faults(stuffing, 0..20, Mutant::None), [] as [String; 0]);
}

#[test]
fn offices_clumsy_people_and_slow_tries_stay_and_whoever_goes_on_and_on_stays_out_longer() {
    assert_eq!(faults(long, 0..3, Mutant::None), [] as [String; 0]);
}

#[test]
fn what_is_broken_about_it_is_noticed() {
    for mutant in [
        Mutant::UsersForgotten,
        Mutant::NothingFades,
        Mutant::NodesApart,
        Mutant::NeverOpened,
        Mutant::StrikesForgotten,
        Mutant::GoodNotTold,
    ] {
        let found = [faults(stuffing, 0..2, mutant), faults(long, 0..1, mutant), neighbourhood(mutant)].concat();
        assert!(!found.is_empty(), "nobody noticed {mutant:?}");
    }
}

/// Thirty addresses of one /24 try little each; one /24 like it has somebody who gets in.
fn neighbourhood(mutant: Mutant) -> Vec<String> {
    let mut world = World::new(1, &rules(), mutant);
    world.knock("good", ip(203, 0, 113, 200), Ok(1));
    for n in 0..90_u64 {
        let last = u8::try_from(n % 30).unwrap();
        // families of their own: this is not about them
        let claimed = |account| Some(Claimed { account: Mark(account), family: Mark(account) });
        world.knock("bad", ip(198, 51, 100, last), Err(claimed(n)));
        world.knock("good", ip(203, 0, 113, last), Err(claimed(1_000 + n)));
        world.second();
    }
    let mut wrong = Vec::new();
    if world.why.get(&ip(198, 51, 100, 0)) != Some(&Why::Network) {
        wrong.push(format!("{:?}", world.why));
    }
    if world.part_shut("good") > 0.0 {
        wrong.push("people were shut out for their neighbours".to_owned());
    }
    wrong
}

#[test]
fn a_network_from_which_nobody_gets_in_is_shut_as_a_whole() {
    assert_eq!(neighbourhood(Mutant::None), [] as [String; 0]);
}

fn seen(from: IpAddr, accounts: std::ops::Range<u64>) -> Report {
    let accounts: Vec<Mark> = accounts.map(Mark).collect();
    let refused = u32::try_from(accounts.len()).unwrap();
    let families = vec![Mark(1)];
    let seen = Seen { from, refused, accounts, families, users: Vec::new() };
    Report { seen: vec![seen], left_out: 0 }
}

#[test]
fn what_is_never_shut_is_spared_and_beyond_the_budget_is_said_and_judged_again() {
    let budget = Rate { count: 2, period: Duration::from_secs(60) };
    let mut detector = Detector::new(Stuffing { never: vec!["10.0.0.0/8".parse().unwrap()], budget, ..rules() });
    let now = UnixMs(START);
    (0..5).for_each(|n| detector.take(&seen(ip(192, 0, n, 1), 0..20), now));
    detector.take(&seen(ip(10, 0, 0, 1), 0..20), now);
    let judged = detector.judge(now);
    assert_eq!((judged.decisions.len(), judged.withheld, judged.spared), (2, 3, 1));
    assert_eq!(detector.judge(now).decisions, []);
    let later = now.after(Duration::from_secs(60));
    (0..5).for_each(|n| detector.take(&seen(ip(192, 0, n, 1), 20..21), later));
    let judged = detector.judge(later);
    let out: BTreeSet<String> = judged.decisions.iter().map(|decision| decision.network.to_string()).collect();
    assert_eq!((out.len(), judged.withheld), (2, 1), "{out:?}");
}

#[test]
fn a_decision_that_did_not_arrive_is_made_again_and_is_no_further_strike() {
    let mut detector = Detector::new(rules());
    let (from, now) = (ip(192, 0, 2, 1), UnixMs(START));
    detector.take(&seen(from, 0..8), now);
    let first = detector.judge(now).decisions.remove(0);
    assert_eq!((first.why, first.until), (Why::Stuffing, now.after(rules().keep_out)));
    assert!(first.reason().contains("8 accounts"), "{}", first.reason());
    detector.take(&seen(from, 8..30), now.after(Duration::from_secs(2)));
    assert_eq!(detector.judge(now.after(Duration::from_secs(2))).decisions, [], "it was under way");
    let later = now.after(Duration::from_secs(6));
    detector.take(&seen(from, 30..34), later);
    let again = detector.judge(later).decisions;
    assert_eq!((again.len(), again[0].until), (1, later.after(rules().keep_out)));
}

#[test]
fn a_leader_that_comes_later_knows_the_doors_by_the_log_and_a_pardon_is_a_beginning() {
    let (from, now, hour) = (ip(192, 0, 2, 1), UnixMs(START), Duration::from_secs(3_600));
    let network: ipnet::IpNet = "192.0.2.1/32".parse().unwrap();
    let mut detector = Detector::new(rules());
    let shut = now.after(Duration::from_secs(1));
    detector.is_shut(network, shut, shut.after(hour));
    // what led to it is read behind it
    detector.take(&seen(from, 0..20), now);
    assert_eq!(detector.judge(shut).decisions, []);
    let let_in = shut.after(hour);
    detector.take(&seen(from, 0..3), let_in);
    assert_eq!(detector.judge(let_in).decisions, []);
    detector.take(&seen(from, 3..4), let_in);
    let again = detector.judge(let_in).decisions.remove(0);
    assert_eq!(again.until, let_in.after(rules().keep_out * 2), "the second strike");
    detector.pardon(network);
    let later = let_in.after(Duration::from_secs(9));
    detector.take(&seen(from, 4..11), later);
    assert_eq!(detector.judge(later).decisions, [], "as one of whom nothing is known");
}

#[test]
fn one_account_under_siege_costs_the_besiegers_and_not_its_owner() {
    let mut world = World::new(3, &rules(), Mutant::None);
    for second in 0..40 {
        for n in 0..30 {
            // families of their own, three accounts of which one is everybody's
            let account = if second % 3 == 0 { 7 } else { 1_000 + u64::from(n) * 2 + second % 3 };
            let claimed = Claimed { account: Mark(account), family: Mark(100 + u64::from(n)) };
            world.knock("besiegers", ip(198, n, 1, 1), Err(Some(claimed)));
        }
        world.knock("owner", ip(203, 0, 113, 1), Ok(7));
        world.second();
    }
    assert!(world.why.values().all(|why| *why == Why::Siege) && world.why.len() == 30, "{:?}", world.why);
    assert!(world.part_shut("owner") == 0.0 && world.part_shut("besiegers") > 0.8);
}

#[test]
fn a_v6_network_is_one_address() {
    let mut tally = Tally::default();
    for n in 0..8_u64 {
        tally.refused(format!("2001:db8:1:2:{n}::1").parse().unwrap(), forged(n));
    }
    let mut detector = Detector::new(rules());
    detector.take(&tally.take().unwrap(), UnixMs(START));
    let decisions = detector.judge(UnixMs(START)).decisions;
    assert_eq!(decisions.iter().map(|d| d.network.to_string()).collect::<Vec<_>>(), ["2001:db8:1:2::/64"]);
}

#[test]
fn a_detector_forgets_whom_it_has_not_heard_of_for_the_longest() {
    let mut detector = Detector::new(rules());
    for n in 0..40_000_u32 {
        detector.take(&seen(Ipv4Addr::from_bits(n << 8).into(), 0..1), UnixMs(START + u64::from(n)));
        assert!(detector.known() <= detector::SOURCES);
    }
    assert!(detector.known() > detector::SOURCES / 2);
}

proptest! {
    #[test]
    fn a_report_reads_back_and_noise_is_none(noise in proptest::collection::vec(any::<u8>(), 0..300), n in 0..40_u64) {
        let mut report = seen("2001:db8::".parse().unwrap(), 0..n);
        report.seen.extend(seen(ip(1, 2, 3, 4), 3..5).seen);
        report.seen[1].users = vec![Mark(u64::MAX)];
        report.left_out = 9;
        let written = report.write();
        prop_assert_eq!(Report::read(&written), Some(report));
        for length in 0..written.len() {
            let cut = Report::read(&written[..length]);
            prop_assert!(cut.is_none_or(|cut| cut.write() == written[..length]));
        }
        if let Some(read) = Report::read(&noise) {
            prop_assert_eq!(read.write(), noise);
        }
    }
}
