//! One function a section: from the keys in a table to the types of the model, defaults filled in.

use std::time::Duration;

pub(super) use auth::{ALGORITHMS, shortest_secret};
pub(super) use limit::{PER, SCOPES};
pub(super) use message::{CONTROLS, HTML, RESERVED, SIGNATURES};
pub(super) use pipeline::LEAKS;

use super::error::Report;
use super::file::Files;
use super::model::{Config, CoordinatorConfig, Store, StoreUrl};
use super::read::Section;

/// `[node] [listen] [tls] [log] [coordinator]`
mod process;

/// `[store]`
mod store;

/// `[auth]`
mod auth;

/// `[origin] [session] [size] [csrf]`
mod session;

/// `[limit.NAME]`
mod limit;

/// `[[room]]`
mod room;

/// `[message.NAME]`
mod message;

/// `[[operator]]`
mod operator;

/// `[pipeline] [signatures] [leaks] [anomaly]`
mod pipeline;

/// `[bans]`
mod bans;

/// `[feed.NAME]`
mod feed;

/// `[penalty]`
mod penalty;

/// `[stuffing]`
mod stuffing;

/// `[overload]`
mod overload;

/// Every top-level key.
pub(super) const SECTIONS: &[&str] = &[
    "node",
    "listen",
    "tls",
    "store",
    "auth",
    "origin",
    "session",
    "size",
    "csrf",
    "limit",
    "room",
    "message",
    "operator",
    "pipeline",
    "signatures",
    "leaks",
    "anomaly",
    "penalty",
    "stuffing",
    "overload",
    "bans",
    "feed",
    "log",
    "coordinator",
];

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const HOUR: Duration = secs(3_600);
const DAY: Duration = secs(86_400);

/// Reads every section. The result is meaningful only if nothing was refused.
pub(super) fn read(mut root: Section<'_>, files: Files<'_>, host: &str) -> Config {
    let penalty = penalty::penalty(root.child("penalty"));
    Config {
        node: process::node(root.child("node"), host),
        listen: process::listen(root.child("listen")),
        tls: process::tls(root.child("tls"), files),
        store: store::store(root.child("store"), files),
        auth: auth::auth(root.child("auth"), files),
        origin: session::origin(root.child("origin")),
        session: session::session(root.child("session")),
        size: session::size(root.child("size")),
        csrf: session::csrf(root.child("csrf")),
        limit: limit::limits(root.child("limit")),
        pipeline: pipeline::pipeline(root.child("pipeline")),
        signatures: pipeline::signatures(root.child("signatures"), files),
        leaks: pipeline::leaks(root.child("leaks"), files),
        anomaly: pipeline::anomaly(root.child("anomaly")),
        stuffing: stuffing::stuffing(root.child("stuffing")),
        overload: overload::overload(root.child("overload")),
        bans: bans::bans(root.child("bans"), files),
        feed: feed::feeds(&mut root, files, &penalty),
        penalty,
        room: room::rooms(&mut root),
        message: message::messages(&mut root, files),
        operator: operator::operators(&mut root),
        log: process::log(root.child("log")),
        coordinator: process::coordinator(root.child("coordinator"), host),
        dev: false,
    }
}

/// Reads what a coordinator needs; of the other sections only the names count. The result is meaningful only if nothing
/// was refused.
pub(super) fn read_coordinator(mut root: Section<'_>, files: Files<'_>, host: &str) -> CoordinatorConfig {
    for name in SECTIONS {
        root.has(name);
    }
    let config = CoordinatorConfig {
        coordinator: process::coordinator(root.child("coordinator"), host),
        stuffing: stuffing::stuffing(root.child("stuffing")),
        store: store::store(root.child("store"), files),
        longest_session: session::session(root.child("session")).absolute_timeout,
        log: process::log(root.child("log")),
    };
    if config.store.url == StoreUrl::Memory {
        let problem = "is \"memory:\", which no other process can see: a coordinator needs the Redis of its gateways";
        root.report().refuse_together(&["store"], "store.url", problem);
    }
    config
}

/// Reads `[store]`; of the other sections only the names count.
pub(super) fn read_store(mut root: Section<'_>, files: Files<'_>) -> Store {
    for name in SECTIONS {
        root.has(name);
    }
    store::store(root.child("store"), files)
}

/// Roles: words, since a role claim may be one string with spaces.
fn roles(section: &mut Section<'_>, key: &'static str) -> Vec<String> {
    section.list(key, super::value::word(128)).unwrap_or_default()
}

/// Refuses what appears twice, at its second place.
fn once<T: PartialEq>(items: &[T], path: &str, report: &Report) {
    for (n, item) in items.iter().enumerate() {
        if items.iter().take(n).any(|earlier| earlier == item) {
            report.refuse(format!("{path}[{n}]"), "is there twice");
        }
    }
}
