//! Credential stuffing against three nodes and a coordinator, all of them processes, over a real Redis. At full length
//! with `PORTCULLIS_CHAOS=1`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed expectation is a failed test"
)]

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use portcullis_tests::blocking::{Knock, Raw, Refusal, dial};
use portcullis_tests::coordinator::Coordinator;
use portcullis_tests::fleet::{Fleet, lives};
use portcullis_tests::gatectl::{Gatectl, Who, operators};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::{tokens, wait};
use serde_json::Value;

/// Addresses of an attack, and accounts that it tries from each.
const ADDRESSES: usize = 200;
const ACCOUNTS: usize = 10;
/// Valid logins meanwhile.
const LOGINS: usize = 500;

/// What one node alone does against an address is out of reach: only the judgement of all refused logins is left.
fn without_limits(setup: Setup) -> Setup {
    let limits = [("connect", "rate", "100000/min"), ("connect", "burst", "100000")];
    let limits = limits.into_iter().chain([("login", "rate", "100000/min"), ("login", "burst", "100000")]);
    limits.fold(setup, |setup, (limit, field, value)| setup.set(&format!("limit.{limit}.{field}"), value))
}

struct Three {
    fleet: Fleet,
    c: Gateway,
    coordinator: Coordinator,
}

impl Three {
    fn start(change: impl FnOnce(Setup) -> Setup) -> Self {
        let fleet = Fleet::start(|setup| change(without_limits(setup.toml(&operators()))));
        let (c, coordinator) = (fleet.node("gw-c"), fleet.coordinator("co-1"));
        wait::until("the coordinator to lead", || coordinator.term());
        Self { fleet, c, coordinator }
    }

    fn node(&self, n: usize) -> &Gateway {
        [&self.fleet.a, &self.fleet.b, &self.c][n % 3]
    }

    fn login(&self, from: Ipv4Addr, node: usize, token: &str) -> Result<Raw, Refusal> {
        login(from, self.node(node), token)
    }

    /// One try from each address, by several at once: how many were looked at, and how many turned away at the door.
    fn attack(&self, round: usize) -> (usize, usize) {
        let (looked_at, away, next) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= ADDRESSES {
                            return;
                        }
                        let account = n * ACCOUNTS + round % ACCOUNTS;
                        let refusal = self.login(attacker(n), n + round, &forged(account)).expect_err("forged");
                        match (refusal.status, refusal.code()) {
                            (401, "unauthenticated") => looked_at.fetch_add(1, Ordering::Relaxed),
                            (403, "restricted") => away.fetch_add(1, Ordering::Relaxed),
                            other => panic!("{other:?}"),
                        };
                    }
                });
            }
        });
        (looked_at.into_inner(), away.into_inner())
    }

    fn turned_away(&self) -> f64 {
        (0..3).map(|n| self.node(n).metric("portcullis_turned_away_total")).sum()
    }
}

fn login(from: Ipv4Addr, node: &Gateway, token: &str) -> Result<Raw, Refusal> {
    Knock::on(dial(from, node.public, 4_096), token, None).answer()
}

fn attacker(n: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(n).unwrap().to_be_bytes();
    // four of them in a /24
    Ipv4Addr::new(127, 66, high * 64 + low / 4, 10 + low % 4)
}

/// As good as it gets without the key: an account that exists, of the right issuer.
fn forged(account: usize) -> String {
    let good = tokens::good(&format!("u{account}"));
    let (signed, _) = good.rsplit_once('.').unwrap();
    format!("{signed}.{}", tokens::b64([7; 32]))
}

/// Where those who may come from: homes, and offices whose people now and then have a wrong token.
fn home(n: usize) -> Ipv4Addr {
    let low = u8::try_from(n % 250).unwrap();
    if n.is_multiple_of(3) { Ipv4Addr::new(127, 77, 1, 1 + low % 4) } else { Ipv4Addr::new(127, 77, 2, low) }
}

/// 500 and more, until the attack is over, a pause after each; how many, and what was refused.
fn valid(three: &Three, over: &AtomicBool, pause: Duration) -> (usize, Vec<String>) {
    let (mut count, mut refused) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) || count < LOGINS {
        // accounts that are attacked at the same time
        if let Err(refusal) = three.login(home(count), count, &tokens::good(&format!("u{count}"))) {
            refused.push(refusal.head);
        }
        if count.is_multiple_of(30) && count > 0 {
            let _mistyped = three.login(home(count), count, &forged(count));
        }
        count += 1;
        std::thread::sleep(pause);
    }
    (count, refused)
}

