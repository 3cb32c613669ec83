//! Who arrives: a place under the connection caps, and the PROXY header where one is due.
//!
//! A trusted proxy's connections count in the total at once, and for an address once it is known whose they are: here
//! when a PROXY header says so, else at the upgrade, when the forwarding fields were read ([`super::io::Io::count_for`]).

use std::io;
use std::net::SocketAddr;

use portcullis_common::wire::reject::Reject;
use tokio::net::TcpStream;

use super::proxy::read::header;
use super::proxy::{Announced, Source};
use crate::admit::address::CapGuard;
use crate::admit::network::{Link, Via, trusted};
use crate::events::ConnectionRefused;
use crate::node::Node;

/// A connection that goes no further.
pub enum Refused {
    /// Over a cap: it may be told so.
    Full(Reject),
    /// Nothing that could be answered: no trusted proxy, no header, too slow.
    Cut(io::ErrorKind),
}

/// Judges a fresh connection; `tls` says whether this process will end TLS on it. Waits for nothing, but for a PROXY
/// header at most `listen.header_timeout`.
///
/// # Errors
/// A refusal, whose event is emitted here.
pub async fn arrive(node: &Node, tcp: &mut TcpStream, tls: bool) -> Result<(Link, CapGuard), Refused> {
    let peer = tcp.peer_addr().map_err(|error| Refused::Cut(error.kind()))?;
    let listen = &node.config.listen;
    let proxy = trusted(peer.ip(), &listen.trusted_proxies);
    if !listen.proxy_protocol {
        let cap = if proxy { node.caps.enter() } else { node.caps.take(peer.ip()) };
        return cap.map(|cap| (Link::direct(peer, tls), cap)).map_err(|full| refuse(node, peer, full));
    }
    if !proxy {
        return Err(cut(node, peer, "not a trusted proxy", io::ErrorKind::PermissionDenied));
    }
    let mut cap = node.caps.enter().map_err(|full| refuse(node, peer, full))?;
    let announced = match actix_rt::time::timeout(listen.header_timeout, header(tcp)).await {
        Ok(Ok(announced)) => announced,
        Ok(Err(error)) => return Err(cut(node, peer, &error.to_string(), io::ErrorKind::InvalidData)),
        Err(_) => return Err(cut(node, peer, "the PROXY header did not come in time", io::ErrorKind::TimedOut)),
    };
    let link = link(peer, tls, announced);
    if link.via != Via::Socket && !trusted(link.peer.ip(), &listen.trusted_proxies) {
        cap.count_for(link.peer.ip()).map_err(|full| refuse(node, link.peer, full))?;
    }
    Ok((link, cap))
}

fn link(proxy: SocketAddr, tls: bool, announced: Announced) -> Link {
    match announced.source {
        Source::Local => Link::direct(proxy, tls),
        Source::Client(peer) => Link { peer, tls, via: Via::Proxy { tls: announced.tls } },
        Source::Hidden => Link { peer: proxy, tls, via: Via::Hidden { tls: announced.tls } },
    }
}

fn refuse(node: &Node, peer: SocketAddr, full: Reject) -> Refused {
    ConnectionRefused { peer: peer.ip(), detail: &full.detail }.emit(&node.metrics);
    Refused::Full(full)
}

fn cut(node: &Node, peer: SocketAddr, detail: &str, kind: io::ErrorKind) -> Refused {
    ConnectionRefused { peer: peer.ip(), detail }.emit(&node.metrics);
    Refused::Cut(kind)
}
