//! Shared state: one trait a role, each with its promises on atomicity, order, cost and outage; the memory store is
//! their executable specification, and one conformance suite judges every implementation.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What tells a store that forgot from one in which nobody is.
pub mod era;

/// Who holds a session slot: caps, eviction, resume.
pub mod session;

/// Which nodes live.
pub mod lease;

/// Which coordinator leads, and what dead nodes leave behind.
pub mod leader;

/// Rooms and node mail: one order a room, deduplicated, with what is kept for those who come back.
pub mod bus;

/// Who is in a room.
pub mod presence;

/// What every node must know: kicks, bans, revocations.
pub mod control;

/// Where operators' commands go, and nodes' answers.
pub mod command;

/// Single-use connection tickets.
pub mod ticket;

/// Limits that the fleet shares.
pub mod limit;

/// What users and networks have on their account.
pub mod penalty;

/// What nodes saw of refused logins.
pub mod report;

/// How a store is doing.
pub mod watch;

/// Reading and writing binary formats.
pub(crate) mod octets;

/// The cluster's keys.
pub mod keyring;

/// What goes over a shared medium, under a MAC.
pub mod record;

/// Each record once, in its issuer's order.
pub mod replay;

/// What stands inside a record.
mod letter;

/// How the entries of the control log merge.
mod merge;

/// The embedded store of a single process.
pub mod memory;

/// The store of a fleet: Redis 7 or Valkey.
pub mod redis;

/// The suite that every implementation of the traits has to pass.
#[cfg(any(test, feature = "testing"))]
pub mod conformance;

/// The readers of records, one by one.
#[cfg(any(test, feature = "testing"))]
pub mod reading;

/// What a store call returns: boxed, because stores are chosen at run time; a memory store's is ready at once.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreFault>> + Send + 'a>>;

/// Why a store could not do its part. Ours, never the peer's fault.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreFault {
    /// Not reachable, or no answer in time.
    #[error("the store did not answer: {0}")]
    Unavailable(Arc<str>),
    /// The store forgot, or is not whole yet after it did; see [`era::Eras`]. Nothing was changed.
    #[error("the store is of another era")]
    Era,
    /// A later leader has written: the caller leads no more.
    #[error("a later leader has written to the store")]
    Fenced,
    /// A bound of the store itself was reached (memory store: rooms, sessions, records).
    #[error("the store is full: {0}")]
    Full(&'static str),
}

/// What looks after the fleet itself, for a coordinator.
#[derive(Clone)]
pub struct Custody {
    /// Which nodes live.
    pub lease: Arc<dyn lease::Leases>,
    /// What dead nodes leave behind.
    pub remains: Arc<dyn leader::Remains>,
    /// Which coordinator leads.
    pub leadership: Arc<dyn leader::Leadership>,
}

/// What judges refused logins over the fleet, for a coordinator.
#[derive(Clone)]
pub struct Judging {
    /// What nodes saw of them.
    pub reports: Arc<dyn report::Reports>,
    /// Where whom to shut out is written.
    pub control: Arc<dyn control::ControlLog>,
}

impl From<&Stores> for Custody {
    fn from(stores: &Stores) -> Self {
        Self {
            lease: Arc::clone(&stores.lease),
            remains: Arc::clone(&stores.remains),
            leadership: Arc::clone(&stores.leadership),
        }
    }
}

/// Every role, for the composition root to hand out.
#[derive(Clone)]
pub struct Stores {
    /// The store's era.
    pub eras: Arc<dyn era::Eras>,
    /// Session slots.
    pub ledger: Arc<dyn session::SessionLedger>,
    /// Node leases.
    pub lease: Arc<dyn lease::Leases>,
    /// Rooms and node mail.
    pub bus: Arc<dyn bus::Bus>,
    /// Room members.
    pub presence: Arc<dyn presence::Presence>,
    /// The control log.
    pub control: Arc<dyn control::ControlLog>,
    /// Operators' commands, for those who send them.
    pub commands: Arc<dyn command::Commands>,
    /// Operators' commands, for those who obey them.
    pub desk: Arc<dyn command::CommandDesk>,
    /// Connection tickets.
    pub tickets: Arc<dyn ticket::Tickets>,
    /// Limits that the fleet shares.
    pub limits: Arc<dyn limit::LimitCounts>,
    /// What users and networks have on their account.
    pub penalties: Arc<dyn penalty::Penalties>,
    /// What nodes saw of refused logins.
    pub reports: Arc<dyn report::Reports>,
    /// What dead nodes leave behind.
    pub remains: Arc<dyn leader::Remains>,
    /// Which coordinator leads.
    pub leadership: Arc<dyn leader::Leadership>,
}
