//! The embedded store of a single process: nothing to install, nothing that outlives the process, and the executable
//! specification of the role traits.
//!
//! Every call acts when it is made, not when its future is polled, and its future is ready at once. Nothing runs in the
//! background: what has expired is never seen again, and is dropped by whichever calls come later, a few a call.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::presence::Presence;
use super::session::SessionLedger;
use super::{StoreFault, StoreFuture, Stores};
use crate::clock::Clock;

/// Eras.
mod era;

/// Locks by key.
mod shard;

/// One user's slots: the rules of the ledger, without clock, lock or map.
mod slots;

/// All users' slots.
mod session;

/// Node leases.
mod lease;

/// Which message ids were taken lately.
mod dedupe;

/// What one room kept.
mod history;

/// Rooms and node mail.
mod bus;

/// Room members.
mod presence;

/// The control log.
mod control;

/// Commands and answers.
mod command;

/// Connection tickets.
mod ticket;

/// Limits that processes share.
mod limit;

/// Penalties.
mod penalty;

/// What nodes saw of refused logins.
pub(super) mod report;

/// Which coordinator leads, and what dead lives leave behind.
mod leader;

/// What the store may hold. Counters are kept without a common lock, so a bound may be exceeded by a few entries while
/// several threads reach it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Session slots, detached ones too. At the bound: `Full`.
    pub sessions: usize,
    /// Detached slots, roughly: each of the store's shards has an even share. At the bound the one that expires first
    /// is free again, and its session cannot be resumed any more.
    pub detached: usize,
    /// Nodes with a lease. At the bound: `Full`.
    pub nodes: usize,
    /// Rooms known to the bus, and rooms with members. At the bound a room without subscribers and history is
    /// forgotten, else: `Full`.
    pub rooms: usize,
    /// Memberships, over all rooms. At the bound: `Full`.
    pub occupants: usize,
    /// Message ids remembered. At the bound the oldest is forgotten: its repetition would be taken as new.
    pub dedupe_entries: usize,
    /// Bytes of kept messages, over all rooms, bookkeeping included. At the bound a room gives up its own oldest, or
    /// does not keep the new one.
    pub kept_bytes: usize,
    /// The same for one room.
    pub kept_bytes_per_room: usize,
    /// Entries kept by the control log. At the bound events and tombstones are forgotten, oldest first, else: `Full`.
    pub control_entries: usize,
    /// Sinks that follow the control log. At the bound: `Full`.
    pub control_sinks: usize,
    /// Tickets not yet redeemed. At the bound: `Full`.
    pub tickets: usize,
    /// Bytes of their records. At the bound: `Full`.
    pub ticket_bytes: usize,
    /// Counts of limits that say something. At the bound: `Full`.
    pub limit_counts: usize,
    /// Users and networks with something on their account. At the bound what says nothing any more is forgotten, else:
    /// `Full`.
    pub accounts: usize,
}

impl Default for Bounds {
    /// For one process with at most some 100,000 connections. Full to every bound it is about 500 MB; an idle session
    /// costs about 200 bytes.
    fn default() -> Self {
        Self {
            sessions: 1_000_000,
            detached: 32_000,
            nodes: 1_024,
            rooms: 200_000,
            occupants: 1_000_000,
            dedupe_entries: 500_000,
            kept_bytes: 128 << 20,
            kept_bytes_per_room: 4 << 20,
            control_entries: 200_000,
            control_sinks: 1_024,
            tickets: 50_000,
            ticket_bytes: 32 << 20,
            limit_counts: 200_000,
            accounts: 100_000,
        }
    }
}

/// Makes memory stores. Clones of the [`Stores`] it answers are the same store.
#[derive(Debug, Clone, Copy)]
pub struct MemoryStore;

impl MemoryStore {
    /// An empty store with the default [`Bounds`], in an era of its own. `rng` names room epochs and eras, nothing
    /// secret.
    #[allow(clippy::new_ret_no_self, reason = "what callers hold are the roles; there is no other object")]
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, rng: Box<dyn RngCore + Send>) -> Stores {
        Self::bounded(clock, rng, Bounds::default())
    }

    /// An empty store with bounds of its own.
    #[must_use]
    pub fn bounded(clock: Arc<dyn Clock>, rng: Box<dyn RngCore + Send>, bounds: Bounds) -> Stores {
        let world = MemoryWorld::new(clock, rng, bounds);
        let (stores, eras) = world.process();
        // nobody was here before, so nobody is waited for
        let _opened = eras.open_now(Vec::new(), std::time::Duration::ZERO);
        stores
    }
}

/// One memory store for several processes, which can be made to forget: for tests and simulations of a fleet.
///
/// What it loses are slots, waits, tokens, room members, what rooms kept, message ids, tickets, counts of limits, accounts,
/// leases and the era itself; the control log stays.
pub struct MemoryWorld {
    server: Arc<era::Server>,
    ledger: Arc<session::AllSlots>,
    presence: Arc<presence::AllRooms>,
    tickets: Arc<ticket::AllTickets>,
    limits: Arc<limit::AllCounts>,
    penalties: Arc<penalty::AllAccounts>,
    bus: Arc<bus::MemoryBus>,
    control: Arc<control::MemoryControl>,
    leadership: Arc<leader::MemoryLeadership>,
    reports: Arc<report::MemoryReports>,
    commands: Arc<command::MemoryCommands>,
}

