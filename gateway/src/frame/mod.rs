//! RFC 6455, the server's side, without I/O: bytes in, [`Event`]s out, and frames as bytes.
//!
//! The order is that of the path of a frame: the header guard refuses from at most 14 bytes, before anything is
//! buffered; the payload is unmasked where it lies; text is proved to be UTF-8 as it arrives; what is incomplete goes
//! into one bounded buffer that lives only as long as it is needed. No extension is negotiated here, so every reserved
//! bit is an error.

use std::time::Duration;

use portcullis_common::config::model::Size;
use portcullis_common::wire::code::{Close, Code};
use portcullis_common::wire::reject::Reject;

/// The header guard (RFC 6455 §5.2).
pub mod header;

/// Masking (RFC 6455 §5.3).
pub mod mask;

/// UTF-8 that arrives in pieces (RFC 6455 §8.1, RFC 3629).
pub mod utf8;

/// Close frames and their codes (RFC 6455 §7.4).
pub mod close;

/// What is kept of a message that is not yet complete.
mod assemble;

/// The decoder.
pub mod decode;

/// Frames as bytes.
pub mod encode;

#[cfg(test)]
mod props;
#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use header::Opcode;

/// What a peer sent. Data frames are whole messages; the bytes are lent until the next call of [`Decoder::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, which must be answered by a pong with the same payload (§5.5.2); at most 125 bytes.
    Ping(&'a [u8]),
    /// A pong, asked for or not (§5.5.3); at most 125 bytes.
    Pong(&'a [u8]),
    /// The peer closes; nothing comes after it. [`encode::close_reply`] is the answer.
    Close {
        /// A code that may stand on the wire ([`close::legal`]), or none.
        code: Option<u16>,
        /// The reason, at most 123 bytes; empty where there is none. Raw input: not for the log.
        reason: &'a str,
    },
}

/// The bounds of one message; all inclusive. Shared by connections, therefore lent to each call and never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message, all fragments together. Control frames have their own bound of 125 bytes.
    pub message: usize,
    /// Data frames of one message, empty ones included.
    pub fragments: usize,
    /// How long a frame or message may stay incomplete, from the call in which its first byte arrived.
    pub assembly: Duration,
}

impl Default for Limits {
    /// 64 KiB, 64 fragments, 10 s.
    fn default() -> Self {
        Self { message: 64 * 1024, fragments: 64, assembly: Duration::from_secs(10) }
    }
}

impl From<&Size> for Limits {
    fn from(size: &Size) -> Self {
        Self { message: size.message, fragments: size.fragments, assembly: size.assembly_timeout }
    }
}

/// Why a peer's bytes were refused. The connection is closed with `close` and nothing more is read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Violation {
    /// What the peer is told: [`Close::Protocol`], [`Close::InvalidData`], [`Close::TooBig`], [`Close::Policy`] for
    /// too many fragments, or [`Close::Timeout`] for a message that is assembled too slowly.
    pub close: Close,
    /// Which rule was broken; a fixed text, never input.
    pub detail: &'static str,
}

impl Violation {
    pub(crate) const fn new(close: Close, detail: &'static str) -> Self {
        Self { close, detail }
    }

    pub(crate) const fn protocol(detail: &'static str) -> Self {
        Self::new(Close::Protocol, detail)
    }
}

impl From<Violation> for Reject {
    /// Sizes and fragment counts are `too_large`, all else is `malformed`; the connection always ends.
    fn from(violation: Violation) -> Self {
        let code = match violation.close {
            Close::TooBig | Close::Policy => Code::TooLarge,
            _ => Code::Malformed,
        };
        Self::new(code, violation.detail).closing(violation.close)
    }
}
