//! Who the client is: nobody outside chooses, and nothing is made up.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use portcullis_common::config::model::TlsMode;
use portcullis_common::wire::code::Code;
use portcullis_gateway::admit::facts::Head;
use portcullis_gateway::admit::network::{Link, client, trusted};

use crate::head::head;
use crate::rules::CONFIG;

const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const PROXY: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);

/// One request, from a stranger and from a proxy.
pub fn address(data: &[u8]) {
    let head = head(data);
    let networks = &CONFIG.listen.trusted_proxies;
    for mode in [TlsMode::Off, TlsMode::Upstream] {
        let of = |peer: Ipv4Addr, head: &Head<'_>| {
            client(head, &Link::direct(SocketAddr::from((peer, 4711)), false), &CONFIG.listen, mode)
        };
        match of(STRANGER, &head) {
            Ok(client) => assert_eq!((client.ip, mode), (IpAddr::V4(STRANGER), TlsMode::Off)),
            Err(reject) => assert_eq!((reject.code, mode), (Code::Forbidden, TlsMode::Upstream)),
        }
        let found = match of(PROXY, &head) {
            Ok(client) => client.ip,
            Err(reject) => {
                assert!(matches!(reject.code, Code::Malformed | Code::Forbidden), "{reject:?}");
                continue;
            }
        };
        assert_eq!(found, found.to_canonical());
        assert!(found == IpAddr::V4(PROXY) || written(&head).contains(&found), "{found} is made up");
        if !trusted(found, networks) {
            // the walk stopped there: what a client writes to the left of it is not looked at
            for field in ["x-forwarded-for", "forwarded"].into_iter().filter(|name| head.has(name)) {
                let lie = if field == "forwarded" { &b"for=203.0.113.77"[..] } else { b"203.0.113.77" };
                let mut longer = head.clone();
                longer.headers.insert(0, (field, lie));
                match of(PROXY, &longer) {
                    Ok(client) => assert_eq!(client.ip, found),
                    Err(reject) => assert_eq!(reject.detail, "too many forwarding hops"),
                }
            }
        }
    }
}

/// Every address that stands anywhere in the fields.
fn written(head: &Head<'_>) -> Vec<IpAddr> {
    let fields = head.all("x-forwarded-for").chain(head.all("forwarded"));
    let text = fields.map(|line| String::from_utf8_lossy(line).replace('\\', "")).collect::<Vec<_>>().join(",");
    let pieces = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '[' | ']')));
    let parse = |piece: &str| {
        let bare = piece.split_once(']').map_or(piece, |(ip, _)| ip).trim_matches(['[', ']']);
        let before_port = piece.split_once(':').map_or(piece, |(ip, _)| ip);
        [bare, before_port].into_iter().filter_map(|text| text.parse::<IpAddr>().ok()).collect::<Vec<_>>()
    };
    pieces.flat_map(parse).map(|ip| ip.to_canonical()).collect()
}
