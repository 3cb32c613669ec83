//! Two gateways over every kind of Redis: connect, send, receive, whichever node somebody is on; and again when the store
//! has moved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::time::Duration;

use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{RedisCluster, RedisServer, Watched, knock, open, pair};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::wait;
use serde_json::{Value, json};

/// Longer than a failover and a lease.
const PATIENCE: Duration = Duration::from_secs(60);

fn rooms(setup: Setup) -> Setup {
    setup.toml(
        "[[room]]\npattern = \"kept.*\"\njoin = [\"member\"]\npublish = [\"member\"]\n\
         history = { count = 500, age = \"10m\" }\n",
    )
}

fn chat(room: &str, text: &str) -> Value {
    json!({"type": "chat", "to": {"room": room}, "payload": text})
}

/// A member on each node, in each of so many rooms: what one says the other hears, and mail finds its user.
fn talk([a, b]: &[Gateway; 2], rooms: usize) -> (Raw, Raw) {
    let (mut ada, mut bob) = (open(a, "ada"), open(b, "bob"));
    for n in 0..rooms {
        let room = format!("kept.r{n}");
        ada.join(&room);
        assert_eq!(bob.join(&room)["members"], 2, "members of both nodes are counted");
        assert_eq!(ada.ask(chat(&room, "to b"))["type"], "ack");
        assert_eq!(bob.message_of("chat")["payload"], "to b");
        assert_eq!(bob.ask(chat(&room, "to a"))["type"], "ack");
        assert_eq!(["to b", "to a"].map(|_| ada.message_of("chat")["offset"].clone()), [json!(1), json!(2)]);
        bob.message_of("chat");
    }
    assert_eq!(ada.ask(json!({"type": "direct", "to": {"user": "app:bob"}, "payload": "mail"}))["type"], "ack");
    assert_eq!(bob.message_of("direct")["payload"], "mail");
    (ada, bob)
}

/// What is said on one node is heard on the other, in the store's order, as soon as the store is there again.
fn talks_again(ada: &mut Raw, bob: &mut Raw, room: &str) {
    let mut n = 0;
    wait::until_within(PATIENCE, "a message crosses the nodes", || {
        n += 1;
        let text = format!("again {n}");
        let taken = ada.ask(chat(room, &text));
        // while the store is away it goes to the sender's node, marked so
        (taken["type"] == "ack" && taken["payload"]["degraded"] != true).then_some(())?;
        let heard = bob.message_of("chat");
        (heard["offset"].is_u64()).then_some(())
    });
}

#[test]
fn two_gateways_over_a_cluster_are_one_system_also_after_a_master_came_back() {
    let mut cluster = RedisCluster::start();
    let nodes = pair(&cluster.url(), rooms);
    // rooms enough for every master
    let (mut ada, mut bob) = talk(&nodes, 12);
    cluster.nodes[1].restart();
    cluster.settle();
    for n in [0, 5, 11] {
        talks_again(&mut ada, &mut bob, &format!("kept.r{n}"));
    }
    wait::until_within(PATIENCE, "newcomers are let in on both nodes", || {
        nodes.iter().all(|node| knock(node, "eve").is_ok()).then_some(())
    });
}

#[test]
fn two_gateways_behind_sentinels_go_on_when_the_master_is_killed_and_say_that_the_next_one_may_forget() {
    let mut watched = Watched::start();
    let nodes = pair(&watched.url(), rooms);
    let (mut ada, mut bob) = talk(&nodes, 2);
    // nobody asks a replica when it is made one
    watched.second.cli(&["config", "set", "maxmemory-policy", "allkeys-lru"]);
    assert!(nodes.iter().all(|node| node.metric("portcullis_store_evicts") == 0.0));
    watched.first.kill();
    watched.wait_for_master(watched.second.port());
    talks_again(&mut ada, &mut bob, "kept.r0");
    talks_again(&mut ada, &mut bob, "kept.r1");
    for node in &nodes {
        let told = || node.events().iter().any(|event| event["event"] == "store_evicts" && event["evicts"] == true);
        wait::until("the node to say so", || told().then_some(()));
        assert_eq!(node.metric("portcullis_store_evicts"), 1.0);
        assert!(node.health()["degraded"].to_string().contains("maxmemory-policy"), "{}", node.health());
    }
    wait::until_within(PATIENCE, "newcomers are let in on both nodes", || {
        nodes.iter().all(|node| knock(node, "eve").is_ok()).then_some(())
    });
}

#[test]
fn two_gateways_need_no_more_of_redis_than_the_documented_user_may() {
    let redis = RedisServer::start();
    redis.allow("gateway", "portcullis:", "hunter2");
    redis.cli(&["acl", "log", "reset"]);
    let nodes = pair(&redis.url(), |setup| {
        let setup = rooms(setup).file("redis.password", "hunter2\n");
        setup.set("store.username", "gateway").set("store.password_file", "redis.password")
    });
    talk(&nodes, 2);
    assert_eq!(redis.cli(&["acl", "log"]).trim(), "", "a command of ours is not in the document");
    assert!(nodes.iter().all(|node| !node.log().contains("hunter2")));
}
