//! The session cap under a stampede: never more than five, whichever moment one looks at.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};

use portcullis_common::ids::{SessionId, UserId};
use portcullis_common::store::bus::NodeMail;
use portcullis_common::store::control::{ControlEntry, Target};
use portcullis_common::store::session::{Acquire, Acquired, Holder, SlotState};
use portcullis_gateway::session::manager::Command;
use portcullis_tests::blocking::{Ending, Knock, Raw, Refusal, TEXT};
use portcullis_tests::inside::{Inside, logged, until};
use portcullis_tests::{tokens, wait};
use serde_json::{Value, json};

const CAP: usize = 5;
const CROWD: usize = 200;
const ROUNDS: usize = 50;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What the ledger's events say, in the ledger's order.
struct Replay {
    /// The most holders there ever were.
    peak: usize,
    /// Who holds a slot at the end.
    holders: BTreeSet<String>,
    /// Victim → the newcomer that has its slot.
    passed: BTreeMap<String, String>,
}

fn replay(user: &str) -> Replay {
    let mut steps: Vec<(u64, u8, Value)> = Vec::new();
    for (rank, name) in [(0, "slot_released"), (1, "slot_taken")] {
        let events = logged(name).into_iter().filter(|event| event["user"] == user);
        // a pass is one step with one number, told by both sides: the release comes first
        steps.extend(events.map(|event| (event["seq"].as_u64().expect("a number"), rank, event)));
    }
    steps.sort_by_key(|(seq, rank, _)| (*seq, *rank));
    let mut replay = Replay { peak: 0, holders: BTreeSet::new(), passed: BTreeMap::new() };
    for (_, rank, event) in steps {
        let session = text(&event["session"]);
        if rank == 1 {
            replay.holders.insert(session);
        } else {
            replay.holders.remove(&session);
            if let Some(newcomer) = event["passed_to"].as_str() {
                replay.holders.insert(newcomer.to_owned());
                replay.passed.insert(session, newcomer.to_owned());
            }
        }
        replay.peak = replay.peak.max(replay.holders.len());
    }
    replay
}

/// The crowd knocks at once; the answers in the order of the knocks.
fn stampede(inside: &Inside, token: &str) -> Vec<Result<Raw, Refusal>> {
    let knocks: Vec<Knock> = (0..CROWD).map(|_| Knock::at(inside.public, token, None)).collect();
    knocks.into_iter().map(Knock::answer).collect()
}

/// Asks for an answer that is known by `tick`.
fn probe(raw: &mut Raw, tick: usize) {
    // a socket that is closed already takes no probe, and answers none
    raw.send(TEXT, json!({"type": "health-check", "id": tick.to_string()}).to_string().as_bytes());
}

/// The ticks that were answered.
fn answered(messages: &[Value]) -> Vec<usize> {
    let answers = messages.iter().filter(|m| m["type"] == "health-check");
    answers.map(|m| m["id"].as_str().and_then(|id| id.parse().ok()).expect("a tick")).collect()
}

fn refused_for_the_cap(refusal: &Refusal) -> bool {
    let retry = refusal.head.to_ascii_lowercase().contains("\r\nretry-after: ");
    refusal.status == 429 && refusal.code() == "session_limit" && retry
}

fn all_gone(inside: &Inside, user: &str) {
    until("every slot is free", || inside.slots(user) == 0 && inside.node.registry.count() == 0);
}

fn settled(inside: &Inside, user: &str) -> Replay {
    until("every release is logged", || replay(user).holders.is_empty());
    assert!(inside.counts(0) && inside.node.registry.coming() == 0);
    replay(user)
}

