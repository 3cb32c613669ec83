//! Which sharded channels are listened to, and on which master each stands.
//!
//! A channel's subscription lives on the master of its slot. It is gone when that connection is, and when the slot is
//! given away: then it is made again where the slot is now, one channel a command, since a command for channels of two
//! slots is refused as a whole. The bus is told of each loss (as an `SUNSUBSCRIBE`) and of each confirmation.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use redis::{Pipeline, PushInfo, PushKind, RedisError, Value};
use tokio::sync::Notify;

use super::cluster::{Inner, Map, Node};
use super::endpoint::Address;
use super::health::Health;
use super::slots::{Redirect, redirect, slot_of};
use super::wire::{Ear, Live};

/// Channels of one write.
const BATCH: usize = 256;

/// Redirects that one subscription follows.
const HOPS: usize = 3;

/// How often it is looked whether all stand where they should, and after a failure.
const LOOK: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(150);

/// How long one master may take to confirm.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection: the master, and which of the connections to it.
type Standing = (Address, u64);

/// See the module.
pub(super) struct Shards {
    /// As many as the rooms and nodes of this process.
    wanted: Mutex<HashMap<String, Option<Standing>>>,
    health: Arc<Health>,
    wound: Notify,
}

impl Shards {
    pub(super) fn new(health: &Arc<Health>) -> Self {
        Self { wanted: Mutex::default(), health: Arc::clone(health), wound: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<Standing>>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on until [`Self::unsubscribe`].
    pub(super) fn want(&self, channels: &[String]) {
        let mut wanted = self.lock();
        for channel in channels {
            wanted.entry(channel.clone()).or_default();
        }
    }

    /// Something may not stand where it should.
    pub(super) fn heal(&self) {
        self.wound.notify_one();
    }

    /// Waits for a reason, and makes every subscription stand where it should. Ends after one attempt.
    pub(super) async fn keep_up(&self, cluster: &Inner) {
        let _ = tokio::time::timeout(LOOK, self.wound.notified()).await;
        let map = cluster.map();
        let fallen = self.fallen(&map);
        if fallen.is_empty() {
            return;
        }
        let confirmed = self.subscribe(cluster, &fallen, PATIENCE).await;
        if confirmed.len() < fallen.len() {
            tokio::time::sleep(RETRY).await;
            self.heal();
        }
    }

    /// What is wanted and does not stand on the present connection to its master. While there is none, nothing can be
    /// done; when there is, this is asked again.
    fn fallen(&self, map: &Map) -> Vec<String> {
        let fell = |channel: &str, at: &Option<Standing>| {
            let owner = map.owner(slot_of(channel.as_bytes()));
            let now = owner.and_then(|node| node.ears.current()).map(|live| (live.address, live.generation));
            now.is_some() && *at != now
        };
        self.lock().iter().filter(|(channel, at)| fell(channel, at)).map(|(channel, _)| channel.clone()).collect()
    }

    /// Of these, those that stand on what is not their master any more are told of as lost, and left there.
    fn move_on(&self, map: &Map, channels: &[String]) {
        let mut left: BTreeMap<Standing, Vec<String>> = BTreeMap::new();
        let mut wanted = self.lock();
        for channel in channels {
            let owner = map.owner(slot_of(channel.as_bytes())).map(|node| &node.address);
            let elsewhere = |at: &mut Standing| owner.is_some_and(|owner| *owner != at.0);
            if let Some(at) = wanted.get_mut(channel).and_then(|standing| standing.take_if(elsewhere)) {
                self.tell_lost(channel);
                left.entry(at).or_default().push(channel.clone());
            }
        }
        drop(wanted);
        for ((address, generation), channels) in left {
            let Some(node) = map.node(&address).cloned() else { continue };
            let live = node.ears.current().filter(|live| live.generation == generation);
            if let Some(live) = live {
                tokio::spawn(async move { leave(&node, live, &channels).await });
            }
        }
    }

    fn tell_lost(&self, channel: &str) {
        let data = vec![Value::BulkString(channel.as_bytes().to_vec())];
        self.health.hand_on(PushInfo { kind: PushKind::SUnsubscribe, data });
    }

    /// Subscribes, also to what stands already: the confirmation is what is asked for. Answers what was confirmed.
    pub(super) async fn subscribe(&self, cluster: &Inner, channels: &[String], patience: Duration) -> HashSet<String> {
        let mut confirmed = HashSet::with_capacity(channels.len());
        for _ in 0..HOPS {
            let map = cluster.map();
            self.move_on(&map, channels);
            let open = channels.iter().filter(|channel| !confirmed.contains(*channel));
            let work = by_owner(&map, open).into_values().map(|(node, group)| async move {
                tokio::time::timeout(patience, self.subscribe_on(cluster, node, &group)).await.unwrap_or_default()
            });
            let mut redirected = false;
            for (stands, again) in join_all(work).await {
                confirmed.extend(stands);
                redirected |= again;
            }
            if !redirected {
                break;
            }
        }
        confirmed
    }

    /// What was confirmed there, and whether anything was redirected.
    async fn subscribe_on(&self, cluster: &Inner, node: &Node, channels: &[&String]) -> (Vec<String>, bool) {
        let _turn = node.turn.lock().await;
        let (mut confirmed, mut redirected) = (Vec::new(), false);
        for batch in channels.chunks(BATCH) {
            let Ok(live) = node.ears.live().await else { break };
            let standing = (live.address.clone(), live.generation);
            let Some(answers) = exchange(node, live, "SSUBSCRIBE", PushKind::SSubscribe, batch).await else { break };
            for (channel, answer) in batch.iter().zip(answers) {
                match answer.map_err(|error| redirect(&error, &node.address)) {
                    Ok(_) => {
                        if let Some(at) = self.lock().get_mut(*channel) {
                            *at = Some(standing.clone());
                        }
                        confirmed.push((*channel).clone());
                    }
                    Err(Some(Redirect::Moved(slot, address))) => {
                        cluster.moved(slot, &address);
                        redirected = true;
                    }
                    // while a slot is on its way, it is listened to where it was
                    Err(_) => {}
                }
            }
        }
        (confirmed, redirected)
    }

    pub(super) async fn unsubscribe(&self, map: &Map, channels: &[String], patience: Duration) {
        {
            let mut wanted = self.lock();
            channels.iter().for_each(|channel| drop(wanted.remove(channel)));
        }
        let work = by_owner(map, channels.iter()).into_values().map(|(node, group)| async move {
            let group: Vec<String> = group.into_iter().cloned().collect();
            if let Some(live) = node.ears.current() {
                // what still comes is stray, and a reminder
                let _ = tokio::time::timeout(patience, leave(node, live, &group)).await;
            }
        });
        join_all(work).await;
    }

    /// The master gave the slot away: true, if the channel stood there.
    fn fell(&self, channel: &str, master: &Address) -> bool {
        let there = |at: &mut Standing| at.0 == *master;
        self.lock().get_mut(channel).is_some_and(|standing| standing.take_if(there).is_some())
    }

    /// All that stood on connections to this master.
    fn all_fell(&self, address: &Address) -> Vec<String> {
        let on_it = |at: &Option<Standing>| at.as_ref().is_some_and(|at| at.0 == *address);
        let mut wanted = self.lock();
        let fallen = wanted.iter_mut().filter(|(_, at)| on_it(at));
        fallen
            .map(|(channel, at)| {
                *at = None;
                channel.clone()
            })
            .collect()
    }
}

fn by_owner<'a>(
    map: &'a Map,
    channels: impl Iterator<Item = &'a String>,
) -> BTreeMap<&'a Address, (&'a Arc<Node>, Vec<&'a String>)> {
    let mut groups = BTreeMap::new();
    for channel in channels {
        if let Some(node) = map.owner(slot_of(channel.as_bytes())) {
            groups.entry(&node.address).or_insert_with(|| (node, Vec::new())).1.push(channel);
        }
    }
    groups
}

