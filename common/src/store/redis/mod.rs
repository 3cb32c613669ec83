//! The store of a fleet: Redis 7.0 or later, or Valkey; one server, one found by sentinels, or a cluster.
//!
//! Every decision is one script on one partition (`script.rs`, `lua/`), all keys come from `keys.rs`, and everything
//! goes over one link (`link.rs`), which alone knows which servers there are. A call on an unreachable store ends with
//! [`StoreFault::Unavailable`](super::StoreFault::Unavailable) after the command timeout; nothing is queued or retried.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngCore;
use redis::PushInfo;
use tokio::sync::{mpsc, watch};

use super::bus::Bus;
use super::control::ControlLog;
use super::report::Reports;
use super::{Custody, Judging, Stores};

/// Names of keys.
mod keys;

/// How to use the Redis of a configuration.
mod settings;

/// How to use a Redis.
mod options;

/// Where it is.
mod endpoint;

/// Whether it answers.
mod health;

/// Who a server is.
mod server;

/// What goes out in one write.
mod batch;

/// One connection.
mod wire;

/// Who the master is.
mod sentinel;

/// Hash slots.
mod slots;

/// Several masters.
mod cluster;

/// What is listened to on them.
mod shards;

/// What the roles reach it by.
mod link;

/// Atomic decisions.
mod script;

/// What they answer.
mod answer;

/// Eras.
mod era;

/// What a dead node left behind.
mod reap;

/// Session slots.
mod ledger;

/// Node leases.
mod lease;

/// Which coordinator leads.
mod leader;

/// What dead lives leave behind.
mod remains;

/// Room members.
mod presence;

/// Connection tickets.
mod ticket;

/// Limits that the fleet shares.
mod limit;

/// Penalties.
mod penalty;

/// What nodes saw of refused logins.
mod report;

/// What was refused, lost and mended.
mod counts;

/// How a process signs.
mod trust;

/// What a room kept.
mod history;

/// A room as it is received.
mod inbound;

/// What this process says.
mod outbound;

/// Which channels it listens to.
mod subscriptions;

/// What comes for the nodes and rooms of this process.
mod hub;

/// Rooms and node mail.
mod bus;

/// What keeps the bus true.
mod upkeep;

/// Whether the bus brings back what is said.
mod probe;

/// The control log as it is read.
mod log;

/// What of it was in force at some place.
mod snapshot;

/// The same on this machine's disk.
mod copy;

/// What the reader asks the store.
mod medium;

/// Reading all three.
mod reader;

/// The control log.
mod control;

/// Commands and answers.
mod command;

/// How all of this is doing.
mod observe;

/// The control log of one process over a store of somebody else's.
#[cfg(any(test, feature = "testing"))]
pub mod rehearsal;

/// The readers of records, for `store::reading`.
#[cfg(any(test, feature = "testing"))]
pub(in crate::store) mod reading;

pub use bus::RedisBus;
pub use command::RedisOperator;
pub use control::RedisControl;
pub use copy::{BadCopy, ControlCopy};
pub use counts::Counts;
pub use health::LinkState;
pub use keys::BadPrefix;
pub use observe::RedisWatch;
pub use options::{ConnectFault, Login, RedisOptions};
pub use report::RedisReports;
pub use trust::Trust;

/// What every role works with.
struct Base {
    link: link::Link,
    keys: keys::Keys,
    /// [`RedisOptions::keep`].
    keep: Duration,
    /// Who wants commands.
    desk: command::Desk,
    era: era::Present,
}

/// An open Redis; the roles are made from it.
pub struct RedisStore {
    base: Arc<Base>,
    /// What the server pushes, until the bus takes it.
    pushes: Mutex<Option<mpsc::Receiver<PushInfo>>>,
}

impl RedisStore {
    /// Opens the store behind `url` (`redis://`, `redis-sentinel://`, `redis-cluster://`; with TLS `rediss…://`). The connection's tasks run on the runtime on which
    /// this is awaited; once open, the connection comes back by itself whatever happens to the server.
    ///
    /// # Errors
    /// See [`ConnectFault`].
    pub async fn connect(url: &str, options: &RedisOptions) -> Result<Self, ConnectFault> {
        let keys = keys::Keys::new(&options.prefix, options.naming_key)?;
        let (link, pushes) = link::Link::connect(url, options).await?;
        let base =
            Base { link, keys, keep: options.keep, desk: command::Desk::default(), era: era::Present::default() };
        Ok(Self { base: Arc::new(base), pushes: Mutex::new(Some(pushes)) })
    }