impl MemoryWorld {
    /// An empty one, in no era. `rng` names room epochs and eras, nothing secret.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, mut rng: Box<dyn RngCore + Send>, bounds: Bounds) -> Self {
        let nonces = Box::new(StdRng::seed_from_u64(rng.next_u64()));
        let mut names = [0; 32];
        rng.fill_bytes(&mut names);
        let ledger = Arc::new(session::AllSlots::new(Arc::clone(&clock), bounds));
        let presence = Arc::new(presence::AllRooms::new(bounds));
        let tickets = Arc::new(ticket::AllTickets::new(Arc::clone(&clock), bounds));
        let limits = Arc::new(limit::AllCounts::new(Arc::clone(&clock), bounds.limit_counts));
        let penalties = Arc::new(penalty::AllAccounts::new(Arc::clone(&clock), bounds));
        let leases = Arc::new(lease::MemoryLeases::new(Arc::clone(&clock), bounds.nodes));
        let leadership = Arc::new(leader::MemoryLeadership::new(Arc::clone(&clock)));
        let bus = Arc::new(bus::MemoryBus::new(Arc::clone(&clock), rng, bounds));
        let parts: Vec<Arc<dyn era::Part>> = vec![
            Arc::<bus::MemoryBus>::clone(&bus),
            Arc::<session::AllSlots>::clone(&ledger),
            Arc::<presence::AllRooms>::clone(&presence),
            Arc::<ticket::AllTickets>::clone(&tickets),
            Arc::<limit::AllCounts>::clone(&limits),
            Arc::<penalty::AllAccounts>::clone(&penalties),
        ];
        Self {
            server: Arc::new(era::Server::new(Arc::clone(&clock), nonces, leases, bounds.nodes, parts)),
            ledger,
            presence,
            tickets,
            limits,
            penalties,
            bus,
            control: Arc::new(control::MemoryControl::new(Arc::clone(&clock), bounds, Arc::clone(&leadership))),
            leadership,
            reports: Arc::new(report::MemoryReports::new(Arc::clone(&clock), names)),
            commands: Arc::new(command::MemoryCommands::new(clock, bounds)),
        }
    }

    /// The roles, for one more process that knows no era yet.
    #[must_use]
    pub fn stores(&self) -> Stores {
        self.process().0
    }

    fn process(&self) -> (Stores, Arc<era::MemoryEras>) {
        let eras = Arc::new(era::MemoryEras::new(Arc::clone(&self.server)));
        let ledger: Arc<dyn SessionLedger> =
            Arc::new(session::MemoryLedger::new(Arc::clone(&self.ledger), Arc::clone(&eras)));
        let presence: Arc<dyn Presence> =
            Arc::new(presence::MemoryPresence::new(Arc::clone(&self.presence), Arc::clone(&eras)));
        let remains = leader::MemoryRemains {
            leases: Arc::clone(&self.server.leases),
            ledger: Arc::clone(&ledger),
            presence: Arc::clone(&presence),
            leadership: Arc::clone(&self.leadership),
        };
        let stores = Stores {
            commands: Arc::<command::MemoryCommands>::clone(&self.commands) as _,
            desk: Arc::<command::MemoryCommands>::clone(&self.commands),
            eras: Arc::<era::MemoryEras>::clone(&eras),
            ledger,
            lease: Arc::<lease::MemoryLeases>::clone(&self.server.leases),
            bus: Arc::<bus::MemoryBus>::clone(&self.bus),
            presence,
            control: Arc::<control::MemoryControl>::clone(&self.control),
            tickets: Arc::new(ticket::MemoryTickets::new(Arc::clone(&self.tickets), Arc::clone(&eras))),
            limits: Arc::new(limit::MemoryCounts::new(Arc::clone(&self.limits), Arc::clone(&eras))),
            penalties: Arc::new(penalty::MemoryPenalties::new(Arc::clone(&self.penalties), Arc::clone(&eras))),
            reports: Arc::<report::MemoryReports>::clone(&self.reports),
            remains: Arc::new(remains),
            leadership: Arc::<leader::MemoryLeadership>::clone(&self.leadership),
        };
        (stores, eras)
    }

    /// Everything is lost, as by a restart without data or `FLUSHALL`.
    pub fn forget(&self) {
        self.server.forget();
    }

    /// A replica has everything up to now, and gets no more.
    pub fn copy(&self) {
        self.server.copy();
    }

    /// The replica becomes the server: what happened since [`MemoryWorld::copy`] is lost.
    pub fn fail_over(&self) {
        self.server.go_back();
    }

    /// It starts again and has lost nothing.
    pub fn restart(&self) {
        self.server.restart();
    }
}

/// An answer that is there already.
fn ready<'a, T: Send + 'a>(answer: Result<T, StoreFault>) -> StoreFuture<'a, T> {
    Box::pin(std::future::ready(answer))
}
