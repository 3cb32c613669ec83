//! A node that cannot renew its lease: it was stopped, or it is cut off from the store. With `strict` no user ever has
//! more sessions than the cap; with `available` the excess is at most what the node held, and ends when it is back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::time::Duration;

use portcullis_common::ids::UserId;
use portcullis_common::store::control::{ControlEntry, Target};
use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{Fleet, knock, lives, open, refused_for_the_cap};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::wait;
use portcullis_tests::wire_cut::Wire;
use serde_json::{Value, json};

/// From the end of a life to its slots being free: the lease, and the proof that it is over.
const BURIED: Duration = Duration::from_secs(16);
/// How long a node is stopped.
const STOPPED: Duration = Duration::from_secs(20);
/// From the return of a node to the end of every session that found no slot.
const SETTLED: Duration = Duration::from_secs(5);

fn strict(setup: Setup) -> Setup {
    setup.set("session.max_per_user", "2").set("session.on_store_loss", "strict")
}

fn available(setup: Setup) -> Setup {
    setup.set("session.max_per_user", "2")
}

fn chat(room: &str, payload: &str) -> Value {
    json!({"type": "chat", "to": {"room": room}, "payload": payload})
}

/// As many sessions as the cap allows, on a node where they are refused until the slots of another are free.
fn take_over(node: &Gateway, name: &str) -> [Raw; 2] {
    [(); 2].map(|()| {
        wait::until_within(BURIED, "the slots of the silent node to be free", || match knock(node, name) {
            Ok(raw) => Some(raw),
            Err(refusal) => {
                assert!(refused_for_the_cap(&refusal), "{refusal:?}");
                None
            }
        })
    })
}

fn slots(fleet: &Fleet, user: &str) -> Vec<String> {
    let mut held: Vec<String> =
        fleet.operator().slots(user).unwrap().iter().map(|slot| slot.holder.sid.to_string()).collect();
    held.sort();
    held
}

fn ids(sessions: &[Raw]) -> Vec<String> {
    let mut ids: Vec<String> = sessions.iter().map(|raw| raw.session().to_owned()).collect();
    ids.sort();
    ids
}

fn seconds_since(began: portcullis_common::clock::Mono) -> Duration {
    wait::mono().since(began)
}

#[test]
fn a_strict_node_that_was_stopped_for_twenty_seconds_says_nothing_but_goodbye() {
    let fleet = Fleet::start(strict);
    let mut anns = [open(&fleet.a, "ann"), open(&fleet.a, "ann")];
    let (mut bob, mut cem) = (open(&fleet.a, "bob"), open(&fleet.b, "cem"));
    bob.join("quiet.a");
    cem.join("quiet.a");
    // everything that came so far is read: what comes from here on was said after the stop
    assert!(anns.iter_mut().all(lives) && lives(&mut bob));
    fleet.a.signal("STOP");
    let stopped = wait::mono();
    for ann in &mut anns {
        assert!(ann.say(json!({"type": "health-check", "id": "asked-in-its-sleep"})));
    }
    assert_eq!(cem.ask(chat("quiet.a", "nobody may hear this over there"))["type"], "ack");
    let newcomers = take_over(&fleet.b, "ann");
    assert_eq!(slots(&fleet, "app:ann"), ids(&newcomers), "the cap, while the node sleeps");
    wait::until_within(STOPPED, "the time to pass", || (seconds_since(stopped) >= STOPPED).then_some(()));
    fleet.a.signal("CONT");
    for raw in anns.into_iter().chain([bob]) {
        let end = raw.ending();
        assert_eq!((end.messages, end.code), (vec![], Some(1012)), "nothing was answered, nothing was flushed");
    }
    wait::until("a new life", || fleet.a.ready().then_some(()));
    assert_eq!(fleet.a.metric("portcullis_lease_lapses_total"), 1.0);
    // what it knew of bans is as old as its sleep was long: it reads the control log first
    let afterwards = wait::until("newcomers to be judged", || {
        let answer = knock(&fleet.a, "ann").map(|raw| raw.session().to_owned());
        (!answer.as_ref().is_err_and(|refusal| refusal.status == 503)).then_some(answer)
    });
    assert!(afterwards.as_ref().is_err_and(refused_for_the_cap), "the cap, afterwards: {afterwards:?}");
    let mut newcomers = newcomers;
    assert!(newcomers.iter_mut().all(lives));
    assert!(lives(&mut open(&fleet.a, "dan")), "it lets others in again");
}

