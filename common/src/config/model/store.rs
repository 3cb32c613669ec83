//! Where shared state is, and what a session may count on.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::secret::Secret;

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// Default `memory:`.
    pub url: StoreUrl,
    /// The first part of every key; fleets with different prefixes share nothing (default `portcullis`).
    pub prefix: String,
    /// The keys that authenticate what nodes tell each other; one `kid:base64` a line. Needed with Redis.
    pub cluster_key_file: Option<PathBuf>,
    /// The key that names users and rooms in the store: 32 bytes in base 64, the same on all nodes, for good. Needed
    /// with Redis.
    pub naming_key_file: Option<PathBuf>,
    /// A directory of this node's own, for a copy of the control log: bans outlive a store that forgot them while no other
    /// node was there to remember (default none).
    pub state_dir: Option<PathBuf>,
    /// Start although the server may evict keys under memory pressure, which forgets bans and sessions (default no).
    pub may_evict: bool,
    /// The ACL user on servers that hold data, before one in the URL (default: Redis's `default`).
    pub username: Option<String>,
    /// Its password; line ends behind it are not part of it.
    pub password_file: Option<PathBuf>,
    /// The ACL user on sentinels.
    pub sentinel_username: Option<String>,
    /// Its password.
    pub sentinel_password_file: Option<PathBuf>,
    /// With TLS: who may have signed a server's certificate, PEM (default: the authorities of this machine).
    pub ca_file: Option<PathBuf>,
    /// With TLS: our own certificate, leaf first, PEM, for servers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
}

/// `store.url`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:` — one process, gone when it stops.
    Memory,
    /// `redis://`, `redis-sentinel://`, `redis-cluster://`, or `rediss…://` for TLS — a fleet. May hold a password.
    Redis(Secret),
}

/// `session.on_limit`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLimit {
    /// The newcomer is refused (429 `session_limit`).
    Reject,
    /// The oldest session is closed (4409) before the newcomer is let in.
    EvictOldest,
}

/// `session.on_store_loss`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStoreLoss {
    /// Sessions stay, degraded, for `session.max_store_loss`. If only this node was cut off, others may meanwhile have
    /// given its slots away.
    Available,
    /// Sessions are closed (1012) before anybody could give their slots away.
    Strict,
}

/// `[session]`
#[derive(Debug, Clone)]
pub struct Session {
    /// Concurrent sessions of one user (default 5).
    pub max_per_user: u32,
    /// Default `reject`.
    pub on_limit: OnLimit,
    /// What becomes of sessions whose node cannot renew its lease (default `available`).
    pub on_store_loss: OnStoreLoss,
    /// With `available`, how long they stay (default 10 min).
    pub max_store_loss: Duration,
    /// The longest a session may live (default 12 h).
    pub absolute_timeout: Duration,
    /// Close after this long without an application message (default off).
    pub idle_timeout: Option<Duration>,
    /// How often a silent peer is pinged (default 25 s).
    pub ping_interval: Duration,
    /// How long a pong may take (default 20 s).
    pub pong_timeout: Duration,
    /// How long before its expiry a token's holder is told (default 60 s).
    pub expiry_warning: Duration,
    /// How long the peer may take to answer a close frame (default 5 s).
    pub close_timeout: Duration,
    /// Rooms one session may be in (default 64).
    pub max_rooms: usize,
    /// How long a session whose connection broke can be resumed (default 2 min); zero: not at all.
    pub resume_window: Duration,
}
