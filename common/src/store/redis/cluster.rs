//! Several masters that share the keys: which of them is asked, and what is done when that changes.
//!
//! Each has a wire for commands and one for what it pushes, of its own (ADR 8): one that is gone keeps nobody from the
//! others. Who serves a slot is learnt from `CLUSTER SLOTS` and from redirects. What was sent is never sent again, but
//! where the server said that it had not carried it out.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, Value};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::ConnectFault;
use super::endpoint::{Address, Endpoint};
use super::health::{Health, Pulse};
use super::link::{LinkFault, suits, unreachable};
use super::options::RedisOptions;
use super::shards::{NodeEar, Shards};
use super::slots::{Redirect, SLOTS, Stretch, key_of, redirect, slot_of, stretches};
use super::wire::{Dial, Wire};
use crate::store::StoreFault;

/// Redirects that one command follows.
const HOPS: usize = 4;

/// How long a command waits for a slot that is on its way or has no master, the first time; then twice as long.
const WAIT: Duration = Duration::from_millis(20);

/// How often it is asked who serves what: when nothing happened, when a master does not answer, and at most.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_DOWN: Duration = Duration::from_millis(500);
const LOOK_LEAST: Duration = Duration::from_millis(100);

/// How long one node may take to say it.
const ASK: Duration = Duration::from_secs(2);

/// A master.
pub(super) struct Node {
    pub(super) address: Address,
    /// Commands.
    wire: Wire,
    /// What it pushes. Apart: a server that gives a slot away pushes an `SUNSUBSCRIBE` that nobody asked for, and the
    /// library takes it for the answer of whatever command waits (redis 1.8, `PushKind::has_reply`).
    pub(super) ears: Wire,
    /// One change of subscriptions at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
}

/// Who serves what.
#[derive(Default)]
pub(super) struct Map {
    nodes: Vec<Arc<Node>>,
    /// By slot: the index of a node.
    owners: Vec<Option<u16>>,
}

impl Map {
    pub(super) fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        let index = (*self.owners.get(usize::from(slot))?)?;
        self.nodes.get(usize::from(index))
    }

    /// The node of this address, once there is one.
    pub(super) fn node(&self, address: &Address) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.address == *address)
    }
}

/// See the module. Its tasks end when it is dropped.
pub(super) struct Cluster {
    inner: Arc<Inner>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What its tasks share.
pub(super) struct Inner {
    endpoint: Arc<Endpoint>,
    connect_timeout: Duration,
    health: Arc<Health>,
    map: RwLock<Arc<Map>>,
    /// The map may be old.
    stale: Notify,
    shards: Arc<Shards>,
}

impl Cluster {
    /// Finds the masters and asks each whether it will do.
    pub(super) async fn connect(
        endpoint: &Arc<Endpoint>,
        options: &RedisOptions,
        health: &Arc<Health>,
    ) -> Result<Arc<Self>, ConnectFault> {
        let found = first_view(endpoint).await?;
        let masters: BTreeMap<&Address, ()> = found.iter().map(|stretch| (&stretch.master, ())).collect();
        let judged = masters.into_keys().map(|master| async {
            suits(&endpoint.client(master).map_err(|error| unreachable(&error))?, options).await
        });
        join_all(judged).await.into_iter().collect::<Result<Vec<()>, _>>()?;
        let inner = Arc::new(Inner {
            endpoint: Arc::clone(endpoint),
            connect_timeout: options.connect_timeout,
            health: Arc::clone(health),
            map: RwLock::default(),
            stale: Notify::new(),
            shards: Arc::new(Shards::new(health)),
        });
        inner.adopt(&found);
        let (looker, healer) = (Arc::downgrade(&inner), Arc::downgrade(&inner));
        let tasks = [tokio::spawn(keep_looking(looker)), tokio::spawn(keep_healing(healer))];
        Ok(Arc::new(Self { inner, tasks }))
    }

    /// Where a key is, waited for without end.
    pub(super) async fn address_of(&self, key: &str) -> Address {
        self.inner.owner(slot_of(key.as_bytes())).await.address.clone()
    }

