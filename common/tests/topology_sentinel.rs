//! The store behind Redis Sentinel: the suite, and what happens when the master is another.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "test code")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet::{Process, keep, room, until};
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::UserId;
use portcullis_common::store::bus::Bus;
use portcullis_common::store::control::{ControlEntry, ControlLog, ControlSink, Logged};
use portcullis_common::store::redis::{ConnectFault, RedisOptions, RedisStore};
use redis::sentinel::{MASTER, Watched};

mod fleet;
mod redis;
mod suite;

fn options() -> RedisOptions {
    RedisOptions { command_timeout: Duration::from_secs(2), ..suite::options("fleet") }
}

async fn listening(url: &str, name: &str) -> Process {
    let process = Process::at(url, name, options()).await;
    process.attach();
    process.bus.subscribe(process.node.clone(), room()).await.expect("a subscription");
    process
}

/// What the control log said.
#[derive(Default)]
struct Told(Mutex<Vec<ControlEntry>>);

impl ControlSink for Told {
    fn apply(&self, logged: &Logged) {
        self.0.lock().unwrap().push(logged.entry.clone());
    }
}

fn revoke(user: &str) -> ControlEntry {
    ControlEntry::Revoke { user: UserId::parse(user).unwrap(), issued_until: UnixMs(1_000) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_behind_sentinels_keeps_every_promise_before_and_after_the_master_dies() {
    let mut watched = Watched::start();
    let url = watched.url();
    suite::passes(&url, &suite::options("before"), &["ticket"]).await;
    let (a, b) = (listening(&url, "gw-a").await, listening(&url, "gw-b").await);
    let told = Arc::new(Told::default());
    b.control.follow(Arc::clone(&told) as Arc<dyn ControlSink>).await.expect("a log");
    let before = a.say("before", keep()).await;
    assert_eq!(watched.first.cli(&["wait", "1", "5000"]).trim(), "1");
    watched.first.kill();
    watched.wait_for_master(watched.second.port());
    let after = a.insist("after", keep()).await;
    assert!(after.epoch != before.epoch, "a copy may lack the last offsets, and would give them again");
    for process in [&a, &b] {
        until("one order", || process.inbox.places() == [before, after]).await;
    }
    // the reader of the log, too, is where the master is
    a.control.append(revoke("app:ada")).await.expect("appended");
    until("the other is told", || told.0.lock().unwrap().contains(&revoke("app:ada"))).await;
    suite::passes(&url, &suite::options("after"), &suite::roles()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_demoted_alive_is_left() {
    let mut watched = Watched::start();
    // the others are enough
    watched.kill_sentinel(2);
    let (a, b) = (listening(&watched.url(), "gw-a").await, listening(&watched.url(), "gw-b").await);
    let before = a.say("before", keep()).await;
    assert_eq!(watched.first.cli(&["wait", "1", "5000"]).trim(), "1");
    watched.second.cli(&["config", "set", "maxmemory-policy", "volatile-lru"]);
    assert!(!a.store.evicts());
    watched.fail_over();
    let channel = channel(&watched.first);
    let listeners = || watched.second.cli(&["pubsub", "numsub", &channel]).lines().nth(1).map(str::to_owned);
    until("both listen to the new master", || listeners().as_deref() == Some("2")).await;
    let after = a.insist("after", keep()).await;
    assert!(after.epoch != before.epoch, "a copy may lack the last offsets, and would give them again");
    for process in [&a, &b] {
        until("one order", || process.inbox.places() == [before, after]).await;
    }
    let written = |server: &redis::RedisServer| server.cli(&["info", "replication"]).contains("role:master");
    assert!(written(&watched.second), "it was the replica that was written to");
    assert!(a.store.evicts() && b.store.evicts(), "the new master was asked what it does when memory is short");
}

fn channel(server: &redis::RedisServer) -> String {
    server.cli(&["pubsub", "channels", "fleet:*:bus:*"]).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_hangs_is_left_when_the_sentinels_have_another() {
    let watched = Watched::start();
    let (a, b) = (listening(&watched.url(), "gw-a").await, listening(&watched.url(), "gw-b").await);
    a.say("before", keep()).await;
    assert_eq!(watched.first.cli(&["wait", "1", "5000"]).trim(), "1");
    watched.first.pause();
    watched.wait_for_master(watched.second.port());
    let last = a.insist("after", keep()).await;
    for process in [&a, &b] {
        until("what was said after the failover", || process.inbox.places().last() == Some(&last)).await;
    }
    watched.first.go_on();
}

#[tokio::test]
async fn a_master_that_nobody_knows_is_refused_at_the_start() {
    let watched = Watched::start();
    let url = watched.url().replace(MASTER, "other");
    let impatient = RedisOptions { connect_timeout: Duration::from_secs(5), ..options() };
    let fault = RedisStore::connect(&url, &impatient).await.err();
    assert!(matches!(fault, Some(ConnectFault::Unreachable(_))), "{fault:?}");
}
