//! Between the store's bus and this node's workers: which worker has members of which room, and who waits for a slot.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use portcullis_common::ids::{NodeId, RoomName, SessionId};
use portcullis_common::store::StoreFault;
use portcullis_common::store::bus::{Bus, BusSink, Delivery, NodeMail, Position, Record};
use tokio::sync::oneshot;

use crate::events::{HubRefused, OutboundGuarded};
use crate::hub::{HubMail, HubQueue};
use crate::metrics::Metrics;
use crate::pipeline::outbound::{self, Outcome};
use crate::rules::Rules;
use crate::session::manager::ManagerHandle;
use crate::session::registry::{Registry, SessionEntry};

thread_local! {
    /// The worker that this thread is, while it is inside a call of the bus: it drains its own queue afterwards, so
    /// nobody has to wake it.
    static PUBLISHING: Cell<Option<u16>> = const { Cell::new(None) };
}

/// Marks this thread as `worker`'s for the length of `call`.
pub fn publishing<R>(worker: u16, call: impl FnOnce() -> R) -> R {
    struct Reset(Option<u16>);
    impl Drop for Reset {
        fn drop(&mut self) {
            PUBLISHING.set(self.0);
        }
    }
    let _reset = Reset(PUBLISHING.replace(Some(worker)));
    call()
}

/// The node's end of the bus. Bounds: rooms with members here (sessions × `session.max_rooms`); newcomers that wait
/// for a slot (handshakes in flight).
pub struct NodeBus {
    node: NodeId,
    bus: Arc<dyn Bus>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    /// What has to be passed on the way out; whoever delivers takes the present ones.
    rules: Arc<ArcSwap<Rules>>,
    /// Working memory of that, for as many threads as deliver at once.
    scratch: Mutex<Vec<outbound::Scratch>>,
    /// Room → the workers with members, one bit each.
    rooms: Mutex<HashMap<RoomName, u64>>,
    /// One subscribe or unsubscribe of a room at a time, or the store could see them in the wrong order.
    gates: Vec<tokio::sync::Mutex<()>>,
    queues: Vec<HubQueue>,
    waiting: Mutex<HashMap<SessionId, oneshot::Sender<u64>>>,
    manager: std::sync::OnceLock<ManagerHandle>,
}

/// Working memories that are kept.
const SCRATCHES: usize = 16;

/// Locks that order subscriptions; rooms share them by hash.
const GATES: usize = 64;

impl NodeBus {
    /// The end of the bus for `workers` workers (at most 64); attach it with [`NodeBus::attach`].
    #[must_use]
    pub fn new(
        node: NodeId,
        bus: Arc<dyn Bus>,
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        rules: Arc<ArcSwap<Rules>>,
        workers: usize,
    ) -> Self {
        Self {
            node,
            bus,
            registry,
            metrics,
            rules,
            scratch: Mutex::default(),
            rooms: Mutex::default(),
            gates: (0..GATES).map(|_| tokio::sync::Mutex::default()).collect(),
            queues: (0..workers.clamp(1, 64)).map(|_| HubQueue::default()).collect(),
            waiting: Mutex::default(),
            manager: std::sync::OnceLock::new(),
        }
    }

    /// Starts to take what the store brings.
    pub fn attach(self: &Arc<Self>, manager: ManagerHandle) {
        let _ = self.manager.set(manager);
        self.bus.attach(self.node.clone(), Arc::clone(self) as Arc<dyn BusSink>);
    }

    /// A worker's queue.
    #[must_use]
    pub fn queue(&self, worker: u16) -> Option<&HubQueue> {
        self.queues.get(usize::from(worker))
    }

    /// The session manager, for tests that disturb it.
    #[cfg(feature = "fault-injection")]
    #[must_use]
    pub fn manager(&self) -> Option<&ManagerHandle> {
        self.manager.get()
    }

