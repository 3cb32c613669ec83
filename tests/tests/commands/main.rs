//! Operators command a fleet of three with the real `gatectl`, over a real Redis.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod alone;
mod bulk;
mod eras;
mod exits;
mod measure;
mod trust;
mod verbs;

use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{Fleet, open};
use portcullis_tests::gatectl::operators;
use portcullis_tests::gateway::Gateway;
use serde_json::Value;

/// Two nodes and a third one, with operators of all roles.
struct Three {
    fleet: Fleet,
    c: Gateway,
}

impl Three {
    fn start() -> Self {
        let fleet = Fleet::start(|setup| setup.toml(&operators()));
        let c = fleet.node("gw-c");
        Self { fleet, c }
    }

    fn nodes(&self) -> [&Gateway; 3] {
        [&self.fleet.a, &self.fleet.b, &self.c]
    }

    /// A session of the user `app:` and this name on each.
    fn on_all(&self, name: &str) -> [Raw; 3] {
        self.nodes().map(|node| open(node, name))
    }
}

/// The error and the close code with which a session ends.
fn end(raw: Raw) -> (String, Option<u16>) {
    let end = raw.ending();
    (end.errors().join(" "), end.code)
}

/// One member of every row.
fn column<'r>(rows: &'r [Value], name: &str) -> Vec<&'r Value> {
    rows.iter().map(|row| row.get(name).unwrap_or_else(|| panic!("no {name}: {row}"))).collect()
}

/// The same, of texts.
fn texts<'r>(rows: &'r [Value], name: &str) -> Vec<&'r str> {
    column(rows, name).iter().map(|value| value.as_str().unwrap_or_else(|| panic!("{name}: {value}"))).collect()
}

fn names(row: &Value) -> Vec<&str> {
    row.as_object().unwrap().keys().map(String::as_str).collect()
}
