//! The decoder: one per connection, fed with the worker's read buffer.

use portcullis_common::clock::Mono;
use portcullis_common::wire::code::Close;

use super::assemble::{After, Outcome, Partial};
use super::header::{self, Opcode};
use super::{Event, Limits, Violation, close, mask};

/// Turns a client's bytes into [`Event`]s.
///
/// Idle it owns nothing on the heap; what it keeps of an incomplete message is at most twice what arrived of it, and
/// at most [`Limits::message`] may arrive. After a [`Violation`] or [`Event::Close`] it is finished and yields nothing
/// more.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Between two messages: nothing is kept.
    #[default]
    Idle,
    /// Inside a header, frame or message.
    Busy(Box<Partial>),
    /// A close frame was lent from what is kept.
    Closing(Box<Partial>),
    /// Nothing more is read.
    Finished,
}

impl Decoder {
    /// A decoder that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Idle }
    }

    /// The next event of `input`, which is advanced past the bytes that were used; `None` when they are used up or the
    /// decoder is finished. Bytes are unmasked where they lie, so `input` is spoilt for anybody else.
    ///
    /// Call it until it answers `None`: what is assembled is freed by the call after the one that lent it. A call with
    /// empty input is a check of the deadline.
    ///
    /// A message that is one frame and lies complete in `input` is lent from there: no copy, no allocation. Anything
    /// else is copied once. Text is validated once.
    ///
    /// # Errors
    /// A [`Violation`] for the first byte that breaks a rule, whatever pieces the bytes come in, and
    /// [`Close::Timeout`] when `now` is past [`Decoder::deadline`], even if these bytes would complete the message.
    pub fn next<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b mut [u8],
        limits: &Limits,
        now: Mono,
    ) -> Result<Option<Event<'a>>, Violation> {
        match self.step(input, limits, now) {
            Ok(Outcome::More) => Ok(None),
            Ok(Outcome::Lent(event)) => {
                if matches!(event, Event::Close { .. }) {
                    self.state = State::Finished;
                }
                Ok(Some(event))
            }
            Ok(Outcome::Message) => match &self.state {
                State::Busy(partial) => Ok(partial.message()),
                _ => Ok(None),
            },
            Ok(Outcome::Control(opcode)) => self.lend_control(opcode),
            Err(violation) => {
                self.state = State::Finished;
                Err(violation)
            }
        }
    }

    /// The last moment at which what is incomplete is not yet late; `None` while nothing is. For the sweep of the
    /// worker, which closes with [`Close::Timeout`] after it.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        match &self.state {
            State::Busy(partial) if partial.after == After::Keep => Some(partial.deadline),
            _ => None,
        }
    }

    /// Whether a violation or a close ended it.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished | State::Closing(_))
    }

    /// Bytes it holds on the heap, for accounting.
    #[must_use]
    pub fn held(&self) -> usize {
        match &self.state {
            State::Busy(partial) | State::Closing(partial) => partial.held(),
            State::Idle | State::Finished => 0,
        }
    }

    fn step<'b>(&mut self, input: &mut &'b mut [u8], limits: &Limits, now: Mono) -> Result<Outcome<'b>, Violation> {
        match &mut self.state {
            State::Finished => return Ok(Outcome::More),
            State::Closing(_) => {
                self.state = State::Finished;
                return Ok(Outcome::More);
            }
            State::Busy(partial) if partial.after == After::Free => self.state = State::Idle,
            State::Busy(partial) if now > partial.deadline => {
                return Err(Violation::new(Close::Timeout, "message assembled too slowly"));
            }
            State::Busy(partial) => return partial.feed(input, limits),
            State::Idle => {}
        }
        if input.is_empty() {
            return Ok(Outcome::More);
        }
        if let Some((frame, size)) = header::scan(input, None, limits)?
            && frame.fin
            && input.len() - size >= frame.length
        {
            take(input, size);
            return whole(frame, take(input, frame.length)).map(Outcome::Lent);
        }
        let mut partial = Box::new(Partial::new(now.after(limits.assembly)));
        let outcome = partial.feed(input, limits);
        self.state = State::Busy(partial);
        outcome
    }

    fn lend_control(&mut self, opcode: Opcode) -> Result<Option<Event<'_>>, Violation> {
        if opcode == Opcode::Close
            && let State::Busy(partial) = std::mem::take(&mut self.state)
        {
            self.state = match close::parse(partial.control()) {
                Ok(_) => State::Closing(partial),
                Err(violation) => {
                    self.state = State::Finished;
                    return Err(violation);
                }
            };
        }
        match &self.state {
            State::Busy(partial) | State::Closing(partial) => control(opcode, partial.control()).map(Some),
            State::Idle | State::Finished => Ok(None),
        }
    }
}

/// The event of a frame that is a whole message or a control frame, out of its masked payload.
fn whole(mut frame: header::Header, payload: &mut [u8]) -> Result<Event<'_>, Violation> {
    mask::apply(&mut frame.key, payload);
    match frame.opcode {
        Opcode::Text => std::str::from_utf8(payload).map(Event::Text).map_err(|_| super::utf8::INVALID),
        Opcode::Binary => Ok(Event::Binary(payload)),
        opcode => control(opcode, payload),
    }
}

/// The event of a control frame, out of its unmasked payload.
pub(super) fn control(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, Violation> {
    match opcode {
        Opcode::Ping => Ok(Event::Ping(payload)),
        Opcode::Pong => Ok(Event::Pong(payload)),
        Opcode::Close => close::parse(payload).map(|(code, reason)| Event::Close { code, reason }),
        Opcode::Continuation | Opcode::Text | Opcode::Binary => Err(Violation::protocol("not a control frame")),
    }
}

/// At most `n` bytes off the front of `input`.
pub(super) fn take<'b>(input: &mut &'b mut [u8], n: usize) -> &'b mut [u8] {
    let all = std::mem::take(input);
    let (head, tail) = all.split_at_mut(n.min(all.len()));
    *input = tail;
    head
}
