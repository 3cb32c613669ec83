//! Rooms and node mail. A publish is one lock, two hashes of the room's name, and the calls of the sinks: they happen
//! under the lock of the room's shard, which is what makes one order for all.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rand::RngCore;

use super::dedupe::Taken;
use super::era::{Part, Told};
use super::history::{Budget, History};
use super::shard::{Shards, lock};
use super::{Bounds, ready};
use crate::clock::{Clock, Mono};
use crate::config::model;
use crate::ids::{NodeId, RoomName, UserId};
use crate::store::bus::{Bus, BusSink, Dedupe, Delivery, NodeMail, Position, Published, Record, Recovery};
use crate::store::{StoreFault, StoreFuture};

/// How long a room's order outlives its last subscriber and kept message; at most twice that.
const LINGER: Duration = Duration::from_secs(600);

/// Idle rooms looked at by one call.
const SWEEP: usize = 2;

/// A node as rooms know it; its sink may come later or be replaced.
struct Port {
    sink: ArcSwapOption<Sink>,
}

/// A thin pointer to a sink.
struct Sink(Arc<dyn BusSink>);

struct Room {
    /// Which life of the store gave the offsets: those of one that is over would be given twice.
    life: u64,
    epoch: u64,
    offset: u64,
    ports: Vec<Arc<Port>>,
    history: Option<Box<History>>,
    touched: Mono,
    queued: bool,
}

#[derive(Default)]
struct Rooms {
    by_name: HashMap<RoomName, Room>,
    /// Rooms without subscribers, each once (`Room::queued`), by the time of the next look.
    idle: VecDeque<(Mono, RoomName)>,
}

pub(super) struct MemoryBus {
    clock: Arc<dyn Clock>,
    /// Another number after everything by which the store may have lost something.
    life: AtomicU64,
    rng: Mutex<Box<dyn RngCore + Send>>,
    ports: RwLock<HashMap<NodeId, Arc<Port>>>,
    rooms: Shards<Rooms>,
    count: AtomicUsize,
    bound: usize,
    taken: Taken,
    budget: Budget,
}

impl Room {
    fn position(&self) -> Position {
        Position { offset: self.offset, epoch: self.epoch }
    }

    /// The order begins anew: nothing is kept of the one before.
    fn begin(&mut self, life: u64, epoch: u64, budget: &Budget) {
        if let Some(mut history) = self.history.take() {
            history.clear(budget);
        }
        (self.life, self.epoch, self.offset) = (life, epoch, 0);
    }

    fn prune(&mut self, now: Mono, budget: &Budget) {
        if let Some(history) = &mut self.history {
            history.prune(now, budget);
            if history.is_empty() {
                self.history = None;
            }
        }
    }

    /// Nobody is subscribed, nothing is kept, nothing happened lately.
    fn is_over(&self, now: Mono) -> bool {
        self.is_bare() && self.touched.after(LINGER) <= now
    }

    fn is_bare(&self) -> bool {
        self.ports.is_empty() && self.history.is_none()
    }

    fn deliver(&self, name: &RoomName, record: &Record) {
        for port in &self.ports {
            if let Some(sink) = port.sink.load().as_ref() {
                let delivery = Delivery { room: name.clone(), position: self.position(), record: record.clone() };
                sink.0.deliver(delivery);
            }
        }
    }
}

impl Rooms {
    /// Notes that the room may be over some time later, if nobody is subscribed.
    fn watch(&mut self, name: &RoomName, now: Mono) {
        if let Some(room) = self.by_name.get_mut(name) {
            room.touched = now;
            if room.ports.is_empty() && !room.queued {
                room.queued = true;
                self.idle.push_back((now.after(LINGER), name.clone()));
            }
        }
    }
}

impl MemoryBus {
    pub(super) fn new(clock: Arc<dyn Clock>, rng: Box<dyn RngCore + Send>, bounds: Bounds) -> Self {
        Self {
            clock,
            life: AtomicU64::new(0),
            rng: Mutex::new(rng),
            ports: RwLock::default(),
            rooms: Shards::new(),
            count: AtomicUsize::new(0),
            bound: bounds.rooms,
            taken: Taken::new(bounds.dedupe_entries),
            budget: Budget::new(bounds.kept_bytes, bounds.kept_bytes_per_room),
        }
    }

