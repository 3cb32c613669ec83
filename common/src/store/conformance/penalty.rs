//! Penalties: the ladder over several nodes, and what is remembered.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Fixture, Step as Pending, checks, node, user};
use crate::clock::UnixMs;
use crate::ids::NodeId;
use crate::penalty::{Account, Ladder, Step, Subject};
use crate::store::penalty::{Charge, Fact, REMEMBERED, Standing, Statement};

checks![
    evidence_adds_up_whichever_node_brings_it_and_decays,
    each_step_is_told_to_one_of_all_who_charge_at_once,
    a_strike_keeps_out_until_a_moment_that_later_evidence_does_not_move,
    the_next_strike_keeps_out_for_twice_as_long,
    many_subjects_are_charged_at_once_and_do_not_mix,
    an_account_remembers_its_latest_evidence_and_ends_by_itself,
    whoever_is_pardoned_begins_anew,
    it_goes_step_by_step_as_the_plain_arithmetic_does,
    ; long:
    strikes_are_forgotten_one_by_one,
];

fn ladder() -> Ladder {
    Ladder {
        half_life: Duration::from_millis(400),
        restrict: 100.0,
        disconnect: 1_000.0,
        ban: 2_000.0,
        first: Duration::from_millis(300),
        longest: Duration::from_secs(5),
        memory: Duration::from_secs(60),
    }
}

fn fact(what: &str) -> Fact {
    Fact { what: what.to_owned(), weight: 0.5, count: 2 }
}

fn charge(who: &str, weight: f64) -> Charge {
    Charge { subject: Subject::User(user(who)), weight, ladder: ladder(), facts: Vec::new() }
}

impl Fixture {
    async fn charge(&self, n: u128, charge: Charge) -> (UnixMs, Standing) {
        let (now, standings) = self.stores.penalties.charge(node(n), vec![charge]).await.unwrap();
        assert_eq!(standings.len(), 1);
        (now, standings[0])
    }

    async fn statement(&self, who: &str) -> (UnixMs, Option<Statement>) {
        self.stores.penalties.statement(Subject::User(user(who))).await.unwrap()
    }
}

/// To a part in a thousand: two that compute in the same floating numbers may round differently.
fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 0.001 * b.abs().max(1.0)
}

async fn evidence_adds_up_whichever_node_brings_it_and_decays(f: Fixture) {
    let (first, one) = f.charge(1, charge("a", 40.0)).await;
    assert!(near(one.account.points, 40.0) && one.step == Step::None);
    f.advance(400).await;
    let (second, two) = f.charge(2, charge("a", 10.0)).await;
    let left = 40.0 * (-((second.0 - first.0) as f64) / 400.0).exp2();
    assert!(left <= 20.1 && near(two.account.points, left + 10.0), "{two:?}");
    assert_eq!(two.account.at, second);
}

async fn each_step_is_told_to_one_of_all_who_charge_at_once(f: Fixture) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let work = (0..40).map(|n| {
        let (stores, told) = (f.stores.clone(), Arc::clone(&told));
        Box::pin(async move {
            let ladder = Ladder { half_life: Duration::from_secs(600), ..ladder() };
            let charge = Charge { ladder, ..charge("a", 60.0) };
            let (_, standings) = stores.penalties.charge(node(n), vec![charge]).await.unwrap();
            told.lock().unwrap().extend(standings.iter().map(|s| s.step).filter(|step| *step != Step::None));
        }) as Pending<'static, ()>
    });
    f.together(work.collect::<Vec<_>>()).await;
    let mut told = told.lock().unwrap().clone();
    told.sort_unstable();
    assert_eq!(told, [Step::Restrict, Step::Disconnect, Step::Ban]);
}

async fn a_strike_keeps_out_until_a_moment_that_later_evidence_does_not_move(f: Fixture) {
    let (now, struck) = f.charge(1, charge("a", 150.0)).await;
    assert_eq!(struck.step, Step::Restrict);
    let until = struck.account.until;
    // 400 ms · log2(150 / 50) = 634 ms
    assert!((633..=635).contains(&(until.0 - now.0)), "{struck:?}");
    let (_, again) = f.charge(2, charge("a", 100.0)).await;
    assert_eq!((again.step, again.account.until, again.account.step), (Step::None, until, Step::Restrict));
    f.advance(700).await;
    let (now, free) = f.charge(1, charge("a", 0.0)).await;
    assert_eq!((free.account.kept_out(now), free.account.step), (None, Step::None));
}

