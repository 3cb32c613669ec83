//! Many at once with one token: the ledger's sequence tells that nobody ever had more than the cap, and one is left.

use std::collections::BTreeSet;

use portcullis_common::store::session::SlotState;
use portcullis_tests::blocking::{Knock, Raw, Refusal};
use portcullis_tests::fleet::{Fleet, open as open_on};
use portcullis_tests::inside::{Inside, logged, until};
use portcullis_tests::{tokens, wait};
use serde_json::{Value, json};

use super::{goes_on, grant, lose, open, show, slots};

const CROWD: usize = 50;

/// The most sessions that had a connection at one moment, by the ledger's own order of its steps. What the ledger gave
/// to a detached session counts when it is resumed.
fn peak(user: &str, events: impl Fn(&str) -> Vec<Value>) -> usize {
    let mut steps: Vec<(u64, u8, Value)> = Vec::new();
    for (rank, name) in [(0, "slot_released"), (0, "slot_detached"), (1, "slot_taken"), (2, "resume_shown")] {
        let events = events(name).into_iter().filter(|event| event["user"] == user);
        steps.extend(events.filter_map(|event| Some((event["seq"].as_u64()?, rank, event))));
    }
    steps.sort_by_key(|(seq, rank, _)| (*seq, *rank));
    let (mut live, mut peak) = (BTreeSet::new(), 0);
    for (_, rank, event) in steps {
        let session = event["session"].as_str().unwrap().to_owned();
        match rank {
            0 => {
                live.remove(&session);
                live.extend(event["passed_to"].as_str().map(str::to_owned));
            }
            _ => drop(live.insert(session)),
        }
        peak = peak.max(live.len());
    }
    peak
}

/// Whether a session answers.
fn answers(raw: &mut Raw) -> bool {
    raw.say(json!({"type": "health-check", "id": "alive"}));
    loop {
        match raw.hear() {
            Ok(message) if message["id"] == "alive" => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

fn conflict(refusal: &Refusal) {
    assert_eq!((refusal.status, refusal.code()), (409, "conflict"), "{refusal:?}");
}

#[test]
fn of_fifty_who_show_one_token_at_once_one_has_the_session_in_the_end() {
    let inside = Inside::start(&[("session.max_per_user", "1")]);
    for round in 0..5 {
        let user = format!("crowd-{round}");
        let first = open(&inside, &user);
        let (sid, token) = (first.session().to_owned(), grant(&first));
        let first = if round % 2 == 0 {
            lose(&inside, &user, first);
            None
        } else {
            Some(first)
        };
        let entries = format!("portcullis.v1.json, resume.{token}");
        let bearer = tokens::good(&user);
        let knocks: Vec<Knock> = (0..CROWD).map(|_| Knock::at(inside.public, &bearer, Some(&entries))).collect();
        let mut in_ones = Vec::new();
        for answer in knocks.into_iter().map(Knock::answer) {
            match answer {
                Ok(raw) => in_ones.push(raw),
                Err(refusal) => conflict(&refusal),
            }
        }
        let alive: Vec<String> =
            in_ones.iter_mut().filter_map(|raw| answers(raw).then(|| raw.session().to_owned())).collect();
        assert_eq!(alive, [sid], "round {round}");
        assert!(first.is_none_or(|mut first| !answers(&mut first)));
        assert_eq!(slots(&inside, &user), (0, 1));
        drop(in_ones);
        until("it waits again", || slots(&inside, &user) == (1, 0) && inside.counts(0));
        assert_eq!(peak(&user, logged), 1);
    }
    assert_eq!(inside.node.registry.coming(), 0);
}

#[test]
fn a_crowd_that_resumes_and_a_crowd_that_begins_share_the_cap() {
    const CAP: usize = 3;
    for on_limit in ["reject", "evict_oldest"] {
        let inside = Inside::start(&[("session.max_per_user", "3"), ("session.on_limit", on_limit)]);
        let user = format!("mixed-{on_limit}");
        let mut mine: Vec<Raw> = (0..CAP).map(|_| open(&inside, &user)).collect();
        let shown: Vec<String> = mine.iter().map(grant).collect();
        for raw in mine.drain(1..) {
            lose(&inside, &user, raw);
        }
        let bearer = tokens::good(&user);
        let knocks: Vec<Knock> = (0..60)
            .map(|n| match n % 2 {
                0 => Knock::at(inside.public, &bearer, None),
                _ => {
                    let entries = format!("portcullis.v1.json, resume.{}", shown[n / 2 % CAP]);
                    Knock::at(inside.public, &bearer, Some(&entries))
                }
            })
            .collect();
        let in_ones: Vec<Raw> = knocks.into_iter().filter_map(|knock| knock.answer().ok()).collect();
        let (detached, live) = slots(&inside, &user);
        assert!(detached + live <= CAP && live > 0, "{detached} + {live}");
        until("registry and ledger agree", || inside.node.registry.count() == slots(&inside, &user).1);
        drop((in_ones, mine));
        until("nobody is there", || inside.counts(0) && inside.node.registry.coming() == 0);
        until("the ledger knows", || slots(&inside, &user).1 == 0);
        assert!((1..=CAP).contains(&peak(&user, logged)), "{on_limit}");
    }
}

#[test]
fn of_fifty_at_two_nodes_one_has_the_session_in_the_end() {
    let fleet =
        Fleet::start(|setup| setup.set("session.max_per_user", "1").set("log.filter", "info,portcullis_gateway=debug"));
    let operator = fleet.operator();
    let first = open_on(&fleet.a, "ann");
    let (sid, token) = (first.session().to_owned(), grant(&first));
    let (entries, bearer) = (format!("portcullis.v1.json, resume.{token}"), tokens::good("ann"));
    let nodes = [&fleet.b, &fleet.a];
    let knocks: Vec<Knock> = (0..CROWD).map(|n| Knock::at(nodes[n % 2].public, &bearer, Some(&entries))).collect();
    let mut in_ones = vec![first];
    for answer in knocks.into_iter().map(Knock::answer) {
        match answer {
            Ok(raw) => in_ones.push(raw),
            Err(refusal) => conflict(&refusal),
        }
        assert_eq!(operator.slots("app:ann").unwrap().len(), 1);
    }
    // one that is told to go is told by mail: it may answer until the mail is there
    wait::until("one is left", || {
        in_ones.retain_mut(answers);
        assert!(!in_ones.is_empty());
        (in_ones.len() == 1).then_some(())
    });
    assert_eq!(in_ones[0].session(), sid);
    assert!(goes_on(&in_ones[0]));
    let slots = operator.slots("app:ann").unwrap();
    assert_eq!((slots.len(), slots[0].holder.sid.to_string(), &slots[0].state), (1, sid, &SlotState::Live));
    let mut raw = in_ones.remove(0);
    let next = grant(&raw);
    assert!(answers(&mut raw));
    drop(raw);
    let raw = wait::until("the last one's token", || show(fleet.a.public, "ann", &next).ok());
    assert!(goes_on(&raw));
    let events = |name: &str| {
        let both = fleet.a.events().into_iter().chain(fleet.b.events());
        both.filter(|event| event["event"] == name).collect::<Vec<_>>()
    };
    assert_eq!(peak("app:ann", events), 1);
}