    /// Where a key is; `None`: nowhere, at the moment.
    pub(super) fn owner_of(&self, key: &str) -> Option<Address> {
        self.inner.map().owner(slot_of(key.as_bytes())).map(|node| node.address.clone())
    }

    /// One command.
    pub(super) async fn command(&self, command: &Cmd, timeout: Duration) -> Result<Value, LinkFault> {
        let slot = slot_of(key_of(command).unwrap_or_default());
        let mut last = None;
        let work = self.inner.command(command, slot, &mut last);
        match tokio::time::timeout(timeout, work).await {
            Ok(answer) => answer,
            Err(_) => {
                if let Some(node) = last {
                    node.wire.silent();
                }
                self.inner.stale.notify_one();
                Err(LinkFault::Silent("no answer in time"))
            }
        }
    }

    /// Several commands, one write a master; those of one slot in their order. What is redirected has the time again.
    pub(super) async fn pipeline(&self, commands: &Pipeline, timeout: Duration) -> Vec<Result<Value, LinkFault>> {
        let commands: Vec<&Cmd> = commands.cmd_iter().collect();
        let mut answers: Vec<Option<Result<Value, LinkFault>>> = commands.iter().map(|_| None).collect();
        for _ in 0..HOPS {
            let open: Vec<Question<'_>> = commands
                .iter()
                .copied()
                .enumerate()
                .filter(|(i, _)| answers.get(*i).is_some_and(Option::is_none))
                .collect();
            if open.is_empty() {
                break;
            }
            for (place, answer) in self.inner.round(open, timeout).await {
                if let Some(answers) = answers.get_mut(place) {
                    *answers = Some(answer);
                }
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Err(LinkFault::Silent("its slot is on its way")))).collect()
    }

    /// One answer a channel.
    pub(super) async fn subscribe(&self, channels: &[String], timeout: Duration) -> Vec<Result<(), StoreFault>> {
        let inner = &self.inner;
        inner.shards.want(channels);
        // the time runs for each master by itself; those that have confirmed have
        let confirmed = inner.shards.subscribe(inner, channels, timeout).await;
        let fault = || StoreFault::from(LinkFault::Silent("no subscription in time"));
        channels.iter().map(|channel| confirmed.contains(channel).then_some(()).ok_or_else(fault)).collect()
    }

    pub(super) async fn unsubscribe(&self, channels: &[String], timeout: Duration) {
        self.inner.shards.unsubscribe(&self.inner.map(), channels, timeout).await;
    }
}

/// A command and its place; its answer and the place.
type Question<'a> = (usize, &'a Cmd);
type Placed = (usize, Result<Value, LinkFault>);

