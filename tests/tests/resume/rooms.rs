//! Rooms are the connection's: it leaves them when it ends, and the client joins them again where it left off.

use portcullis_common::ids::RoomName;
use portcullis_tests::blocking::Raw;
use portcullis_tests::inside::{Inside, until};
use serde_json::{Value, json};

use super::{end, grant, lose, open, show, terminated};

fn chat(room: &str, payload: impl Into<Value>) -> Value {
    json!({"type": "chat", "to": {"room": room}, "payload": payload.into()})
}

fn present(inside: &Inside, room: &str) -> usize {
    Inside::store(inside.node.stores.presence.list(RoomName::parse(room).unwrap(), 10)).1
}

fn rejoin(raw: &mut Raw, room: &str, seen: &Value) -> Vec<Value> {
    let since = json!({"since": {"offset": seen["offset"], "epoch": seen["epoch"]}});
    raw.say(json!({"type": "join", "id": "back", "to": {"room": room}, "payload": since}));
    let mut heard: Vec<Value> = Vec::new();
    while heard.last().is_none_or(|last| last["id"] != "back") {
        heard.push(raw.message());
    }
    heard
}

#[test]
fn what_was_said_meanwhile_comes_with_the_join_once_and_in_order() {
    let inside = Inside::start(&[]);
    let (mut ann, mut bob) = (open(&inside, "ann"), open(&inside, "bob"));
    ann.join("kept.a");
    bob.join("kept.a");
    ann.ask(chat("kept.a", "before"));
    let seen = bob.message_of("chat");
    let token = grant(&bob);
    lose(&inside, "bob", bob);
    for n in 1..=3 {
        ann.ask(chat("kept.a", n));
    }
    let mut bob = show(inside.public, "bob", &token).unwrap();
    assert_eq!(bob.refused(chat("kept.a", "not in yet")), "not_member");
    let heard = rejoin(&mut bob, "kept.a", &seen);
    let texts: Vec<&Value> = heard.iter().filter(|m| m["type"] == "chat").map(|m| &m["payload"]).collect();
    assert_eq!(texts, [&json!(1), &json!(2), &json!(3)]);
    assert_eq!(heard.last().unwrap()["payload"]["recovered"], true);
    ann.ask(chat("kept.a", "live"));
    assert_eq!(bob.message()["payload"], "live");
}

#[test]
fn a_room_has_a_resumed_session_once_whichever_connection_left_last() {
    let inside = Inside::start(&[]);
    let mut watcher = open(&inside, "watcher");
    watcher.join("lobby");
    let mut ann = open(&inside, "ann");
    for round in 0..20 {
        assert_eq!(ann.join("lobby")["members"], 2, "round {round}");
        let token = grant(&ann);
        let next = show(inside.public, "ann", &token).unwrap();
        let before = std::mem::replace(&mut ann, next);
        if round % 2 == 0 {
            assert_eq!(end(before), terminated());
        }
    }
    ann.join("lobby");
    assert_eq!(present(&inside, "lobby"), 2);
    ann.ask(chat("lobby", "once"));
    assert_eq!(ann.message_of("chat")["payload"], "once");
    ann.ask(chat("lobby", "twice"));
    assert_eq!(ann.message_of("chat")["payload"], "twice", "each message once");
    drop(ann);
    until("the room is left", || present(&inside, "lobby") == 1);
}

#[test]
fn messages_to_a_user_go_to_the_connection_that_is_there() {
    let inside = Inside::start(&[]);
    let (mut ann, first) = (open(&inside, "ann"), open(&inside, "bob"));
    let token = grant(&first);
    let direct = |text: &str| json!({"type": "direct", "to": {"user": "bob"}, "payload": text});
    let mut second = show(inside.public, "bob", &token).unwrap();
    assert_eq!(ann.ask(direct("one"))["type"], "ack");
    assert_eq!(second.message()["payload"], "one");
    let first = first.ending();
    assert!(!first.said("direct"));
    let token = grant(&second);
    lose(&inside, "bob", second);
    assert_eq!(ann.ask(direct("nobody hears this"))["type"], "ack");
    let mut third = show(inside.public, "bob", &token).unwrap();
    assert_eq!(ann.ask(direct("two"))["type"], "ack");
    assert_eq!(third.message()["payload"], "two", "nothing is kept for one who is away");
}