async fn the_next_strike_keeps_out_for_twice_as_long(f: Fixture) {
    let quick = Ladder { half_life: Duration::from_millis(1), ..ladder() };
    for delay in [300, 600, 1_200] {
        let (now, struck) = f.charge(1, Charge { ladder: quick, ..charge("a", 101.0) }).await;
        assert_eq!((struck.step, struck.account.until.0 - now.0), (Step::Restrict, delay));
        f.advance(delay + 20).await;
    }
}

async fn many_subjects_are_charged_at_once_and_do_not_mix(f: Fixture) {
    let subject = |n: u32| match n % 2 {
        0 => Subject::User(user(&format!("u{n}"))),
        _ => Subject::network(std::net::IpAddr::from(n.to_be_bytes())),
    };
    let some =
        |weight: f64| (0..500).map(move |n| Charge { subject: subject(n), ..charge("a", weight + f64::from(n)) });
    let (_, standings) = f.stores.penalties.charge(node(1), some(1.0).collect()).await.unwrap();
    for (n, standing) in standings.iter().enumerate() {
        assert!(near(standing.account.points, 1.0 + n as f64), "{n}: {standing:?}");
        assert_eq!(standing.step == Step::None, n < 99, "{n}");
    }
    assert_eq!(standings.len(), 500);
    assert!(f.stores.penalties.charge(node(1), Vec::new()).await.unwrap().1.is_empty());
}

async fn an_account_remembers_its_latest_evidence_and_ends_by_itself(f: Fixture) {
    assert_eq!(f.statement("a").await.1, None);
    for n in 0..REMEMBERED + 3 {
        let charge = Charge { facts: vec![fact(&format!("f{n}")), fact("second")], ..charge("a", 1.0) };
        f.charge(7, charge).await;
    }
    let (_, statement) = f.statement("a").await;
    let facts = statement.unwrap().facts;
    assert_eq!(facts.len(), REMEMBERED);
    let last = &facts[REMEMBERED - 2];
    assert_eq!((&last.fact, &*last.node), (&fact(&format!("f{}", REMEMBERED + 2)), "node-7"));
    assert!(facts.is_sorted_by_key(|noted| noted.at) && facts[0].at.0 > 0);
    // 19 points are half a one after 400 ms · log2(38), 2.1 s
    f.advance(2_300).await;
    assert_eq!(f.statement("a").await.1, None);
}

async fn whoever_is_pardoned_begins_anew(f: Fixture) {
    f.charge(1, charge("a", 150.0)).await;
    f.charge(1, charge("b", 150.0)).await;
    f.stores.penalties.clear(Subject::User(user("a"))).await.unwrap();
    assert_eq!(f.statement("a").await.1, None);
    assert!(f.statement("b").await.1.is_some());
    let (now, fresh) = f.charge(1, charge("a", 1.0)).await;
    assert_eq!((fresh.account.kept_out(now), fresh.account.strikes), (None, 0));
}

async fn it_goes_step_by_step_as_the_plain_arithmetic_does(f: Fixture) {
    let mut plain = Account::default();
    for (n, weight) in [30.0, 80.0, 5.0, 400.0, 0.0, 700.0, 900.0, 1_500.0, 9_000.0, 1.0].into_iter().enumerate() {
        let by = NodeId::parse("node-1").unwrap();
        let (now, standings) = f.stores.penalties.charge(by, vec![charge("a", weight)]).await.unwrap();
        let step = plain.charge(&ladder(), weight, now);
        let Standing { account, step: theirs } = standings[0];
        assert_eq!((theirs, account.strikes, account.step), (step, plain.strikes, plain.step), "{n}");
        assert!(near(account.points, plain.points) && account.until.0.abs_diff(plain.until.0) <= 1, "{n}: {account:?}");
        assert_eq!((account.at, account.struck), (plain.at, plain.struck), "{n}");
        f.advance(37 * (n as u64 % 4)).await;
    }
}

async fn strikes_are_forgotten_one_by_one(f: Fixture) {
    let quick = Ladder { half_life: Duration::from_millis(1), ..ladder() };
    let strike = || Charge { ladder: quick, ..charge("a", 101.0) };
    for strikes in 1..=3 {
        assert_eq!(f.charge(1, strike()).await.1.account.strikes, strikes);
        f.advance(10_000).await;
    }
    f.advance(60_000).await;
    assert_eq!(f.charge(1, Charge { ladder: quick, ..charge("a", 0.0) }).await.1.account.strikes, 2);
    f.advance(121_000).await;
    assert_eq!(f.charge(1, strike()).await.1.account.strikes, 1);
}
