//! The writing side of a connection, and how a closing socket is seen off: close frame, its answer, shutdown, drain.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::peer::WRITE;
use super::{Connection, Conversation, End, Phase, READS, Turn};
use crate::frame::{Event, Limits};

impl<C: Conversation> Connection<C> {
    /// Writes what waits, and sees a closing socket off.
    pub(super) fn wind_up(&mut self, turn: &mut Turn<'_, '_>) {
        // the turn may have taken long, or the process may have been stopped in it
        self.heed_fence(turn.worker.node.clock.mono(), turn);
        let flushed = match self.flush(turn) {
            Poll::Ready(Err(_)) => {
                self.end(End::Broken, turn);
                self.phase = Phase::Gone;
                return;
            }
            Poll::Ready(Ok(())) => {
                if std::mem::take(&mut self.paused) {
                    // it has taken everything: read on in the next turn
                    turn.cx.waker().wake_by_ref();
                }
                true
            }
            // the socket wakes us when it takes more
            Poll::Pending => false,
        };
        let (Phase::Closing { until } | Phase::Leaving { until } | Phase::Draining { until }) = self.phase else {
            return;
        };
        if turn.now() >= until {
            self.phase = Phase::Gone;
            return;
        }
        if matches!(self.phase, Phase::Closing { .. }) && self.answered(turn) {
            self.phase = Phase::Leaving { until };
        }
        if flushed && matches!(self.phase, Phase::Leaving { .. }) {
            match Pin::new(&mut self.io).poll_shutdown(turn.cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.phase = Phase::Draining { until },
                Poll::Ready(Err(_)) => self.phase = Phase::Gone,
            }
        }
        if matches!(self.phase, Phase::Draining { .. }) && self.drained(turn) {
            self.phase = Phase::Gone;
        }
    }

    /// Reads and ignores, until the peer's close frame, an error or the end.
    fn answered(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let worker = Rc::clone(&self.worker);
        let mut buffer = worker.read_buffer.borrow_mut();
        let limits = Limits::from(&worker.node.config.size);
        for _ in 0..READS {
            let mut into = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.io).poll_read(turn.cx, &mut into) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !into.filled().is_empty() => {
                    let mut rest = into.filled_mut();
                    loop {
                        match self.decoder.next(&mut rest, &limits, turn.now()) {
                            Ok(Some(Event::Close { .. })) | Err(_) => return true,
                            Ok(Some(_)) => {}
                            Ok(None) => break,
                        }
                    }
                    if self.decoder.is_finished() {
                        return true;
                    }
                }
                Poll::Ready(_) => return true,
            }
        }
        turn.cx.waker().wake_by_ref();
        false
    }

    /// Reads and ignores, until the peer has closed its side.
    fn drained(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let worker = Rc::clone(&self.worker);
        let mut buffer = worker.read_buffer.borrow_mut();
        for _ in 0..READS {
            let mut into = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.io).poll_read(turn.cx, &mut into) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !into.filled().is_empty() => {}
                Poll::Ready(_) => return true,
            }
        }
        turn.cx.waker().wake_by_ref();
        false
    }

    fn flush(&mut self, turn: &mut Turn<'_, '_>) -> Poll<std::io::Result<()>> {
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.write_buffer.borrow_mut();
        let mut outbox = self.peer.outbox();
        while !outbox.is_empty() {
            let bytes = outbox.next_write(&mut scratch, WRITE);
            let written = ready!(Pin::new(&mut self.io).poll_write(turn.cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            worker.node.metrics.bytes_out.inc_by(written as u64);
            outbox.advance(written);
        }
        drop(outbox);
        if self.io.is_tls() {
            return Pin::new(&mut self.io).poll_flush(turn.cx);
        }
        Poll::Ready(Ok(()))
    }
}
