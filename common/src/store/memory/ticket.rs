//! Connection tickets: one map, and an index by expiry.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::era::{MemoryEras, Part, Told, When};
use super::shard::lock;
use super::{Bounds, ready};
use crate::clock::{Clock, Mono};
use crate::store::ticket::Tickets;
use crate::store::{StoreFault, StoreFuture};

/// Expired tickets dropped by one call.
const SWEEP: usize = 8;

#[derive(Clone, Default)]
struct Issued {
    told: Told,
    records: HashMap<[u8; 32], (Bytes, Mono)>,
    by_expiry: BTreeSet<(Mono, [u8; 32])>,
    bytes: usize,
}

/// One process's way to the tickets.
pub(super) struct MemoryTickets {
    all: Arc<AllTickets>,
    eras: Arc<MemoryEras>,
}

/// The tickets themselves.
pub(super) struct AllTickets {
    clock: Arc<dyn Clock>,
    issued: Mutex<Issued>,
    copied: Mutex<Issued>,
    tickets: usize,
    bytes: usize,
}

impl MemoryTickets {
    pub(super) fn new(all: Arc<AllTickets>, eras: Arc<MemoryEras>) -> Self {
        Self { all, eras }
    }
}

impl AllTickets {
    pub(super) fn new(clock: Arc<dyn Clock>, bounds: Bounds) -> Self {
        let (issued, copied) = (Mutex::default(), Mutex::default());
        Self { clock, issued, copied, tickets: bounds.tickets, bytes: bounds.ticket_bytes }
    }
}

impl Part for AllTickets {
    fn tell(&self, told: Told) {
        let mut issued = lock(&self.issued);
        if told.follows(issued.told) {
            *issued = Issued { told, ..Issued::default() };
        }
    }

    fn forget(&self) {
        *lock(&self.issued) = Issued::default();
    }

    fn copy(&self) {
        *lock(&self.copied) = lock(&self.issued).clone();
    }

    fn go_back(&self) {
        *lock(&self.issued) = lock(&self.copied).clone();
    }
}

impl Issued {
    fn take(&mut self, ticket: &[u8; 32]) -> Option<(Bytes, Mono)> {
        let (record, until) = self.records.remove(ticket)?;
        self.by_expiry.remove(&(until, *ticket));
        self.bytes -= record.len();
        Some((record, until))
    }

    fn sweep(&mut self, now: Mono) {
        for _ in 0..SWEEP {
            match self.by_expiry.first().copied() {
                Some((until, ticket)) if until <= now => self.take(&ticket),
                _ => break,
            };
        }
    }
}

impl Tickets for MemoryTickets {
    fn issue(&self, ticket: [u8; 32], record: Bytes, ttl: Duration) -> StoreFuture<'_, ()> {
        let now = self.all.clock.mono();
        let mut issued = lock(&self.all.issued);
        if let Err(fault) = self.eras.check(issued.told, When::Whole) {
            return ready(Err(fault));
        }
        issued.sweep(now);
        issued.take(&ticket);
        if issued.records.len() >= self.all.tickets || issued.bytes.saturating_add(record.len()) > self.all.bytes {
            return ready(Err(StoreFault::Full("tickets")));
        }
        let until = now.after(ttl);
        issued.bytes += record.len();
        issued.by_expiry.insert((until, ticket));
        issued.records.insert(ticket, (record, until));
        ready(Ok(()))
    }

    fn redeem(&self, ticket: [u8; 32]) -> StoreFuture<'_, Option<Bytes>> {
        let now = self.all.clock.mono();
        let mut issued = lock(&self.all.issued);
        if let Err(fault) = self.eras.check(issued.told, When::Whole) {
            return ready(Err(fault));
        }
        issued.sweep(now);
        let record = issued.take(&ticket).filter(|(_, until)| *until > now);
        ready(Ok(record.map(|(record, _)| record)))
    }
}