#[test]
fn two_hundred_at_once_get_five_sessions_and_the_others_a_refusal() {
    let inside = Inside::start(&[("session.on_limit", "reject")]);
    let token = tokens::good("reject");
    for round in 0..ROUNDS {
        let (mut live, mut refused) = (Vec::new(), 0);
        for answer in stampede(&inside, &token) {
            match answer {
                Ok(raw) => live.push(raw),
                Err(refusal) => {
                    assert!(refused_for_the_cap(&refusal), "{refusal:?}");
                    refused += 1;
                }
            }
        }
        assert_eq!((live.len(), refused), (CAP, CROWD - CAP), "round {round}");
        assert_eq!((inside.slots("reject"), inside.node.registry.count()), (CAP, CAP));
        for mut raw in live {
            assert_eq!(raw.ask(json!({"type": "health-check"}))["type"], "health-check");
            assert_eq!(raw.close(1000), Some(1000));
        }
        all_gone(&inside, "reject");
    }
    let replay = settled(&inside, "reject");
    assert_eq!(replay.peak, CAP, "never more at any step, and all of them used");
    assert!(replay.passed.is_empty());
}

/// One session of a round, and what it had said by the end.
struct Lived {
    opened: usize,
    end: Ending,
}

#[test]
fn with_eviction_the_newest_stay_and_no_victim_answers_once_its_newcomer_is_in() {
    let inside = Inside::start(&[("session.on_limit", "evict_oldest")]);
    let token = tokens::good("evict");
    let mut lives: BTreeMap<String, Lived> = BTreeMap::new();
    let mut tick = 0;
    for round in 0..ROUNDS {
        let mut open: Vec<(usize, Raw)> = Vec::new();
        for answer in stampede(&inside, &token) {
            match answer {
                Ok(raw) => {
                    tick += 1;
                    open.push((tick, raw));
                    // whoever has lost its slot to one of those seen so far must not answer this
                    let at = open.len();
                    for (_, earlier) in open.iter_mut().skip(at.saturating_sub(CAP + 2)) {
                        probe(earlier, tick);
                    }
                }
                Err(refusal) => assert!(refused_for_the_cap(&refusal), "{refusal:?}"),
            }
        }
        // nobody is under way any more: five hold, and only five answer
        assert!(open.len() >= CAP, "round {round}");
        assert_eq!((inside.slots("evict"), inside.node.registry.count()), (CAP, CAP), "round {round}");
        tick += 1;
        let mut still = 0;
        for (opened, mut raw) in open {
            let session = raw.session().to_owned();
            let live = inside.entry(&session).is_some();
            probe(&mut raw, tick);
            if live {
                raw.send(0x88, &1000_u16.to_be_bytes());
            }
            let end = raw.ending();
            if live {
                still += 1;
                assert_eq!((end.code, answered(&end.messages).contains(&tick)), (Some(1000), true), "{end:?}");
            } else {
                assert_eq!((end.errors(), end.code), (vec!["session_terminated"], Some(4409)), "{end:?}");
                assert!(!answered(&end.messages).contains(&tick), "an answer after the end: {end:?}");
            }
            if !session.is_empty() {
                lives.insert(session, Lived { opened, end });
            }
        }
        assert_eq!(still, CAP);
        all_gone(&inside, "evict");
    }
    let replay = settled(&inside, "evict");
    assert_eq!(replay.peak, CAP, "never more at any step, and all of them used");
    assert!(replay.passed.len() >= ROUNDS, "{} evictions", replay.passed.len());
    let timeouts =
        logged("handshake_refused").iter().filter(|e| e["detail"] == "the victim did not go in time").count();
    assert!(timeouts < ROUNDS / 2, "{timeouts} newcomers waited in vain: evictions get lost");
    for (victim, newcomer) in &replay.passed {
        // the newcomer may have given up before its 101
        let (Some(victim), Some(newcomer)) = (lives.get(victim), lives.get(newcomer)) else { continue };
        let late = answered(&victim.end.messages).into_iter().find(|tick| *tick >= newcomer.opened);
        assert_eq!(late, None, "a victim answered what was sent after its newcomer's 101");
    }
}