#[test]
fn stuffing_is_turned_away_before_any_signature_is_checked_and_nobody_else_is() {
    let long = std::env::var_os("PORTCULLIS_CHAOS").is_some();
    let three = Three::start(|setup| setup);
    // somebody lives at one of the addresses, and is in
    let mut inside = three.login(attacker(0), 0, &tokens::good("resident")).unwrap();
    let (over, began) = (AtomicBool::new(false), wait::mono());
    let (took, looked_at, away, (count, refused)) = std::thread::scope(|scope| {
        // at length twenty a second: thousands from four offices, with a forged token each now and then, are an attack
        let valid = scope.spawn(|| valid(&three, &over, Duration::from_millis(if long { 50 } else { 0 })));
        let mut round = 0;
        let took = wait::until("the doors to be shut", || {
            let (looked_at, _) = three.attack(round);
            round += 1;
            (looked_at * 100 <= ADDRESSES).then(|| wait::mono().since(began))
        });
        let (mut looked_at, mut away) = (0, 0);
        let enough = |round: usize| if long { wait::mono().since(began).as_secs() >= 60 } else { round >= 5 };
        for more in 0.. {
            if enough(more) {
                break;
            }
            let (one, other) = three.attack(round + more);
            assert!(lives(&mut inside), "who is in stays");
            (looked_at, away) = (looked_at + one, away + other);
        }
        over.store(true, Ordering::Relaxed);
        (took, looked_at, away, valid.join().unwrap())
    });
    println!("{away} of {} turned away from {took:?} on, {} of {count} valid refused", looked_at + away, refused.len());
    assert!(looked_at * 99 <= away, "{looked_at} were looked at, {away} turned away");
    assert_eq!((refused.len(), refused.first()), (0, None));
    assert!(count >= LOGINS && (!long || took <= Duration::from_secs(10)), "{count} {took:?}");
    assert!(lives(&mut inside), "who is in stays");
    assert!(three.turned_away() >= away as f64);
    explained(&three);
}

/// What an operator is told of it.
fn explained(three: &Three) {
    let address = attacker(17).to_string();
    let (code, rows) = Gatectl::of(Who::Viewer, &three.fleet.redis).json(&["policy", "explain", &address]);
    assert_eq!((code, rows.len()), (0, 3), "{rows:?}");
    for row in &rows {
        let (shut, now) = (&row["shut"], row["now"].as_u64().unwrap());
        assert!(shut["until"].as_u64().unwrap() > now && shut["reason"].as_str().unwrap().contains("refused"), "{row}");
    }
    let found = three.coordinator.events("stuffing_found");
    assert!(found.iter().all(|event| event["term"] == three.coordinator.term().unwrap()), "{found:?}");
    let ours = |event: &Value| event["network"].as_str().unwrap().starts_with("127.66.");
    assert!(found.iter().all(ours), "nobody else was meant: {found:?}");
    // and may undo
    let network = rows[0]["shut"]["network"].as_str().unwrap();
    assert_eq!(Gatectl::of(Who::Operator, &three.fleet.redis).json(&["ban", "remove", "cidr", network]).0, 0);
    wait::until("the door to open", || three.login(attacker(17), 1, &tokens::good("pardoned")).ok());
}

#[test]
fn a_dry_run_finds_the_same_and_lets_them_in() {
    let three = Three::start(|setup| setup.set("stuffing.dry_run", "true"));
    let mut round = 0;
    wait::until("the findings", || {
        assert_eq!(three.attack(round).1, 0);
        round += 1;
        let found = three.coordinator.events("stuffing_found");
        let dry = found.iter().filter(|event| event["dry_run"] == true && event["until"].is_u64());
        (dry.count() > 20).then_some(())
    });
    let found = ["stuffing", "siege", "scanning", "network"].map(|why| {
        let name = format!("portcullis_coordinator_stuffing_total{{why=\"{why}\",mode=\"dry_run\"}}");
        three.coordinator.metric(&name)
    });
    assert!(found.iter().sum::<f64>() > 20.0);
    assert_eq!((three.turned_away(), three.attack(round).1), (0.0, 0));
}

#[test]
fn a_gateway_without_a_fleet_judges_refused_logins_by_itself() {
    let node = Gateway::start(&without_limits(Setup::builtin()));
    let mut inside = login(attacker(0), &node, &tokens::good("resident")).unwrap();
    let mut account = 0;
    let away = wait::until("the door to be shut", || {
        account += 1;
        let refusal = login(attacker(0), &node, &forged(account)).expect_err("forged");
        (refusal.code() == "restricted").then_some(refusal)
    });
    assert_eq!(away.status, 403);
    assert!(away.head.to_ascii_lowercase().contains("retry-after:"), "{}", away.head);
    assert!(login(attacker(0), &node, &tokens::good("newcomer")).is_err(), "nobody new, whatever they bring");
    assert!(lives(&mut inside), "who is in stays");
    login(home(1), &node, &tokens::good("u1")).expect("nobody else was meant");
    assert!(node.metric("portcullis_turned_away_total") >= 2.0);
    let found = node.events().into_iter().filter(|event| event["event"] == "stuffing_found").collect::<Vec<_>>();
    assert!(!found.is_empty() && found.iter().all(|event| event["network"] == "127.66.0.10/32"), "{found:?}");
}
