//! The store on a real Redis Cluster: the suite, and what happens when slots and masters move.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::collections::HashSet;
use std::time::Duration;

use fleet::{Process, keep, room, until};
use portcullis_common::ids::{ClientId, UserId};
use portcullis_common::store::bus::{Bus, Dedupe};
use portcullis_common::store::redis::{ConnectFault, LinkState, RedisOptions, RedisStore};
use redis::cluster::RedisCluster;

mod fleet;
mod redis;
mod suite;

fn options(prefix: &str) -> RedisOptions {
    RedisOptions { command_timeout: Duration::from_secs(2), ..suite::options(prefix) }
}

/// A process with a node that listens to [`room`].
async fn listening(cluster: &RedisCluster, name: &str) -> Process {
    let process = Process::at(&cluster.url(), name, options("fleet")).await;
    process.attach();
    process.bus.subscribe(process.node.clone(), room()).await.expect("a subscription");
    process
}

/// The channel of [`room`].
fn channel(cluster: &RedisCluster) -> String {
    let channels = cluster.nodes.iter().map(|node| node.cli(&["pubsub", "shardchannels", "fleet:*:bus:*"]));
    let all: Vec<String> = channels.flat_map(|lines| lines.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    all.into_iter().find(|line| !line.is_empty()).expect("somebody listens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_of_three_masters_keeps_every_promise() {
    let cluster = RedisCluster::start();
    suite::passes(&cluster.url(), &suite::options("check"), &suite::roles()).await;
    let keys = |node: &redis::RedisServer| node.cli(&["dbsize"]).trim().parse::<u64>().expect("a number");
    assert!(cluster.nodes.iter().all(|node| keys(node) > 0), "all three were used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_goes_on_when_its_slot_moves_and_so_do_the_others_beside_it() {
    let cluster = RedisCluster::start();
    let (a, b) = (listening(&cluster, "gw-a").await, listening(&cluster, "gw-b").await);
    a.say("before", keep()).await;
    let (slot, from) = (cluster.slot(&channel(&cluster)), cluster.owner(&channel(&cluster)));
    let to = (from + 1) % 3;
    cluster.migrate(slot, from, to, || {});
    assert_eq!(cluster.owner(&channel(&cluster)), to);
    for n in 0..5 {
        a.insist(&format!("after {n}"), keep()).await;
    }
    for process in [&a, &b] {
        // another server gives the offsets now, and nobody can know that nothing was lost on the way: another epoch
        until("all six in their order", || process.inbox.offsets() == [1, 1, 2, 3, 4, 5]).await;
    }
    // and back: the library's answers are counted right still, though the server spoke unasked
    cluster.migrate(slot, to, from, || {});
    b.insist("back", keep()).await;
    for process in [&a, &b] {
        until("the seventh", || process.inbox.offsets() == [1, 1, 2, 3, 4, 5, 1]).await;
        let epochs: HashSet<u64> = process.inbox.places().iter().map(|place| place.epoch).collect();
        assert_eq!(epochs.len(), 3);
        assert_eq!(process.bus.counts().malformed, 0);
    }
}

/// The answers of the store to a hundred users, whose keys are on all masters: how many are told "first".
async fn first_of(process: &Process, round: u32) -> usize {
    let mut first = 0;
    for n in 0..100 {
        let user = UserId::parse(&format!("u{n}")).unwrap();
        let dedupe = Dedupe { user: user.clone(), id: ClientId::parse(&format!("m{round}")).unwrap() };
        first += usize::from(process.bus.first(dedupe, user).await.is_ok_and(|first| first));
    }
    first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_gone_keeps_nobody_from_the_others_and_its_subscriptions_come_back_with_it() {
    let mut cluster = RedisCluster::start();
    let impatient = RedisOptions { command_timeout: Duration::from_millis(300), ..options("fleet") };
    let process = Process::at(&cluster.url(), "gw-a", impatient).await;
    process.attach();
    process.bus.subscribe(process.node.clone(), room()).await.expect("a subscription");
    let owner = cluster.owner(&channel(&cluster));
    process.say("before", keep()).await;
    cluster.nodes[owner].kill();
    let state = process.store.state();
    until("the loss is seen", || *state.borrow() == LinkState::Down).await;
    assert!(process.bus.publish(room(), fleet::record("lost"), None, None).await.is_err());
    // some thirty of a hundred users are the lost master's; an unanswered one costs its timeout
    let first = tokio::time::timeout(Duration::from_secs(60), first_of(&process, 1)).await.unwrap();
    assert!((40..100).contains(&first), "{first}");
    cluster.nodes[owner].restart();
    cluster.settle();
    // it came back empty: a new order
    let last = process.insist("after", keep()).await;
    until("the room goes on", || process.inbox.places().last() == Some(&last)).await;
    until("all are up", || *state.borrow() == LinkState::Up).await;
    assert_eq!(first_of(&process, 2).await, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_serves_the_slots_of_its_master() {
    let mut cluster = RedisCluster::start();
    let (a, b) = (listening(&cluster, "gw-a").await, listening(&cluster, "gw-b").await);
    let owner = cluster.owner(&channel(&cluster));
    let replica = cluster.replica_of(owner);
    let before = a.say("before", keep()).await;
    assert_eq!(cluster.nodes[owner].cli(&["wait", "1", "5000"]).trim(), "1");
    cluster.nodes[owner].kill();
    let promoted = || cluster.nodes[replica].cli(&["info", "replication"]).contains("role:master");
    until("it is promoted", promoted).await;
    let after = a.insist("after", keep()).await;
    assert!(after.epoch != before.epoch, "a copy may lack the last offsets, and would give them again");
    for process in [&a, &b] {
        until("one order", || process.inbox.places() == [before, after]).await;
    }
}

#[tokio::test]
async fn any_master_that_may_evict_is_refused() {
    let cluster = RedisCluster::start();
    cluster.nodes[1].cli(&["config", "set", "maxmemory-policy", "allkeys-lru"]);
    let open = |may_evict| {
        let (url, options) = (cluster.url(), RedisOptions { may_evict, ..options("fleet") });
        async move { RedisStore::connect(&url, &options).await.err() }
    };
    assert!(matches!(open(false).await, Some(ConnectFault::Evicts)));
    assert!(open(true).await.is_none());
}
