//! The header guard: everything that can be refused is refused from the 2–14 bytes of the header, byte by byte, before
//! one byte of payload is looked at or kept.

use portcullis_common::wire::code::Close;

use super::{Limits, Violation};

/// The longest header a client can send: 2 bytes, 8 of length, 4 of masking key.
pub const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (§5.5).
pub const MAX_CONTROL: usize = 125;

/// What a frame is (§11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message before it.
    Continuation = 0x0,
    /// A text message, or its beginning.
    Text = 0x1,
    /// A binary message, or its beginning.
    Binary = 0x2,
    /// The end.
    Close = 0x8,
    /// Are you there?
    Ping = 0x9,
    /// Yes.
    Pong = 0xA,
}

impl Opcode {
    /// The opcode of a nibble; `None` for the reserved ones.
    #[must_use]
    pub const fn from_nibble(nibble: u8) -> Option<Self> {
        Some(match nibble {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Whether it is a control frame: at most 125 bytes, never fragmented, allowed inside a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A header that broke no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub opcode: Opcode,
    /// The last frame of its message.
    pub fin: bool,
    /// The masking key.
    pub key: [u8; 4],
    /// Bytes of payload; within the limits.
    pub length: usize,
}

/// The message a header finds open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Bytes of the message so far.
    pub bytes: usize,
    /// Data frames of the message so far.
    pub fragments: usize,
}

/// Reads the header at the start of `bytes`; `open` is the message that is not yet complete.
///
/// Answers the header and its size in bytes, or `None` while bytes are missing that could still make it legal. No
/// allocation, constant time; bytes behind the header are not looked at.
///
/// # Errors
/// In the order of the bytes, so that it does not matter in which pieces they arrive: reserved bits, reserved opcodes,
/// fragmented control frames, continuations without a message, messages within messages (1002), too many fragments
/// (1008); missing mask, long control frames (1002); lengths not in their shortest form or of 64 bits (1002), lengths
/// that would take the message over its limit (1009).
pub fn scan(bytes: &[u8], open: Option<Open>, limits: &Limits) -> Result<Option<(Header, usize)>, Violation> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let (opcode, fin) = first_byte(first, open, limits)?;
    let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
    let short = second & 0x7F;
    if second & 0x80 == 0 {
        return Err(Violation::protocol("client frame without mask"));
    }
    if opcode.is_control() && usize::from(short) > MAX_CONTROL {
        return Err(Violation::protocol("control frame over 125 bytes"));
    }
    let Some((declared, rest)) = declared(short, rest)? else { return Ok(None) };
    let length = admit(opcode, declared, open, limits)?;
    let Some((key, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    Ok(Some((Header { opcode, fin, key: *key, length }, bytes.len().saturating_sub(rest.len()))))
}

fn first_byte(byte: u8, open: Option<Open>, limits: &Limits) -> Result<(Opcode, bool), Violation> {
    if byte & 0x70 != 0 {
        return Err(Violation::protocol("reserved bit set"));
    }
    let fin = byte & 0x80 != 0;
    let Some(opcode) = Opcode::from_nibble(byte & 0x0F) else {
        return Err(Violation::protocol("reserved opcode"));
    };
    match (opcode, open) {
        (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if fin => return Ok((opcode, fin)),
        (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {
            return Err(Violation::protocol("fragmented control frame"));
        }
        (Opcode::Continuation, None) => return Err(Violation::protocol("continuation without a message")),
        (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::protocol("message inside a message")),
        _ => {}
    }
    if open.map_or(0, |o| o.fragments) >= limits.fragments {
        return Err(Violation::new(Close::Policy, "too many fragments"));
    }
    Ok((opcode, fin))
}

/// The declared length and what follows it; `None` while its bytes are missing (§5.2: the shortest form, 63 bits).
fn declared(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    let (value, least, rest) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), 126, rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), 0x1_0000, rest),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, rest),
    };
    if value >> 63 != 0 {
        return Err(Violation::protocol("length of 64 bits"));
    }
    if value < least {
        return Err(Violation::protocol("length not in its shortest form"));
    }
    Ok(Some((value, rest)))
}

fn admit(opcode: Opcode, declared: u64, open: Option<Open>, limits: &Limits) -> Result<usize, Violation> {
    let too_big = Violation::new(Close::TooBig, "message over the size limit");
    let length = usize::try_from(declared).map_err(|_| too_big)?;
    let room = limits.message.saturating_sub(open.map_or(0, |o| o.bytes));
    if !opcode.is_control() && length > room {
        return Err(too_big);
    }
    Ok(length)
}
