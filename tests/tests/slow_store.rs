//! A store of the network: it answers late, or not at all, and sessions end meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use portcullis_common::ids::RoomName;
use portcullis_common::store::session::{Slot, SlotState};
use portcullis_tests::blocking::{Knock, Raw};
use portcullis_tests::inside::{Inside, until};
use portcullis_tests::stall::Stall;
use portcullis_tests::tokens;
use serde_json::json;

fn start(changes: &[(&str, &str)]) -> (Inside, Stall) {
    let stall = Stall::default();
    let over = stall.clone();
    (Inside::start_on(changes, move |stores| over.over(stores)), stall)
}

fn open(inside: &Inside, user: &str) -> Raw {
    Raw::open(inside.public, &tokens::good(user))
}

fn join(room: &str) -> serde_json::Value {
    json!({"type": "join", "to": {"room": room}})
}

/// Sessions in a room, as the store has it.
fn present(inside: &Inside, room: &str) -> usize {
    Inside::store(inside.node.stores.presence.list(RoomName::parse(room).unwrap(), 10)).1
}

/// No trace of any member is left in a room: presence, and the node's own subscriptions.
fn empty(inside: &Inside, room: &str) -> bool {
    present(inside, room) == 0 && inside.node.bus.room_count() == 0
}

#[test]
fn a_join_that_fails_half_way_leaves_nothing_behind_and_can_be_repeated() {
    let (inside, stall) = start(&[]);
    let mut mia = open(&inside, "mia");
    // the subscription stands when this fails
    stall.refuse("presence.enter");
    assert_eq!(mia.refused(join("lobby")), "store_unavailable");
    assert!(empty(&inside, "lobby"));
    stall.lift("presence.enter");
    // subscription and presence stand when this fails
    stall.refuse("bus.publish");
    assert_eq!(mia.refused(join("lobby")), "store_unavailable");
    until("the room has forgotten it", || empty(&inside, "lobby"));
    stall.lift("bus.publish");
    assert_eq!(mia.join("lobby")["members"], 1);
    assert_eq!(present(&inside, "lobby"), 1);
    assert_eq!(mia.message_of("presence")["payload"]["joined"], "mia");
}

#[test]
fn a_join_again_that_fails_changes_nothing_for_the_member() {
    let (inside, stall) = start(&[]);
    let mut mia = open(&inside, "mia");
    let joined = mia.join("kept.a");
    stall.refuse("bus.recover");
    let since = json!({"since": {"offset": 0, "epoch": joined["epoch"]}});
    let again = json!({"type": "join", "to": {"room": "kept.a"}, "payload": since});
    assert_eq!(mia.refused(again), "store_unavailable");
    assert_eq!(present(&inside, "kept.a"), 1);
    assert_eq!(mia.ask(json!({"type": "chat", "to": {"room": "kept.a"}, "payload": "hi"}))["type"], "ack");
    assert_eq!(mia.message_of("chat")["payload"], "hi");
}

#[test]
fn a_session_that_ends_inside_a_join_or_a_leave_leaves_no_trace_of_itself() {
    let (inside, stall) = start(&[]);
    for (call, leaving) in
        [("bus.subscribe", false), ("presence.enter", false), ("bus.unsubscribe", true), ("presence.exit", true)]
    {
        // the request may be lost on its way to the store, or the answer on its way back
        for late in [false, true] {
            let mut mia = open(&inside, "mia");
            if leaving {
                mia.join("lobby");
            }
            if late {
                stall.late(call);
            } else {
                stall.hold(call);
            }
            mia.say(if leaving { json!({"type": "leave", "to": {"room": "lobby"}}) } else { join("lobby") });
            until("the call is under way", || stall.waiting(call) == 1);
            let target =
                portcullis_common::store::control::Target::Session(inside.entry(mia.session()).unwrap().holder.sid);
            inside.control(portcullis_common::store::control::ControlEntry::Kick { target, reason: "test".to_owned() });
            assert_eq!(mia.ending().code, Some(4409));
            stall.lift(call);
            until(&format!("{call}, late {late}: nothing is left"), || {
                empty(&inside, "lobby") && inside.counts(0) && inside.slots("mia") == 0
            });
        }
    }
}

#[test]
fn who_joins_while_the_last_member_leaves_hears_the_room() {
    let (inside, stall) = start(&[("node.workers", "1")]);
    let (mut old, mut new) = (open(&inside, "old"), open(&inside, "new"));
    old.join("plain.a");
    // the way out is taken and not at its end
    stall.hold("bus.unsubscribe");
    old.say(json!({"type": "leave", "to": {"room": "plain.a"}}));
    until("the call is under way", || stall.waiting("bus.unsubscribe") == 1);
    new.say(join("plain.a"));
    stall.lift("bus.unsubscribe");
    assert_eq!(new.message_of("ack")["room"], "plain.a");
    assert_eq!(new.ask(json!({"type": "chat", "to": {"room": "plain.a"}, "payload": "hi"}))["type"], "ack");
    assert_eq!(new.message_of("chat")["payload"], "hi");
}

