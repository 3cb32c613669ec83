//! What the Redis store promises beyond the suite: outage, forgetting nothing, leaving nothing behind, keys.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::sync::Arc;
use std::time::Duration;

use ::redis::Value;
use portcullis_common::clock::SystemClock;
use portcullis_common::config::model::OnLimit;
use portcullis_common::ids::{NodeEpoch, NodeId, RoomName, SessionId, UserId};
use portcullis_common::store::era::Era;
use portcullis_common::store::memory::MemoryStore;
use portcullis_common::store::presence::Occupant;
use portcullis_common::store::redis::{ConnectFault, LinkState, RedisOptions, RedisStore};
use portcullis_common::store::session::{Acquire, Acquired, Holder};
use portcullis_common::store::{StoreFault, Stores};
use rand::SeedableRng;
use rand::rngs::StdRng;

mod redis;
use redis::RedisServer;

const HOUR: Duration = Duration::from_secs(3_600);

fn options() -> RedisOptions {
    RedisOptions { command_timeout: Duration::from_secs(10), ..RedisOptions::new([7; 32]) }
}

async fn open(server: &RedisServer, options: RedisOptions) -> (RedisStore, Stores) {
    let store = RedisStore::connect(&server.url(), &options).await.expect("a server");
    let rest = MemoryStore::new(Arc::new(SystemClock::default()), Box::new(StdRng::seed_from_u64(1)));
    let stores = store.stores(rest.bus, rest.control, rest.reports);
    next_era(&stores).await;
    (store, stores)
}

/// An era in which nobody is waited for.
async fn next_era(stores: &Stores) -> Era {
    stores.eras.open(Vec::new(), Duration::ZERO).await.expect("an era").era
}

/// A connection beside the store's, to look at what it did.
async fn beside(server: &RedisServer) -> ::redis::aio::MultiplexedConnection {
    let client = ::redis::Client::open(server.url()).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("a server")
}

async fn ask<T: ::redis::FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    let (verb, rest) = words.split_first().expect("a verb");
    ::redis::cmd(verb).arg(rest).query_async(&mut beside(server).await).await.expect("an answer")
}

/// But for those that say in which era the store is.
async fn all_keys(server: &RedisServer) -> Vec<String> {
    let keys: Vec<String> = ask(server, &["KEYS", "*"]).await;
    keys.into_iter().filter(|key| !key.ends_with("}:era") && !key.ends_with("}:fleet-era")).collect()
}

fn user() -> UserId {
    UserId::parse("ada{p00}*").expect("a user")
}

fn room() -> RoomName {
    RoomName::parse("team.ada").expect("a room")
}

fn node(n: u128) -> NodeId {
    NodeId::parse(&format!("node-{n}")).expect("a node")
}

fn holder(sid: u128, on: u128) -> Holder {
    Holder { sid: SessionId(sid), node: node(on), epoch: NodeEpoch(on), generation: 0 }
}

fn occupant(sid: u128, on: u128) -> Occupant {
    Occupant { sid: SessionId(sid), user: user(), node: node(on), epoch: NodeEpoch(on) }
}

async fn acquire(stores: &Stores, holder: Holder) -> Result<Acquired, StoreFault> {
    stores.ledger.acquire(Acquire { user: user(), holder, cap: 2, on_limit: OnLimit::EvictOldest }).await
}

