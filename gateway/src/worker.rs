//! What one worker thread owns: its peers, its hub, its buffers. Nothing here crosses threads.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::accept::io::Dresser;
use crate::bus;
use crate::events::{PanicCaught, QueuesClosed};
use crate::http;
use crate::hub::{Hub, PeerTable};
use crate::node::Node;
use crate::overload::ladder::STEPS;
use crate::overload::{Pace, largest, pace};
use crate::pipeline::Scratch;
use crate::session::peer::Peer;
use crate::turns::Turns;

/// How often the sweep looks for connections with something due.
pub const SWEEP: Duration = Duration::from_millis(500);
/// One read takes at most this much; shared by all connections of the worker.
const READ_BUFFER: usize = 64 << 10;

#[derive(Default)]
struct Table {
    peers: Vec<Option<Rc<Peer>>>,
    free: Vec<u32>,
}

/// One worker thread's state.
pub struct Worker {
    /// Its number.
    pub id: u16,
    /// The node it belongs to.
    pub node: Arc<Node>,
    /// Rooms with members here.
    pub hub: Hub,
    table: RefCell<Table>,
    /// Where sockets are read into; no connection owns a read buffer.
    pub read_buffer: RefCell<Vec<u8>>,
    /// Where bursts of small frames are gathered into one write.
    pub write_buffer: RefCell<Vec<u8>>,
    /// Working memory of the pipeline.
    pub scratch: RefCell<Scratch>,
    seen_panics: Cell<u64>,
    /// Connections that begin, and answers that time out, have their turns.
    pub turns: Rc<Turns>,
    /// Whether it is behind with its work.
    pub pace: Pace,
    dresser: Dresser,
}

impl Table {
    fn each(&self, visit: impl FnMut(&Rc<Peer>)) {
        self.peers.iter().flatten().for_each(visit);
    }
}

impl PeerTable for Worker {
    fn peer(&self, slot: u32) -> Option<Rc<Peer>> {
        self.table.borrow().peers.get(usize::try_from(slot).ok()?)?.clone()
    }

    fn each(&self, visit: &mut dyn FnMut(&Rc<Peer>)) {
        self.table.borrow().each(visit);
    }

    fn write(&self, peer: &Peer) -> bool {
        // as before every write: the process may have been stopped since the last
        if self.node.fence.cuts(peer.fence.get(), self.node.clock.mono()) {
            return false;
        }
        // the buffer is in use where a connection's turn hands out what it brought
        let Ok(mut scratch) = self.write_buffer.try_borrow_mut() else { return false };
        let mut sent = 0;
        let done = peer.write_out(&mut scratch, &mut sent);
        self.node.metrics.bytes_out.inc_by(sent as u64);
        done
    }
}

impl Worker {
    /// Starts the worker's hub and sweep on this thread.
    #[must_use]
    pub fn start(id: u16, node: Arc<Node>) -> Rc<Self> {
        let answering = Arc::clone(&node);
        let worker = Rc::new(Self {
            id,
            node,
            dresser: Rc::new(move |peer, status| http::dressed(&answering, peer, status)),
            hub: Hub::default(),
            table: RefCell::default(),
            read_buffer: RefCell::new(vec![0; READ_BUFFER]),
            write_buffer: RefCell::new(Vec::with_capacity(READ_BUFFER)),
            scratch: RefCell::default(),
            seen_panics: Cell::new(0),
            turns: Rc::default(),
            pace: Pace::default(),
        });
        actix_rt::spawn(Rc::clone(&worker).run_hub());
        actix_rt::spawn(Rc::clone(&worker).run_sweep());
        actix_rt::spawn(pace::keep(Rc::clone(&worker)));
        let keeper = Rc::clone(&worker);
        actix_rt::spawn(async move { keeper.turns.keep(&*keeper.node.clock).await });
        worker
    }

    /// For connections that this worker accepts.
    #[must_use]
    pub fn dresser(&self) -> Dresser {
        Rc::clone(&self.dresser)
    }

