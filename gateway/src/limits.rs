//! Limits that the fleet shares, on this node: one [`Table`] of counts in 64 parts, and the calls that it wants made.
//!
//! A worker takes under a short lock and never waits; what has to be asked is asked on the node's own runtime, one call a
//! key at a time, and whoever parks is woken by its answer. `per = "node"` is counted here and nowhere else.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_common::clock::Clock;
use portcullis_common::gcra::Gcra;
use portcullis_common::limit::{Answer, Order, Plan, Standing, Table, Took};
use portcullis_common::store::limit::{Ask, LimitCounts, LimitKey};
use portcullis_common::store::watch::StoreWatch;
use tokio::sync::oneshot;

use crate::events::LimitsAlone;
use crate::metrics::Metrics;
use crate::pipeline::buckets::{Buckets, COUNTS};
use crate::pipeline::rate::{Allowance, Counted, Key, Taken};
use crate::session::membership::Membership;

/// Locks of the table; workers rarely meet at one.
const PARTS: usize = 64;
/// Calls under way; beyond them this node's share decides.
const CALLS: usize = 4_096;
/// How old a view of the fleet may be, in ns.
const VIEW: u64 = 500_000_000;
/// For how long after the last decision by a share the node says that it decides alone, in ns.
const ALONE: u64 = 2_000_000_000;

/// One part of the keys.
struct Part {
    table: Table<Key>,
    /// Who waits for the answer of a call that is under way.
    waiting: HashMap<Key, Vec<oneshot::Sender<()>>>,
}

/// What it is made of.
pub struct Sources {
    /// Where the counts are.
    pub counts: Arc<dyn LimitCounts>,
    /// Whether that answers.
    pub watch: Arc<dyn StoreWatch>,
    /// How many nodes share it.
    pub membership: Arc<Membership>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Sources {
    /// Of a node.
    #[must_use]
    pub fn new(
        counts: &Arc<dyn LimitCounts>,
        watch: Arc<dyn StoreWatch>,
        membership: &Arc<Membership>,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let (counts, membership) = (Arc::clone(counts), Arc::clone(membership));
        Self { counts, watch, membership, clock: Arc::clone(clock), metrics: Arc::clone(metrics) }
    }
}

struct Shared {
    sources: Sources,
    parts: Box<[Mutex<Part>]>,
    hasher: RandomState,
    calls: AtomicUsize,
    /// How many nodes there were, and when that was looked up.
    nodes: AtomicU32,
    looked: AtomicU64,
    /// When a share decided last; 0: never.
    alone: AtomicU64,
    said: AtomicBool,
}

/// The node's end of the fleet's limits; one a node, for all its workers and whatever rules are in force.
///
/// At most [`COUNTS`] keys (about 15 MB with short names); at the bound see [`Table`]. At most 4,096 calls are under way;
/// at that bound this node's share decides.
pub struct FleetLimits {
    shared: Arc<Shared>,
    here: Buckets,
    runtime: tokio::runtime::Handle,
}

impl FleetLimits {
    /// Counts from now on; calls are made on the present runtime.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        let now = sources.clock.nanos();
        let part = || Mutex::new(Part { table: Table::new(COUNTS / PARTS, now), waiting: HashMap::new() });
        let shared = Shared {
            parts: std::iter::repeat_with(part).take(PARTS).collect(),
            hasher: RandomState::new(),
            calls: AtomicUsize::new(0),
            nodes: AtomicU32::new(1),
            looked: AtomicU64::new(0),
            alone: AtomicU64::new(0),
            said: AtomicBool::new(false),
            sources,
        };
        Self { shared: Arc::new(shared), here: Buckets::default(), runtime: tokio::runtime::Handle::current() }
    }

    /// Carries out what a take wanted.
    fn carry_out(&self, key: &Key, plan: &Plan, order: Option<Order>) {
        let Some(order) = order else { return };
        let shared = Arc::clone(&self.shared);
        if shared.calls.fetch_add(1, Ordering::AcqRel) >= CALLS {
            shared.calls.fetch_sub(1, Ordering::AcqRel);
            shared.settle(key, |table, now| table.failed(key, now));
            return;
        }
        let (key, plan) = (key.clone(), *plan);
        self.runtime.spawn(async move {
            let ask =
                Ask { key: named(&key), limit: plan.limit, paid: order.paid, want: order.want, nodes: order.nodes };
            let answer = shared.sources.counts.lease(ask).await;
            shared.calls.fetch_sub(1, Ordering::AcqRel);
            shared.sources.metrics.limits.called(answer.is_ok());
            match answer {
                Ok(leased) => shared.settle(&key, |table, now| table.answered(&key, &plan, order, leased, now)),
                Err(fault) => {
                    tracing::debug!(event = "limit_call_failed", limit = %key.limit, %fault);
                    shared.settle(&key, |table, now| table.failed(&key, now));
                }
            }
        });
    }
}

