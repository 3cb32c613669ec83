//! The actor of one connection: reads, decodes, lets its conversation decide, writes once a turn.
//!
//! Everything happens in [`Connection::turn`], which the actor's context polls: what arrived is read into the worker's
//! buffer, events go to the [`Conversation`], and all that waits is written in one go. The worker's sweep wakes it for
//! deadlines, the hub for messages; no timer and no buffer belongs to an idle connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message};
use bytes::Bytes;
use portcullis_common::clock::{Mono, UnixMs};
use portcullis_common::wire::code::Close;
use tokio::io::{AsyncRead, ReadBuf};

use super::peer::Peer;
use crate::accept::io::Wire;
use crate::events::PanicCaught;
use crate::frame::{Decoder, Event, Limits, Violation, encode};
use crate::worker::Worker;

mod farewell;

/// Reads of one turn before other connections of the worker get theirs.
const READS: usize = 4;
/// Above this many waiting bytes the peer is not read: it shall take its answers first.
const READ_PAUSE: usize = 64 << 10;

/// Where and when a conversation is asked.
pub struct Turn<'a, 'c> {
    /// The thread's.
    pub worker: &'a Rc<Worker>,
    /// The connection's outbox and place.
    pub peer: &'a Rc<Peer>,
    /// Monotonic ns.
    pub nanos: u64,
    /// Wall time.
    pub wall: UnixMs,
    /// For futures that are polled in this turn.
    pub cx: &'a mut TaskContext<'c>,
}

impl<'a, 'c> Turn<'a, 'c> {
    /// A turn that begins now.
    pub fn begin(worker: &'a Rc<Worker>, peer: &'a Rc<Peer>, cx: &'a mut TaskContext<'c>) -> Self {
        let clock = &worker.node.clock;
        Self { worker, peer, nanos: clock.nanos(), wall: clock.wall(), cx }
    }

    /// Monotonic ms.
    #[must_use]
    pub fn now(&self) -> Mono {
        Mono(self.nanos / 1_000_000)
    }
}

/// What becomes of the connection after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Go,
    /// Take no more events until [`Conversation::resume`] says so.
    Wait,
    /// Close with this code.
    Close(Close),
}

/// What a connection is about; dropped when it ends, before the socket does.
pub trait Conversation: Unpin + 'static {
    /// An order from other parts of the node.
    type Order: Send + 'static;

    /// One event of the peer, never `Close`.
    fn event(&mut self, event: Event<'_>, turn: &mut Turn<'_, '_>) -> Next;
    /// Called at the start of each turn: store answers, deadlines. `Wait` while a barrier is up.
    fn resume(&mut self, turn: &mut Turn<'_, '_>) -> Next;
    /// An order came.
    fn order(&mut self, order: Self::Order, turn: &mut Turn<'_, '_>) -> Next;
    /// It is over; the answer is a last frame to send before the close frame.
    fn ending(&mut self, end: End, turn: &mut Turn<'_, '_>) -> Option<Bytes>;
    /// When [`Conversation::resume`] wants to be called at the latest.
    fn due(&self) -> Mono;
    /// Bounds of messages.
    fn limits(&self, turn: &Turn<'_, '_>) -> Limits;
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// We close.
    Ours(Close),
    /// The peer broke a rule of RFC 6455.
    Violation(Violation),
    /// The peer sent a close frame, with a code or without.
    Peer(Option<u16>),
    /// The connection broke.
    Broken,
    /// The conversation panicked.
    Panic,
    /// The node may not act in the name of its lease any more: nothing that waits is said.
    Fenced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Our close frame is out or waits; until then the peer may answer it.
    Closing {
        until: Mono,
    },
    /// Nothing more is read; what waits is written, then the socket is shut down.
    Leaving {
        until: Mono,
    },
    /// Shut down for writing; until then the peer may close its side, so that it can read what we said.
    Draining {
        until: Mono,
    },
    Gone,
}

/// The actor.
pub struct Connection<C: Conversation> {
    io: Wire,
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    decoder: Decoder,
    phase: Phase,
    /// Read but not decoded while the conversation waits. At most one read buffer.
    stash: Option<Box<[u8]>>,
    waiting: bool,
    /// The peer was not read because too much waits for it.
    paused: bool,
    /// The fence has cut it.
    fenced: bool,
    talk: Option<Box<C>>,
}

/// An order for a conversation.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Order<O: Send + 'static>(pub O);

impl<C: Conversation> Actor for Connection<C> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Pump);
    }
}

impl<C: Conversation> Handler<Order<C::Order>> for Connection<C> {
    type Result = ();

