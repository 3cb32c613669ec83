//! What the tasks of the bus share: the nodes and rooms of this process, and what comes for them. Everything that comes is
//! hostile until its MAC is checked; what is refused is counted, and changes nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::RngCore;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::Base;
use super::counts::Counters;
use super::history::{PAGE, Reader, placed, position};
use super::inbound::{Arrival, Desk, Next, Room};
use super::keys::Kind;
use super::link::garbled;
use super::outbound::Job;
use super::probe::Probes;
use super::script::{Args, Does, Script};
use super::subscriptions::Wish;
use super::trust::Trust;
use crate::clock::Clock;
use crate::ids::{NodeId, RoomName};
use crate::store::StoreFault;
use crate::store::bus::{BusSink, Delivery, Position};
use crate::store::letter::{Message, read_mail};
use crate::store::record::{Header, Issuer, Sealer, fresh};
use crate::store::replay::ReplayGuard;

/// How long a room's order outlives its last publish and renewal: the ten minutes that are promised, and what may have
/// passed since the last renewal when the last subscriber left. At most an eighth longer (`lua/order.lua`).
pub(super) const LINGER_MS: u64 = 900_000;

/// Issuers times channels whose sequences are remembered.
const SOURCES: usize = 262_144;

/// Rooms that ask the history at once.
const RECOVERIES: usize = 64;

/// Pages of history that mend one gap.
const PAGES: usize = 16;

macro_rules! script {
    ($does:ident, $file:literal) => {
        LazyLock::new(|| {
            let (server, order) = (include_str!("lua/server.lua"), include_str!("lua/order.lua"));
            Script::new(Does::$does, &[server, order, include_str!(concat!("lua/", $file))])
        })
    };
}

static POSITION: LazyLock<Script> = script!(Grows, "position.lua");
static RENEW: LazyLock<Script> = script!(Shrinks, "renew.lua");

/// A node of this process.
pub(super) struct Port {
    pub(super) sink: Arc<dyn BusSink>,
    pub(super) channel: String,
    /// Tells this life of the port from others.
    pub(super) birth: u64,
    /// Its channel is listened to.
    pub(super) ready: watch::Sender<bool>,
}

#[derive(Default)]
pub(super) struct Here {
    pub(super) ports: HashMap<NodeId, Port>,
    /// By channel.
    pub(super) rooms: HashMap<String, Room>,
    pub(super) births: u64,
}

pub(super) struct State {
    pub(super) here: Here,
    guard: ReplayGuard,
}

/// What the tasks of the bus share.
pub(super) struct Hub {
    pub(super) base: Arc<Base>,
    sealer: Sealer,
    pub(super) issuer: Issuer,
    pub(super) probe_channel: String,
    probes: Mutex<Probes>,
    pub(super) clock: Arc<dyn Clock>,
    rng: Mutex<Box<dyn RngCore + Send>>,
    state: Mutex<State>,
    pub(super) jobs: mpsc::Sender<Job>,
    wishes: mpsc::Sender<Wish>,
    pub(super) counters: Counters,
    recoveries: Semaphore,
    names: RandomState,
    pub(super) runtime: Handle,
}

/// The answer of a task that is gone is that the store is not there.
pub(super) fn gone<E>(_: E) -> StoreFault {
    StoreFault::Unavailable(Arc::from("the bus has stopped"))
}

pub(super) fn busy<E>(_: E) -> StoreFault {
    StoreFault::Unavailable(Arc::from("too much waits for the store"))
}

