//! What the process is: its name, its sockets, its logs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::{Store, Stuffing};
use crate::ids::NodeId;

/// `[node]`
#[derive(Debug, Clone)]
pub struct Node {
    /// Default: the host name.
    pub id: NodeId,
    /// Worker threads; default: one a core.
    pub workers: usize,
    /// How long a drain may take before the remaining sockets are closed (default 30 s).
    pub drain_deadline: Duration,
    /// For how long a drain goes on admitting newcomers after the node has said that it is not ready, so that load
    /// balancers notice first (default 0 s).
    pub drain_notice: Duration,
    /// Over how long the `reconnect` delays of a drain are spread (default 10 s).
    pub drain_spread: Duration,
}

/// `[listen]`
#[derive(Debug, Clone)]
pub struct Listen {
    /// Clients connect here (default `127.0.0.1:8080`).
    pub public: SocketAddr,
    /// Health and metrics (default `127.0.0.1:9090`).
    pub private: SocketAddr,
    /// Whose `Forwarded`/`X-Forwarded-For` is believed (default nobody's).
    pub trusted_proxies: Vec<IpNet>,
    /// Every connection begins with a PROXY protocol v2 header of a trusted proxy; all others are refused (default off).
    pub proxy_protocol: bool,
    /// `/diagnostics/echo`: the codec alone, no policy; loopback only (default off).
    pub diagnostics_echo: bool,
    /// All TCP connections of the public port, upgraded or not (default 15,000; fitted to the descriptor limit).
    pub max_connections: usize,
    /// TCP connections from one address (/64 for v6) (default 1,000).
    pub max_connections_per_ip: usize,
    /// How long the whole request head, and the TLS handshake before it, may take (default 5 s each).
    pub header_timeout: Duration,
    /// The kernel's accept queue (default 1,024).
    pub backlog: u32,
}

/// `tls.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// This process ends TLS; plaintext is answered 426.
    Required,
    /// A trusted proxy ends TLS; a direct peer that is not trusted is refused.
    Upstream,
    /// Plaintext; loopback only, unless `insecure = true`.
    Off,
}

/// `tls.min_version`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// `"1.2"`
    V12,
    /// `"1.3"`
    V13,
}

/// `[tls]`
#[derive(Debug, Clone)]
pub struct Tls {
    /// Default `required`.
    pub mode: TlsMode,
    /// PEM chain; needed with `required`.
    pub cert_file: Option<PathBuf>,
    /// PEM key; needed with `required`.
    pub key_file: Option<PathBuf>,
    /// Default 1.2.
    pub min_version: TlsVersion,
    /// Allow `off` on an address that is not loopback.
    pub insecure: bool,
    /// `Strict-Transport-Security` max-age (default one year; 0 turns it off).
    pub hsts_max_age: Duration,
}

/// `[overload]`: at any of these a node first refuses new sessions, then messages of types with `priority = "low"`, then
/// closes the largest queues; it takes all of that back by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overload {
    /// It does (default true).
    pub enabled: bool,
    /// Resident bytes (default: 85 % of what the cgroup, else the machine, has).
    pub memory: Option<usize>,
    /// Bytes that wait to be written to clients, over all sessions (default 256 MiB).
    pub queues: usize,
    /// How late a worker's clock ticks (default 500 ms).
    pub lag: Duration,
    /// It says which steps it would take, and takes none (default false).
    pub dry_run: bool,
}

/// `[coordinator]`
#[derive(Debug, Clone)]
pub struct Coordinator {
    /// What people call it (default: the host name).
    pub id: NodeId,
    /// Health and metrics (default `127.0.0.1:9091`).
    pub listen: SocketAddr,
    /// How long a leader leads without renewing, which is how long another waits before it takes over (default 10 s).
    pub lease: Duration,
}

/// What a coordinator needs of the configuration: so it runs without the certificates and secrets of the gateways.
#[derive(Debug, Clone)]
pub struct CoordinatorConfig {
    /// Its own section.
    pub coordinator: Coordinator,
    /// When the fleet shuts its doors to an address.
    pub stuffing: Stuffing,
    /// Where shared state lives.
    pub store: Store,
    /// `session.absolute_timeout`: how long what a session has in the store must be kept.
    pub longest_session: Duration,
    /// Logging.
    pub log: Log,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// `tracing` filter (default `info`).
    pub filter: String,
    /// JSON lines (default) or text.
    pub json: bool,
}
