//! Connection tickets: one map, and an index by expiry.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::shard::lock;
use super::{Bounds, ready};
use crate::clock::{Clock, Mono};
use crate::store::ticket::Tickets;
use crate::store::{StoreFault, StoreFuture};

/// Expired tickets dropped by one call.
const SWEEP: usize = 8;

#[derive(Default)]
struct Issued {
    records: HashMap<[u8; 32], (Bytes, Mono)>,
    by_expiry: BTreeSet<(Mono, [u8; 32])>,
    bytes: usize,
}

pub(super) struct MemoryTickets {
    clock: Arc<dyn Clock>,
    issued: Mutex<Issued>,
    tickets: usize,
    bytes: usize,
}

impl MemoryTickets {
    pub(super) fn new(clock: Arc<dyn Clock>, bounds: Bounds) -> Self {
        Self { clock, issued: Mutex::default(), tickets: bounds.tickets, bytes: bounds.ticket_bytes }
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
        let now = self.clock.mono();
        let mut issued = lock(&self.issued);
        issued.sweep(now);
        issued.take(&ticket);
        if issued.records.len() >= self.tickets || issued.bytes.saturating_add(record.len()) > self.bytes {
            return ready(Err(StoreFault::Full("tickets")));
        }
        let until = now.after(ttl);
        issued.bytes += record.len();
        issued.by_expiry.insert((until, ticket));
        issued.records.insert(ticket, (record, until));
        ready(Ok(()))
    }

    fn redeem(&self, ticket: [u8; 32]) -> StoreFuture<'_, Option<Bytes>> {
        let now = self.clock.mono();
        let mut issued = lock(&self.issued);
        issued.sweep(now);
        let record = issued.take(&ticket).filter(|(_, until)| *until > now);
        ready(Ok(record.map(|(record, _)| record)))
    }
}
