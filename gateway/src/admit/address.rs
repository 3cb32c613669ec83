//! Connections and attempts of one address: shared by the workers of a node, bounded in memory, no I/O.
//!
//! The key is [`address_key`]: the address, or its /64 for IPv6, because that is what one household or host is given.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_common::config::model::{Limits, address_key};
use portcullis_common::gcra::{Gcra, Tat};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

/// Locks of a table; workers rarely meet at one.
const SHARDS: usize = 64;

/// Addresses that a table remembers.
pub const ADDRESSES: usize = 65_536;

/// Entries looked at for an idle one when a shard is full: bounds the cost of one call.
const SWEEP: usize = 16;

/// When it is worth trying again after a connection cap was met; a guess, because nobody knows when another closes.
const CAP_RETRY: Duration = Duration::from_secs(1);

/// An address as 128 bits; IPv4 as its mapped form.
fn key_of(ip: IpAddr) -> u128 {
    match address_key(ip) {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// A poisoned lock is taken all the same: every critical section here leaves numbers that are legal.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which limit.
#[derive(Clone, Copy)]
enum Kind {
    Connect,
    Login,
}

/// What is known of one address: 16 bytes of state beside its key.
#[derive(Clone, Copy, Default)]
struct Buckets {
    connect: Tat,
    login: Tat,
}

impl Buckets {
    fn of(&mut self, kind: Kind) -> &mut Tat {
        match kind {
            Kind::Connect => &mut self.connect,
            Kind::Login => &mut self.login,
        }
    }
}

struct Shard {
    /// Where an address stands in `slots`.
    index: HashMap<u128, usize>,
    slots: Vec<(u128, Buckets)>,
    /// Where the search for an idle entry goes on.
    hand: usize,
    /// Charged for every address that finds no room.
    overflow: Buckets,
}

/// Both limits.
struct Rates {
    connect: Gcra,
    login: Gcra,
}

impl Rates {
    fn new(limits: &Limits) -> Self {
        Self { connect: Gcra::new(limits.connect), login: Gcra::new(limits.login) }
    }
}

/// The limits `connect` and `login` of each address.
///
/// At most [`ADDRESSES`] are remembered (about 5 MB). Where a new one finds its shard full, up to 16 entries are looked
/// at, and one whose buckets are full again, which equals an address never seen, gives way. If there is none, the new
/// address is charged to the bucket that all such addresses of the shard share: so an attacker with a hundred thousand
/// addresses gets the rate of 65,600, and nobody who is already known is affected.
///
/// Times are ns on a monotonic clock that the caller chooses; `&self` calls take one short lock.
pub struct AddressTable {
    limits: ArcSwap<Rates>,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    per_shard: usize,
}

impl AddressTable {
    /// An empty table.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self::with_room(limits, ADDRESSES)
    }

    /// A table that remembers at most `addresses`, rounded up to a multiple of 64.
    #[must_use]
    pub fn with_room(limits: &Limits, addresses: usize) -> Self {
        let shard =
            || Mutex::new(Shard { index: HashMap::new(), slots: Vec::new(), hand: 0, overflow: Buckets::default() });
        Self {
            limits: ArcSwap::from_pointee(Rates::new(limits)),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher: RandomState::new(),
            per_shard: addresses.div_ceil(SHARDS).max(1),
        }
    }

    /// Other limits from now on; what was used stays used.
    pub fn set_limits(&self, limits: &Limits) {
        self.limits.store(Arc::new(Rates::new(limits)));
    }

    /// Charges one connection attempt.
    ///
    /// # Errors
    /// `rate_limited` with the exact time after which the next attempt is good. A refused attempt costs nothing.
    pub fn connect(&self, ip: IpAddr, now: u64) -> Result<(), Reject> {
        self.with(ip, Kind::Connect, now, true, |rates, tat| rates.connect.take(tat, now, 1))
            .map_err(|after| limited(after, "connection attempts of this address"))
    }

    /// Whether a credential of this address may be looked at; charges nothing.
    ///
    /// # Errors
    /// `rate_limited` with the exact time, after too many failures.
    pub fn login_allowed(&self, ip: IpAddr, now: u64) -> Result<(), Reject> {
        self.with(ip, Kind::Login, now, false, |rates, tat| rates.login.take(&mut Tat(tat.0), now, 1))
            .map_err(|after| limited(after, "failed authentications of this address"))
    }

    /// Charges one failed authentication.
    pub fn login_failed(&self, ip: IpAddr, now: u64) {
        // over the limit already: nothing to add, and the refusal is the next `login_allowed`'s
        let _ = self.with(ip, Kind::Login, now, true, |rates, tat| rates.login.take(tat, now, 1));
    }

    /// How many addresses are remembered, idle or not; for a metric. Takes every lock once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).slots.len()).sum()
    }

    /// Whether no address is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs `f` on the bucket of an address. `keep`: an address that is not known is remembered.
    fn with(
        &self,
        ip: IpAddr,
        kind: Kind,
        now: u64,
        keep: bool,
        f: impl FnOnce(&Rates, &mut Tat) -> Result<(), Duration>,
    ) -> Result<(), Duration> {
        let rates = &**self.limits.load();
        let key = key_of(ip);
        let Some(shard) = self.shard(key) else { return Ok(()) };
        let mut guard = lock(shard);
        let shard = &mut *guard;
        let known = shard.index.get(&key).copied();
        if known.is_none() && !keep && shard.slots.len() < self.per_shard {
            return f(rates, &mut Tat::default());
        }
        let slot = if known.is_none() && keep { self.place(shard, key, now, rates) } else { known };
        match slot.and_then(|at| shard.slots.get_mut(at)) {
            Some((_, buckets)) => f(rates, buckets.of(kind)),
            None => f(rates, shard.overflow.of(kind)),
        }
    }

    fn shard(&self, key: u128) -> Option<&Mutex<Shard>> {
        let hash = self.hasher.hash_one(key) % SHARDS as u64;
        self.shards.get(usize::try_from(hash).unwrap_or(0))
    }

    /// A fresh slot for an address, or none when the shard is full of busy ones.
    fn place(&self, shard: &mut Shard, key: u128, now: u64, rates: &Rates) -> Option<usize> {
        let fresh = (key, Buckets::default());
        let len = shard.slots.len();
        if len < self.per_shard {
            shard.index.insert(key, len);
            shard.slots.push(fresh);
            return Some(len);
        }
        for _ in 0..SWEEP.min(len) {
            let at = shard.hand % len;
            shard.hand = at + 1;
            let Some(slot) = shard.slots.get_mut(at) else { continue };
            let (old, buckets) = *slot;
            if rates.connect.idle(buckets.connect, now) && rates.login.idle(buckets.login, now) {
                *slot = fresh;
                shard.index.remove(&old);
                shard.index.insert(key, at);
                return Some(at);
            }
        }
        None
    }
}