#[test]
fn a_drain_sees_to_it_that_slots_are_given_back_before_the_lease_is() {
    let (mut inside, stall) = start(&[]);
    let mia = open(&inside, "mia");
    stall.hold("ledger.detach");
    let ledger = std::sync::Arc::clone(&inside.node.stores.ledger);
    inside.end();
    assert_eq!(mia.ending().code, Some(1012));
    until("the detachment is under way", || stall.waiting("ledger.detach") == 1);
    stall.lift("ledger.detach");
    inside.wait();
    let user = portcullis_common::ids::UserId::parse("mia").unwrap();
    let slots = Inside::store(ledger.slots(user));
    // resumable elsewhere: no slot is left in the name of a life that ends
    assert!(matches!(slots[..], [Slot { state: SlotState::Detached { .. }, .. }]), "{slots:?}");
}

#[test]
fn a_slot_that_the_store_did_not_take_back_is_given_back_later() {
    let (inside, stall) = start(&[("session.max_per_user", "1")]);
    let mia = open(&inside, "mia");
    stall.refuse("ledger.release");
    assert_eq!(mia.close(1000), Some(1000));
    until("the refusal is counted", || inside.metric("portcullis_store_faults_total") >= 1.0);
    assert_eq!(inside.slots("mia"), 1);
    stall.lift("ledger.release");
    until("the slot is free", || inside.slots("mia") == 0);
}

#[test]
fn what_was_missed_never_fills_the_outbox_of_one_who_reads() {
    let (inside, _) = start(&[("size.message", "2048"), ("size.outbox", "4096")]);
    let (mut mia, mut noa) = (open(&inside, "mia"), open(&inside, "noa"));
    let epoch = mia.join("kept.a")["epoch"].clone();
    for n in 0..5 {
        let text = format!("{n}{}", "x".repeat(1_000));
        mia.ask(json!({"type": "chat", "to": {"room": "kept.a"}, "payload": text}));
    }
    let mut heard = Vec::new();
    let mut since = 0;
    // the position of the last one is where the next join goes on
    while heard.len() < 5 {
        let payload = json!({"since": {"offset": since, "epoch": epoch}});
        noa.say(json!({"type": "join", "to": {"room": "kept.a"}, "payload": payload}));
        loop {
            let message = noa.message();
            if message["type"] == "ack" {
                assert_eq!(message["payload"]["recovered"], heard.len() == 5, "{message}");
                break;
            }
            since = message["offset"].as_u64().unwrap();
            heard.push(since);
        }
    }
    assert_eq!(heard, [1, 2, 3, 4, 5]);
}

#[test]
fn a_member_whose_end_the_store_did_not_hear_of_is_gone_when_it_answers_again() {
    let (inside, stall) = start(&[]);
    let (mut mia, mut noa) = (open(&inside, "mia"), open(&inside, "noa"));
    noa.join("lobby");
    mia.join("lobby");
    assert_eq!(noa.message_of("presence")["payload"]["joined"], "noa");
    assert_eq!(noa.message_of("presence")["payload"]["joined"], "mia");
    stall.refuse("presence.exit");
    mia.close(1000);
    until("it was tried", || inside.node.metrics.store_faults.get() > 0);
    assert_eq!(present(&inside, "lobby"), 2, "nobody told the store");
    stall.lift("presence.exit");
    until("the store knows", || present(&inside, "lobby") == 1);
    assert_eq!(noa.message_of("presence")["payload"]["left"], "mia");
}

#[test]
fn a_leave_that_the_store_did_not_hear_of_never_takes_out_a_member_who_came_back() {
    let (inside, stall) = start(&[]);
    let mut mia = open(&inside, "mia");
    mia.join("lobby");
    stall.refuse("presence.exit");
    mia.ask(json!({"type": "leave", "to": {"room": "lobby"}}));
    mia.join("lobby");
    stall.lift("presence.exit");
    // a second attempt is made after one second, and would have taken it out
    let began = portcullis_tests::wait::mono();
    until("two attempts could have been made", || {
        assert_eq!(present(&inside, "lobby"), 1);
        portcullis_tests::wait::mono().since(began) > std::time::Duration::from_millis(3_500)
    });
    mia.close(1000);
    until("nobody is left", || present(&inside, "lobby") == 0);
}

#[test]
fn a_slot_that_is_given_when_nobody_waits_for_it_any_more_is_given_back() {
    let (inside, stall) = start(&[]);
    stall.lead_astray("ledger.acquire");
    let refused = Knock::at(inside.public, &tokens::good("mia"), None).answer();
    assert_eq!(refused.expect_err("a refusal").code(), "store_unavailable");
    let slots = || inside.slots("mia");
    until("its withdrawal", || stall.made().contains_key("ledger.withdraw"));
    assert_eq!(slots(), 0);
    stall.lift("ledger.acquire");
    until("the ledger to give it after all", || slots() == 1);
    until("the slot to be free", || slots() == 0);
}
