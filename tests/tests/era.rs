//! A store that forgets: emptied, started again with nothing, or replaced by a copy that lags. No user ever has more
//! sessions than the cap, and nobody who is there loses one.
//!
//! The proof is in the sockets: whoever was let in stays, so the sessions that a user ever got are the sessions that
//! the user has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{CLUSTER_KEY, Fleet, Operator, RedisServer, knock, lives, open};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::wait;
use portcullis_tests::wire_cut::Wire;
use serde_json::json;

const CAP: usize = 3;
/// Users of the crowd.
const USERS: usize = 8;
/// How long the crowd goes on after the loss: newcomers are let in again meanwhile.
const CROWDED: Duration = Duration::from_secs(5);
/// From the loss to a whole registry.
const WHOLE: Duration = Duration::from_secs(5);
/// The same where the nodes have to find the server first.
const FOUND: Duration = Duration::from_secs(20);

fn capped(setup: Setup) -> Setup {
    setup.set("session.max_per_user", &CAP.to_string()).set("session.on_limit", "reject")
}

fn user(n: usize) -> String {
    format!("user-{n}")
}

/// Who was let in, by user; all of them are still connected as far as the test can tell.
type Crowd = BTreeMap<String, Vec<Raw>>;

/// Every user knocks at both nodes, again and again, while `loss` happens and until everybody has what the cap allows.
fn while_everybody_knocks(nodes: [&Gateway; 2], crowd: &mut Crowd, loss: impl FnOnce()) {
    let over = AtomicBool::new(false);
    let knocking = |node: &Gateway, shift: usize| {
        let mut let_in = Vec::new();
        let mut refused = 0u32;
        while !over.load(Ordering::Relaxed) {
            for n in 0..USERS {
                let name = user((n + shift) % USERS);
                match knock(node, &name) {
                    Ok(raw) => let_in.push((name, raw)),
                    Err(refusal) if refusal.status == 503 => refused += 1,
                    Err(refusal) => assert_eq!(refusal.code(), "session_limit", "{refusal:?}"),
                }
            }
            // below the limit of connects
            std::thread::sleep(Duration::from_millis(10));
        }
        (let_in, refused)
    };
    let (let_in, refused) = std::thread::scope(|scope| {
        let knocking = &knocking;
        let threads = [0, 1, 2, 3].map(|n| scope.spawn(move || knocking(nodes[n % 2], n)));
        loss();
        std::thread::sleep(CROWDED);
        over.store(true, Ordering::Relaxed);
        let ends = threads.map(|thread| thread.join().unwrap());
        let refused: u32 = ends.iter().map(|(_, refused)| refused).sum();
        (ends.into_iter().flat_map(|(let_in, _)| let_in).collect::<Vec<_>>(), refused)
    });
    assert!(refused > 0, "the loss was not noticed");
    for (name, mut raw) in let_in {
        if stayed(&mut raw) {
            crowd.entry(name).or_default().push(raw);
        }
    }
}

/// False for a session that began in the moment of the loss, and was told at once to come again later.
fn stayed(raw: &mut Raw) -> bool {
    raw.say(json!({"type": "health-check", "id": "there"}));
    loop {
        match raw.hear() {
            Ok(message) if message["id"] == "there" => return true,
            Ok(_) => {}
            Err(code) => {
                assert_eq!(code, Some(1013));
                return false;
            }
        }
    }
}

/// The sessions that the ledger holds for this user.
fn held(operator: &Operator, name: &str) -> Option<Vec<String>> {
    let slots = operator.slots(&format!("app:{name}")).ok()?;
    let mut sids: Vec<String> = slots.iter().map(|slot| slot.holder.sid.to_string()).collect();
    sids.sort();
    Some(sids)
}

/// Nobody has more than the cap, everybody who was let in is there, and the ledger has exactly them.
fn exact(crowd: &mut Crowd, operator: &Operator, patience: Duration) {
    for (name, raws) in crowd {
        assert!(raws.len() <= CAP, "{name} got {} sessions", raws.len());
        assert!(raws.iter_mut().all(lives), "{name} lost a session");
        let mut theirs: Vec<String> = raws.iter().map(|raw| raw.session().to_owned()).collect();
        theirs.sort();
        wait::until_within(patience, "the ledger to have everybody", || {
            (held(operator, name)? == theirs).then_some(())
        });
    }
}