    /// 53 random bits, not all zero.
    fn epoch(&self) -> u64 {
        (lock(&self.rng).next_u64() >> 11).max(1)
    }

    fn port(&self, node: NodeId) -> Arc<Port> {
        let mut ports = self.ports.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ports.entry(node).or_insert_with(|| Arc::new(Port { sink: ArcSwapOption::empty() })))
    }

    fn find_port(&self, node: &NodeId) -> Option<Arc<Port>> {
        self.ports.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    fn shard(&self, name: &RoomName, now: Mono) -> MutexGuard<'_, Rooms> {
        let mut rooms = self.rooms.lock(name);
        for _ in 0..SWEEP {
            match rooms.idle.front() {
                Some((due, _)) if *due <= now => self.look_again(&mut rooms, now, false),
                _ => break,
            };
        }
        rooms
    }

    /// Takes the next idle room off the queue: it is forgotten, or alive again, or looked at later. True: forgotten.
    fn look_again(&self, rooms: &mut Rooms, now: Mono, pressed: bool) -> bool {
        let Some((_, name)) = rooms.idle.pop_front() else { return false };
        let Some(room) = rooms.by_name.get_mut(&name) else { return false };
        room.prune(now, &self.budget);
        if room.is_over(now) || (pressed && room.is_bare()) {
            rooms.by_name.remove(&name);
            self.count.fetch_sub(1, Ordering::Relaxed);
            return true;
        }
        room.queued = room.ports.is_empty();
        if room.queued {
            rooms.idle.push_back((now.after(LINGER), name));
        }
        false
    }

    /// The room, new if need be. At the bound a bare room of this shard makes way.
    fn open<'a>(&self, rooms: &'a mut Rooms, name: &RoomName, now: Mono) -> Result<&'a mut Room, StoreFault> {
        let mut looks = rooms.idle.len();
        // a full house is rare, and only then is it asked whether the room is there already
        while self.count.load(Ordering::Relaxed) >= self.bound && !rooms.by_name.contains_key(name) {
            if looks == 0 {
                return Err(StoreFault::Full("rooms"));
            }
            looks -= 1;
            self.look_again(rooms, now, true);
        }
        let life = self.life();
        let room = rooms.by_name.entry(name.clone()).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            let (epoch, ports) = (self.epoch(), Vec::new());
            Room { life, epoch, offset: 0, ports, history: None, touched: now, queued: false }
        });
        if room.life != life {
            room.begin(life, self.epoch(), &self.budget);
        }
        Ok(room)
    }

    fn life(&self) -> u64 {
        self.life.load(Ordering::Acquire)
    }

    fn append(
        &self,
        name: &RoomName,
        record: Record,
        dedupe: Option<&Dedupe>,
        keep: Option<model::History>,
    ) -> Result<Published, StoreFault> {
        let now = self.clock.mono();
        let key = dedupe.map(|dedupe| self.taken.in_room(dedupe, name));
        let mut rooms = self.shard(name, now);
        if let Some(position) = key.and_then(|key| self.taken.find(key, now)) {
            return Ok(Published { position, duplicate: true });
        }
        let room = self.open(&mut rooms, name, now)?;
        room.offset += 1;
        let position = room.position();
        if let Some(key) = key {
            self.taken.take(key, position, now);
        }
        if let Some(keep) = keep {
            let history = room.history.get_or_insert_with(|| Box::new(History::new(keep)));
            history.push(position.offset, record.clone(), keep, now, &self.budget);
        }
        if room.ports.is_empty() {
            rooms.watch(name, now);
        } else {
            room.touched = now;
            room.deliver(name, &record);
        }
        Ok(Published { position, duplicate: false })
    }
}

impl Part for MemoryBus {
    /// An order outlives eras: it ends when the store loses something.
    fn tell(&self, _told: Told) {}

    fn forget(&self) {
        self.life.fetch_add(1, Ordering::AcqRel);
        self.taken.forget();
    }

    /// Of a copy nothing is believed: it may lack the last offsets.
    fn copy(&self) {}

    fn go_back(&self) {
        self.forget();
    }