#[test]
fn a_strict_node_that_is_cut_off_is_empty_before_its_slots_are_given_away() {
    let fleet = Fleet::start(strict);
    let wire = Wire::to(fleet.store_address());
    let alone = fleet.node_over(&wire, "gw-c");
    let anns = [open(&alone, "ann"), open(&alone, "ann")];
    let began = wait::mono();
    wire.cut();
    // on a thread of its own: when the other node lets them in is compared with when these ended
    let ends = std::thread::spawn(move || anns.map(|raw| (raw.ending_patiently(BURIED), wait::mono())));
    wait::until("the fence", || alone.health()["reasons"].to_string().contains("fenced").then_some(()));
    assert!(!alone.ready());
    let refusal = knock(&alone, "dan").expect_err("fenced");
    assert_eq!((refusal.status, refusal.code()), (503, "store_unavailable"));
    let mut newcomers = take_over(&fleet.b, "ann");
    let let_in = wait::mono();
    for (end, ended) in ends.join().unwrap() {
        assert_eq!((end.errors(), end.code), (vec![], Some(1012)));
        assert!(ended < let_in, "no moment with more than the cap");
        assert!(ended.since(began) > Duration::from_secs(4), "not because a call failed");
    }
    assert_eq!(alone.metric("portcullis_fenced"), 1.0);
    wire.mend();
    wait::until("the node to be back", || alone.ready().then_some(()));
    assert_eq!(slots(&fleet, "app:ann"), ids(&newcomers));
    assert!(newcomers.iter_mut().all(lives) && lives(&mut open(&alone, "dan")));
}

#[test]
fn an_available_node_that_is_cut_off_keeps_its_sessions_and_gives_up_what_others_took() {
    let fleet = Fleet::start(available);
    let wire = Wire::to(fleet.store_address());
    let alone = fleet.node_over(&wire, "gw-c");
    let (mut anns, mut bobs) = ([(); 2].map(|()| open(&alone, "ann")), [(); 2].map(|()| open(&alone, "bob")));
    for raw in &mut bobs {
        raw.join("quiet.a");
    }
    wire.cut();
    let mut newcomers = take_over(&fleet.b, "ann");
    // the bound: what this node held, and no more
    assert!(knock(&fleet.b, "ann").is_err_and(|refusal| refused_for_the_cap(&refusal)));
    assert!(anns.iter_mut().chain(&mut bobs).all(lives), "nobody was sent away");
    let [one, other] = &mut bobs;
    assert_eq!(one.ask(chat("quiet.a", "among ourselves"))["type"], "ack");
    assert_eq!(other.message_of("chat")["degraded"], true);
    let health = alone.health();
    assert!(health["degraded"].to_string().contains("lease"), "{health}");
    assert!(alone.ready(), "live sessions are worth keeping");
    assert_eq!(knock(&alone, "dan").expect_err("no lease").code(), "store_unavailable");

    wire.mend();
    let back = wait::mono();
    for raw in anns {
        let end = raw.ending();
        assert_eq!((end.errors(), end.code), (vec!["session_terminated"], Some(4409)));
    }
    assert!(seconds_since(back) < SETTLED, "{:?}", seconds_since(back));
    wait::until("the ledger to be settled", || {
        (slots(&fleet, "app:ann") == ids(&newcomers) && slots(&fleet, "app:bob") == ids(&bobs)).then_some(())
    });
    assert!(newcomers.iter_mut().chain(&mut bobs).all(lives), "whose slots nobody took stay");
    wait::until("nothing to be wrong any more", || (alone.health()["degraded"] == json!([])).then_some(()));
}

#[test]
fn an_available_node_that_was_stopped_gives_up_what_others_took_and_keeps_the_rest() {
    let fleet = Fleet::start(available);
    let anns = [(); 2].map(|()| open(&fleet.a, "ann"));
    let mut bobs = [(); 2].map(|()| open(&fleet.a, "bob"));
    fleet.a.signal("STOP");
    let stopped = wait::mono();
    let mut newcomers = take_over(&fleet.b, "ann");
    wait::until_within(STOPPED, "the time to pass", || (seconds_since(stopped) >= STOPPED).then_some(()));
    fleet.a.signal("CONT");
    let back = wait::mono();
    for raw in anns {
        let end = raw.ending();
        assert_eq!((end.errors(), end.code), (vec!["session_terminated"], Some(4409)));
    }
    assert!(seconds_since(back) < SETTLED, "{:?}", seconds_since(back));
    assert!(bobs.iter_mut().chain(&mut newcomers).all(lives));
    wait::until("the ledger to be settled", || (slots(&fleet, "app:bob") == ids(&bobs)).then_some(()));
}

#[test]
fn without_the_store_an_available_node_keeps_its_sessions_no_longer_than_it_is_told() {
    let mut fleet = Fleet::start(|setup| available(setup).set("session.max_store_loss", "10s"));
    let mut anns = [open(&fleet.a, "ann"), open(&fleet.b, "ann")];
    assert!(anns.iter_mut().all(lives));
    fleet.redis.kill();
    for raw in anns {
        assert_eq!(raw.ending_patiently(BURIED).code, Some(1012));
    }
    for node in [&fleet.a, &fleet.b] {
        assert!(!node.ready());
        assert_eq!(node.metric("portcullis_fences_total"), 1.0);
    }
    fleet.redis.restart();
    for node in [&fleet.a, &fleet.b] {
        wait::until("the node to be back", || node.ready().then_some(()));
    }
    wait::until("a new session", || knock(&fleet.a, "ann").ok());
}

