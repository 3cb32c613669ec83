//! Two gateways over one Redis are one system: rooms, users, slots, orders and tickets, whichever node somebody is on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod caps;
mod orders;
mod talk;
mod tickets;

use portcullis_tests::blocking::Raw;
use serde_json::{Value, json};

/// The error and the close code with which a session ends.
fn end(raw: Raw) -> (String, Option<u16>) {
    let end = raw.ending();
    (end.errors().join(" "), end.code)
}

fn terminated() -> (String, Option<u16>) {
    ("session_terminated".to_owned(), Some(4409))
}

fn banned() -> (String, Option<u16>) {
    ("banned".to_owned(), Some(4403))
}

fn to_room(kind: &str, room: &str, payload: impl Into<Value>) -> Value {
    json!({"type": kind, "to": {"room": room}, "payload": payload.into()})
}

fn to_user(user: &str, payload: impl Into<Value>) -> Value {
    json!({"type": "direct", "to": {"user": user}, "payload": payload.into()})
}

/// Everything that came before the answer to a question that is asked now.
fn so_far(raw: &mut Raw) -> Vec<Value> {
    raw.say(json!({"type": "health-check", "id": "so-far"}));
    let mut messages = Vec::new();
    loop {
        let message = raw.message();
        if message["id"] == "so-far" {
            return messages;
        }
        messages.push(message);
    }
}
