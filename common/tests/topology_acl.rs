//! The users of Redis that `docs/OPERATIONS.md` recommends: they may do what is needed, and nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::time::Duration;

use bytes::Bytes;
use portcullis_common::config::secret::Secret;
use portcullis_common::store::redis::{Login, RedisOperator, RedisOptions};
use redis::RedisServer;
use redis::acl;
use redis::cluster::RedisCluster;
use redis::sentinel::Watched;

mod redis;
mod suite;

const PASSWORD: &str = "hunter2";

fn login(user: &str) -> Login {
    Login { username: Some(user.to_owned()), password: Some(Secret::new(PASSWORD)) }
}

/// As this user, on keys that begin with `portcullis`.
fn acting_as(user: &str) -> RedisOptions {
    RedisOptions { login: login(user), ..suite::options("portcullis") }
}

/// The default user can do nothing any more; what is asked of the server itself goes through `admin`.
fn guard(server: &RedisServer, user: &str) {
    server.allow(user, "portcullis", PASSWORD);
    server.cli(&["acl", "log", "reset"]);
    server.cli(&["config", "resetstat"]);
}

/// Nobody was refused anything.
fn assert_nothing_denied(server: &RedisServer) {
    assert_eq!(server.cli(&["acl", "log"]).trim(), "", "a command of ours is not in the document");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_documented_user_of_a_gateway_is_enough_and_none_of_its_commands_is_too_much() {
    let server = RedisServer::start();
    guard(&server, "gateway");
    suite::passes(&server.url(), &acting_as("gateway"), &suite::roles()).await;
    assert_nothing_denied(&server);
    let called = server.cli(&["info", "commandstats"]);
    // for other topologies, for what a healthy store does not need, and for the connection's state
    let elsewhere =
        ["role", "cluster|slots", "asking", "ssubscribe", "sunsubscribe", "spublish", "ping", "del", "xdel"];
    let listed = acl::commands("gateway");
    let idle: Vec<&String> = listed
        .iter()
        .filter(|command| !elsewhere.contains(&command.as_str()))
        .filter(|command| !called.contains(&format!("cmdstat_{command}:")))
        .collect();
    assert!(listed.len() > 30 && idle.is_empty(), "documented and never used: {idle:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_documented_user_of_a_gateway_is_enough_on_a_cluster() {
    let cluster = RedisCluster::start();
    cluster.nodes.iter().for_each(|node| guard(node, "gateway"));
    suite::passes(&cluster.url(), &acting_as("gateway"), &["ticket", "bus", "presence"]).await;
    cluster.nodes.iter().for_each(assert_nothing_denied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_documented_users_are_enough_behind_sentinels() {
    let watched = Watched::start();
    guard(&watched.first, "gateway");
    watched.allow("portcullis", PASSWORD);
    let options = RedisOptions { sentinel_login: login("portcullis"), ..acting_as("gateway") };
    suite::passes(&watched.url(), &options, &["ticket", "bus"]).await;
    assert_nothing_denied(&watched.first);
    let nobody = RedisOptions {
        sentinel_login: Login { username: Some("portcullis".to_owned()), password: Some(Secret::new("wrong")) },
        connect_timeout: Duration::from_secs(3),
        ..acting_as("gateway")
    };
    let fault = portcullis_common::store::redis::RedisStore::connect(&watched.url(), &nobody).await.err().unwrap();
    assert!(!format!("{fault} {fault:?}").contains("wrong"));
}

/// What `redis-cli` answers this user.
fn says(server: &RedisServer, user: &str, words: &[&str]) -> String {
    let login = ["--user", user, "--pass", PASSWORD, "--no-auth-warning"];
    server.cli(&[&login[..], words].concat())
}

#[tokio::test]
async fn a_viewer_sees_who_is_there_and_changes_nothing() {
    let server = RedisServer::start();
    guard(&server, "viewer");
    let operator = RedisOperator::open(&server.url(), acting_as("viewer")).await.expect("let in");
    assert!(operator.members().members().await.expect("may be read").is_empty());
    assert!(operator.commands().now().await.is_ok());
    assert_nothing_denied(&server);
    assert!(operator.commands().dispatch(Bytes::from_static(b"{}")).await.is_err());
    for words in [
        &["set", "portcullis:x", "1"][..],
        &["del", "portcullis:x"],
        &["xadd", "portcullis:{p00}:commands", "*", "c", "1"],
        &["publish", "portcullis:x", "1"],
        &["subscribe", "portcullis:x"],
        &["eval", "return redis.call('SET', KEYS[1], 1)", "1", "portcullis:x"],
        &["eval_ro", "return redis.call('SET', KEYS[1], 1)", "1", "portcullis:x"],
        &["get", "other:x"],
        &["flushall"],
        &["config", "get", "*"],
        &["keys", "*"],
        &["acl", "list"],
    ] {
        let answer = says(&server, "viewer", words);
        assert!(answer.contains("NOPERM") || answer.contains("ERR"), "{words:?}: {answer}");
    }
    assert_eq!(server.cli(&["dbsize"]).trim(), "0");
}

#[tokio::test]
async fn an_operator_sends_commands_and_writes_nothing_else() {
    let server = RedisServer::start();
    guard(&server, "operator");
    let operator = RedisOperator::open(&server.url(), acting_as("operator")).await.expect("let in");
    operator.commands().dispatch(Bytes::from_static(b"{}")).await.expect("may be sent");
    assert!(operator.members().members().await.expect("may be read").is_empty());
    assert_nothing_denied(&server);
    for words in [
        &["set", "portcullis:x", "1"][..],
        &["xadd", "portcullis:{p00}:control", "*", "d", "1"],
        &["del", "portcullis:{p00}:commands"],
        &["publish", "portcullis:x", "1"],
    ] {
        assert!(says(&server, "operator", words).contains("NOPERM"), "{words:?}");
    }
}
