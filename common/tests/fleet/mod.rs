//! Several processes on one Redis, each with a bus and a control log of its own.

#![allow(clippy::expect_used, clippy::panic, dead_code, reason = "test code; no test uses all of it")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use portcullis_common::clock::{Clock, SystemClock, UnixMs};
use portcullis_common::config::model::History;
use portcullis_common::ids::{NodeEpoch, NodeId, RoomName};
use portcullis_common::store::bus::{Bus, BusSink, Delivery, NodeMail, Position, Record};
use portcullis_common::store::keyring::Keyring;
use portcullis_common::store::record::{Header, Issuer, Sealer};
use portcullis_common::store::redis::{ControlCopy, RedisBus, RedisControl, RedisOptions, RedisStore, Trust};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::redis::RedisServer;

/// The fleet's key file, and one of somebody else who knows the key's name.
pub const OURS: &str = "k:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
pub const THEIRS: &str = "k:/wIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

pub fn sealer(key_file: &str) -> Sealer {
    Sealer::new("blue", Arc::new(Keyring::parse(key_file).expect("a key file")))
}

/// An entry of a stream: its id, and its fields.
pub type Entry = (String, Vec<(String, Vec<u8>)>);

/// What a node got.
#[derive(Default)]
pub struct Inbox {
    pub deliveries: Mutex<Vec<Delivery>>,
    pub mails: Mutex<Vec<NodeMail>>,
}

impl BusSink for Inbox {
    fn deliver(&self, delivery: Delivery) {
        self.deliveries.lock().expect("no panic").push(delivery);
    }

    fn mail(&self, mail: NodeMail) {
        self.mails.lock().expect("no panic").push(mail);
    }
}

impl Inbox {
    pub fn places(&self) -> Vec<Position> {
        self.deliveries.lock().expect("no panic").iter().map(|delivery| delivery.position).collect()
    }

    pub fn offsets(&self) -> Vec<u64> {
        self.places().iter().map(|place| place.offset).collect()
    }

    pub fn mail_count(&self) -> usize {
        self.mails.lock().expect("no panic").len()
    }
}

pub struct Process {
    pub store: RedisStore,
    pub bus: RedisBus,
    pub control: RedisControl,
    pub node: NodeId,
    pub inbox: Arc<Inbox>,
}

pub fn room() -> RoomName {
    RoomName::parse("team.ada").expect("a room")
}

pub fn record(text: &str) -> Record {
    Record { body: Bytes::from(format!("{{\"t\":\"{text}\"}}")), exclude: None }
}

pub fn keep() -> Option<History> {
    Some(History { count: 10_000, age: Duration::from_secs(600) })
}

pub fn now() -> UnixMs {
    SystemClock::default().wall()
}

/// A header as a process of the fleet would write it.
pub fn header(sequence: u64, at: UnixMs) -> Header {
    let issuer = Issuer { node: NodeId::parse("gw-x").expect("a node"), epoch: NodeEpoch(0x5eed) };
    Header { issuer, sequence, at }
}

/// How a process of that name signs, in a life of its own.
pub fn trust(name: &str, key_file: &str) -> Trust {
    let node = NodeId::parse(name).expect("a node");
    let issuer = Issuer { node, epoch: NodeEpoch(rand::random()) };
    Trust { sealer: sealer(key_file), issuer, clock: Arc::new(SystemClock::default()) }
}

impl Process {
    pub async fn start(server: &RedisServer, name: &str) -> Self {
        let patient = Duration::from_secs(10);
        let options = RedisOptions { command_timeout: patient, connect_timeout: patient, ..RedisOptions::new([7; 32]) };
        Self::start_with(server, name, options).await
    }

    pub async fn start_with(server: &RedisServer, name: &str, options: RedisOptions) -> Self {
        Self::at(&server.url(), name, options).await
    }

    /// The same wherever the store is.
    pub async fn at(url: &str, name: &str, options: RedisOptions) -> Self {
        let store = RedisStore::connect(url, &options).await.expect("a server");
        let node = NodeId::parse(name).expect("a node");
        let issuer = Issuer { node: node.clone(), epoch: NodeEpoch(rand::random()) };
        let trust = Trust { sealer: sealer(OURS), issuer, clock: Arc::new(SystemClock::default()) };
        let bus = store.bus(&trust, Box::new(StdRng::from_os_rng())).expect("the first bus");
        let control = store.control(&trust);
        Self { store, bus, control, node, inbox: Arc::default() }
    }

    /// With this key file, and a copy of the control log in this file.
    pub async fn start_as(server: &RedisServer, name: &str, key_file: &str, copy: Option<&Path>) -> Self {
        let patient = Duration::from_secs(10);
        let options = RedisOptions { command_timeout: patient, connect_timeout: patient, ..RedisOptions::new([7; 32]) };
        let store = RedisStore::connect(&server.url(), &options).await.expect("a server");
        let node = NodeId::parse(name).expect("a node");
        let trust = trust(name, key_file);
        let bus = store.bus(&trust, Box::new(StdRng::from_os_rng())).expect("the first bus");
        let control = match copy {
            Some(file) => {
                let (copy, _) = ControlCopy::open(file.to_owned(), &options, &trust);
                store.control_with_copy(&trust, copy)
            }
            None => store.control(&trust),
        };
        Self { store, bus, control, node, inbox: Arc::default() }
    }

    /// A node that listens to [`room`].
    pub async fn listening(server: &RedisServer, name: &str) -> Self {
        let process = Self::start(server, name).await;
        process.attach();
        process.bus.subscribe(process.node.clone(), room()).await.expect("a subscription");
        process
    }

    pub fn attach(&self) {
        self.bus.attach(self.node.clone(), Arc::clone(&self.inbox) as Arc<dyn BusSink>);
    }

    pub async fn say(&self, text: &str, keep: Option<History>) -> Position {
        self.bus.publish(room(), record(text), None, keep).await.expect("taken").position
    }

    /// Says it however long the store needs to come back.
    pub async fn insist(&self, text: &str, keep: Option<History>) -> Position {
        for _ in 0..200 {
            if let Ok(published) = self.bus.publish(room(), record(text), None, keep).await {
                return published.position;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the store never came back");
    }
}

/// Waits until it is so.
pub async fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// A client of Redis that is not ours.
pub async fn raw(server: &RedisServer) -> ::redis::aio::MultiplexedConnection {
    let client = ::redis::Client::open(server.url()).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("a server")
}

pub async fn ask<T: ::redis::FromRedisValue>(server: &RedisServer, words: &[&[u8]]) -> T {
    let mut command = ::redis::Cmd::new();
    words.iter().for_each(|word| {
        command.arg(*word);
    });
    command.query_async(&mut raw(server).await).await.expect("an answer")
}

/// The one key or channel whose kind that is.
pub fn of_kind(names: Vec<String>, kind: &str) -> String {
    let kind = format!(":{kind}");
    let mut found = names.into_iter().filter(|name| name.contains(&format!("{kind}:")) || name.ends_with(&kind));
    let name = found.next().expect("one");
    assert_eq!(found.next(), None, "one");
    name
}

pub async fn channel(server: &RedisServer, kind: &str) -> String {
    of_kind(ask(server, &[b"PUBSUB", b"CHANNELS"]).await, kind)
}

pub async fn key(server: &RedisServer, kind: &str) -> String {
    of_kind(ask(server, &[b"KEYS", b"*"]).await, kind)
}