async fn held(stores: &Stores, holder: Holder) -> u64 {
    match acquire(stores, holder).await {
        Ok(Acquired::Held { seq }) => seq,
        other => panic!("no slot: {other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_died_is_unavailable_and_used_again_when_it_is_back() {
    let mut server = RedisServer::start();
    let impatient = RedisOptions { command_timeout: Duration::from_millis(100), ..options() };
    let (store, stores) = open(&server, impatient).await;
    let mut state = store.state();
    held_at_last(&stores, 1).await;
    server.kill();
    assert!(matches!(acquire(&stores, holder(2, 1)).await, Err(StoreFault::Unavailable(_))));
    state.wait_for(|state| *state == LinkState::Down).await.expect("the store lives");
    server.restart();
    held_at_last(&stores, 3).await;
    assert_eq!(*state.borrow(), LinkState::Up);
    let sids: Vec<u128> = stores.ledger.slots(user()).await.expect("up").iter().map(|slot| slot.holder.sid.0).collect();
    assert_eq!(sids, [3], "what failed was not queued: it did not happen later");
}

/// Asks until there is an answer; every ask ends with the command timeout.
async fn held_at_last(stores: &Stores, sid: u128) {
    for _ in 0..300 {
        match acquire(stores, holder(sid, 1)).await {
            Ok(answer) => return assert!(matches!(answer, Acquired::Held { .. }), "{answer:?}"),
            Err(StoreFault::Unavailable(_)) => {}
            // it came back empty
            Err(StoreFault::Era) => drop(stores.eras.open(Vec::new(), Duration::ZERO).await),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the store never came back");
}

#[tokio::test]
async fn a_server_that_pauses_is_unavailable_and_answers_afterwards() {
    let server = RedisServer::start();
    let impatient = RedisOptions { command_timeout: Duration::from_millis(100), ..options() };
    let (store, stores) = open(&server, impatient).await;
    held_at_last(&stores, 1).await;
    server.pause();
    let answer = stores.lease.members().await;
    assert!(matches!(answer, Err(StoreFault::Unavailable(_))), "{answer:?}");
    assert_eq!(*store.state().borrow(), LinkState::Down);
    server.go_on();
    held_at_last(&stores, 1).await;
    assert_eq!(*store.state().borrow(), LinkState::Up);
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_sent_them_again() {
    let server = RedisServer::start();
    let (_store, stores) = open(&server, options()).await;
    held(&stores, holder(1, 1)).await;
    let _: Value = ask(&server, &["SCRIPT", "FLUSH"]).await;
    assert!(stores.ledger.holds(user(), holder(1, 1)).await.expect("it was sent the text"));
}

#[tokio::test]
async fn seq_grows_for_a_forgotten_user_though_the_servers_clock_went_back() {
    let server = RedisServer::start();
    let (_store, stores) = open(&server, options()).await;
    let first = held(&stores, holder(1, 1)).await;
    let key = all_keys(&server).await.into_iter().find(|key| key.ends_with(":seq")).expect("a partition's seq");
    let ahead = first + 3_600_000_000;
    let _: Value = ask(&server, &["SET", &key, &ahead.to_string()]).await;
    assert_eq!(stores.ledger.release(user(), holder(1, 1)).await.expect("up").seq, Some(ahead + 1));
    assert_eq!(held(&stores, holder(2, 1)).await, ahead + 2);
}

#[tokio::test]
async fn seq_grows_over_the_loss_of_all_data() {
    let server = RedisServer::start();
    let (_store, stores) = open(&server, options()).await;
    let first = held(&stores, holder(1, 1)).await;
    let _: Value = ask(&server, &["FLUSHALL"]).await;
    assert!(matches!(acquire(&stores, holder(1, 1)).await, Err(StoreFault::Era)));
    next_era(&stores).await;
    assert!(held(&stores, holder(1, 1)).await > first);
}

#[tokio::test]
async fn a_partition_that_alone_lost_what_it_had_is_found_out_and_a_new_era_is_due() {
    let server = RedisServer::start();
    let (_store, stores) = open(&server, options()).await;
    held(&stores, holder(1, 1)).await;
    let slots = all_keys(&server).await.into_iter().find(|key| key.contains("}:slots:")).expect("a slot");
    let partition = slots.split_once('}').expect("a tag").0;
    let lost: u64 = ask(&server, &["DEL", &format!("{partition}}}:era"), &slots]).await;
    assert_eq!(lost, 2);
    let before = stores.eras.look().await.expect("up").expect("the fleet's record is there").era;
    assert!(matches!(acquire(&stores, holder(2, 1)).await, Err(StoreFault::Era)));
    stores.eras.alarm().await.expect("it was raised");
    assert_eq!(stores.eras.look().await.expect("up"), None, "it is known to be lost");
    assert!(next_era(&stores).await > before);
    held(&stores, holder(2, 1)).await;
}

#[tokio::test]
async fn an_opening_that_its_opener_did_not_live_to_end_is_ended_by_the_next() {
    let server = RedisServer::start();
    let (_store, stores) = open(&server, options()).await;
    let keys: Vec<String> = ask(&server, &["KEYS", "*}:fleet-era"]).await;
    let _: u64 = ask(&server, &["HSET", &keys[0], "state", "opening"]).await;
    let (_other, other) = open(&server, options()).await;
    assert_eq!(other.eras.current(), stores.eras.current(), "the same, not another one");
    let _: u64 = ask(&server, &["HSET", &keys[0], "state", "opening", "at", "1"]).await;
    let (_late, late) = open(&server, options()).await;
    let era = |stores: &Stores| stores.eras.current().expect("an era").era;
    assert!(era(&late) > era(&stores), "one that takes too long is given up");
}

#[tokio::test]
async fn every_key_has_an_end_but_seq_and_none_says_whom_it_is_about() {
    let server = RedisServer::start();
    let (_store, stores) = open(&server, options()).await;
    held(&stores, holder(1, 1)).await;
    stores.presence.enter(room(), occupant(1, 1)).await.expect("up");
    stores.lease.take(node(1), NodeEpoch(1), HOUR).await.expect("up");
    stores.tickets.issue([9; 32], "claims".into(), HOUR).await.expect("up");
    let keys = all_keys(&server).await;
    assert_eq!(keys.len(), 10, "slots seq held · members users here rooms · leases lives · ticket: {keys:?}");
    for key in keys {
        let ttl: i64 = ask(&server, &["PTTL", &key]).await;
        assert_eq!(ttl > 0, !key.ends_with(":seq"), "{key}: {ttl}");
        let words: Vec<&str> = key.split(':').collect();
        assert!(words[0] == "portcullis" && words[1].len() == 5 && words[1].starts_with("{p"), "{key}");
        assert!(!key.contains("ada") && !key.contains("team") && !key.contains("node"), "{key}");
    }
}

#[tokio::test]
async fn sessions_that_end_in_any_way_leave_nothing_behind() {
    let server = RedisServer::start();
    let (_store, stores) = open(&server, options()).await;
    let ledger = &stores.ledger;
    held(&stores, holder(1, 1)).await;
    // detached, resumed elsewhere, and the old node's late release
    ledger.detach(user(), holder(1, 1), [1; 32], HOUR).await.expect("up");
    let resumed = ledger.resume(user(), [1; 32], node(2), NodeEpoch(2)).await.expect("up").expect("the token is good");
    ledger.release(user(), holder(1, 1)).await.expect("up");
    // evicted while a third waits
    held(&stores, holder(2, 1)).await;
    let Ok(Acquired::Evicting { victim, .. }) = acquire(&stores, holder(3, 3)).await else { panic!("no eviction") };
    assert_eq!(victim, resumed.holder);
    ledger.confirm(user(), victim).await.expect("up").expect("somebody waits");
    // removed by an operator, and the node's late release
    ledger.remove(user(), SessionId(2)).await.expect("up").expect("it is there");
    ledger.release(user(), holder(2, 1)).await.expect("up");
    // its node died
    assert_eq!(ledger.reap(node(3), NodeEpoch(3), 10).await.expect("up"), 1);

    for (sid, on) in [(1, 1), (1, 2), (4, 3)] {
        stores.presence.enter(room(), occupant(sid, on)).await.expect("up");
    }
    for on in [1, 2] {
        stores.presence.exit(room(), SessionId(1), NodeEpoch(on)).await.expect("up");
    }
    assert_eq!(stores.presence.reap(node(3), NodeEpoch(3), 10).await.expect("up"), 1);
    let left = all_keys(&server).await;
    assert!(left.iter().all(|key| key.ends_with(":seq")), "{left:?}");
}

#[tokio::test]
async fn a_user_who_is_only_awaited_is_forgotten_with_the_window() {
    let server = RedisServer::start();
    let (_store, stores) = open(&server, options()).await;
    held(&stores, holder(1, 1)).await;
    stores.ledger.detach(user(), holder(1, 1), [1; 32], HOUR).await.expect("up");
    let key = all_keys(&server).await.into_iter().find(|key| key.contains(":slots:")).expect("a slot");
    let ttl: u64 = ask(&server, &["PTTL", &key]).await;
    assert!((3_500_000..=3_600_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn a_reap_of_many_users_frees_all_in_batches_of_the_limit() {
    let server = RedisServer::start();
    let (_store, stores) = open(&server, options()).await;
    for n in 0..450_u128 {
        let user = UserId::parse(&format!("u{}", n % 150)).expect("a user");
        let request = Acquire { user, holder: holder(n, 1), cap: 9, on_limit: OnLimit::Reject };
        stores.ledger.acquire(request).await.expect("up");
        stores.presence.enter(room(), occupant(n, 1)).await.expect("up");
    }
    let mut freed = Vec::new();
    while freed.last() != Some(&(0, 0)) {
        let slots = stores.ledger.reap(node(1), NodeEpoch(1), 300).await.expect("up");
        freed.push((slots, stores.presence.reap(node(1), NodeEpoch(1), 300).await.expect("up")));
    }
    assert_eq!(freed, [(300, 300), (150, 150), (0, 0)]);
}

#[tokio::test]
async fn a_full_server_refuses_newcomers_as_a_whole_and_lets_the_present_leave() {
    let server = RedisServer::start();
    let (_store, stores) = open(&server, options()).await;
    held(&stores, holder(1, 1)).await;
    let _: Value = ask(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(matches!(acquire(&stores, holder(2, 1)).await, Err(StoreFault::Full("memory"))));
    assert!(stores.ledger.holds(user(), holder(1, 1)).await.expect("reads go on"));
    assert!(stores.ledger.release(user(), holder(1, 1)).await.expect("leaving goes on").seq.is_some());
    let _: Value = ask(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(stores.ledger.slots(user()).await.expect("up").is_empty());
}

#[tokio::test]
async fn a_server_that_may_evict_is_refused_unless_that_was_asked_for() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let refused = RedisStore::connect(&server.url(), &options()).await.err();
    assert!(matches!(refused, Some(ConnectFault::Evicts)), "{refused:?}");
    let asked_for = RedisOptions { may_evict: true, ..options() };
    assert!(RedisStore::connect(&server.url(), &asked_for).await.is_ok());
}

#[tokio::test]
async fn a_wrong_password_is_refused_at_once_and_not_repeated_to_anybody() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let url = server.url().replace("redis://", "redis://:hunter2@");
    let said = match RedisStore::connect(&url, &options()).await {
        Err(fault @ ConnectFault::Unreachable(_)) => format!("{fault} {fault:?}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("let in"),
    };
    assert!(!said.contains("hunter2") && !said.contains("no answer in time"), "{said}");
    let url = server.url().replace("redis://", "redis://:right@");
    assert!(RedisStore::connect(&url, &options()).await.is_ok());
}

#[tokio::test]
async fn what_is_no_url_and_who_does_not_listen_are_told_apart() {
    let nobody = {
        let server = RedisServer::start();
        server.url()
    };
    let fault = |url: String| async move { RedisStore::connect(&url, &options()).await.err() };
    assert!(matches!(fault("gopher://:hunter2@host".to_owned()).await, Some(ConnectFault::Url)));
    assert!(matches!(fault(nobody).await, Some(ConnectFault::Unreachable(_))));
    let bad = RedisOptions { prefix: "a{b".to_owned(), ..options() };
    assert!(matches!(RedisStore::connect("redis://127.0.0.1", &bad).await.err(), Some(ConnectFault::Prefix(_))));
}

#[tokio::test]
async fn a_slot_of_a_later_version_is_a_fault_and_not_a_free_slot() {
    let server = RedisServer::start();
    let (_store, stores) = open(&server, options()).await;
    held(&stores, holder(1, 1)).await;
    let key = all_keys(&server).await.into_iter().find(|key| key.contains(":slots:")).expect("a slot");
    let _: Value = ask(&server, &["HSET", &key, &SessionId(5).to_string(), "2 whatever comes"]).await;
    assert!(matches!(acquire(&stores, holder(2, 1)).await, Err(StoreFault::Unavailable(_))));
}