impl Shared {
    /// A poisoned lock is taken all the same: every critical section leaves numbers that are legal.
    fn part(&self, key: &Key) -> Option<MutexGuard<'_, Part>> {
        let place = usize::try_from(self.hasher.hash_one(key) % PARTS as u64).unwrap_or(0);
        Some(self.parts.get(place)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A call is over: whoever waits for it is woken, behind the lock.
    fn settle(&self, key: &Key, change: impl FnOnce(&mut Table<Key>, u64)) {
        let now = self.sources.clock.nanos();
        let woken = self.part(key).and_then(|mut part| {
            change(&mut part.table, now);
            part.waiting.remove(key)
        });
        drop(woken);
    }

    fn standing(&self, now: u64, patient: bool) -> Standing {
        Standing { up: self.sources.watch.answers(), patient, now }
    }

    /// How many nodes the last view of the fleet had.
    fn nodes(&self, now: u64) -> u32 {
        if now.saturating_sub(self.looked.load(Ordering::Relaxed)) >= VIEW {
            self.looked.store(now, Ordering::Relaxed);
            let nodes = self.sources.membership.nodes().len();
            self.nodes.store(u32::try_from(nodes).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
        }
        self.nodes.load(Ordering::Relaxed)
    }

    /// The limit as one of the nodes of the last view keeps it.
    fn plan(&self, gcra: &Gcra, now: u64) -> Plan {
        Plan::new(*gcra, self.nodes(now))
    }

    /// Notes who decided, and says so when that changes.
    fn note(&self, took: &Took, now: u64) {
        if took.alone {
            self.alone.store(now, Ordering::Relaxed);
            self.sources.metrics.limits.alone.inc();
            if !self.said.swap(true, Ordering::AcqRel) {
                LimitsAlone { alone: true }.emit(&self.sources.metrics);
            }
        } else if self.said.load(Ordering::Relaxed) && !self.is_alone(now) && self.said.swap(false, Ordering::AcqRel) {
            LimitsAlone { alone: false }.emit(&self.sources.metrics);
        }
    }

    fn is_alone(&self, now: u64) -> bool {
        let last = self.alone.load(Ordering::Relaxed);
        last != 0 && now.saturating_sub(last) < ALONE
    }
}

/// The key as the store names it.
fn named(key: &Key) -> LimitKey {
    let (per, counted) = match &key.counted {
        Counted::User(user) => ("user", user.to_string()),
        Counted::Ip(ip) => ("ip", ip.to_string()),
        Counted::Tenant(tenant) => ("tenant", tenant.as_deref().unwrap_or_default().to_owned()),
        Counted::Type(kind) => ("type", kind.to_string()),
        Counted::Node => ("node", String::new()),
    };
    LimitKey { limit: key.limit.to_string(), per, counted }
}

impl Allowance for FleetLimits {
    fn take(&self, key: &Key, gcra: &Gcra, now: u64, patient: bool) -> Taken {
        if key.counted == Counted::Node {
            return self.here.take(key, gcra, now, patient);
        }
        let (plan, standing) = (self.shared.plan(gcra, now), self.shared.standing(now, patient));
        let took = match self.shared.part(key) {
            Some(mut part) => part.table.take(key, &plan, standing),
            None => return Taken::Yes,
        };
        self.shared.note(&took, now);
        self.carry_out(key, &plan, took.order);
        match took.answer {
            Answer::Yes => Taken::Yes,
            Answer::Wait(wait) => Taken::Wait(wait),
            Answer::Ask => Taken::Ask,
        }
    }

    fn wait(&self, key: &Key, gcra: &Gcra, now: u64) -> Duration {
        if key.counted == Counted::Node {
            return self.here.wait(key, gcra, now);
        }
        let (plan, standing) = (self.shared.plan(gcra, now), self.shared.standing(now, true));
        self.shared.part(key).map_or(Duration::ZERO, |part| part.table.wait(key, &plan, standing))
    }

    fn give_back(&self, key: &Key, gcra: &Gcra, now: u64) {
        if key.counted == Counted::Node {
            return self.here.give_back(key, gcra, now);
        }
        let (plan, standing) = (self.shared.plan(gcra, now), self.shared.standing(now, true));
        if let Some(mut part) = self.shared.part(key) {
            part.table.give_back(key, &plan, standing);
        }
    }

    fn prepare(&self, key: &Key, gcra: &Gcra, now: u64) {
        if key.counted == Counted::Node {
            return;
        }
        let (plan, standing) = (self.shared.plan(gcra, now), self.shared.standing(now, true));
        let order = self.shared.part(key).and_then(|mut part| part.table.prepare(key, &plan, standing));
        self.carry_out(key, &plan, order);
    }

    fn answer(&self, key: &Key) -> Option<oneshot::Receiver<()>> {
        let mut part = self.shared.part(key)?;
        if !part.table.asked(key) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        part.waiting.entry(key.clone()).or_default().push(sender);
        Some(receiver)
    }

    fn decides_alone(&self, now: u64) -> bool {
        self.shared.is_alone(now)
    }

    fn nodes(&self, now: u64) -> u32 {
        self.shared.nodes(now)
    }
}