    fn gate(&self, room: &RoomName) -> Option<&tokio::sync::Mutex<()>> {
        let sum = room.as_str().bytes().fold(0usize, |sum, b| sum.wrapping_mul(31).wrapping_add(usize::from(b)));
        self.gates.get(sum % GATES)
    }

    /// The worker has a member in the room; answers the room's position, after which every message will come. Has to be
    /// polled once before the worker's hub changes again; then, whatever becomes of the future, [`NodeBus::exit`]
    /// undoes it.
    ///
    /// # Errors
    /// The store's.
    pub async fn enter(&self, worker: u16, room: &RoomName) -> Result<Position, StoreFault> {
        // before any await: what a worker wants is noted in the order in which its hub changed
        *self.rooms().entry(room.clone()).or_default() |= 1 << worker;
        let _turn = match self.gate(room) {
            Some(gate) => Some(gate.lock().await),
            None => None,
        };
        self.bus.subscribe(self.node.clone(), room.clone()).await
    }

    /// The worker's hub has nobody in the room any more. Has to be polled once before the worker's hub changes again, and
    /// then to its end.
    ///
    /// # Errors
    /// The store's.
    pub async fn exit(&self, worker: u16, room: &RoomName) -> Result<(), StoreFault> {
        self.forget(worker, room);
        let _turn = match self.gate(room) {
            Some(gate) => Some(gate.lock().await),
            None => None,
        };
        // somebody may have come in while this waited; who comes from now on waits for the gate
        let wanted = self.rooms().contains_key(room);
        if wanted { Ok(()) } else { self.bus.unsubscribe(self.node.clone(), room.clone()).await }
    }

    fn forget(&self, worker: u16, room: &RoomName) {
        let mut rooms = self.rooms();
        let Some(mask) = rooms.get_mut(room) else { return };
        *mask &= !(1 << worker);
        if *mask == 0 {
            rooms.remove(room);
        }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomName, u64>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rooms in which some worker has a member.
    #[must_use]
    pub fn room_count(&self) -> usize {
        self.rooms().len()
    }

    /// A newcomer waits for its slot: ready with the ledger's sequence when the victim's node has passed it on.
    pub fn await_slot(&self, sid: SessionId) -> oneshot::Receiver<u64> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(sid, sender);
        receiver
    }

    /// The newcomer does not wait any more.
    pub fn forget_slot(&self, sid: SessionId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&sid);
    }

    /// Looks at what is about to be delivered to sessions of this node, and changes what has to be changed; once a message,
    /// whoever and however many they are. False: it must not be delivered.
    #[must_use]
    pub fn guard(&self, record: &mut Record) -> bool {
        let rules = self.rules.load();
        if !rules.policy.guards() {
            return true;
        }
        let mut scratch = self.scratch().pop().unwrap_or_default();
        let checked = outbound::check(&rules.policy, &record.body, &mut scratch);
        {
            let mut pool = self.scratch();
            if pool.len() < SCRATCHES {
                pool.push(scratch);
            }
        }
        let Some(checked) = checked else { return true };
        OutboundGuarded(&checked.report).emit(&self.metrics);
        match checked.outcome {
            Outcome::Same => {}
            Outcome::Changed(body) => record.body = body.into(),
            Outcome::Blocked => return false,
        }
        true
    }

    fn scratch(&self) -> MutexGuard<'_, Vec<outbound::Scratch>> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store is lost: the members on this node get the message all the same, marked, without a place in the order.
    pub fn deliver_degraded(&self, room: &RoomName, mut record: Record) {
        if !self.guard(&mut record) {
            return;
        }
        for worker in self.workers_in(room) {
            self.push(worker, HubMail::Degraded(room.clone(), record.clone()));
        }
    }

    /// A message for every session of this node; answers how many that is, none where it must not be delivered. A full
    /// worker queue refuses its part, and counts it.
    pub fn to_all(&self, mut record: Record) -> usize {
        /// Places of one piece of mail: a hub has other work between two.
        const PIECE: usize = 1_000;
        if !self.guard(&mut record) {
            return 0;
        }
        let mut by_worker: HashMap<u16, Vec<(u32, SessionId)>> = HashMap::new();
        let all = self.registry.select(usize::MAX, |_| true);
        for entry in &all {
            by_worker.entry(entry.peer.worker).or_default().push((entry.peer.slot, entry.holder.sid));
        }
        for (worker, places) in by_worker {
            for piece in places.chunks(PIECE) {
                self.push(usize::from(worker), HubMail::Peers(piece.to_vec(), record.clone()));
            }
        }
        all.len()
    }

    /// The workers with members in a room.
    fn workers_in(&self, room: &RoomName) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.rooms.lock().unwrap_or_else(PoisonError::into_inner).get(room).copied().unwrap_or(0);
        std::iter::from_fn(move || {
            let worker = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(worker)
        })
    }

    fn push(&self, worker: usize, mail: HubMail) {
        let Some(queue) = self.queues.get(worker) else { return };
        let own = PUBLISHING.get().is_some_and(|w| usize::from(w) == worker);
        if !queue.push(mail, !own) {
            HubRefused { worker }.emit(&self.metrics);
        }
    }
}