impl Inner {
    pub(super) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn owner(&self, slot: u16) -> Arc<Node> {
        let mut wait = WAIT;
        loop {
            if let Some(node) = self.map().owner(slot) {
                return Arc::clone(node);
            }
            self.stale.notify_one();
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    async fn command(&self, command: &Cmd, slot: u16, last: &mut Option<Arc<Node>>) -> Result<Value, LinkFault> {
        let (mut asked, mut wait, mut hops) = (None, WAIT, 0);
        loop {
            let node = match &asked {
                Some(asked) => Arc::clone(asked),
                None => self.owner(slot).await,
            };
            *last = Some(Arc::clone(&node));
            let answer = match asked.take() {
                None => node.wire.command(command).await,
                Some(_) => node.asking(command).await,
            };
            let error = match answer {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            hops += 1;
            match redirect(&error, &node.address) {
                _ if hops > HOPS && error.code() != Some("TRYAGAIN") => return Err(error.into()),
                Some(Redirect::Moved(slot, address)) => self.moved(slot, &address),
                Some(Redirect::Ask(address)) => asked = Some(self.node(&address)),
                None if error.code() == Some("TRYAGAIN") => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                None => {
                    self.doubted(&error);
                    return Err(error.into());
                }
            }
        }
    }

    /// Sends each command to its master. What was redirected has no answer yet.
    async fn round(&self, commands: Vec<Question<'_>>, timeout: Duration) -> Vec<Placed> {
        let map = self.map();
        let mut groups = BTreeMap::<Option<&Address>, (Option<&Arc<Node>>, Vec<Question<'_>>)>::new();
        for (place, command) in commands {
            let owner = map.owner(slot_of(key_of(command).unwrap_or_default()));
            let group = groups.entry(owner.map(|node| &node.address)).or_insert((owner, Vec::new()));
            group.1.push((place, command));
        }
        let work = groups.into_values().map(|(node, group)| async move {
            match node {
                Some(node) => self.write(node, group, timeout).await,
                None => {
                    self.stale.notify_one();
                    let nobody = |(place, _)| (place, Err(LinkFault::Silent("its slot has no master")));
                    group.into_iter().map(nobody).collect()
                }
            }
        });
        join_all(work).await.into_iter().flatten().collect()
    }

    async fn write(&self, node: &Node, group: Vec<Question<'_>>, timeout: Duration) -> Vec<Placed> {
        let silent = |why| move |(place, _)| (place, Err(LinkFault::Silent(why)));
        // a master that is known to be silent keeps nobody from the others; it is being asked whether it answers again
        if !node.wire.is_up() {
            self.stale.notify_one();
            return group.into_iter().map(silent("its master does not answer")).collect();
        }
        let mut pipeline = Pipeline::with_capacity(group.len());
        for (_, command) in &group {
            pipeline.add_command((*command).clone());
        }
        let answers = match tokio::time::timeout(timeout, node.wire.pipeline(&pipeline)).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(_)) => {
                self.stale.notify_one();
                return group.into_iter().map(silent("the connection was lost")).collect();
            }
            Err(_) => {
                node.wire.silent();
                self.stale.notify_one();
                return group.into_iter().map(silent("no answer in time")).collect();
            }
        };
        let mut placed = Vec::with_capacity(group.len());
        for ((place, command), answer) in group.into_iter().zip(answers) {
            match answer {
                Ok(value) => placed.push((place, Ok(value))),
                Err(error) => match redirect(&error, &node.address) {
                    Some(Redirect::Moved(slot, address)) => self.moved(slot, &address),
                    Some(Redirect::Ask(address)) => {
                        let there = self.node(&address);
                        let asked = tokio::time::timeout(timeout, there.asking(command)).await;
                        let late = |_| Err(LinkFault::Silent("no answer in time"));
                        placed.push((place, asked.map_or_else(late, |answer| answer.map_err(LinkFault::from))));
                    }
                    None => {
                        self.doubted(&error);
                        placed.push((place, Err(error.into())));
                    }
                },
            }
        }
        placed
    }

    /// Not a redirect, but a sign that the map is old.
    fn doubted(&self, error: &RedisError) {
        if !matches!(error.code(), Some("NOSCRIPT" | "ERR" | "OOM" | "NOPERM" | "WRONGTYPE")) {
            self.stale.notify_one();
        }
    }

    /// The slot is served there from now on; the rest of the map is asked for.
    pub(super) fn moved(&self, slot: u16, address: &Address) {
        let node = self.node(address);
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let (nodes, mut owners) = (map.nodes.clone(), map.owners.clone());
        let index =
            nodes.iter().position(|known| Arc::ptr_eq(known, &node)).and_then(|index| u16::try_from(index).ok());
        if let Some(owner) = owners.get_mut(usize::from(slot)) {
            *owner = index;
        }
        *map = Arc::new(Map { nodes, owners });
        drop(map);
        self.stale.notify_one();
        self.shards.heal();
    }

    /// The node of this address, with wires that begin to connect when it is a new one. One that turns out to serve
    /// nothing goes when the map is renewed.
    fn node(&self, address: &Address) -> Arc<Node> {
        if let Some(known) = self.map().node(address) {
            return Arc::clone(known);
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = map.node(address) {
            return Arc::clone(known);
        }
        let dial = || Dial::Fixed(Arc::clone(&self.endpoint), address.clone());
        let ear = Arc::new(NodeEar::new(&self.shards, &self.health, address));
        let node = Arc::new(Node {
            address: address.clone(),
            wire: Wire::new(dial(), self.connect_timeout, Pulse::of(&self.health), None),
            ears: Wire::new(dial(), self.connect_timeout, Pulse::aside(), Some(ear)),
            turn: tokio::sync::Mutex::new(()),
        });
        let mut nodes = map.nodes.clone();
        nodes.push(Arc::clone(&node));
        *map = Arc::new(Map { nodes, owners: map.owners.clone() });
        node
    }

    /// Makes this the map. Masters that are none any more lose their wires.
    fn adopt(&self, found: &[Stretch]) {
        let mut next = Map { nodes: Vec::new(), owners: vec![None; usize::from(SLOTS)] };
        for stretch in found {
            let known = next.nodes.iter().position(|node| node.address == stretch.master);
            let index = known.unwrap_or_else(|| {
                next.nodes.push(self.node(&stretch.master));
                next.nodes.len() - 1
            });
            let owners = next.owners.get_mut(usize::from(stretch.first)..=usize::from(stretch.last));
            owners.into_iter().flatten().for_each(|owner| *owner = u16::try_from(index).ok());
        }
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        self.shards.heal();
    }

    /// Asks who serves what: the masters that answer, then the seeds.
    async fn look(&self) {
        let map = self.map();
        let mut turn: Vec<&Arc<Node>> = map.nodes.iter().filter(|node| node.wire.is_up()).collect();
        if !turn.is_empty() {
            // none is asked always: what one believes that is cut off must not stand
            let first = rand::random_range(0..turn.len());
            turn.rotate_left(first);
        }
        for node in turn {
            let answer = tokio::time::timeout(ASK, node.wire.command(&question())).await;
            if let Ok(Ok(answer)) = answer
                && let Some(found) = stretches(answer, &node.address)
            {
                return self.adopt(&found);
            }
        }
        if let Ok(found) = first_view(&self.endpoint).await {
            self.adopt(&found);
        }
    }

    fn has_silent_masters(&self) -> bool {
        let map = self.map();
        map.nodes.iter().any(|node| !node.wire.is_up()) || map.owners.iter().any(Option::is_none)
    }
}

impl Node {
    /// One command for a slot that is on its way here.
    async fn asking(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut both = Pipeline::with_capacity(2);
        both.cmd("ASKING").add_command(command.clone());
        let mut answers = self.wire.pipeline(&both).await?;
        answers.pop().unwrap_or_else(|| Err(RedisError::from((redis::ErrorKind::Client, "no answer"))))
    }
}

fn question() -> Cmd {
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    question
}

/// Asks the seeds in turn.
async fn first_view(endpoint: &Endpoint) -> Result<Vec<Stretch>, ConnectFault> {
    let mut fault = ConnectFault::Url;
    for seed in &endpoint.seeds {
        match ask(endpoint, seed).await {
            Ok(found) => return Ok(found),
            Err(new) => fault = new,
        }
    }
    Err(fault)
}

async fn ask(endpoint: &Endpoint, seed: &Address) -> Result<Vec<Stretch>, ConnectFault> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(ASK)).set_response_timeout(Some(ASK));
    let client = endpoint.client(seed).map_err(|error| unreachable(&error))?;
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = connection.map_err(|error| unreachable(&error))?;
    let answer = question().query_async::<Value>(&mut connection).await.map_err(|error| unreachable(&error))?;
    let incomplete = || ConnectFault::Unreachable(Arc::from("no node of the cluster says who serves every slot"));
    let found = stretches(answer, seed).ok_or_else(incomplete)?;
    let covered: usize = found.iter().map(|stretch| usize::from(stretch.last - stretch.first) + 1).sum();
    if covered == usize::from(SLOTS) { Ok(found) } else { Err(incomplete()) }
}

async fn keep_looking(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let wait = if strong.has_silent_masters() { LOOK_DOWN } else { LOOK };
        let _ = tokio::time::timeout(wait, strong.stale.notified()).await;
        strong.look().await;
        drop(strong);
        tokio::time::sleep(LOOK_LEAST).await;
    }
}

async fn keep_healing(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        strong.shards.keep_up(&strong).await;
    }
}
