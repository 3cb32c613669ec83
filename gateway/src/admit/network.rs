//! Who the client is behind trusted proxies.
//!
//! What a peer that is not in `listen.trusted_proxies` writes into `Forwarded` or `X-Forwarded-*` is not read at all.
//! Behind a trusted one the hops are walked from the right, which is where that proxy wrote, over every hop that is
//! itself trusted; the first that is not is the client, and what stands to the left of it is the client's own invention
//! and never looked at. Decisions where the standards leave room:
//! - `Forwarded` **and** `X-Forwarded-For`: refused. A proxy that sets one and passes the other through would let the
//!   client choose its address.
//! - `unknown`, obfuscated or missing identifiers (RFC 7239 §6.2, §6.3): the walk stops, and the hop that wrote it
//!   stands for the client, because it is the last whose address is known.
//! - anything malformed that is met, more than 32 hops, an empty hop: refused; a proxy that is configured well writes
//!   none of them, and guessing would give the client a say.
//! - every hop trusted: the left-most is the client (it lives inside the trusted network).
//! - no forwarding field: the proxy itself is the client (its health check).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use portcullis_common::config::model::{Listen, TlsMode};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use super::facts::{Head, is_token_byte, malformed, trim};

/// Hops in all forwarding fields together.
const HOPS: usize = 32;

/// What is known of a connection before its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The other end of the socket; behind a proxy that announced a client, that client.
    pub peer: SocketAddr,
    /// This process ends TLS on it.
    pub tls: bool,
    /// How `peer` is known.
    pub via: Via,
}

/// How the other end of a connection is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The kernel says so.
    Socket,
    /// A trusted proxy announced it (PROXY protocol), and whether the client came to the proxy over TLS.
    Proxy {
        /// It did.
        tls: bool,
    },
    /// A trusted proxy announced a client, but not its address: the proxy's stands for it, and speaks for nobody.
    Hidden {
        /// It came over TLS.
        tls: bool,
    },
}

impl Link {
    /// A connection of which only the socket is known.
    #[must_use]
    pub fn direct(peer: SocketAddr, tls: bool) -> Self {
        Self { peer, tls, via: Via::Socket }
    }

    /// What the proxy that announced it says about TLS, if one did.
    fn announced_tls(&self) -> Option<bool> {
        match self.via {
            Via::Socket => None,
            Via::Proxy { tls } | Via::Hidden { tls } => Some(tls),
        }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// The client's address, canonical: never IPv4-mapped.
    pub ip: IpAddr,
    /// The client's bytes travelled under TLS, here or at a trusted proxy.
    pub secure: bool,
}

/// Finds the client's address and judges transport security. Reads only the forwarding fields, so it may be called
/// before anything else about the head was judged.
///
/// A client that a proxy announced by the PROXY protocol is taken at that word, and its forwarding fields are its own
/// invention; unless it is a trusted proxy itself, in front of the one that announced it.
///
/// # Errors
/// `forbidden` 426: plaintext where `tls.mode` wants TLS, here or at any of the proxies. `forbidden` 403: `tls.mode =
/// "upstream"` and a peer that is no trusted proxy. `malformed`: forwarding fields of a trusted proxy that contradict
/// themselves.
pub fn client(head: &Head<'_>, link: &Link, listen: &Listen, mode: TlsMode) -> Result<Client, Reject> {
    let Link { peer, tls, via } = *link;
    let address = peer.ip().to_canonical();
    let proxied = !matches!(via, Via::Hidden { .. }) && trusted(address, &listen.trusted_proxies);
    let secure = match (mode, link.announced_tls()) {
        (TlsMode::Required, _) if !tls => return Err(plaintext("plaintext")),
        (TlsMode::Upstream, None) if !proxied => {
            return Err(Reject::new(Code::Forbidden, "the peer is not a trusted proxy"));
        }
        (TlsMode::Upstream, Some(false)) => {
            return Err(plaintext("the PROXY header does not say that the client came over TLS"));
        }
        (TlsMode::Required | TlsMode::Upstream, _) => true,
        (TlsMode::Off, _) => tls,
    };
    if !proxied {
        return Ok(Client { peer, ip: address, secure });
    }
    let (ip, forwarded_proto) = walk(head, address, &listen.trusted_proxies)?;
    if mode == TlsMode::Upstream && !proto_is_https(head, forwarded_proto.as_deref()) {
        return Err(plaintext("the proxy does not say that the client came over TLS"));
    }
    Ok(Client { peer, ip, secure })
}

fn plaintext(detail: &'static str) -> Reject {
    Reject::new(Code::Forbidden, detail).status(426)
}

/// Whether an address is in one of the networks. A network of IPv4-mapped addresses holds IPv4 addresses; a wider IPv6
/// network holds none.
#[must_use]
pub fn trusted(ip: IpAddr, networks: &[IpNet]) -> bool {
    let ip = ip.to_canonical();
    networks.iter().any(|network| match (network, ip) {
        (IpNet::V6(net), IpAddr::V4(v4)) => net.prefix_len() >= 96 && net.contains(&v4.to_ipv6_mapped()),
        _ => network.contains(&ip),
    })
}

/// One hop as a proxy wrote it.
enum Hop {
    /// An address.
    At(IpAddr),
    /// `unknown`, obfuscated, or not said.
    Hidden,
}

/// The client's address, and the right-most `proto` of `Forwarded`.
fn walk(head: &Head<'_>, peer: IpAddr, networks: &[IpNet]) -> Result<(IpAddr, Option<Vec<u8>>), Reject> {
    let mut proto = None;
    let mut hops: Vec<Cow<'_, [u8]>> = Vec::new();
    match (head.has("forwarded"), head.has("x-forwarded-for")) {
        (true, true) => return Err(malformed("Forwarded and X-Forwarded-For together")),
        (false, false) => return Ok((peer, None)),
        (false, true) => {
            hops.extend(
                head.all("x-forwarded-for").flat_map(|line| line.split(|b| *b == b',')).map(trim).map(Cow::from),
            );
        }
        (true, false) => {
            for line in head.all("forwarded") {
                for element in forwarded(line).ok_or_else(|| malformed("Forwarded is malformed"))? {
                    hops.push(Cow::Owned(element.node.unwrap_or_else(|| b"unknown".to_vec())));
                    proto = element.proto;
                }
            }
        }
    }
    if hops.len() > HOPS {
        return Err(malformed("too many forwarding hops"));
    }
    let mut known = peer;
    for hop in hops.iter().rev() {
        match node(hop).ok_or_else(|| malformed("a forwarding hop is not an address"))? {
            Hop::Hidden => break,
            Hop::At(ip) => {
                known = ip;
                if !trusted(ip, networks) {
                    break;
                }
            }
        }
    }
    Ok((known, proto))
}

/// Right-most wins, because the peer wrote it; where both fields are there, both have to say so.
fn proto_is_https(head: &Head<'_>, forwarded: Option<&[u8]>) -> bool {
    let legacy = head.all("x-forwarded-proto").last().and_then(|line| line.split(|b| *b == b',').next_back()).map(trim);
    let https = |proto: &[u8]| proto.eq_ignore_ascii_case(b"https") || proto.eq_ignore_ascii_case(b"wss");
    match (forwarded, legacy) {
        (None, None) => false,
        (a, b) => a.is_none_or(https) && b.is_none_or(https),
    }
}

/// `nodename [":" node-port]` (RFC 7239 §6), and what `X-Forwarded-For` adds by custom: IPv6 without brackets.
fn node(text: &[u8]) -> Option<Hop> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(Hop::At(ip.to_canonical()));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, port) = rest.split_once(']')?;
        let legal = port.is_empty() || port.strip_prefix(':').is_some_and(is_node_port);
        return ip.parse::<Ipv6Addr>().ok().filter(|_| legal).map(|ip| Hop::At(IpAddr::V6(ip).to_canonical()));
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    if !port.is_none_or(is_node_port) {
        return None;
    }
    if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
        return Some(Hop::Hidden);
    }
    name.parse::<std::net::Ipv4Addr>().ok().map(|ip| Hop::At(IpAddr::V4(ip)))
}