impl BusSink for NodeBus {
    fn deliver(&self, mut delivery: Delivery) {
        let mut workers = self.workers_in(&delivery.room).peekable();
        if workers.peek().is_none() || !self.guard(&mut delivery.record) {
            return;
        }
        for worker in workers.by_ref() {
            self.push(worker, HubMail::Room(delivery.clone()));
        }
    }

    fn mail(&self, mail: NodeMail) {
        match mail {
            NodeMail::ToUser { user, tenant, mut record } => {
                let mut by_worker: HashMap<u16, Vec<(u32, SessionId)>> = HashMap::new();
                let reached = |e: &SessionEntry| tenant.is_none() || e.tenant == tenant;
                for entry in self.registry.of_user(&user).into_iter().filter(|e| reached(e)) {
                    by_worker.entry(entry.peer.worker).or_default().push((entry.peer.slot, entry.holder.sid));
                }
                if by_worker.is_empty() || !self.guard(&mut record) {
                    return;
                }
                for (worker, places) in by_worker {
                    self.push(usize::from(worker), HubMail::Peers(places, record.clone()));
                }
            }
            NodeMail::Evict { user, victim } => {
                if let Some(manager) = self.manager.get() {
                    manager.evict(user, victim);
                }
            }
            NodeMail::Passed(passed) => {
                let waiter = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&passed.to.sid);
                if let Some(waiter) = waiter {
                    let _ = waiter.send(passed.seq);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use futures_util::future::FutureExt;
    use portcullis_common::clock::{Clock, ManualClock};
    use portcullis_common::config::model::{Config, LeakUse};
    use portcullis_common::config::secret::Secret;
    use portcullis_common::store::memory::MemoryStore;
    use rand::SeedableRng;

    use super::*;
    use crate::pipeline::buckets::Buckets;

    fn rules(change: impl FnOnce(&mut Config)) -> Arc<ArcSwap<Rules>> {
        let mut config = Config::dev(Secret::new(vec![1; 32]), 1, 2).unwrap();
        config.message.values_mut().for_each(|rule| rule.leaks = None);
        change(&mut config);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let rules = Rules::compile(
            Arc::new(config),
            &clock,
            Arc::new(Buckets::default()),
            1,
            Ok(crate::admit::reputation::Feeds::default()),
        );
        Arc::new(ArcSwap::from_pointee(rules.unwrap_or_else(|e| panic!("{e:?}"))))
    }

    fn body_of(mail: Option<HubMail>) -> String {
        let record = match mail.unwrap() {
            HubMail::Room(delivery) => delivery.record,
            HubMail::Degraded(_, record) | HubMail::Peers(_, record) => record,
        };
        String::from_utf8(record.body.to_vec()).unwrap()
    }

    #[test]
    fn every_way_out_passes_the_guard_once_a_message_and_by_the_rules_in_force() {
        let stores = MemoryStore::new(Arc::new(ManualClock::default()), Box::new(rand::rngs::StdRng::seed_from_u64(1)));
        let (node, room) = (NodeId::parse("n").unwrap(), RoomName::parse("r").unwrap());
        let metrics = Arc::new(Metrics::new(2));
        let rules_now = rules(|config| config.leaks.default = LeakUse::Mask);
        let (bus, registry) = (Arc::clone(&stores.bus), Arc::<Registry>::default());
        let bus = Arc::new(NodeBus::new(node, bus, registry, Arc::clone(&metrics), Arc::clone(&rules_now), 2));
        for worker in 0..2 {
            bus.enter(worker, &room).now_or_never().unwrap().unwrap();
        }
        let leak = r#"{"type":"chat","payload":"4111111111111111"}"#;
        let record = |body: &'static str| Record { body: body.into(), exclude: None };
        let delivery =
            |body| Delivery { room: room.clone(), position: Position { offset: 1, epoch: 1 }, record: record(body) };
        let masked = r#"{"type":"chat","payload":"****************"}"#;
        bus.deliver(delivery(leak));
        bus.deliver_degraded(&room, record(leak));
        for _ in 0..2 {
            assert_eq!([0, 1].map(|worker| body_of(bus.queue(worker).unwrap().pop())), [masked, masked]);
        }
        assert_eq!(metrics.leaks_masked.get(), 2, "once a message, whatever the workers");
        let mut direct = record(leak);
        assert!(bus.guard(&mut direct));
        assert_eq!(&*direct.body, masked.as_bytes());

        rules_now.store(rules(|config| config.leaks.default = LeakUse::Block).load_full());
        bus.deliver(delivery(leak));
        bus.deliver_degraded(&room, record(leak));
        assert!(bus.queue(0).unwrap().pop().is_none(), "blocked from the next message on");
        assert!(metrics.render().contains("portcullis_stage_refusals_total{stage=\"outbound\",mode=\"enforced\"} 2"));
        rules_now.store(rules(|_| {}).load_full());
        bus.deliver(delivery(leak));
        assert_eq!(body_of(bus.queue(0).unwrap().pop()), leak);
    }

    /// A task may be refused even its place in the gate's queue (tokio's cooperative budget), so the queue's order is
    /// not the order in which the hub changed.
    #[test]
    fn what_a_worker_wants_is_noted_before_the_gate_opens() {
        let stores = MemoryStore::new(Arc::new(ManualClock::default()), Box::new(rand::rngs::StdRng::seed_from_u64(1)));
        let (node, room) = (NodeId::parse("n").unwrap(), RoomName::parse("r").unwrap());
        let metrics = Arc::new(Metrics::new(1));
        let bus =
            Arc::new(NodeBus::new(node.clone(), Arc::clone(&stores.bus), Arc::default(), metrics, rules(|_| {}), 1));
        stores.bus.attach(node, Arc::clone(&bus) as Arc<dyn BusSink>);
        bus.enter(0, &room).now_or_never().unwrap().unwrap();
        let mut nobody = Context::from_waker(Waker::noop());

        let shut = bus.gate(&room).unwrap().try_lock().unwrap();
        let mut leaving = Box::pin(bus.exit(0, &room));
        assert!(leaving.poll_unpin(&mut nobody).is_pending());
        assert_eq!(bus.room_count(), 0, "who leaves is noted");
        let mut coming = Box::pin(bus.enter(0, &room));
        assert!(coming.poll_unpin(&mut nobody).is_pending());
        assert_eq!(bus.room_count(), 1, "who comes is noted");
        drop(shut);
        leaving.now_or_never().unwrap().unwrap();
        coming.now_or_never().unwrap().unwrap();

        let record = Record { body: "{}".into(), exclude: None };
        stores.bus.publish(room.clone(), record, None, None).now_or_never().unwrap().unwrap();
        assert!(matches!(bus.queue(0).unwrap().pop(), Some(HubMail::Room(_))));
    }
}