#[test]
fn the_oldest_goes_for_each_newcomer_and_a_message_to_it_gets_no_answer() {
    let inside = Inside::start(&[("session.on_limit", "evict_oldest")]);
    let token = tokens::good("queue");
    let mut open: std::collections::VecDeque<Raw> = (0..CAP).map(|_| Raw::open(inside.public, &token)).collect();
    for raw in &mut open {
        raw.join("plain.a");
    }
    for _ in 0..20 {
        let mut newcomer = Raw::open(inside.public, &token);
        let mut victim = open.pop_front().unwrap();
        victim.say(json!({"type": "chat", "to": {"room": "plain.a"}, "id": "late", "payload": "late"}));
        victim.say(json!({"type": "health-check", "id": "late"}));
        let end = victim.ending();
        assert_eq!((end.errors(), end.code), (vec!["session_terminated"], Some(4409)));
        assert!(end.messages.iter().all(|m| m["id"] != "late"), "{end:?}");
        newcomer.join("plain.a");
        // what the victim still sent has reached nobody: this is the next thing that the others hear
        newcomer.say(json!({"type": "chat", "to": {"room": "plain.a"}, "payload": "hello"}));
        open.push_back(newcomer);
        for raw in &mut open {
            assert_eq!(raw.message()["payload"], "hello");
        }
        assert!(inside.counts(CAP) && inside.slots("queue") == CAP);
    }
}

/// A newcomer that waits for a slot which the test itself holds: what happens to it meanwhile, and how it ends.
fn on_its_way(user: &str, meanwhile: impl FnOnce(&Inside, Holder)) -> Ending {
    let inside = Inside::start(&[("session.on_limit", "evict_oldest"), ("session.max_per_user", "1")]);
    let ledger = &inside.node.stores.ledger;
    let (name, node) = (UserId::parse(user).unwrap(), inside.node.config.node.id.clone());
    let sid = SessionId::parse("00000000000000000000000001").unwrap();
    let holder = Holder { sid, node: node.clone(), epoch: inside.node.epoch(), generation: 0 };
    let request =
        Acquire { user: name.clone(), holder: holder.clone(), cap: 1, on_limit: inside.node.config.session.on_limit };
    assert!(matches!(Inside::store(ledger.acquire(request)), Acquired::Held { .. }));

    let knock = Knock::at(inside.public, &tokens::good(user), None);
    let newcomer = wait::until("the newcomer waits", || {
        let slots = Inside::store(ledger.slots(name.clone()));
        slots.into_iter().find_map(|slot| match slot.state {
            SlotState::Evicting { by } => Some(by),
            _ => None,
        })
    });
    meanwhile(&inside, newcomer);
    let passed = Inside::store(ledger.release(name, holder)).passed.expect("the newcomer's now");
    assert!(Inside::store(inside.node.stores.bus.send(node, NodeMail::Passed(passed))));
    let end = knock.answer().expect("let in").ending();
    until("the slot is free", || inside.slots(user) == 0 && inside.counts(0));
    end
}

#[test]
fn a_session_that_loses_its_slot_before_it_has_a_socket_ends_when_it_arrives() {
    let end = on_its_way("early", |inside, newcomer| {
        let mail = NodeMail::Evict { user: UserId::parse("early").unwrap(), victim: newcomer };
        assert!(Inside::store(inside.node.stores.bus.send(inside.node.config.node.id.clone(), mail)));
        // the manager has been there when it has carried out what came behind
        let manager = inside.node.bus.manager().unwrap();
        manager.submit(Command::Panic);
        until("the manager is through", || inside.metric("portcullis_panics_total{part=\"manager\"}") > 0.0);
    });
    assert_eq!((end.errors(), end.code), (vec!["session_terminated"], Some(4409)));
}

#[test]
fn a_ban_that_comes_while_its_target_is_being_admitted_is_not_escaped() {
    let end = on_its_way("banned", |inside, _| {
        let target = Target::User(UserId::parse("banned").unwrap());
        inside.control(ControlEntry::Ban { target, until: None, reason: "test".to_owned() });
    });
    assert_eq!((end.errors(), end.code), (vec!["banned"], Some(4403)));
}