fn is_node_port(port: &str) -> bool {
    is_obfuscated(port) || (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit())
}

fn is_obfuscated(name: &str) -> bool {
    name.strip_prefix('_').is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    })
}

/// One element of `Forwarded`.
#[derive(Default)]
struct Element {
    node: Option<Vec<u8>>,
    proto: Option<Vec<u8>>,
}

/// Parses one line of `Forwarded` (RFC 7239 §4) from the left, strictly: an open quote that a client left behind would
/// otherwise swallow what the proxy appended. `None`: malformed.
fn forwarded(line: &[u8]) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    let mut element = Element::default();
    let mut names: Vec<&[u8]> = Vec::new();
    let mut rest = line;
    loop {
        let (name, value, after) = pair(rest)?;
        if names.iter().any(|seen| seen.eq_ignore_ascii_case(name)) || names.len() >= 8 {
            return None;
        }
        names.push(name);
        if name.eq_ignore_ascii_case(b"for") {
            element.node = Some(value);
        } else if name.eq_ignore_ascii_case(b"proto") {
            element.proto = Some(value);
        }
        match after.split_first() {
            None => {
                elements.push(element);
                return Some(elements);
            }
            Some((b';', next)) => rest = next,
            Some((b',', next)) => {
                elements.push(std::mem::take(&mut element));
                names.clear();
                rest = next;
            }
            Some(_) => return None,
        }
    }
}

/// `token "=" value` off the front; the rest begins with a separator or is empty.
fn pair(text: &[u8]) -> Option<(&[u8], Vec<u8>, &[u8])> {
    let text = trim(text);
    let (name, rest) = text.split_at_checked(text.iter().position(|b| *b == b'=')?)?;
    let rest = rest.strip_prefix(b"=")?;
    if name.is_empty() || !name.iter().copied().all(is_token_byte) {
        return None;
    }
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted)?,
        None => {
            let end = rest.iter().position(|b| !is_token_byte(*b)).unwrap_or(rest.len());
            let (value, rest) = rest.split_at_checked(end)?;
            (value.to_vec(), rest)
        }
    };
    (!value.is_empty()).then(|| (name, value, trim(rest)))
}

/// The rest of a quoted-string (RFC 9110 §5.6.4), and what follows it.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [b'"', after @ ..] => return Some((value, after)),
            [b'\\', escaped, after @ ..] => {
                value.push(*escaped);
                rest = after;
            }
            [byte, after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests;