    /// Whether [`Self::connect`] would try: nothing is connected.
    ///
    /// # Errors
    /// The URL is none, the certificates are none, or the prefix is not legal.
    pub fn check(url: &str, options: &RedisOptions) -> Result<(), ConnectFault> {
        keys::Keys::new(&options.prefix, options.naming_key)?;
        endpoint::Endpoint::parse(url, options).map(|_| ())
    }

    /// The bus, on the present runtime. `rng` names room epochs, nothing secret. `None`: it was made already; there is
    /// one a connection.
    #[must_use]
    pub fn bus(&self, trust: &Trust, rng: Box<dyn RngCore + Send>) -> Option<RedisBus> {
        let pushes = self.pushes.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(RedisBus::start(Arc::clone(&self.base), pushes, trust, rng))
    }

    /// The control log, on the present runtime; its reader has a connection of its own.
    #[must_use]
    pub fn control(&self, trust: &Trust) -> RedisControl {
        RedisControl::start(Arc::clone(&self.base), trust, None)
    }

    /// The same with a copy on disk.
    #[must_use]
    pub fn control_with_copy(&self, trust: &Trust, copy: ControlCopy) -> RedisControl {
        RedisControl::start(Arc::clone(&self.base), trust, Some(Arc::new(copy)))
    }

    /// Every role, over this connection; the bus, the control log and the reports are the caller's.
    #[must_use]
    pub fn stores(&self, bus: Arc<dyn Bus>, control: Arc<dyn ControlLog>, reports: Arc<dyn Reports>) -> Stores {
        let commands = Arc::new(command::RedisCommands::new(Arc::clone(&self.base)));
        Stores {
            commands: Arc::clone(&commands) as _,
            desk: commands,
            eras: Arc::new(era::RedisEras::new(Arc::clone(&self.base))),
            ledger: Arc::new(ledger::RedisLedger::new(Arc::clone(&self.base))),
            lease: Arc::new(lease::RedisLeases::new(Arc::clone(&self.base))),
            bus,
            presence: Arc::new(presence::RedisPresence::new(Arc::clone(&self.base))),
            control,
            tickets: Arc::new(ticket::RedisTickets::new(Arc::clone(&self.base))),
            limits: Arc::new(limit::RedisCounts::new(Arc::clone(&self.base))),
            reports,
            penalties: Arc::new(penalty::RedisPenalties::new(Arc::clone(&self.base))),
            remains: Arc::new(remains::RedisRemains::new(Arc::clone(&self.base))),
            leadership: Arc::new(leader::RedisLeadership::new(Arc::clone(&self.base))),
        }
    }

    /// What a coordinator works with, over this connection: it says nothing on the bus.
    #[must_use]
    pub fn custody(&self) -> Custody {
        Custody {
            lease: Arc::new(lease::RedisLeases::new(Arc::clone(&self.base))),
            remains: Arc::new(remains::RedisRemains::new(Arc::clone(&self.base))),
            leadership: Arc::new(leader::RedisLeadership::new(Arc::clone(&self.base))),
        }
    }

    /// What judges refused logins, over this connection; its control log reads on the present runtime.
    #[must_use]
    pub fn judging(&self, trust: &Trust) -> Judging {
        Judging { reports: Arc::new(self.reports(trust)), control: Arc::new(self.control(trust)) }
    }

    /// Whether the store answers, now and from now on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.base.link.state()
    }

    /// Whether a server drops keys when memory is short, and may not ([`RedisOptions::may_evict`]): one that was promoted
    /// or started again is asked anew.
    #[must_use]
    pub fn evicts(&self) -> bool {
        self.base.link.evicts()
    }

    /// How many messages of the bus were dropped because the node was too slow to take them.
    #[must_use]
    pub fn pushes_lost(&self) -> u64 {
        self.base.link.pushes_lost()
    }
}