    /// Gives a peer its place.
    pub fn add(&self, peer: &Rc<Peer>) {
        let mut table = self.table.borrow_mut();
        let slot = match table.free.pop() {
            Some(slot) => {
                if let Some(place) = table.peers.get_mut(slot as usize) {
                    *place = Some(Rc::clone(peer));
                }
                slot
            }
            None => {
                table.peers.push(Some(Rc::clone(peer)));
                u32::try_from(table.peers.len() - 1).unwrap_or(u32::MAX)
            }
        };
        peer.slot.set(slot);
    }

    /// Takes a peer's place back.
    pub fn remove(&self, peer: &Peer) {
        let mut table = self.table.borrow_mut();
        let slot = peer.slot.replace(u32::MAX);
        if let Some(place) = table.peers.get_mut(slot as usize)
            && place.as_ref().is_some_and(|p| p.sid == peer.sid)
        {
            *place = None;
            table.free.push(slot);
        }
    }

    /// Calls the bus on behalf of this worker, then hands out what it brought here.
    pub fn with_bus<R>(&self, call: impl FnOnce() -> R) -> R {
        let result = bus::publishing(self.id, call);
        self.drain();
        result
    }

    /// Hands out what waits in this worker's queue.
    pub fn drain(&self) {
        let Some(queue) = self.node.bus.queue(self.id) else { return };
        if self.hub.pass(queue, self) {
            // others fill the queue too: the rest is for the hub's own turn
            queue.wake();
        }
        self.report();
    }

    async fn run_hub(self: Rc<Self>) {
        let Some(queue) = self.node.bus.queue(self.id) else { return };
        loop {
            let more = self.hub.turn(queue, &*self);
            self.report();
            if more {
                // not a plain wake-up: that would come before every socket that became readable meanwhile, because the
                // thread's own tasks go before those that the reactor wakes. A yield comes back behind them.
                tokio::task::yield_now().await;
            } else {
                poll_fn(|cx| self.hub.poll_work(queue, cx)).await;
            }
        }
    }

    fn report(&self) {
        let delivered = self.hub.take_delivered();
        if delivered > 0 {
            self.node.metrics.messages_out.inc_by(delivered);
        }
        let panics = self.hub.panics();
        while self.seen_panics.get() < panics {
            self.seen_panics.set(self.seen_panics.get() + 1);
            PanicCaught { part: "hub" }.emit(&self.node.metrics);
        }
    }

    async fn run_sweep(self: Rc<Self>) {
        let mut ticks = actix_rt::time::interval(SWEEP);
        let mut last_waiting = 0i64;
        loop {
            ticks.tick().await;
            let now = self.node.clock.mono();
            let mut waiting = 0usize;
            let mut due = Vec::new();
            let closes = self.node.overload.step() >= STEPS;
            let mut queues = Vec::new();
            self.table.borrow().each(|peer| {
                let mut outbox = peer.outbox();
                waiting += outbox.waiting();
                if closes && !outbox.is_empty() {
                    queues.push((outbox.waiting(), Rc::clone(peer)));
                }
                outbox.slim();
                drop(outbox);
                if now >= peer.due.get() || self.node.fence.cuts(peer.fence.get(), now) {
                    due.push(Rc::clone(peer));
                }
            });
            due.iter().for_each(|peer| peer.wake());
            let largest = largest(queues);
            if !largest.is_empty() {
                QueuesClosed { count: largest.len() }.emit(&self.node.metrics);
                largest.iter().for_each(|peer| peer.give_up());
            }
            let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
            self.node.metrics.outbox_bytes.inc_by(waiting - last_waiting);
            last_waiting = waiting;
            let connections = self.node.caps.total();
            self.node.metrics.connections.set(i64::try_from(connections).unwrap_or(i64::MAX));
            if let Some(beat) = self.node.metrics.heartbeat.get(usize::from(self.id)) {
                beat.store(self.node.clock.nanos(), Ordering::Relaxed);
            }
        }
    }
}
