//! `[node] [listen] [tls] [log] [coordinator]`: the process and its surroundings.

use std::net::{Ipv4Addr, SocketAddr};

use super::super::address::{network, socket};
use super::super::file::Files;
use super::super::model::{Coordinator, Listen, Log, Node, Tls, TlsMode, TlsVersion};
use super::super::read::Section;
use super::super::unit::duration;
use super::super::value::{boolean, choice, integer, line, text};
use super::{DAY, HOUR, millis, once, secs};
use crate::ids::NodeId;

pub(super) fn node(mut s: Section<'_>, host: &str) -> Node {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(64);
    Node {
        id: id(&mut s, host),
        workers: s.or("workers", cores, integer(1..=64)),
        drain_deadline: s.or("drain_deadline", secs(30), duration(millis(0)..=HOUR)),
        drain_notice: s.or("drain_notice", secs(0), duration(millis(0)..=HOUR)),
        drain_spread: s.or("drain_spread", secs(10), duration(millis(0)..=HOUR)),
    }
}

/// The key `id`; the host name where it is not set.
fn id(s: &mut Section<'_>, host: &str) -> NodeId {
    let legal = "letters, digits, `.`, `-` and `_` are";
    let id = s.optional("id", |v| NodeId::parse(text(v)?).map_err(|bad| format!("{bad}; at most 63 {legal} legal")));
    id.unwrap_or_else(|| node_id(host))
}

pub(super) fn coordinator(mut s: Section<'_>, host: &str) -> Coordinator {
    Coordinator {
        id: id(&mut s, host),
        listen: s.or("listen", SocketAddr::from((Ipv4Addr::LOCALHOST, 9091)), socket),
        lease: s.or("lease", secs(10), duration(secs(2)..=secs(60))),
    }
}

/// A host name made into a node's id: what is not legal becomes `-`.
fn node_id(host: &str) -> NodeId {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
    let name: String = host.trim().chars().take(NodeId::MAX).map(legal).collect();
    let name = if name.is_empty() { "gateway" } else { &name };
    NodeId::parse(name).unwrap_or_else(|_| unreachable!("every character was made legal"))
}

pub(super) fn listen(mut s: Section<'_>) -> Listen {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let trusted = s.list("trusted_proxies", network).unwrap_or_default();
    once(&trusted, &s.key("trusted_proxies"), s.report());
    Listen {
        public: s.or("public", local(8080), socket),
        private: s.or("private", local(9090), socket),
        trusted_proxies: trusted,
        proxy_protocol: s.or("proxy_protocol", false, boolean),
        diagnostics_echo: s.or("diagnostics_echo", false, boolean),
        max_connections: s.or("max_connections", 15_000, integer(1..=10_000_000)),
        max_connections_per_ip: s.or("max_connections_per_ip", 1_000, integer(1..=10_000_000)),
        header_timeout: s.or("header_timeout", secs(5), duration(millis(100)..=secs(60))),
        backlog: s.or("backlog", 1_024, integer(1..=65_535)),
    }
}

pub(super) fn tls(mut s: Section<'_>, files: Files<'_>) -> Tls {
    let modes = [("required", TlsMode::Required), ("upstream", TlsMode::Upstream), ("off", TlsMode::Off)];
    let versions = [("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];
    Tls {
        mode: s.or("mode", TlsMode::Required, choice(&modes)),
        cert_file: s.optional("cert_file", |v| files.path(v)),
        key_file: s.optional("key_file", |v| files.path(v)),
        min_version: s.or("min_version", TlsVersion::V12, choice(&versions)),
        insecure: s.or("insecure", false, boolean),
        hsts_max_age: s.or("hsts_max_age", DAY * 365, duration(millis(0)..=DAY * 3650)),
    }
}

pub(super) fn log(mut s: Section<'_>) -> Log {
    Log { filter: s.or("filter", "info".into(), line(1024)), json: s.or("json", true, boolean) }
}
