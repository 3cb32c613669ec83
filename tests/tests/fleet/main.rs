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