    fn restart(&self) {
        self.life.fetch_add(1, Ordering::AcqRel);
    }
}

/// What `room` can give to one who was there until `since`.
fn recovery(name: &RoomName, room: &Room, since: Position, limit: usize) -> Recovery {
    let position = room.position();
    if since.epoch != room.epoch || since.offset > room.offset {
        return Recovery { records: Vec::new(), complete: false, position };
    }
    let mut records = Vec::new();
    let mut next = since.offset;
    let mut gapless = true;
    for kept in room.history.iter().flat_map(|history| history.after(since.offset)).take(limit) {
        gapless &= kept.offset == next + 1;
        next = kept.offset;
        let position = Position { offset: kept.offset, epoch: room.epoch };
        records.push(Delivery { room: name.clone(), position, record: kept.record.clone() });
    }
    let cut = records.len() == limit && limit > 0;
    Recovery { records, complete: gapless && (cut || next == room.offset), position }
}

impl Bus for MemoryBus {
    fn attach(&self, node: NodeId, sink: Arc<dyn BusSink>) {
        self.port(node).sink.store(Some(Arc::new(Sink(sink))));
    }

    fn detach(&self, node: NodeId) {
        let port = self.ports.write().unwrap_or_else(PoisonError::into_inner).remove(&node);
        let Some(port) = port else { return };
        port.sink.store(None);
        let now = self.clock.mono();
        for mut rooms in self.rooms.each() {
            let mut left = Vec::new();
            for (name, room) in &mut rooms.by_name {
                let before = room.ports.len();
                room.ports.retain(|other| !Arc::ptr_eq(other, &port));
                if room.ports.len() < before {
                    left.push(name.clone());
                }
            }
            for name in left {
                rooms.watch(&name, now);
            }
        }
    }

    fn subscribe(&self, node: NodeId, room: RoomName) -> StoreFuture<'_, Position> {
        let now = self.clock.mono();
        let port = self.port(node);
        let mut rooms = self.shard(&room, now);
        let answer = self.open(&mut rooms, &room, now).map(|room| {
            room.touched = now;
            if !room.ports.iter().any(|other| Arc::ptr_eq(other, &port)) {
                room.ports.push(port);
            }
            room.position()
        });
        ready(answer)
    }

    fn unsubscribe(&self, node: NodeId, room: RoomName) -> StoreFuture<'_, ()> {
        let now = self.clock.mono();
        if let Some(port) = self.find_port(&node) {
            let mut rooms = self.shard(&room, now);
            if let Some(found) = rooms.by_name.get_mut(&room) {
                found.ports.retain(|other| !Arc::ptr_eq(other, &port));
            }
            rooms.watch(&room, now);
        }
        ready(Ok(()))
    }

    fn publish(
        &self,
        room: RoomName,
        record: Record,
        dedupe: Option<Dedupe>,
        keep: Option<model::History>,
    ) -> StoreFuture<'static, Published> {
        ready(self.append(&room, record, dedupe.as_ref(), keep))
    }

    fn recover(&self, room: RoomName, since: Position, limit: usize) -> StoreFuture<'_, Recovery> {
        let now = self.clock.mono();
        let mut rooms = self.shard(&room, now);
        let life = self.life();
        let answer = match rooms.by_name.get_mut(&room).filter(|room| room.life == life) {
            Some(found) => {
                found.prune(now, &self.budget);
                recovery(&room, found, since, limit)
            }
            None => Recovery { records: Vec::new(), complete: false, position: Position { offset: 0, epoch: 0 } },
        };
        ready(Ok(answer))
    }

    fn send(&self, node: NodeId, mail: NodeMail) -> StoreFuture<'_, bool> {
        let sink = self.find_port(&node).and_then(|port| port.sink.load_full());
        if let Some(sink) = &sink {
            sink.0.mail(mail);
        }
        ready(Ok(sink.is_some()))
    }

    fn first(&self, dedupe: Dedupe, to: UserId) -> StoreFuture<'_, bool> {
        let key = self.taken.to_user(&dedupe, &to);
        ready(Ok(self.taken.take(key, Position { offset: 0, epoch: 0 }, self.clock.mono())))
    }
}

#[cfg(test)]
#[path = "bus_tests.rs"]
mod tests;