#[test]
fn a_node_whose_bus_brings_nothing_back_is_not_ready_until_it_does() {
    let fleet = Fleet::start(available);
    let mut ann = open(&fleet.a, "ann");
    let health = fleet.a.health();
    assert_eq!((&health["fleet"]["bus"], &health["fleet"]["lease"]), (&json!("returns"), &json!("held")), "{health}");
    // the server goes on answering everything but this
    assert_eq!(fleet.redis.cli(&["ACL", "SETUSER", "default", "-subscribe"]).trim(), "OK");
    fleet.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    for node in [&fleet.a, &fleet.b] {
        wait::until("the silence to be noticed", || {
            node.health()["reasons"].to_string().contains("the bus brings back nothing").then_some(())
        });
        assert!(!node.ready());
    }
    assert!(lives(&mut ann));
    assert_eq!(fleet.redis.cli(&["ACL", "SETUSER", "default", "+subscribe"]).trim(), "OK");
    for node in [&fleet.a, &fleet.b] {
        wait::until("the bus to be back", || node.ready().then_some(()));
    }
    assert!(lives(&mut ann));
}

#[test]
fn a_node_that_cannot_read_the_control_log_lets_nobody_in_after_ten_seconds() {
    let fleet = Fleet::start(available);
    let mut ann = open(&fleet.a, "ann");
    assert!(fleet.a.health()["fleet"]["controlLogAgeMs"].as_u64().unwrap() < 10_000);
    let operator = fleet.operator();
    let kick = |name: &str| ControlEntry::Kick {
        target: Target::User(UserId::parse(name).unwrap()),
        reason: "test".to_owned(),
    };
    operator.append(kick("app:nobody"));
    // leases, ledger and bus work; only what is new in the log cannot be read
    assert_eq!(fleet.redis.cli(&["ACL", "SETUSER", "default", "-xread"]).trim(), "OK");
    fleet.redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    // the operator's connection is gone like all others, and what is said before that is known was not said
    wait::until("the operator to be connected again", || operator.try_append(kick("app:nobody")).ok());
    wait::until("the log to be stale", || {
        let health = fleet.a.health();
        health["degraded"].to_string().contains("control log").then_some(())
    });
    let refusal = knock(&fleet.a, "bob").expect_err("bans are not known");
    assert_eq!((refusal.status, refusal.code()), (503, "store_unavailable"));
    assert!(fleet.a.ready(), "its sessions are worth keeping");
    assert!(fleet.a.metric("portcullis_control_log_age_seconds") > 10.0);
    assert!(lives(&mut ann));
    fleet.redis.cli(&["ACL", "SETUSER", "default", "+xread"]);
    wait::until("a new session", || knock(&fleet.a, "bob").ok());
    // the first of a log is read once more when the log has its name
    assert!(fleet.a.metric("portcullis_records_total{source=\"control\",outcome=\"taken\"}") >= 2.0);
}

#[test]
fn bans_outlive_the_store_and_the_whole_fleet_where_a_copy_is_kept() {
    let state = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(|setup| available(setup).set("store.state_dir", state.path().to_str().unwrap()));
    let eve = Target::User(UserId::parse("app:eve").unwrap());
    let bob = Target::User(UserId::parse("app:bob").unwrap());
    let operator = fleet.operator();
    let ban = |target: &Target| ControlEntry::Ban { target: target.clone(), until: None, reason: "test".to_owned() };
    let copy = state.path().join("portcullis.gw-a.control");
    let mut known = wait::until("an empty copy", || std::fs::read(&copy).ok());
    for entry in [ban(&eve), ban(&bob), ControlEntry::Lift { target: bob.clone() }] {
        operator.append(entry);
        // it is written once for each place in the log
        known = wait::until("the copy", || std::fs::read(&copy).ok().filter(|bytes| *bytes != known));
    }
    assert_eq!(knock(&fleet.a, "eve").expect_err("banned").code(), "banned");
    drop(operator);
    fleet.a.signal("KILL");
    fleet.b.signal("KILL");
    fleet.redis.kill();

    // without the store a node lives, is not ready, and knows
    let again = fleet.launch("gw-a");
    let health = wait::until("the node to say why", || again.try_health());
    assert_eq!((&health["status"], &health["bans"]), (&json!("not_ready"), &json!(2)), "{health}");
    assert!(!again.ready());
    fleet.redis.restart();
    wait::until("the store to be found", || again.ready().then_some(()));
    assert_eq!(knock(&again, "eve").expect_err("banned").code(), "banned");
    assert!(lives(&mut open(&again, "bob")), "what was lifted stays lifted");
}