impl Hub {
    pub(super) fn new(
        base: Arc<Base>,
        trust: &Trust,
        rng: Box<dyn RngCore + Send>,
        jobs: mpsc::Sender<Job>,
        wishes: mpsc::Sender<Wish>,
    ) -> Self {
        Self {
            probe_channel: base.keys.node(&trust.issuer.node).key(Kind::Probe),
            probes: Mutex::default(),
            base,
            sealer: trust.sealer.clone(),
            issuer: trust.issuer.clone(),
            clock: Arc::clone(&trust.clock),
            rng: Mutex::new(rng),
            state: Mutex::new(State { here: Here::default(), guard: ReplayGuard::new(SOURCES) }),
            jobs,
            wishes,
            counters: Counters::default(),
            recoveries: Semaphore::new(RECOVERIES),
            names: RandomState::new(),
            runtime: Handle::current(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn probes(&self) -> MutexGuard<'_, Probes> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 53 random bits, not all zero.
    pub(super) fn epoch(&self) -> u64 {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        (rng.next_u64() >> 11).max(1)
    }

    /// A room, its history, and its channel.
    pub(super) fn room_keys(&self, room: &RoomName) -> ([String; 2], String) {
        let place = self.base.keys.room(room);
        ([place.key(Kind::Room), place.key(Kind::History)], place.key(Kind::Bus))
    }

    /// False: too many wait; for an unsubscribe the next message on the channel is the reminder.
    pub(super) fn wish(&self, wish: Wish) -> bool {
        self.wishes.try_send(wish).is_ok()
    }

    /// Runs `act` on a room of this process, if it is still the same.
    pub(super) fn with_room<T>(
        &self,
        channel: &str,
        birth: Option<u64>,
        act: impl FnOnce(&mut Room, &mut Desk<'_>) -> T,
    ) -> Option<T> {
        let mut state = self.lock();
        let State { here, guard } = &mut *state;
        let Here { ports, rooms, .. } = here;
        let room = rooms.get_mut(channel).filter(|room| birth.is_none_or(|birth| room.birth == birth))?;
        let deliver = |node: &NodeId, delivery: Delivery| {
            if let Some(port) = ports.get(node) {
                port.sink.deliver(delivery);
            }
        };
        let mut desk = Desk { guard, counters: &self.counters, now: self.clock.wall(), deliver: &deliver };
        let answer = act(room, &mut desk);
        if room.is_deserted() {
            rooms.remove(channel);
            self.wish(Wish::Unsubscribe(channel.to_owned()));
        }
        Some(answer)
    }

    /// A message on a channel.
    pub(super) fn message(self: &Arc<Self>, channel: &str, payload: &Bytes) {
        let (is_room, mailbox) = {
            let state = self.lock();
            let port = state.here.ports.iter().find(|(_, port)| port.channel == channel);
            (state.here.rooms.contains_key(channel), port.map(|(node, _)| node.clone()))
        };
        match mailbox {
            _ if is_room => self.room_message(channel, payload),
            Some(node) => self.mail_message(&node, channel, payload),
            None if channel == self.probe_channel => self.probe_message(channel, payload),
            None => {
                Counters::add(&self.counters.stray, 1);
                self.wish(Wish::Unsubscribe(channel.to_owned()));
            }
        }
    }

    fn room_message(self: &Arc<Self>, channel: &str, payload: &Bytes) {
        let Some((position, sealed)) = placed(payload) else {
            return Counters::add(&self.counters.malformed, 1);
        };
        let Some((header, body)) = self.open(channel, &sealed) else { return };
        let Some(message) = Message::read(&body) else {
            return Counters::add(&self.counters.unreadable, 1);
        };
        let arrival = Arrival { position, header, record: message.record };
        let next = self.with_room(channel, None, |room, desk| (room.birth, room.arrive(arrival, desk)));
        if let Some((birth, Next::Recover(since))) = next {
            self.recover_room(channel, birth, since);
        }
    }

    fn mail_message(&self, node: &NodeId, channel: &str, payload: &Bytes) {
        let Some((header, body)) = self.open(channel, payload) else { return };
        let id = self.names.hash_one(channel);
        let mut state = self.lock();
        match state.guard.take(id, &header, self.clock.wall()) {
            Ok(taken) => Counters::add(&self.counters.lost, taken.lost),
            Err(why) => return self.counters.refused(why),
        }
        let Some(mail) = read_mail(&body) else {
            return Counters::add(&self.counters.unreadable, 1);
        };
        Counters::add(&self.counters.taken, 1);
        if let Some(port) = state.here.ports.get(node) {
            port.sink.mail(mail);
        }
    }

    /// Authentic and fresh, or counted.
    pub(super) fn open(&self, channel: &str, sealed: &Bytes) -> Option<(Header, Bytes)> {
        let opened = self.sealer.open(channel.as_bytes(), sealed);
        let opened = opened.and_then(|opened| fresh(opened.header.at, self.clock.wall()).map(|()| opened));
        match opened {
            Ok(opened) => Some((opened.header, opened.body)),
            Err(why) => {
                self.counters.refused(why);
                None
            }
        }
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { base: &self.base, sealer: &self.sealer, counters: &self.counters, now: self.clock.wall() }
    }

    /// The subscription of a channel was confirmed (again).
    pub(super) fn confirmed(self: &Arc<Self>, channel: &str) {
        let doubt = self
            .with_room(channel, None, |room, _| std::mem::take(&mut room.unsure).then(|| (room.birth, room.doubt())));
        if let Some(Some((birth, Next::Recover(since)))) = doubt {
            self.recover_room(channel, birth, since);
        }
    }

    /// Asks what the room kept since then, and lets it go on.
    fn recover_room(self: &Arc<Self>, channel: &str, birth: u64, since: Position) {
        let (hub, channel) = (Arc::clone(self), channel.to_owned());
        self.runtime.spawn(async move {
            let name = hub.with_room(&channel, Some(birth), |room, _| room.name.clone());
            let Some(name) = name else { return };
            let found = hub.kept_since(&name, since).await;
            hub.with_room(&channel, Some(birth), |room, desk| {
                room.unsure |= found.is_err();
                room.answered(found.unwrap_or_default(), desk);
            });
        });
    }

    async fn kept_since(&self, name: &RoomName, mut since: Position) -> Result<Vec<Arrival>, StoreFault> {
        let _turn = self.recoveries.acquire().await.map_err(gone)?;
        let mut all = Vec::new();
        for _ in 0..PAGES {
            let page = self.reader().after(name, since, PAGE).await?;
            let Some(position) = page.position else { break };
            if position.epoch != since.epoch {
                since = Position { offset: 0, ..position };
                continue;
            }
            if position.offset < since.offset {
                self.renew_room(name, since.epoch).await?;
                break;
            }
            let full = page.records.len() == PAGE;
            all.extend(page.records);
            match all.last() {
                Some(last) if full => since = last.position,
                _ => break,
            }
        }
        Ok(all)
    }

    /// The store gave out offsets which it does not know any more.
    async fn renew_room(&self, name: &RoomName, old: u64) -> Result<(), StoreFault> {
        let (keys, _) = self.room_keys(name);
        let args = Args::new().with(old).with(self.epoch()).with(LINGER_MS);
        let renewed: u64 = RENEW.run(&self.base.link, &keys, &args).await?;
        Counters::add(&self.counters.renewed, renewed);
        Ok(())
    }

    /// Listens to the channel; the answer comes when the server has confirmed.
    pub(super) async fn listen(&self, channel: &str) -> Result<(), StoreFault> {
        let (reply, answer) = oneshot::channel();
        if !self.wish(Wish::Subscribe(channel.to_owned(), Some(reply))) {
            return Err(busy(()));
        }
        answer.await.map_err(gone)?
    }

    /// The room's position, taken when the subscription stands.
    async fn enter(
        &self,
        name: &RoomName,
        answer: oneshot::Receiver<Result<(), StoreFault>>,
    ) -> Result<Position, StoreFault> {
        // it is gone when the queue had no room for the wish
        answer.await.map_err(busy)??;
        let (keys, _) = self.room_keys(name);
        let args = Args::new().with(self.epoch()).with(LINGER_MS);
        let place: Vec<u8> = POSITION.run(&self.base.link, &keys, &args).await?;
        position(&place).ok_or_else(garbled)
    }

    pub(super) async fn subscribe(&self, node: NodeId, name: RoomName) -> Result<Position, StoreFault> {
        let (_, channel) = self.room_keys(&name);
        let (reply, answer) = oneshot::channel();
        let birth = {
            let mut state = self.lock();
            let here = &mut state.here;
            here.births += 1;
            let (id, birth) = (self.names.hash_one(&channel), here.births);
            let room = here.rooms.entry(channel.clone()).or_insert_with(|| Room::new(name.clone(), id, birth));
            // under the lock, so that wishes stand in the order of what they are about
            self.wish(Wish::Subscribe(channel.clone(), Some(reply)));
            room.join(&node);
            room.birth
        };
        let entered = self.enter(&name, answer).await;
        let place = entered.as_ref().ok().copied();
        self.with_room(&channel, Some(birth), |room, desk| room.joined(&node, place, desk));
        entered
    }

    /// Listens to a node's own channel, however long it takes, while the node is there.
    pub(super) async fn open_mailbox(&self, node: NodeId, channel: String, birth: u64) {
        let mut pause = Duration::from_millis(20);
        loop {
            let listening = self.listen(&channel).await.is_ok();
            {
                let state = self.lock();
                let Some(port) = state.here.ports.get(&node).filter(|port| port.birth == birth) else { return };
                if listening {
                    port.ready.send_replace(true);
                    return;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Waits until mail for a node of this very process can arrive.
    pub(super) async fn mailbox_ready(&self, node: &NodeId) -> Result<(), StoreFault> {
        let ready = self.lock().here.ports.get(node).map(|port| port.ready.subscribe());
        if let Some(mut ready) = ready {
            let wait = tokio::time::timeout(self.base.link.timeout(), ready.wait_for(|ready| *ready));
            // a port that is dropped meanwhile has nothing to wait for
            let _ = wait.await.map_err(|_| StoreFault::Unavailable(Arc::from("no subscription in time")))?;
        }
        Ok(())
    }
}
