//! Rooms on one worker: a message crosses threads once a worker, is encoded once an encoding, and its bytes are shared.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use portcullis_common::ids::{RoomName, SessionId};
use portcullis_common::store::bus::{Delivery, Position, Record};

use crate::admit::subprotocol::Protocol;
use crate::session::peer::Peer;
use crate::wire_out;

/// What other threads hand to a worker's hub.
#[derive(Debug)]
pub enum HubMail {
    /// A message of a room with members here.
    Room(Delivery),
    /// A message of a room with members here that no store has placed.
    Degraded(RoomName, Record),
    /// A message for some sessions here: places in the worker's table, checked by session id.
    Peers(Vec<(u32, SessionId)>, Record),
}

impl HubMail {
    fn weight(&self) -> usize {
        match self {
            Self::Room(delivery) => delivery.record.body.len(),
            Self::Degraded(_, record) | Self::Peers(_, record) => record.body.len(),
        }
    }
}

/// Payload bytes that may wait in one worker's queue.
const QUEUE_BYTES: usize = 64 << 20;
/// Messages that may wait in one worker's queue.
const QUEUE_LENGTH: usize = 1 << 16;
/// Messages handled in one pass, so that a burst does not starve the sockets.
const PASS: usize = 256;

/// Peers served before other connections of the worker get a turn.
const SLICE: usize = 16;

/// Messages held back for one member that is joining.
const HELD: usize = 1_024;

#[derive(Default)]
struct Waiting {
    mail: VecDeque<HubMail>,
    bytes: usize,
}

/// The way into a worker's hub, from any thread. Bound: [`QUEUE_LENGTH`] messages, [`QUEUE_BYTES`] bytes; what does not
/// fit is refused, and members see the jump in the room's offsets.
#[derive(Default)]
pub struct HubQueue {
    waiting: Mutex<Waiting>,
    waker: AtomicWaker,
    /// A test asked for a panic at the next message.
    #[cfg(feature = "fault-injection")]
    pub fault: std::sync::atomic::AtomicBool,
}

impl HubQueue {
    /// Queues, and wakes the worker if `wake`. False: the queue is full and the message is lost for this worker.
    pub fn push(&self, mail: HubMail, wake: bool) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let weight = mail.weight();
        if waiting.mail.len() >= QUEUE_LENGTH || waiting.bytes + weight > QUEUE_BYTES {
            return false;
        }
        waiting.bytes += weight;
        waiting.mail.push_back(mail);
        drop(waiting);
        if wake {
            self.waker.wake();
        }
        true
    }

    /// Has the worker's hub look at the queue.
    pub fn wake(&self) {
        self.waker.wake();
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).mail.is_empty()
    }

    pub(crate) fn pop(&self) -> Option<HubMail> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mail = waiting.mail.pop_front()?;
        waiting.bytes -= mail.weight();
        Some(mail)
    }
}

struct Member {
    peer: Rc<Peer>,
    /// Messages up to here are not for this member: it got them as recovered history.
    after: Position,
    /// While the store looks up what the member missed: what came meanwhile. Boxed: nearly always there is nothing.
    held: Option<Box<Held>>,
}

/// What waits for a member that is joining. At most [`HELD`]; then the oldest goes, and [`Hub::has_all_behind`] tells.
#[derive(Default)]
struct Held {
    waiting: VecDeque<Delivery>,
    /// The last that went.
    dropped: Option<Position>,
}

impl Held {
    fn push(&mut self, delivery: Delivery) {
        if self.waiting.len() >= HELD {
            self.dropped = self.waiting.pop_front().map(|oldest| oldest.position);
        }
        self.waiting.push_back(delivery);
    }
}

/// Before every message of every epoch.
const START: Position = Position { offset: 0, epoch: 0 };

impl Member {
    /// Whether a message is new to it. Another epoch is another order: everything in it is new.
    fn wants(&self, delivery: &Delivery) -> bool {
        let Delivery { position, record, .. } = delivery;
        !position.not_after(self.after) && record.exclude != Some(self.peer.sid)
    }
}

/// The hub of one worker.
#[derive(Default)]
pub struct Hub {
    rooms: RefCell<HashMap<RoomName, Vec<Member>>>,
    panics: Cell<u64>,
    delivered: Cell<u64>,
    /// Peers with something new to write, each once. A large room is served in slices of [`SLICE`], so that everybody
    /// else on the worker has a turn in between.
    wakes: RefCell<VecDeque<Rc<Peer>>>,
}