fn seated(nodes: [&Gateway; 2], each: usize) -> Crowd {
    (0..USERS).map(|n| (user(n), (0..each).map(|s| open(nodes[s % 2], &user(n))).collect())).collect()
}

#[test]
fn a_store_that_is_emptied_again_and_again_under_a_crowd_costs_no_session_and_gives_none_too_many() {
    let fleet = Fleet::start(capped);
    let nodes = [&fleet.a, &fleet.b];
    let mut crowd = seated(nodes, CAP - 1);
    while_everybody_knocks(nodes, &mut crowd, || {
        for _ in 0..3 {
            fleet.redis.cli(&["FLUSHALL"]);
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    exact(&mut crowd, &fleet.operator(), WHOLE);
    assert!(crowd.values().all(|raws| raws.len() == CAP), "in the end everybody got what the cap allows");
}

#[test]
fn a_store_that_starts_again_with_nothing_costs_no_session_and_gives_none_too_many() {
    let mut fleet = Fleet::start(capped);
    let mut crowd = seated([&fleet.a, &fleet.b], CAP - 1);
    let Fleet { a, b, redis, .. } = &mut fleet;
    while_everybody_knocks([a, b], &mut crowd, || redis.restart());
    exact(&mut crowd, &fleet.operator(), FOUND);
}

/// Slots in a server, of whichever era.
fn slots_in(redis: &RedisServer) -> usize {
    let count = "local n = 0 for _, key in ipairs(redis.call('KEYS', '*:slots:*')) do n = n + redis.call('HLEN', key) end \
                 return n";
    redis.cli(&["EVAL", count, "0"]).trim().parse().unwrap()
}

#[test]
fn a_copy_that_lacks_fifty_sessions_and_becomes_the_store_costs_none_of_them_and_gives_none_too_many() {
    let mut fleet = Fleet::start(capped);
    assert!(fleet.a.terminate().success() && fleet.b.terminate().success());
    let wire = Wire::to(fleet.store_address());
    let nodes = ["gw-c", "gw-d"].map(|id| fleet.node_over(&wire, id));
    let both = [&nodes[0], &nodes[1]];
    let mut crowd = seated(both, 1);
    let copy = RedisServer::start();
    copy.cli(&["REPLICAOF", "127.0.0.1", &fleet.redis.port().to_string()]);
    wait::until("a copy", || copy.cli(&["INFO", "replication"]).contains("master_link_status:up").then_some(()));
    wait::until("the copy to be complete", || (slots_in(&copy) == USERS).then_some(()));
    copy.cli(&["REPLICAOF", "NO", "ONE"]);
    // from here on the copy knows nothing of what the store says yes to
    for (name, raws) in &mut crowd {
        raws.push(open(both[0], name));
    }
    let more: Vec<Raw> = (0..50).map(|n| open(both[n % 2], &format!("late-{n}"))).collect();
    assert!(slots_in(&fleet.redis) >= slots_in(&copy) + 50 + USERS, "what is lost");
    for (n, raw) in more.into_iter().enumerate() {
        crowd.insert(format!("late-{n}"), vec![raw]);
    }
    while_everybody_knocks(both, &mut crowd, || {
        wire.lead_to(copy.url().trim_start_matches("redis://").parse().unwrap());
        fleet.redis.kill();
    });
    exact(&mut crowd, &Operator::with_keys(&copy, CLUSTER_KEY), FOUND);
}

#[test]
fn a_thousand_sessions_are_all_in_the_ledger_again_within_five_seconds_of_its_loss() {
    const SESSIONS: usize = 1_000;
    let fleet = Fleet::start(capped);
    let mut all: Vec<Raw> = std::thread::scope(|scope| {
        let nodes = [&fleet.a, &fleet.b];
        let opening = (0..4).map(|thread| {
            scope.spawn(move || {
                let mine = (0..SESSIONS).filter(|n| n % 4 == thread);
                mine.map(|n| open(nodes[n % 2], &user(n / CAP))).collect::<Vec<_>>()
            })
        });
        let opening: Vec<_> = opening.collect();
        opening.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(slots_in(&fleet.redis), SESSIONS);
    fleet.redis.cli(&["FLUSHALL"]);
    wait::until_within(WHOLE, "the registry to be whole", || (slots_in(&fleet.redis) == SESSIONS).then_some(()));
    assert!(all.iter_mut().all(lives), "no socket was lost");
    for node in [&fleet.a, &fleet.b] {
        assert_eq!(node.metric("portcullis_store_eras_total"), 1.0);
    }
}
