//! What is kept of a connection between two reads while a frame or message is incomplete: one box, one buffer. It
//! exists only then, and grows with the bytes that arrived, never with the bytes that were announced.

use portcullis_common::clock::Mono;

use super::header::{self, Header, MAX_CONTROL, MAX_HEADER, Opcode, Open};
use super::utf8::Carry;
use super::{Event, Limits, Violation, decode, mask};

/// The smallest buffer worth an allocation.
pub(super) const LEAST: usize = 64;

/// An incomplete header, frame or message.
#[derive(Debug)]
pub(super) struct Partial {
    /// The last moment at which it is not yet late.
    pub(super) deadline: Mono,
    /// What the next call does first.
    pub(super) after: After,
    message: Option<Message>,
    /// The frame whose payload is still arriving.
    frame: Option<Header>,
    head: [u8; MAX_HEADER],
    head_len: usize,
    control: [u8; MAX_CONTROL],
    control_len: usize,
}

/// What becomes of a [`Partial`] once what it lent is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Something is still incomplete.
    Keep,
    /// All was delivered.
    Free,
}

/// What came of the bytes.
#[derive(Debug)]
pub(super) enum Outcome<'b> {
    /// They are used up.
    More,
    /// An event out of the caller's bytes.
    Lent(Event<'b>),
    /// The message is complete; [`Partial::message`] lends it.
    Message,
    /// A control frame is complete; [`Partial::control`] lends its payload.
    Control(Opcode),
}

#[derive(Debug)]
struct Message {
    body: Body,
    fragments: usize,
}

#[derive(Debug)]
enum Body {
    Text(String, Carry),
    Binary(Vec<u8>),
}

impl Partial {
    pub(super) const fn new(deadline: Mono) -> Self {
        Self {
            deadline,
            after: After::Keep,
            message: None,
            frame: None,
            head: [0; MAX_HEADER],
            head_len: 0,
            control: [0; MAX_CONTROL],
            control_len: 0,
        }
    }

    /// Takes bytes until there is an event or there are no more.
    pub(super) fn feed<'b>(&mut self, input: &mut &'b mut [u8], limits: &Limits) -> Result<Outcome<'b>, Violation> {
        loop {
            let Some(frame) = self.current(input, limits)? else { return Ok(Outcome::More) };
            if frame.opcode.is_control() {
                return self.control_payload(frame, input);
            }
            let fin = frame.fin;
            if !self.data_payload(frame, input)? {
                return Ok(Outcome::More);
            }
            if fin {
                self.after = After::Free;
                return Ok(Outcome::Message);
            }
        }
    }

    /// The message that [`Outcome::Message`] announced.
    pub(super) fn message(&self) -> Option<Event<'_>> {
        self.message.as_ref().map(|message| match &message.body {
            Body::Text(text, _) => Event::Text(text),
            Body::Binary(bytes) => Event::Binary(bytes),
        })
    }

    /// The payload that [`Outcome::Control`] announced.
    pub(super) fn control(&self) -> &[u8] {
        self.control.get(..self.control_len).unwrap_or_default()
    }

    /// Bytes on the heap, the box included.
    pub(super) fn held(&self) -> usize {
        let body = self.message.as_ref().map_or(0, |m| match &m.body {
            Body::Text(text, _) => text.capacity(),
            Body::Binary(bytes) => bytes.capacity(),
        });
        size_of::<Self>() + body
    }

    /// The frame under way, or the one whose header becomes complete now.
    fn current(&mut self, input: &mut &mut [u8], limits: &Limits) -> Result<Option<Header>, Violation> {
        if let Some(frame) = self.frame.take() {
            return Ok(Some(frame));
        }
        let kept = self.head_len;
        for (slot, byte) in self.head.iter_mut().skip(kept).zip(input.iter()) {
            *slot = *byte;
            self.head_len += 1;
        }
        let open = self.message.as_ref().map(Message::open);
        let seen = self.head.get(..self.head_len).unwrap_or_default();
        let Some((frame, size)) = header::scan(seen, open, limits)? else {
            // a header of 14 bytes is never incomplete: the input was shorter and is used up
            decode::take(input, self.head_len - kept);
            return Ok(None);
        };
        decode::take(input, size.saturating_sub(kept));
        self.head_len = 0;
        match (frame.opcode, &mut self.message) {
            (Opcode::Text, _) => self.message = Some(Message::new(Body::Text(String::new(), Carry::default()))),
            (Opcode::Binary, _) => self.message = Some(Message::new(Body::Binary(Vec::new()))),
            (Opcode::Continuation, Some(message)) => message.fragments += 1,
            _ => self.control_len = 0,
        }
        Ok(Some(frame))
    }

    fn control_payload<'b>(&mut self, mut frame: Header, input: &mut &'b mut [u8]) -> Result<Outcome<'b>, Violation> {
        let whole = self.control_len == 0 && input.len() >= frame.length;
        let piece = decode::take(input, frame.length);
        mask::apply(&mut frame.key, piece);
        frame.length -= piece.len();
        if !whole {
            for (slot, byte) in self.control.iter_mut().skip(self.control_len).zip(piece.iter()) {
                *slot = *byte;
                self.control_len += 1;
            }
            if frame.length > 0 {
                self.frame = Some(frame);
                return Ok(Outcome::More);
            }
        }
        if self.message.is_none() {
            self.after = After::Free;
        }
        if whole { decode::control(frame.opcode, piece).map(Outcome::Lent) } else { Ok(Outcome::Control(frame.opcode)) }
    }

    /// Whether the frame is complete.
    fn data_payload(&mut self, mut frame: Header, input: &mut &mut [u8]) -> Result<bool, Violation> {
        let Some(message) = &mut self.message else {
            return Err(Violation::protocol("continuation without a message"));
        };
        let piece = decode::take(input, frame.length);
        mask::apply(&mut frame.key, piece);
        message.append(piece)?;
        frame.length -= piece.len();
        if frame.length > 0 {
            self.frame = Some(frame);
            return Ok(false);
        }
        if frame.fin {
            message.end()?;
        }
        Ok(true)
    }
}

impl Message {
    const fn new(body: Body) -> Self {
        Self { body, fragments: 1 }
    }

    const fn open(&self) -> Open {
        let bytes = match &self.body {
            Body::Text(text, carry) => text.len() + carry.len(),
            Body::Binary(bytes) => bytes.len(),
        };
        Open { bytes, fragments: self.fragments }
    }

    fn append(&mut self, piece: &[u8]) -> Result<(), Violation> {
        match &mut self.body {
            Body::Text(text, carry) => {
                let more = room(text.len() + carry.len(), text.capacity(), piece.len());
                text.reserve_exact(more);
                carry.push(piece, |whole| text.push_str(whole))
            }
            Body::Binary(bytes) => {
                bytes.reserve_exact(room(bytes.len(), bytes.capacity(), piece.len()));
                bytes.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    const fn end(&self) -> Result<(), Violation> {
        match &self.body {
            Body::Text(_, carry) => carry.end(),
            Body::Binary(_) => Ok(()),
        }
    }
}

/// How much to reserve behind `len` bytes for `add` more: doubling, so that copying stays linear, and therefore never
/// more than twice what arrived.
fn room(len: usize, capacity: usize, add: usize) -> usize {
    let needed = len.saturating_add(add);
    if needed <= capacity { 0 } else { needed.max(capacity.saturating_mul(2)).max(LEAST).saturating_sub(len) }
}