fn limited(after: Duration, detail: &'static str) -> Reject {
    Reject::new(Code::RateLimited, detail).retry(after)
}

/// Live TCP connections, in total and of each address. Memory is bounded by the total: an address with none is forgotten.
pub struct ConnectionCaps {
    total: AtomicUsize,
    max_total: usize,
    max_each: usize,
    shards: Box<[Mutex<HashMap<u128, usize>>]>,
    hasher: RandomState,
}

impl ConnectionCaps {
    /// No connections yet; both bounds are inclusive.
    #[must_use]
    pub fn new(max_total: usize, max_each: usize) -> Arc<Self> {
        Arc::new(Self {
            total: AtomicUsize::new(0),
            max_total,
            max_each,
            shards: std::iter::repeat_with(|| Mutex::new(HashMap::new())).take(SHARDS).collect(),
            hasher: RandomState::new(),
        })
    }

    /// Counts a connection until the guard is dropped.
    ///
    /// # Errors
    /// `rate_limited`: 429 when the address has its share, 503 when the node has.
    pub fn take(self: &Arc<Self>, ip: IpAddr) -> Result<CapGuard, Reject> {
        let mut guard = self.enter()?;
        guard.count_for(ip)?;
        Ok(guard)
    }

    /// Counts a connection in the total only: it is a proxy's, and whose else is not known yet.
    ///
    /// # Errors
    /// `rate_limited` 503 when the node has its share.
    pub fn enter(self: &Arc<Self>) -> Result<CapGuard, Reject> {
        let bounded = |count: usize| (count < self.max_total).then_some(count + 1);
        if self.total.fetch_update(Ordering::AcqRel, Ordering::Acquire, bounded).is_err() {
            let full = Reject::new(Code::RateLimited, "as many connections as the node holds").retry(CAP_RETRY);
            return Err(full.status(503));
        }
        Ok(CapGuard { caps: Arc::clone(self), key: None })
    }

    fn count(&self, key: u128) -> Result<(), Reject> {
        let Some(shard) = self.shard(key) else { return Ok(()) };
        let mut counts = lock(shard);
        let count = counts.get(&key).copied().unwrap_or(0);
        if count >= self.max_each {
            let full = Reject::new(Code::RateLimited, "as many connections as one address may hold");
            return Err(full.retry(CAP_RETRY));
        }
        counts.insert(key, count + 1);
        Ok(())
    }

    /// Live connections.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }

    /// Live connections of one address.
    #[must_use]
    pub fn of(&self, ip: IpAddr) -> usize {
        let key = key_of(ip);
        self.shard(key).map_or(0, |shard| lock(shard).get(&key).copied().unwrap_or(0))
    }

    fn shard(&self, key: u128) -> Option<&Mutex<HashMap<u128, usize>>> {
        let hash = self.hasher.hash_one(key) % SHARDS as u64;
        self.shards.get(usize::try_from(hash).unwrap_or(0))
    }

    fn forget(&self, key: u128) {
        let Some(shard) = self.shard(key) else { return };
        if let Entry::Occupied(mut entry) = lock(shard).entry(key) {
            match entry.get().checked_sub(1).filter(|left| *left > 0) {
                Some(left) => *entry.get_mut() = left,
                None => drop(entry.remove()),
            }
        }
    }
}

/// One counted connection; dropping it uncounts it.
pub struct CapGuard {
    caps: Arc<ConnectionCaps>,
    /// The address it counts for, if it does.
    key: Option<u128>,
}

impl CapGuard {
    /// Counts the connection for this address, and no longer for another.
    ///
    /// # Errors
    /// `rate_limited` 429 when the address has its share; it goes on counting for whom it did.
    pub fn count_for(&mut self, ip: IpAddr) -> Result<(), Reject> {
        let key = key_of(ip);
        if self.key == Some(key) {
            return Ok(());
        }
        self.caps.count(key)?;
        if let Some(old) = self.key.replace(key) {
            self.caps.forget(old);
        }
        Ok(())
    }
}

impl Drop for CapGuard {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.caps.forget(key);
        }
        self.caps.total.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