    /// Only notes what to do: the pump runs in the same poll of the context, behind the mailbox.
    fn handle(&mut self, Order(order): Order<C::Order>, _: &mut Self::Context) {
        let mut cx = TaskContext::from_waker(std::task::Waker::noop());
        if catch_unwind(AssertUnwindSafe(|| self.obey(order, &mut cx))).is_err() {
            self.panicked(&mut cx);
        }
        // the context may have polled the pump before this message in the same round
        self.peer.wake();
    }
}

impl<C: Conversation> Connection<C> {
    /// Starts the actor on this worker; `talk` makes the conversation once the address is known.
    pub fn start(worker: &Rc<Worker>, io: Wire, peer: Rc<Peer>, talk: impl FnOnce(Addr<Self>) -> C) -> Addr<Self> {
        let context = Context::new();
        let address = context.address();
        worker.add(&peer);
        peer.connect(io.shared());
        let talk = Some(Box::new(talk(address)));
        context.run(Self {
            io,
            worker: Rc::clone(worker),
            peer,
            decoder: Decoder::new(),
            phase: Phase::Open,
            stash: None,
            waiting: false,
            paused: false,
            fenced: false,
            talk,
        })
    }

    fn obey(&mut self, order: C::Order, cx: &mut TaskContext<'_>) {
        let (worker, peer) = (Rc::clone(&self.worker), Rc::clone(&self.peer));
        let mut turn = Turn::begin(&worker, &peer, cx);
        let Some(talk) = &mut self.talk else { return };
        if let Next::Close(close) = talk.order(order, &mut turn) {
            self.end(End::Ours(close), &mut turn);
        }
    }

    /// The conversation is given up: what it owes is paid by its drop, the client gets 1011.
    fn panicked(&mut self, cx: &mut TaskContext<'_>) {
        PanicCaught { part: "connection" }.emit(&self.worker.node.metrics);
        let (worker, peer) = (Rc::clone(&self.worker), Rc::clone(&self.peer));
        self.end(End::Panic, &mut Turn::begin(&worker, &peer, cx));
    }

    /// One turn; ready when the socket is done with.
    fn turn(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let (worker, peer) = (Rc::clone(&self.worker), Rc::clone(&self.peer));
        let mut turn = Turn::begin(&worker, &peer, cx);
        self.heed_fence(turn.now(), &mut turn);
        if self.phase == Phase::Open {
            self.converse(&mut turn);
            worker.drain();
            // in its own turn nobody wakes it for this, and a socket that takes nothing never would
            if self.phase == Phase::Open && self.peer.overflowed() {
                self.end(End::Ours(Close::SlowConsumer), &mut turn);
            }
        }
        self.wind_up(&mut turn);
        if self.phase == Phase::Gone {
            return Poll::Ready(());
        }
        self.peer.due.set(self.next_due());
        self.peer.rest(self.phase == Phase::Open && !self.paused && self.peer.outbox().is_empty());
        Poll::Pending
    }

    /// Cuts the socket if the fence says so: before anything is read, and again before anything is written.
    fn heed_fence(&mut self, now: Mono, turn: &mut Turn<'_, '_>) {
        if !turn.worker.node.fence.cuts(self.peer.fence.get(), now) {
            return;
        }
        if self.phase == Phase::Open {
            self.end(End::Fenced, turn);
        } else if !self.fenced {
            // it was closing already; what still waits may be of the session
            self.peer.outbox().recut(encode::close(Close::Restart.number(), Close::Restart.info().reason));
        }
        self.fenced = true;
    }

    fn next_due(&self) -> Mono {
        match self.phase {
            Phase::Open => {
                let talk = self.talk.as_ref().map_or(Mono(u64::MAX), |talk| talk.due());
                self.decoder.deadline().map_or(talk, |late| talk.min(Mono(late.0 + 1)))
            }
            Phase::Closing { until } | Phase::Leaving { until } | Phase::Draining { until } => until,
            Phase::Gone => Mono(u64::MAX),
        }
    }

    /// Store answers and deadlines first, then what the peer said.
    fn converse(&mut self, turn: &mut Turn<'_, '_>) {
        if self.peer.overflowed() {
            return self.end(End::Ours(Close::SlowConsumer), turn);
        }
        let Some(talk) = &mut self.talk else { return };
        let next = talk.resume(turn);
        if !self.follow(next, turn) {
            return;
        }
        if let Some(mut stash) = self.stash.take()
            && !self.feed(&mut stash, turn)
        {
            return;
        }
        if self.decoder.deadline().is_some_and(|late| turn.now() > late) && !self.feed(&mut [], turn) {
            return;
        }
        self.read(turn);
    }