impl Hub {
    /// Adds a member. `hold`: what comes is held back for it until [`Hub::settle`]. Idempotent.
    pub fn join(&self, room: &RoomName, peer: &Rc<Peer>, hold: bool) {
        let mut rooms = self.rooms.borrow_mut();
        let members = rooms.entry(room.clone()).or_default();
        if members.is_empty() {
            members.reserve_exact(1);
        }
        let held = hold.then(Box::default);
        match members.iter_mut().find(|m| m.peer.sid == peer.sid) {
            Some(member) => member.held = held,
            None => members.push(Member { peer: Rc::clone(peer), after: START, held }),
        }
        let mut of_peer = peer.rooms.borrow_mut();
        if !of_peer.contains(room) {
            if of_peer.is_empty() {
                of_peer.reserve_exact(1);
            }
            of_peer.push(room.clone());
        }
    }

    /// Whether everything behind `after` that came since the member's [`Hub::join`] is held back for it still: if not,
    /// it has a gap after `after`.
    pub fn has_all_behind(&self, room: &RoomName, peer: &Peer, after: Position) -> bool {
        let rooms = self.rooms.borrow();
        let member = rooms.get(room).into_iter().flatten().find(|m| m.peer.sid == peer.sid);
        let dropped = member.and_then(|member| member.held.as_ref()).and_then(|held| held.dropped);
        dropped.is_none_or(|dropped| dropped.not_after(after))
    }

    /// The member has everything up to `after`: what was held back behind it is delivered now.
    pub fn settle(&self, room: &RoomName, peer: &Rc<Peer>, after: Position) {
        self.let_go(room, peer, Some(after));
    }

    /// What was held back for the member is delivered now; it has what it had.
    pub fn release(&self, room: &RoomName, peer: &Rc<Peer>) {
        self.let_go(room, peer, None);
    }

    fn let_go(&self, room: &RoomName, peer: &Rc<Peer>, after: Option<Position>) {
        let mut rooms = self.rooms.borrow_mut();
        let members = rooms.get_mut(room).into_iter().flatten();
        let Some(member) = members.into_iter().find(|m| m.peer.sid == peer.sid) else { return };
        member.after = after.unwrap_or(member.after);
        for delivery in member.held.take().into_iter().flat_map(|held| held.waiting) {
            if member.wants(&delivery) {
                self.deliver(peer, wire_out::delivery(&delivery, peer.protocol));
            }
        }
    }

    /// Removes a member; true when the room is empty on this worker now.
    pub fn leave(&self, room: &RoomName, peer: &Peer) -> bool {
        peer.rooms.borrow_mut().retain(|r| r != room);
        let mut rooms = self.rooms.borrow_mut();
        let Some(members) = rooms.get_mut(room) else { return false };
        if let Some(at) = members.iter().position(|m| m.peer.sid == peer.sid) {
            members.swap_remove(at);
        }
        let empty = members.is_empty();
        if empty {
            rooms.remove(room);
        }
        empty
    }

    /// Ready when there is something to do for [`Hub::turn`].
    pub fn poll_work(&self, queue: &HubQueue, cx: &mut Context<'_>) -> Poll<()> {
        queue.waker.register(cx.waker());
        if queue.is_empty() && self.wakes.borrow().is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Handles up to [`PASS`] messages and wakes one slice of peers; true when there is more to do. The sockets should
    /// have a turn before the next.
    pub fn turn(&self, queue: &HubQueue, peers: &dyn PeerTable) -> bool {
        let more = self.handle(queue, peers);
        self.rouse(peers);
        more || !self.wakes.borrow().is_empty()
    }

    /// Has the next slice of peers write what waits for them: at once where that can be, else by waking the actor.
    fn rouse(&self, peers: &dyn PeerTable) {
        let mut wakes = self.wakes.borrow_mut();
        for _ in 0..SLICE {
            let Some(peer) = wakes.pop_front() else {
                if wakes.capacity() > 4 * SLICE {
                    *wakes = VecDeque::new();
                }
                return;
            };
            peer.unlist();
            if !peers.write(&peer) {
                peer.wake();
            }
        }
    }

    /// Handles up to [`PASS`] messages; true when there may be more. A panic costs the message that caused it: the
    /// rooms are rebuilt from the peers, and the rest of the queue is handled.
    pub fn pass(&self, queue: &HubQueue, peers: &dyn PeerTable) -> bool {
        // every connection that is woken comes by here: while a large room is being woken, the next slice is the
        // hub's alone, or one slice would call the next without a turn for anybody else
        let midway = !self.wakes.borrow().is_empty();
        let more = self.handle(queue, peers);
        if !midway {
            self.rouse(peers);
            if !self.wakes.borrow().is_empty() {
                queue.waker.wake();
            }
        }
        more
    }

    fn handle(&self, queue: &HubQueue, peers: &dyn PeerTable) -> bool {
        for _ in 0..PASS {
            let Some(mail) = queue.pop() else { return false };
            if catch_unwind(AssertUnwindSafe(|| self.dispatch(queue, mail, peers))).is_err() {
                self.panics.set(self.panics.get() + 1);
                self.rebuild(peers);
            }
        }
        true
    }

    /// Frames handed to peers since the last call.
    pub fn take_delivered(&self) -> u64 {
        self.delivered.take()
    }

    fn deliver(&self, peer: &Rc<Peer>, frame: Bytes) {
        self.delivered.set(self.delivered.get() + 1);
        if peer.deliver_later(frame) {
            self.wakes.borrow_mut().push_back(Rc::clone(peer));
        }
    }

    /// Panics survived so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.get()
    }

