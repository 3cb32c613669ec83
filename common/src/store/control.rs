//! The control log: everything that all nodes must know.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::StoreFuture;
use super::leader::Fence;
use crate::clock::UnixMs;
use crate::ids::{NodeId, SessionId, UserId};

/// Whom an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// One session.
    Session(SessionId),
    /// All sessions of a user.
    User(UserId),
    /// An address or range.
    Network(IpNet),
    /// A token by its `jti`.
    Token(String),
}

/// What every node must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "entry")]
pub enum ControlEntry {
    /// Close the target's sessions once (4409).
    Kick {
        /// Whose.
        target: Target,
        /// For the audit and the log.
        reason: String,
    },
    /// Refuse the target until then, and close its sessions (4403).
    Ban {
        /// Whom.
        target: Target,
        /// Until when; `None`: until lifted.
        until: Option<UnixMs>,
        /// For the audit and the log.
        reason: String,
    },
    /// The ban is lifted, and a restriction with it.
    Lift {
        /// Whose.
        target: Target,
    },
    /// Refuse the application messages and the handshakes of a user or network until then. Of several the newest counts.
    Restrict {
        /// Whom: a user or a network.
        target: Target,
        /// Until when (store time).
        until: UnixMs,
        /// Its live sessions end (4403) instead of being answered.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        close: bool,
        /// For the audit, the log, and whoever asks why.
        reason: String,
    },
    /// Nobody new from this network is let in until then, whatever they bring; whoever is in stays, and is answered. Of
    /// several the newest counts. Stands beside restrictions of the same network.
    Shut {
        /// Which: an address, its /64 for IPv6, or more.
        network: IpNet,
        /// Until when (store time).
        until: UnixMs,
        /// For the audit, the log, and whoever asks why.
        reason: String,
    },
    /// Tokens of this user issued at or before then are not good any more. Of several the largest `issued_until`
    /// counts, in whatever order they come.
    Revoke {
        /// Whose.
        user: UserId,
        /// Compared with `iat`.
        issued_until: UnixMs,
    },
    /// This node drains.
    Drain {
        /// Which.
        node: NodeId,
    },
}

/// A place in the log; later is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LogId(pub u64);

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Where it stands.
    pub id: LogId,
    /// When it was appended (store time).
    pub at: UnixMs,
    /// What it says.
    pub entry: ControlEntry,
}

/// Where a node takes what the log brings; called in log order. A store may hold the log's lock meanwhile, so a sink must
/// not block and must not call the log.
pub trait ControlSink: Send + Sync {
    /// The next entry.
    fn apply(&self, logged: &Logged);
}

/// How long drains, and lifts of nothing, are kept.
pub const EVENT_KEPT: std::time::Duration = std::time::Duration::from_secs(60);

/// How long kicks are kept: the longest `session.resume_window`, and a minute. Whoever starts meanwhile knows by them what
/// must not be resumed.
pub const KICK_KEPT: std::time::Duration = std::time::Duration::from_secs(3_600 + 60);

/// How long after `issued_until` a revocation is kept: the longest life of a token (24 h) and the largest leeway (30 s).
pub const REVOKE_KEPT: std::time::Duration = std::time::Duration::from_secs(24 * 3_600 + 30);

/// One order for all. State entries are kept as long as they matter and merge by target, the newest wins: a ban until it
/// ends or is lifted; a restriction likewise; a lift, as a tombstone, until what it lifted would have ended; a revocation
/// for [`REVOKE_KEPT`]. Kicks are kept for [`KICK_KEPT`], drains and lifts of nothing for [`EVENT_KEPT`], so that a late
/// reader does not act on old ones.
pub trait ControlLog: Send + Sync {
    /// Appends; every attached sink gets it, in the log's order.
    ///
    /// # Errors
    /// As [`ControlLog::append_all`].
    fn append(&self, entry: ControlEntry) -> StoreFuture<'_, LogId> {
        self.append_all(vec![entry])
    }

    /// Appends several, one behind the other with nothing between them, all or none; the place of the last. The cost is
    /// that of one.
    ///
    /// # Errors
    /// [`super::StoreFault::Full`] when the store is full of bans and revocations in force; nothing was appended. Events,
    /// restrictions and tombstones make room before that, the oldest first.
    fn append_all(&self, entries: Vec<ControlEntry>) -> StoreFuture<'_, LogId>;

    /// The same in the name of a leader, if no later one has written.
    ///
    /// # Errors
    /// As [`ControlLog::append_all`]; [`super::StoreFault::Fenced`] when a later term than `by` has written beside the log:
    /// nothing was appended.
    fn append_by(&self, by: Fence, entries: Vec<ControlEntry>) -> StoreFuture<'_, LogId>;

    /// Hands over what is kept, in order, and everything later, without a gap or a repetition; answers the last entry's
    /// place (`LogId(0)`: nothing was ever appended). The sink is held weakly nowhere: it lives as long as the store.
    ///
    /// # Errors
    /// [`super::StoreFault::Full`] at the store's bound on sinks.
    fn follow(&self, sink: Arc<dyn ControlSink>) -> StoreFuture<'_, LogId>;
}
