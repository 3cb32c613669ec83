//! PROXY protocol, version 2: what a load balancer that passes bytes through says of the client, before TLS and HTTP.
//!
//! Source: *The PROXY protocol, versions 1 & 2* (haproxy, `doc/proxy-protocol.txt`), §2.2. Without I/O: [`step`] looks at
//! what has arrived and says how many bytes may be read next, so that nothing behind the header is ever taken.
//!
//! Strict where the specification leaves a choice:
//! - version 1 (text) is refused; so is any other version, command, family or transport than those of §2.2;
//! - a header longer than [`MAX`] is refused before it is read;
//! - additional fields (TLV, §2.2.1) must fill the header exactly. All are skipped but one: `PP2_TYPE_SSL` says whether
//!   the client came over TLS; there twice, it is refused. Checksums are not verified: TCP has its own.
//! - `LOCAL` (a health check of the proxy's own): the rest is not looked at, the proxy itself is the peer;
//! - no address of the client (`AF_UNSPEC`), or one that is none of TCP (`AF_UNIX`, `SOCK_DGRAM`): [`Source::Hidden`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Reading one from a socket.
pub mod read;

/// The 12 bytes that no other protocol begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What the text of version 1 begins with.
const VERSION_1: &[u8] = b"PROXY ";

/// Signature, version and command, family and transport, length.
const FIXED: usize = 16;

/// The longest header that is taken, all included. Addresses and the fields of known proxies need about 250 bytes; the
/// certificate of a client, which some send, up to 2 KB.
pub const MAX: usize = 4_096;

/// `PP2_TYPE_SSL`
const TLV_SSL: u8 = 0x20;
/// `PP2_CLIENT_SSL`: the client connected over TLS.
const CLIENT_SSL: u8 = 0x01;

/// Whom a header speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The proxy itself opened the connection.
    Local,
    /// This client.
    Client(SocketAddr),
    /// A client whose address the proxy does not say.
    Hidden,
}

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Who connected to the proxy.
    pub source: Source,
    /// The proxy says that the client came to it over TLS. Never for [`Source::Local`].
    pub tls: bool,
}

/// What is to be done with the bytes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many more may be read, and no more: at least one.
    Need(usize),
    /// The header is complete and this long.
    Done(Announced, usize),
}

/// Why a header is refused. The texts are for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It begins as the text of version 1.
    #[error("a PROXY header of version 1")]
    Version1,
    /// It begins like nothing of the kind.
    #[error("no PROXY header")]
    Signature,
    /// It is not 2.
    #[error("an unknown version of the PROXY protocol")]
    Version,
    /// Neither LOCAL nor PROXY.
    #[error("an unknown command in a PROXY header")]
    Command,
    /// A family or transport that is not defined.
    #[error("an unknown address family in a PROXY header")]
    Family,
    /// More than [`MAX`].
    #[error("a PROXY header that is too long")]
    TooLong,
    /// Less than the addresses of its family.
    #[error("a PROXY header that is too short")]
    TooShort,
    /// Additional fields that do not fit, or contradict each other.
    #[error("a PROXY header with malformed fields")]
    Fields,
}

