//! `Sec-WebSocket-Protocol` (RFC 6455 §4.2.2, §11.3.4): what is spoken, and the two secrets that browsers can send no
//! other way, `bearer.<jwt>` and `resume.<token>`. Neither is ever echoed.
//!
//! A client that offers anything must offer a protocol that is spoken here: the browser's rule (WHATWG WebSockets,
//! "establish a WebSocket connection") fails a connection when subprotocols were offered and the answer names none, and
//! naming the `bearer.` entry would send the token back. So `bearer.<jwt>` alone is refused here, with a reason in the
//! log, and not at the client, without one.

use portcullis_common::wire::reject::Reject;

use super::credential::Token;
use super::facts::{Head, is_token_byte, malformed, trim};

/// Entries in all such fields together.
const ENTRIES: usize = 16;

/// The longest resume token.
const RESUME_MAX: usize = 512;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `portcullis.v1.json`: text messages.
    Json,
    /// `portcullis.v1.msgpack`: binary messages.
    Msgpack,
}

impl Protocol {
    /// The subprotocol's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "portcullis.v1.json",
            Self::Msgpack => "portcullis.v1.msgpack",
        }
    }
}

/// What the client offered.
pub struct Offer {
    /// The first protocol in the client's order that is spoken here; JSON when nothing was offered.
    pub protocol: Protocol,
    /// Something was offered, so the answer names [`Offer::protocol`].
    pub offered: bool,
    /// `bearer.<jwt>`
    pub bearer: Option<Token>,
    /// `resume.<token>`. A secret.
    pub resume: Option<String>,
}

/// Reads all `Sec-WebSocket-Protocol` fields.
///
/// # Errors
/// `malformed`: not a list of at most 16 different tokens, two bearer or resume entries, none that is spoken here.
pub fn parse(head: &Head<'_>) -> Result<Offer, Reject> {
    let mut entries: Vec<&[u8]> = Vec::new();
    for entry in head.all("sec-websocket-protocol").flat_map(|line| line.split(|b| *b == b',')).map(trim) {
        if entry.is_empty() || !entry.iter().copied().all(is_token_byte) {
            return Err(malformed("Sec-WebSocket-Protocol is not a list of tokens"));
        }
        if entries.len() >= ENTRIES {
            return Err(malformed("too many subprotocols"));
        }
        if entries.contains(&entry) {
            return Err(malformed("a subprotocol is offered twice"));
        }
        entries.push(entry);
    }
    let bearer = secret(&entries, b"bearer.")?.map(Token::new);
    let resume = secret(&entries, b"resume.")?;
    if resume.as_ref().is_some_and(|token| token.len() > RESUME_MAX) {
        return Err(malformed("the resume token is too long"));
    }
    let spoken = entries.iter().find_map(|entry| {
        [Protocol::Json, Protocol::Msgpack].into_iter().find(|protocol| protocol.name().as_bytes() == *entry)
    });
    match spoken {
        Some(protocol) => Ok(Offer { protocol, offered: true, bearer, resume }),
        None if entries.is_empty() => Ok(Offer { protocol: Protocol::Json, offered: false, bearer, resume }),
        None => Err(malformed("no offered subprotocol is spoken here")),
    }
}

fn secret(entries: &[&[u8]], prefix: &[u8]) -> Result<Option<String>, Reject> {
    let mut found = entries.iter().filter_map(|entry| entry.strip_prefix(prefix));
    let Some(value) = found.next() else { return Ok(None) };
    if value.is_empty() || found.next().is_some() {
        return Err(malformed("a bearer or resume entry is empty or there is more than one"));
    }
    // tokens are ASCII, which `parse` has seen to
    Ok(Some(value.iter().copied().map(char::from).collect()))
}
