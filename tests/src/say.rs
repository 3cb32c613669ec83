//! What sessions of tests say, and what they have heard by then.

use serde_json::{Value, json};

use crate::blocking::Raw;

/// An application's message to a room.
#[must_use]
pub fn to_room(kind: &str, room: &str, payload: impl Into<Value>) -> Value {
    json!({"type": kind, "to": {"room": room}, "payload": payload.into()})
}

/// A direct message.
#[must_use]
pub fn to_user(user: &str, payload: impl Into<Value>) -> Value {
    json!({"type": "direct", "to": {"user": user}, "payload": payload.into()})
}

/// Everything that came before the answer to a question that is asked now.
///
/// # Panics
/// When the session ends first.
pub fn so_far(raw: &mut Raw) -> Vec<Value> {
    raw.say(json!({"type": "health-check", "id": "so-far"}));
    std::iter::repeat_with(|| raw.message()).take_while(|message| message["id"] != "so-far").collect()
}