async fn leave(node: &Node, live: Live, channels: &[String]) {
    let _turn = node.turn.lock().await;
    let channels: Vec<&String> = channels.iter().collect();
    for batch in channels.chunks(BATCH) {
        let left = exchange(node, live.clone(), "SUNSUBSCRIBE", PushKind::SUnsubscribe, batch);
        let _ = tokio::time::timeout(PATIENCE, left).await;
    }
}

/// One command a channel, in one write. `None`: the connection is not to be trusted any more, or gone. The library counts
/// a push of the same kind that nobody asked for as an answer: so every answer has to name its channel.
async fn exchange(
    node: &Node,
    live: Live,
    verb: &str,
    kind: PushKind,
    channels: &[&String],
) -> Option<Vec<Result<Value, RedisError>>> {
    let mut pipeline = Pipeline::with_capacity(channels.len());
    for channel in channels {
        pipeline.cmd(verb).arg(channel.as_str());
    }
    let answers = node.ears.pipeline_on(live.clone(), &pipeline).await.ok()?;
    let own = |(channel, answer): (&&String, &Result<Value, RedisError>)| match answer {
        Ok(Value::Push { kind: said, data }) => *said == kind && name(data) == Some(channel.as_bytes()),
        Ok(_) => false,
        Err(_) => true,
    };
    if answers.len() == channels.len() && channels.iter().zip(&answers).all(own) {
        return Some(answers);
    }
    node.ears.give_up(&live);
    None
}

fn name(data: &[Value]) -> Option<&[u8]> {
    match data.first()? {
        Value::BulkString(name) => Some(name),
        Value::SimpleString(name) => Some(name.as_bytes()),
        _ => None,
    }
}

/// Hears one master.
pub(super) struct NodeEar {
    shards: Weak<Shards>,
    health: Arc<Health>,
    address: Address,
}

impl NodeEar {
    pub(super) fn new(shards: &Arc<Shards>, health: &Arc<Health>, address: &Address) -> Self {
        Self { shards: Arc::downgrade(shards), health: Arc::clone(health), address: address.clone() }
    }
}

impl Ear for NodeEar {
    fn heard(&self, push: PushInfo) {
        if push.kind == PushKind::SUnsubscribe {
            let channel = name(&push.data).and_then(|name| std::str::from_utf8(name).ok());
            let shards = self.shards.upgrade();
            let fell =
                channel.zip(shards.as_ref()).is_some_and(|(channel, shards)| shards.fell(channel, &self.address));
            if !fell {
                return;
            }
            shards.iter().for_each(|shards| shards.heal());
        }
        self.health.hand_on(push);
    }

    fn stands(&self, _: Live) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(shards) = self.shards.upgrade() {
                shards.heal();
            }
        })
    }

    fn lost(&self) {
        let Some(shards) = self.shards.upgrade() else { return };
        shards.all_fell(&self.address).iter().for_each(|channel| shards.tell_lost(channel));
        shards.heal();
    }
}
