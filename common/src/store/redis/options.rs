//! How to use a Redis, and why it could not be opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::keys::BadPrefix;
use crate::config::secret::Secret;

/// Who we are to a server; what is not set is as the URL says.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// An ACL user; none is `default`.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
}

/// How to use a Redis.
#[derive(Clone)]
pub struct RedisOptions {
    /// The first part of every key: 1 to 64 of `A-Z a-z 0-9 . _ -`. Fleets with different prefixes share nothing.
    pub prefix: String,
    /// Names users, rooms and tickets in keys: permanent, secret, the same on all nodes. Another key is another store.
    pub naming_key: [u8; 32],
    /// How long a call waits for its answer, waiting for a connection included.
    pub command_timeout: Duration,
    /// How long a try to connect may take.
    pub connect_timeout: Duration,
    /// How long what is kept for a user or a room outlives its last change. Must be longer than a session may last,
    /// or the store forgets sessions that are there: above `session.absolute_timeout` plus `session.resume_window`.
    pub keep: Duration,
    /// Goes on with a server that may evict keys under memory pressure, which forgets bans and sessions silently.
    pub may_evict: bool,
    /// For servers that hold data.
    pub login: Login,
    /// For sentinels.
    pub sentinel_login: Login,
    /// With TLS: the authorities that may have signed a server's certificate, in PEM; none: those of the machine.
    pub ca: Option<Vec<u8>>,
    /// With TLS: our own certificate chain and its key, in PEM, for servers that ask for one.
    pub client_certificate: Option<(Vec<u8>, Secret)>,
}

impl RedisOptions {
    /// The defaults under a naming key.
    #[must_use]
    pub fn new(naming_key: [u8; 32]) -> Self {
        Self {
            prefix: "portcullis".to_owned(),
            naming_key,
            command_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(2),
            keep: Duration::from_secs(8 * 24 * 3_600),
            may_evict: false,
            login: Login::default(),
            sentinel_login: Login::default(),
            ca: None,
            client_certificate: None,
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("prefix", &self.prefix)
            .field("command_timeout", &self.command_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("keep", &self.keep)
            .field("may_evict", &self.may_evict)
            .finish_non_exhaustive()
    }
}

/// Why a store could not be opened. Never quotes the URL.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectFault {
    /// The URL is not one.
    #[error(
        "the store's URL is not of the form redis[s]://[user:password@]host[:port][/database], \
         redis[s]-sentinel://[user:password@]host[:port],.../master[/database], or \
         redis[s]-cluster://[user:password@]host[:port],..."
    )]
    Url,
    /// See [`BadPrefix`].
    #[error(transparent)]
    Prefix(#[from] BadPrefix),
    /// What should be certificates or a key in PEM is not.
    #[error("the certificates for the store are not certificates in PEM, or the key is none")]
    Certificates,
    /// Not reached, or it refused us.
    #[error("the store could not be opened: {0}")]
    Unreachable(Arc<str>),
    /// The server's `maxmemory-policy`.
    #[error("the store may evict keys: set its maxmemory-policy to noeviction")]
    Evicts,
}
