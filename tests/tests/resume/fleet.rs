//! Sessions that go on on another node.

use portcullis_common::ids::UserId;
use portcullis_common::store::control::{ControlEntry, Target};
use portcullis_common::store::session::SlotState;
use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{Fleet, Operator, open, refused_for_the_cap};
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::{end, goes_on, grant, lives, resumes_nothing, show, terminated};

fn chat(payload: impl Into<Value>) -> Value {
    json!({"type": "chat", "to": {"room": "lobby"}, "payload": payload.into()})
}

fn states(operator: &Operator, user: &str) -> Vec<SlotState> {
    operator.slots(user).unwrap().into_iter().map(|slot| slot.state).collect()
}

fn detached(operator: &Operator, user: &str) {
    wait::until("the session is detached", || {
        matches!(states(operator, user)[..], [SlotState::Detached { .. }]).then_some(())
    });
}

#[test]
fn a_session_goes_on_at_another_node_with_what_it_missed() {
    let fleet = Fleet::start(|setup| setup.set("session.max_per_user", "1"));
    let operator = fleet.operator();
    let (mut ann, mut bob) = (open(&fleet.a, "ann"), open(&fleet.a, "bob"));
    ann.join("lobby");
    bob.join("lobby");
    ann.ask(chat("before"));
    let seen = bob.message_of("chat");
    let (sid, token) = (bob.session().to_owned(), grant(&bob));
    drop(bob);
    detached(&operator, "app:bob");
    ann.ask(chat("while away"));
    let mut bob = show(fleet.b.public, "bob", &token).unwrap();
    assert_eq!((bob.session(), goes_on(&bob)), (&*sid, true));
    let since = json!({"since": {"offset": seen["offset"], "epoch": seen["epoch"]}});
    bob.say(json!({"type": "join", "id": "back", "to": {"room": "lobby"}, "payload": since}));
    assert_eq!(bob.message_of("chat")["payload"], "while away");
    let ack = bob.message_of("ack");
    assert_eq!((&ack["payload"]["recovered"], &ack["payload"]["members"]), (&json!(true), &json!(2)), "{ack}");
    let direct = json!({"type": "direct", "to": {"user": "app:bob"}, "payload": "found"});
    assert_eq!(ann.ask(direct)["type"], "ack");
    assert_eq!(bob.message_of("direct")["payload"], "found", "messages find it where it is");
}

#[test]
fn a_connection_at_another_node_is_replaced_and_its_late_end_changes_nothing() {
    let fleet = Fleet::start(|setup| setup.set("session.max_per_user", "1"));
    let operator = fleet.operator();
    let mut raw = open(&fleet.a, "ann");
    let sid = raw.session().to_owned();
    for node in [&fleet.b, &fleet.a, &fleet.b] {
        raw.join("lobby");
        let mut next = show(node.public, "ann", &grant(&raw)).unwrap();
        assert_eq!(next.join("lobby")["members"], 1);
        assert_eq!(end(std::mem::replace(&mut raw, next)), terminated());
        assert!(lives(&mut raw));
        let slots = operator.slots("app:ann").unwrap();
        assert_eq!((slots.len(), slots[0].holder.sid.to_string(), &slots[0].state), (1, sid.clone(), &SlotState::Live));
    }
    let refusal = portcullis_tests::fleet::knock(&fleet.a, "ann").expect_err("the cap is one");
    assert!(refused_for_the_cap(&refusal));
    let present = raw.ask(json!({"type": "presence", "to": {"room": "lobby"}}));
    assert_eq!(present["payload"], json!({"users": ["app:ann"], "sessions": 1}));
}

#[test]
fn sessions_of_a_node_that_drains_go_on_at_another() {
    let mut fleet = Fleet::start(|setup| setup);
    let mut ann = open(&fleet.a, "ann");
    let (sid, token) = (ann.session().to_owned(), grant(&ann));
    ann.join("lobby");
    let seen = ann.ask(chat("before"));
    fleet.a.signal("TERM");
    let ending = ann.ending();
    assert!(ending.said("reconnect"));
    assert_eq!(ending.code, Some(1012));
    assert!(fleet.a.wait_exit(wait::PATIENCE).success());
    let mut bob = open(&fleet.b, "bob");
    bob.join("lobby");
    bob.ask(chat("while away"));
    let mut ann = show(fleet.b.public, "ann", &token).unwrap();
    assert_eq!((ann.session(), goes_on(&ann)), (&*sid, true));
    let since = json!({"since": {"offset": seen["payload"]["offset"], "epoch": seen["payload"]["epoch"]}});
    ann.say(json!({"type": "join", "id": "back", "to": {"room": "lobby"}, "payload": since}));
    assert_eq!(ann.message_of("chat")["payload"], "while away");
    assert_eq!(ann.message_of("ack")["payload"]["recovered"], true);
}

#[test]
fn sessions_of_a_node_that_was_killed_go_on_at_another_while_the_ledger_has_them() {
    let fleet = Fleet::start(|setup| setup);
    let operator = fleet.operator();
    let ann = open(&fleet.a, "ann");
    let late = open(&fleet.a, "late");
    let (sid, token) = (ann.session().to_owned(), grant(&ann));
    fleet.a.signal("KILL");
    let mut ann = show(fleet.b.public, "ann", &token).unwrap();
    assert_eq!((ann.session(), goes_on(&ann)), (&*sid, true));
    let (late_sid, late_token) = (late.session().to_owned(), grant(&late));
    wait::until("the dead node is buried", || states(&operator, "app:late").is_empty().then_some(()));
    resumes_nothing(fleet.b.public, "late", &late_token, &late_sid);
    assert!(lives(&mut ann), "the burial is of the node, not of sessions that left it");
    assert_eq!(states(&operator, "app:ann"), [SlotState::Live]);
}

#[test]
fn a_kick_ends_a_detached_session_for_every_node_also_for_one_that_comes_later() {
    let fleet = Fleet::start(|setup| setup);
    let operator = fleet.operator();
    let ann = open(&fleet.a, "ann");
    let (sid, token) = (ann.session().to_owned(), grant(&ann));
    drop(ann);
    detached(&operator, "app:ann");
    let target = Target::User(UserId::parse("app:ann").unwrap());
    operator.append(ControlEntry::Kick { target, reason: "test".to_owned() });
    wait::until("the record is deleted", || states(&operator, "app:ann").is_empty().then_some(()));
    for node in [&fleet.a, &fleet.b, &fleet.node("gw-c")] {
        resumes_nothing(node.public, "ann", &token, &sid);
    }
}

#[test]
fn another_users_token_and_a_spent_one_are_worth_nothing_at_any_node() {
    let fleet = Fleet::start(|setup| setup);
    let ann = open(&fleet.a, "ann");
    let (sid, token) = (ann.session().to_owned(), grant(&ann));
    let mut next: Raw = show(fleet.b.public, "ann", &token).unwrap();
    assert!(lives(&mut next));
    for node in [&fleet.a, &fleet.b] {
        resumes_nothing(node.public, "eve", &grant(&next), &sid);
    }
    wait::until("the first frame has spent the old token", || {
        let raw = show(fleet.a.public, "ann", &token).unwrap();
        let spent = !goes_on(&raw);
        assert!(spent || raw.session() == sid);
        spent.then_some(())
    });
}
