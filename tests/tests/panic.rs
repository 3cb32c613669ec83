//! What a panic costs: the message, the command or the connection that it came from, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::sync::atomic::Ordering;

use portcullis_common::store::control::{ControlEntry, Target};
use portcullis_gateway::session::manager::{Command, tell};
use portcullis_gateway::session::talk::Stop;
use portcullis_tests::blocking::Raw;
use portcullis_tests::inside::{Inside, logged, until};
use portcullis_tests::tokens;
use serde_json::{Value, json};

fn open(inside: &Inside, user: &str) -> Raw {
    Raw::open(inside.public, &tokens::good(user))
}

fn panics(part: &str) -> usize {
    logged("panic_caught").iter().filter(|event| event["part"] == part).count()
}

fn ready(inside: &Inside) -> bool {
    inside.get("/health/ready").0 == 200
}

fn chat(text: &str) -> Value {
    json!({"type": "chat", "to": {"room": "lobby"}, "payload": text})
}

/// The next chat message's text and offset.
fn heard(raw: &mut Raw) -> (String, u64) {
    let message = raw.message_of("chat");
    (message["payload"].as_str().unwrap().to_owned(), message["offset"].as_u64().unwrap())
}

#[test]
fn a_panic_of_the_manager_costs_one_command_and_the_next_kick_works() {
    let inside = Inside::start(&[]);
    let (kicked, mut other) = (open(&inside, "mia"), open(&inside, "noa"));
    until("the node is ready", || ready(&inside));
    let manager = inside.node.bus.manager().unwrap();
    for round in 1..=3 {
        manager.submit(Command::Panic);
        until("the panic is counted", || {
            inside.metric("portcullis_panics_total{part=\"manager\"}") == f64::from(round)
        });
    }
    assert_eq!(panics("manager"), 3);
    assert!(ready(&inside) && inside.counts(2));

    let target = Target::Session(inside.entry(kicked.session()).unwrap().holder.sid);
    inside.control(ControlEntry::Kick { target, reason: "test".to_owned() });
    let end = kicked.ending();
    assert_eq!((end.errors(), end.code), (vec!["session_terminated"], Some(4409)));
    until("one session is left", || inside.counts(1));
    assert_eq!((inside.slots("mia"), inside.slots("noa")), (0, 1));
    assert_eq!(other.ask(json!({"type": "health-check"}))["type"], "health-check");
}

#[test]
fn a_panic_of_a_connection_ends_that_one_with_1011_and_every_count_is_exact() {
    let inside = Inside::start(&[("session.max_per_user", "1"), ("session.resume_window", "0s")]);
    let mut other = open(&inside, "watcher");
    other.join("lobby");
    assert_eq!(other.message()["payload"], json!({"joined": "watcher"}));
    until("the node is ready", || ready(&inside));
    // in the handler of an order, and in the turn that reads and writes
    for (round, stop) in [Stop::Panic, Stop::PanicNext].into_iter().enumerate() {
        let mut victim = open(&inside, "victim");
        victim.join("lobby");
        assert_eq!(other.message_of("presence")["payload"]["joined"], "victim");
        until("two sessions", || inside.counts(2));
        tell(&[inside.entry(victim.session()).unwrap()], &stop);
        let end = victim.ending();
        assert_eq!(end.code, Some(1011), "{end:?}");
        assert_eq!(other.message_of("presence")["payload"]["left"], "victim", "presence has forgotten it");

        until("its session is gone", || inside.counts(1));
        assert_eq!(inside.slots("victim"), 0, "its slot is free");
        assert_eq!(inside.metric("portcullis_panics_total{part=\"connection\"}") as usize, round + 1);
        assert!(ready(&inside));
        let present = other.ask(json!({"type": "presence", "to": {"room": "lobby"}}));
        assert_eq!(present["payload"], json!({"users": ["watcher"], "sessions": 1}));
    }
    assert_eq!(panics("connection"), 2);
    // the cap is one: only a slot that was given back lets the user in again
    let mut again = open(&inside, "victim");
    assert_eq!(again.join("lobby")["members"], 2);
    assert!(again.say(chat("still here")));
    assert_eq!(heard(&mut other).0, "still here");
}

#[test]
fn a_panic_of_a_hub_costs_one_message_on_that_worker_and_rooms_are_rebuilt() {
    let inside = Inside::start(&[]);
    let mut members: Vec<Raw> = (0..4).map(|n| open(&inside, &format!("m{n}"))).collect();
    for member in &mut members {
        member.join("lobby");
    }
    let worker = |raw: &Raw| inside.entry(raw.session()).unwrap().peer.worker;
    let hurt = worker(&members[0]);
    assert!(members.iter().any(|m| worker(m) != hurt), "members on both workers");
    until("the node is ready", || ready(&inside));

    let place = |answer: Value| answer["payload"]["offset"].as_u64().unwrap();
    let before = place(members[1].ask(chat("before")));
    for member in &mut members {
        assert_eq!(heard(member), ("before".to_owned(), before));
    }
    inside.node.bus.queue(hurt).unwrap().fault.store(true, Ordering::Relaxed);
    let lost = place(members[1].ask(chat("lost")));
    until("the panic is counted", || inside.metric("portcullis_panics_total{part=\"hub\"}") == 1.0);
    assert_eq!(panics("hub"), 1);
    let after: Vec<u64> = (0..20).map(|n| place(members[n % 4].ask(chat(&format!("after {n}"))))).collect();
    assert_eq!(after, (lost + 1..=lost + 20).collect::<Vec<_>>(), "one order, no gap");

    for member in &mut members {
        if worker(member) != hurt {
            assert_eq!(heard(member), ("lost".to_owned(), lost), "the other worker has it");
        }
        for (n, offset) in after.iter().enumerate() {
            assert_eq!(heard(member), (format!("after {n}"), *offset));
        }
    }
    assert!(ready(&inside) && inside.counts(4));
    // the rebuilt rooms can be left: who has left hears nothing more
    let mut leaver = members.remove(0);
    assert_eq!(leaver.ask(json!({"type": "leave", "to": {"room": "lobby"}}))["type"], "ack");
    let last = place(members[0].ask(chat("without you")));
    for member in &mut members {
        assert_eq!(heard(member), ("without you".to_owned(), last));
    }
    assert_eq!(leaver.join("lobby")["members"], 4);
    let back = place(members[0].ask(chat("with you")));
    assert_eq!(heard(&mut leaver), ("with you".to_owned(), back), "nothing of the time in between");
}
