//! Who serves what, as it is known: a map that is replaced whole, and the wires to every master in it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::store::redis::endpoint::{Address, Endpoint};
use crate::store::redis::health::{Health, Pulse};
use crate::store::redis::shards::{NodeEar, Shards};
use crate::store::redis::slots::{SLOTS, Stretch};
use crate::store::redis::wire::{Dial, Wire};

/// A master.
pub(in crate::store::redis) struct Node {
    pub(in crate::store::redis) address: Address,
    /// Commands.
    pub(super) wire: Wire,
    /// What it pushes. Apart: a server that gives a slot away pushes an `SUNSUBSCRIBE` that nobody asked for, and the
    /// library takes it for the answer of whatever command waits (redis 1.8, `PushKind::has_reply`).
    pub(in crate::store::redis) ears: Wire,
    /// One change of subscriptions at a time.
    pub(in crate::store::redis) turn: tokio::sync::Mutex<()>,
}

/// Who serves what.
#[derive(Default)]
pub(in crate::store::redis) struct Map {
    pub(super) nodes: Vec<Arc<Node>>,
    /// By slot: the index of a node.
    owners: Vec<Option<u16>>,
}

impl Map {
    pub(in crate::store::redis) fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        let index = (*self.owners.get(usize::from(slot))?)?;
        self.nodes.get(usize::from(index))
    }

    /// The node of this address, once there is one.
    pub(in crate::store::redis) fn node(&self, address: &Address) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.address == *address)
    }
}

/// What its tasks share.
pub(in crate::store::redis) struct Inner {
    pub(super) endpoint: Arc<Endpoint>,
    connect_timeout: Duration,
    health: Arc<Health>,
    map: RwLock<Arc<Map>>,
    /// The map may be old.
    pub(super) stale: Notify,
    pub(super) shards: Arc<Shards>,
}

impl Inner {
    pub(super) fn new(endpoint: &Arc<Endpoint>, connect_timeout: Duration, health: &Arc<Health>) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            connect_timeout,
            health: Arc::clone(health),
            map: RwLock::default(),
            stale: Notify::new(),
            shards: Arc::new(Shards::new(health)),
        }
    }

    pub(in crate::store::redis) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The slot is served there from now on; the rest of the map is asked for.
    pub(in crate::store::redis) fn moved(&self, slot: u16, address: &Address) {
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
    pub(super) fn node(&self, address: &Address) -> Arc<Node> {
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
    pub(super) fn adopt(&self, found: &[Stretch]) {
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

    pub(super) fn has_silent_masters(&self) -> bool {
        let map = self.map();
        map.nodes.iter().any(|node| !node.wire.is_up()) || map.owners.iter().any(Option::is_none)
    }
}
