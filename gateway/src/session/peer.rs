//! A connection as its worker's hub and sweep see it: an outbox, a waker, a due time. Never leaves its thread.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use bytes::Bytes;
use portcullis_common::clock::Mono;
use portcullis_common::ids::{RoomName, SessionId};

use super::outbox::Outbox;
use crate::accept::io::Shared;
use crate::admit::subprotocol::Protocol;

/// One write takes at most this much.
pub const WRITE: usize = 64 << 10;

/// Where a session's socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerId {
    /// The worker thread.
    pub worker: u16,
    /// The place in its table; checked against the session id, because places are used again.
    pub slot: u32,
}

/// What hub, sweep and actor share of one connection.
pub struct Peer {
    /// The session.
    pub sid: SessionId,
    /// What its frames look like.
    pub protocol: Protocol,
    /// Its place in the worker's table.
    pub slot: Cell<u32>,
    /// The generation of the node's fence that it belongs to: once that is over, its socket is cut.
    pub fence: Cell<u64>,
    /// When the actor next has something to do by itself; the worker's sweep wakes it then.
    pub due: Cell<Mono>,
    /// The rooms it is in: enough to rebuild the hub after a panic, and to leave them at the end.
    pub rooms: RefCell<Vec<RoomName>>,
    outbox: RefCell<Outbox>,
    outbox_limit: usize,
    /// The bound was hit: the actor closes the slow consumer when it is next polled.
    overflowed: Cell<bool>,
    /// The actor is running and will flush by itself: no wake-up is needed.
    pumping: Cell<bool>,
    /// The hub has it on its list to wake.
    listed: Cell<bool>,
    /// The actor has left nothing to write and nothing to end: a frame may go out without it.
    resting: Cell<bool>,
    /// What the hub writes to, while the actor lives.
    socket: RefCell<Option<Shared>>,
    waker: RefCell<Option<Waker>>,
}

impl Peer {
    /// A peer with an empty outbox that may hold `outbox_limit` bytes.
    #[must_use]
    pub fn new(sid: SessionId, protocol: Protocol, outbox_limit: usize) -> Self {
        Self {
            sid,
            protocol,
            slot: Cell::new(u32::MAX),
            fence: Cell::new(0),
            due: Cell::new(Mono::default()),
            rooms: RefCell::default(),
            outbox: RefCell::default(),
            outbox_limit,
            overflowed: Cell::new(false),
            pumping: Cell::new(false),
            listed: Cell::new(false),
            resting: Cell::new(false),
            socket: RefCell::default(),
            waker: RefCell::new(None),
        }
    }

    /// Queues a frame; the actor writes it when its turn comes, with everything else that waits. A full outbox takes
    /// nothing more and has the slow consumer closed.
    pub fn deliver(&self, frame: Bytes) {
        self.queue(frame);
        self.wake();
    }

    fn queue(&self, frame: Bytes) {
        if self.outbox.borrow_mut().push(frame, self.outbox_limit).is_err() {
            self.overflowed.set(true);
        }
    }

    /// The same without the wake-up. True: the caller has to see to [`Peer::rouse`] soon, and is told so only once.
    #[must_use]
    pub fn deliver_later(&self, frame: Bytes) -> bool {
        self.queue(frame);
        !self.pumping.get() && !self.listed.replace(true)
    }

    /// The hub takes it off its list: what [`Peer::deliver_later`] left to do is [`Peer::write_out`], or else
    /// [`Peer::wake`].
    pub fn unlist(&self) {
        self.listed.set(false);
    }

    /// From now on frames may be written to this socket while the actor rests; `None`: no more.
    pub fn connect(&self, socket: Option<Shared>) {
        *self.socket.borrow_mut() = socket;
    }

    /// Whether a frame may go out without the actor, until it runs again.
    pub fn rest(&self, resting: bool) {
        self.resting.set(resting);
    }

    /// Writes what waits, past the actor, and counts the bytes in `sent`. False: the actor has to be woken, for the rest
    /// or for its end.
    #[must_use]
    pub fn write_out(&self, scratch: &mut Vec<u8>, sent: &mut usize) -> bool {
        if self.pumping.get() || !self.resting.get() || self.overflowed.get() {
            return false;
        }
        let socket = self.socket.borrow();
        let Some(Ok(socket)) = socket.as_ref().map(|socket| socket.try_borrow()) else { return false };
        let mut outbox = self.outbox.borrow_mut();
        while !outbox.is_empty() {
            // an error is the actor's to see: it meets the same one
            let Ok(written @ 1..) = socket.try_write(outbox.next_write(scratch, WRITE)) else { return false };
            outbox.advance(written);
            *sent += written;
        }
        true
    }

    /// Has the actor polled soon, unless it is running already.
    pub fn wake(&self) {
        if !self.pumping.get()
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }

    /// The actor runs from now on, to be woken by `waker` later.
    pub fn enter(&self, waker: &Waker) {
        self.pumping.set(true);
        let mut slot = self.waker.borrow_mut();
        if slot.as_ref().is_none_or(|w| !w.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// The actor stops running.
    pub fn leave(&self) {
        self.pumping.set(false);
    }

    /// Has the slow consumer closed although its outbox has room.
    pub fn give_up(&self) {
        self.overflowed.set(true);
        self.wake();
    }

    /// Whether the outbox refused a frame.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.overflowed.get()
    }

    /// Bytes that the outbox still takes.
    #[must_use]
    pub fn room(&self) -> usize {
        self.outbox_limit.saturating_sub(self.outbox.borrow().waiting())
    }

    /// The outbox, for the actor.
    pub fn outbox(&self) -> std::cell::RefMut<'_, Outbox> {
        self.outbox.borrow_mut()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn while_its_actor_rests_a_peer_writes_by_itself_and_at_no_other_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        socket.writable().await.unwrap();
        let peer = Peer::new(SessionId(1), Protocol::Json, 1 << 24);
        let (mut scratch, mut sent) = (Vec::new(), 0);
        let mut write = |peer: &Peer| peer.write_out(&mut scratch, &mut sent);
        assert!(peer.deliver_later(Bytes::from_static(b"one")));
        assert!(!write(&peer), "there is no socket");
        peer.connect(Some(Rc::new(RefCell::new(socket))));
        assert!(!write(&peer), "the actor has not said that it rests");
        peer.rest(true);
        peer.enter(Waker::noop());
        assert!(!write(&peer), "the actor runs");
        peer.leave();
        assert!(write(&peer) && peer.outbox().is_empty());
        let mut heard = [0; 3];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"one");
        // more than the kernel takes: the rest is the actor's
        peer.deliver(Bytes::from(vec![0; 1 << 24]));
        assert!(!write(&peer) && !peer.outbox().is_empty());
        peer.deliver(Bytes::from(vec![0; 1 << 24]));
        assert!(peer.overflowed() && !write(&peer));
        peer.connect(None);
        assert!(sent > 3 && !peer.write_out(&mut Vec::new(), &mut 0));
    }
}