    #[cfg_attr(not(feature = "fault-injection"), allow(unused_variables, reason = "carries the flag of the tests"))]
    #[cfg_attr(feature = "fault-injection", allow(clippy::panic, reason = "what the tests ask for"))]
    fn dispatch(&self, queue: &HubQueue, mail: HubMail, peers: &dyn PeerTable) {
        #[cfg(feature = "fault-injection")]
        if queue.fault.swap(false, std::sync::atomic::Ordering::Relaxed) {
            // as in the middle of a change
            self.rooms.borrow_mut().clear();
            assert!(self.rooms.try_borrow().is_err(), "injected into the hub");
        }
        match mail {
            HubMail::Room(delivery) => {
                let mut rooms = self.rooms.borrow_mut();
                let Some(members) = rooms.get_mut(&delivery.room) else { return };
                let mut frames = Variants::default();
                for member in members {
                    if !member.wants(&delivery) {
                        continue;
                    }
                    if let Some(held) = &mut member.held {
                        held.push(delivery.clone());
                        continue;
                    }
                    let frame =
                        frames.get(member.peer.protocol, || wire_out::delivery(&delivery, member.peer.protocol));
                    self.deliver(&member.peer, frame);
                }
            }
            HubMail::Degraded(room, record) => {
                let rooms = self.rooms.borrow();
                let mut frames = Variants::default();
                for member in rooms.get(&room).into_iter().flatten() {
                    if record.exclude != Some(member.peer.sid) {
                        let protocol = member.peer.protocol;
                        self.deliver(&member.peer, frames.get(protocol, || wire_out::degraded(&record, protocol)));
                    }
                }
            }
            HubMail::Peers(places, record) => {
                let mut frames = Variants::default();
                for (slot, sid) in places {
                    let Some(peer) = peers.peer(slot).filter(|p| p.sid == sid) else { continue };
                    if record.exclude == Some(sid) {
                        continue;
                    }
                    self.deliver(&peer, frames.get(peer.protocol, || wire_out::direct(&record, peer.protocol)));
                }
            }
        }
    }

    fn rebuild(&self, peers: &dyn PeerTable) {
        let mut rooms = self.rooms.borrow_mut();
        // what members were promised is kept where it is still to be found: the panic may have lost any part of it
        let mut known: HashMap<(RoomName, SessionId), Member> = HashMap::new();
        for (room, members) in rooms.drain() {
            known.extend(members.into_iter().map(|member| ((room.clone(), member.peer.sid), member)));
        }
        peers.each(&mut |peer| {
            for room in peer.rooms.borrow().iter() {
                let member = known.remove(&(room.clone(), peer.sid));
                let new = || Member { peer: Rc::clone(peer), after: START, held: None };
                rooms.entry(room.clone()).or_default().push(member.unwrap_or_else(new));
            }
        });
    }
}

/// One frame an encoding, made when the first member needs it.
#[derive(Default)]
struct Variants {
    json: Option<Bytes>,
    msgpack: Option<Bytes>,
}

impl Variants {
    fn get(&mut self, protocol: Protocol, make: impl FnOnce() -> Bytes) -> Bytes {
        let slot = match protocol {
            Protocol::Json => &mut self.json,
            Protocol::Msgpack => &mut self.msgpack,
        };
        slot.get_or_insert_with(make).clone()
    }
}

/// The worker's table of peers.
pub trait PeerTable {
    /// The peer at a place.
    fn peer(&self, slot: u32) -> Option<Rc<Peer>>;
    /// Every peer.
    fn each(&self, visit: &mut dyn FnMut(&Rc<Peer>));
    /// Writes what waits for a peer without its actor; false where the actor has to do it.
    fn write(&self, peer: &Peer) -> bool;
}

#[cfg(test)]
mod tests;
