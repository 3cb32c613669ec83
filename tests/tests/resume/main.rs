//! Sessions that outlive their connection: what goes on, what does not, and what nobody can bring back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod attacks;
mod crowd;
mod ends;
mod fleet;
mod orders;
mod outage;
mod rooms;
mod rules;

use std::net::SocketAddr;

use portcullis_common::ids::UserId;
use portcullis_common::store::session::SlotState;
use portcullis_tests::blocking::{Knock, Raw, Refusal};
use portcullis_tests::inside::{Inside, until};
use portcullis_tests::tokens;
use serde_json::json;

/// The resume token of a session.
fn grant(raw: &Raw) -> String {
    raw.welcome["payload"]["resume"]["token"].as_str().expect("a resume token").to_owned()
}

/// Whether it continues an earlier one.
fn goes_on(raw: &Raw) -> bool {
    raw.welcome["payload"]["resume"]["resumed"].as_bool().expect("a session that can be resumed")
}

/// A handshake of this user that shows this resume token.
fn show(address: SocketAddr, name: &str, token: &str) -> Result<Raw, Refusal> {
    show_with(address, &tokens::good(name), token)
}

/// The same with this bearer token.
fn show_with(address: SocketAddr, bearer: &str, token: &str) -> Result<Raw, Refusal> {
    Knock::at(address, bearer, Some(&format!("portcullis.v1.json, resume.{token}"))).answer()
}

fn open(inside: &Inside, name: &str) -> Raw {
    Raw::open(inside.public, &tokens::good(name))
}

/// How many detached and other slots a user has.
fn slots(inside: &Inside, name: &str) -> (usize, usize) {
    let slots = Inside::store(inside.node.stores.ledger.slots(UserId::parse(name).unwrap()));
    let detached = slots.iter().filter(|slot| matches!(slot.state, SlotState::Detached { .. })).count();
    (detached, slots.len() - detached)
}

/// Breaks a connection without a word, and waits until the session waits for its client.
fn lose(inside: &Inside, name: &str, raw: Raw) {
    let before = slots(inside, name);
    drop(raw);
    until("the session is detached", || slots(inside, name) == (before.0 + 1, before.1 - 1));
}

fn lives(raw: &mut Raw) -> bool {
    raw.ask(json!({"type": "health-check"}))["type"] == "health-check"
}

/// The errors and the close code with which a session ends.
fn end(raw: Raw) -> (String, Option<u16>) {
    let end = raw.ending();
    (end.errors().join(" "), end.code)
}

fn terminated() -> (String, Option<u16>) {
    ("session_terminated".to_owned(), Some(4409))
}

/// The token resumes nothing: a new session begins, and the old one's id is not its own.
fn resumes_nothing(address: SocketAddr, name: &str, token: &str, old: &str) {
    let raw = show(address, name, token).expect("a new session");
    assert!(!goes_on(&raw) && raw.session() != old && grant(&raw) != token, "{}", raw.welcome);
    assert_eq!(raw.close(1000), Some(1000));
}
