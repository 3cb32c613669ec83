//! A session's store calls: begun, polled with the session, answered in their order, and seen to their end without it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use portcullis_common::ids::RoomName;
use portcullis_common::store::{StoreFault, StoreFuture};

use super::{Next, Session, Turn};
use crate::bus;
use crate::route::{self, Done, Outcome};

/// Store calls of one session that are under way; the peer is not read while there are so many.
const IN_FLIGHT: usize = 32;

/// A store call that is carried to its end whatever becomes of its session, or dropped with it; see [`Sort`].
pub(crate) type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What a store call means for its session.
pub(crate) enum Sort {
    /// Changes nothing: dropped with the session.
    Question,
    /// Half of it would be a lie to whoever sends it again: carried to its end.
    Message,
    /// No message is looked at before it is answered; what it did to the room is undone only when it is over.
    Membership(RoomName),
    /// No message is looked at before it is answered; dropped with the session.
    Token,
    /// A message that is parked: no other is looked at before it has been; dropped with the session.
    Parked,
}

/// A store call under way. Answers are taken in the order of the calls.
pub(super) struct Call {
    work: Work,
    done: Option<Done>,
    sort: Sort,
}

impl Call {
    /// No message is looked at before it is answered.
    fn is_barrier(&self) -> bool {
        matches!(self.sort, Sort::Membership(_) | Sort::Token | Sort::Parked)
    }
}

impl Session {
    /// Starts a store call. With the memory store it is over on return, and its answer is queued.
    pub(crate) fn call(
        &mut self,
        work: impl Future<Output = Done> + Send + 'static,
        sort: Sort,
        turn: &mut Turn<'_, '_>,
    ) -> Next {
        let mut work: Work = Box::pin(work);
        let polled = bus::publishing(turn.worker.id, || work.as_mut().poll(turn.cx));
        let done = match polled {
            Poll::Ready(done) if self.calls.is_empty() => return self.finish_now(done, turn),
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        };
        self.calls.push_back(Call { work, done, sort });
        self.pace()
    }

    /// The first answer that is due; it may itself have begun a call that the next message has to wait for.
    fn finish_now(&mut self, done: Done, turn: &mut Turn<'_, '_>) -> Next {
        match self.finish(done, turn) {
            Next::Go => self.pace(),
            next => next,
        }
    }

    /// The same for a call that is boxed already: where the store answers at once, nothing else is allocated.
    pub(crate) fn call_ready<T: 'static>(
        &mut self,
        mut call: StoreFuture<'static, T>,
        done: impl FnOnce(Result<T, StoreFault>) -> Done + Send + 'static,
        turn: &mut Turn<'_, '_>,
    ) -> Next {
        match bus::publishing(turn.worker.id, || call.as_mut().poll(turn.cx)) {
            Poll::Ready(answer) if self.calls.is_empty() => self.finish_now(done(answer), turn),
            Poll::Ready(answer) => self.call(std::future::ready(done(answer)), Sort::Message, turn),
            Poll::Pending => self.call(async move { done(call.await) }, Sort::Message, turn),
        }
    }

    pub(super) fn pace(&self) -> Next {
        let wait = self.calls.len() >= IN_FLIGHT || self.calls.iter().any(Call::is_barrier);
        if wait { Next::Wait } else { Next::Go }
    }

    /// Polls what is under way, and takes the answers that are due.
    pub(super) fn poll_calls(&mut self, turn: &mut Turn<'_, '_>) -> Next {
        bus::publishing(turn.worker.id, || {
            for call in &mut self.calls {
                if call.done.is_none()
                    && let Poll::Ready(done) = call.work.as_mut().poll(turn.cx)
                {
                    call.done = Some(done);
                }
            }
        });
        while let Some(done) = self.calls.front_mut().and_then(|call| call.done.take()) {
            self.calls.pop_front();
            if let Next::Close(close) = self.finish(done, turn) {
                return Next::Close(close);
            }
        }
        if self.calls.is_empty() {
            self.calls = VecDeque::new();
        }
        self.pace()
    }

    /// Answers a request whose store call is over.
    fn finish(&mut self, done: Done, turn: &mut Turn<'_, '_>) -> Next {
        if let Outcome::Unparked(parked) = done.outcome {
            return self.consider(parked.frame(), (parked.since, parked.pass), turn);
        }
        match route::settle(self, done.outcome, done.id.as_deref(), done.room.as_ref(), turn) {
            Ok(()) => Next::Go,
            Err(reject) => self.refuse_counted(reject, done.id.as_deref(), turn),
        }
    }
}

impl Drop for Session {
    /// What the store may have half done is handed to the place, which sees it to its end.
    fn drop(&mut self) {
        for Call { work, done, sort } in self.calls.drain(..) {
            match sort {
                _ if done.is_some() => {}
                Sort::Message => self.place.owe(None, work),
                Sort::Membership(room) => self.place.owe(Some(room), work),
                Sort::Question | Sort::Token | Sort::Parked => {}
            }
        }
    }
}