/// Judges the first bytes of a connection. They may be any prefix of it; whatever is behind the header is not looked at.
/// Cost: constant, until the header is complete; then linear in its length, once.
///
/// # Errors
/// As soon as no further byte could make it legal.
pub fn step(bytes: &[u8]) -> Result<Step, Malformed> {
    let begun = bytes.len().min(SIGNATURE.len());
    if bytes.get(..begun) != SIGNATURE.get(..begun) {
        return match bytes.len() {
            // so that the refusal names it, whatever pieces it comes in
            short if short < VERSION_1.len() && VERSION_1.starts_with(bytes) => Ok(Step::Need(VERSION_1.len() - short)),
            _ if bytes.starts_with(VERSION_1) => Err(Malformed::Version1),
            _ => Err(Malformed::Signature),
        };
    }
    let command = match bytes.get(12) {
        None => return Ok(Step::Need(FIXED - bytes.len())),
        Some(byte) if byte >> 4 != 2 => return Err(Malformed::Version),
        Some(byte) => byte & 0x0f,
    };
    if command > 1 {
        return Err(Malformed::Command);
    }
    let (Some(kind), Some(&[high, low])) = (bytes.get(13), bytes.get(14..FIXED).and_then(|b| b.first_chunk::<2>()))
    else {
        return Ok(Step::Need(FIXED - bytes.len()));
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX {
        return Err(Malformed::TooLong);
    }
    // what is wrong whatever follows is refused before it is waited for
    let addresses = if command == 0 { None } else { Some(addresses(*kind)?) };
    if addresses.is_some_and(|family| FIXED + family.length() > length) {
        return Err(Malformed::TooShort);
    }
    let Some(rest) = bytes.get(FIXED..length) else { return Ok(Step::Need(length - bytes.len())) };
    let announced = match addresses {
        None => Announced { source: Source::Local, tls: false },
        Some(family) => family.read(rest)?,
    };
    Ok(Step::Done(announced, length))
}

/// What the addresses of a header look like.
#[derive(Clone, Copy)]
enum Family {
    /// TCP over IPv4.
    V4,
    /// TCP over IPv6.
    V6,
    /// Not said.
    Unspec,
    /// Legal, but not an address of a TCP client, and so many bytes long.
    Other(usize),
}

fn addresses(kind: u8) -> Result<Family, Malformed> {
    Ok(match kind {
        0x00 => Family::Unspec,
        0x11 => Family::V4,
        0x21 => Family::V6,
        0x12 => Family::Other(12),
        0x22 => Family::Other(36),
        0x31 | 0x32 => Family::Other(216),
        _ => return Err(Malformed::Family),
    })
}

impl Family {
    fn length(self) -> usize {
        match self {
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Unspec => 0,
            Self::Other(length) => length,
        }
    }

    /// Reads what is behind the fixed part: source, destination, source port, destination port, fields.
    fn read(self, rest: &[u8]) -> Result<Announced, Malformed> {
        let (block, fields) = rest.split_at_checked(self.length()).ok_or(Malformed::TooShort)?;
        let source = match self {
            // nothing about the layout of the rest is said: it is skipped
            Self::Unspec => return Ok(Announced { source: Source::Hidden, tls: false }),
            Self::Other(_) => Source::Hidden,
            Self::V4 => {
                let ip = block.first_chunk::<4>().ok_or(Malformed::TooShort)?;
                Source::Client(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(*ip)), port(block, 8)?))
            }
            Self::V6 => {
                let ip = block.first_chunk::<16>().ok_or(Malformed::TooShort)?;
                Source::Client(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(*ip)), port(block, 32)?))
            }
        };
        Ok(Announced { source, tls: over_tls(fields)? })
    }
}

fn port(block: &[u8], at: usize) -> Result<u16, Malformed> {
    let bytes = block.get(at..).and_then(|rest| rest.first_chunk::<2>()).ok_or(Malformed::TooShort)?;
    Ok(u16::from_be_bytes(*bytes))
}

/// Walks over the additional fields: a type, a length of two bytes, a value.
fn over_tls(mut fields: &[u8]) -> Result<bool, Malformed> {
    let mut tls = None;
    while let Some((&[kind, high, low], rest)) = fields.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, next) = rest.split_at_checked(length).ok_or(Malformed::Fields)?;
        if kind == TLV_SSL {
            // the client's flags, a result of verification of four bytes, fields of its own
            let flags = value.first().filter(|_| value.len() >= 5 && tls.is_none()).ok_or(Malformed::Fields)?;
            tls = Some(flags & CLIENT_SSL != 0);
        }
        fields = next;
    }
    if fields.is_empty() { Ok(tls.unwrap_or(false)) } else { Err(Malformed::Fields) }
}

#[cfg(test)]
mod tests;