    /// Acts on a conversation's answer; false when no more events may be handed to it now.
    fn follow(&mut self, next: Next, turn: &mut Turn<'_, '_>) -> bool {
        self.waiting = next == Next::Wait;
        match next {
            Next::Go => true,
            Next::Wait => false,
            Next::Close(close) => {
                self.end(End::Ours(close), turn);
                false
            }
        }
    }

    fn read(&mut self, turn: &mut Turn<'_, '_>) {
        let worker = Rc::clone(&self.worker);
        let mut buffer = worker.read_buffer.borrow_mut();
        for _ in 0..READS {
            if self.peer.outbox().waiting() > READ_PAUSE {
                self.paused = true;
                return;
            }
            let mut into = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.io).poll_read(turn.cx, &mut into) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !into.filled().is_empty() => {
                    worker.node.metrics.bytes_in.inc_by(into.filled().len() as u64);
                    if !self.feed(into.filled_mut(), turn) {
                        return;
                    }
                }
                Poll::Ready(_) => return self.end(End::Broken, turn),
            }
        }
        turn.cx.waker().wake_by_ref();
    }

    /// Decodes and hands over; false when the conversation waits or is over.
    fn feed(&mut self, bytes: &mut [u8], turn: &mut Turn<'_, '_>) -> bool {
        let mut rest = bytes;
        loop {
            let Some(talk) = &mut self.talk else { return false };
            let limits = talk.limits(turn);
            let next = match self.decoder.next(&mut rest, &limits, turn.now()) {
                Ok(None) => return true,
                Ok(Some(Event::Close { code, .. })) => {
                    self.end(End::Peer(code), turn);
                    return false;
                }
                Ok(Some(event)) => talk.event(event, turn),
                Err(violation) => {
                    self.end(End::Violation(violation), turn);
                    return false;
                }
            };
            if !self.follow(next, turn) {
                if self.waiting && !rest.is_empty() {
                    self.stash = Some(Box::from(&*rest));
                }
                return false;
            }
        }
    }

    /// The conversation is over: its counts are settled here and now, the socket follows.
    fn end(&mut self, end: End, turn: &mut Turn<'_, '_>) {
        let Some(mut talk) = self.talk.take() else {
            if self.phase == Phase::Open {
                // it panicked while it ended: nobody would ever close this socket
                self.phase = Phase::Gone;
            }
            return;
        };
        self.peer.rest(false);
        let words = talk.ending(end, turn);
        let until = turn.now().after(turn.worker.node.config.session.close_timeout);
        let mut outbox = self.peer.outbox();
        let close = |close: Close| encode::close(close.number(), close.info().reason);
        self.phase = match end {
            // these say that nothing of the session may be heard any more
            End::Ours(code @ (Close::Terminated | Close::Forbidden | Close::SlowConsumer)) => {
                outbox.cut(words.into_iter().chain([close(code)]));
                Phase::Closing { until }
            }
            End::Ours(code) => {
                outbox.seal(words.into_iter().chain([close(code)]));
                Phase::Closing { until }
            }
            End::Violation(violation) => {
                outbox.seal(words.into_iter().chain([close(violation.close)]));
                Phase::Leaving { until }
            }
            End::Panic => {
                outbox.cut([close(Close::Internal)]);
                Phase::Leaving { until }
            }
            End::Fenced => {
                outbox.cut([close(Close::Restart)]);
                Phase::Closing { until }
            }
            End::Peer(code) => {
                outbox.seal([encode::close_reply(code)]);
                Phase::Leaving { until }
            }
            End::Broken => Phase::Gone,
        };
        drop(outbox);
        self.stash = None;
        drop(talk);
    }
}

impl<C: Conversation> Drop for Connection<C> {
    fn drop(&mut self) {
        // the hub may know the peer for a moment longer; the socket goes now
        self.peer.connect(None);
        self.worker.remove(&self.peer);
    }
}

/// Polls [`Connection::turn`] inside the actor's context.
struct Pump;

impl<C: Conversation> ActorFuture<Connection<C>> for Pump {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut Connection<C>,
        ctx: &mut Context<Connection<C>>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        actor.peer.enter(cx.waker());
        let done = catch_unwind(AssertUnwindSafe(|| actor.turn(cx))).unwrap_or_else(|_| {
            actor.panicked(cx);
            cx.waker().wake_by_ref();
            if actor.phase == Phase::Open { Poll::Ready(()) } else { Poll::Pending }
        });
        actor.peer.leave();
        if done.is_ready() {
            ctx.stop();
        }
        done
    }
}
