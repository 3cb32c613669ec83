//! The node: everything its workers share, put together in one place.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use portcullis_common::clock::{Clock, Mono, UnixMs};
use portcullis_common::config::model::{Config, StoreUrl, TlsMode};
use portcullis_common::fence::{Fence, LEASE};
use portcullis_common::ids::NodeEpoch;
use portcullis_common::store::Stores;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use tokio::sync::Notify;

use crate::accept::io::Io;
use crate::admit::address::{AddressTable, ConnectionCaps};
use crate::admit::bans::BanTable;
use crate::admit::kicks::KickTable;
use crate::admit::reputation::hearsay::Hearsay;
use crate::bus::NodeBus;
use crate::control;
use crate::control::pending::{self, Pending};
use crate::control::settle::{Follower, Settled};
use crate::limits::{FleetLimits, Sources};
use crate::metrics::Metrics;
use crate::overload::{self, Overload};
use crate::penalty::sightings::Sightings;
use crate::penalty::{self, Penalties};
use crate::pipeline::buckets::Buckets;
use crate::pipeline::rate::Allowance;
use crate::reload::{self, LastReload};
use crate::rules::Rules;
use crate::session::era::EraKeeper;
use crate::session::manager::{Estate, Life, ManagerHandle};
use crate::session::membership::Membership;
use crate::session::orphans::Orphanage;
use crate::session::registry::Registry;
use crate::session::sweep::Sweep;
use crate::store::Opened;
use crate::store_time::StoreTime;
use crate::vitals::Vitals;

/// What can keep a node from starting.
mod start;

pub use self::start::{StartError, check};
use self::start::{compile, fitting};

/// A worker whose sweep has not run for this long counts as dead.
const WORKER_SILENCE: Duration = Duration::from_secs(5);

/// How often the store is asked what time it is there.
const TIME: Duration = Duration::from_secs(10);

/// An answer that took longer says too little.
const SLOW: Duration = Duration::from_millis(500);

/// What the workers of a node share.
pub struct Node {
    /// The configuration.
    pub config: Config,
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// The present life of the node.
    pub life: Arc<Life>,
    /// How long the node may act in the name of its lease.
    pub fence: Arc<Fence>,
    /// Its standing in the fleet.
    pub vitals: Vitals,
    /// Which lives of the fleet are over.
    pub membership: Arc<Membership>,
    /// Shared state.
    pub stores: Stores,
    /// The node's end of the bus.
    pub bus: Arc<NodeBus>,
    /// Live sessions.
    pub registry: Arc<Registry>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What a reload replaces: tokens, messages, rooms.
    pub rules: Arc<ArcSwap<Rules>>,
    /// Where limits that connections share are counted, whatever the rules.
    pub allowance: Arc<dyn Allowance>,
    /// One reload at a time.
    pub reloading: tokio::sync::Mutex<()>,
    /// How the last one went.
    pub last_reload: ArcSwapOption<LastReload>,
    /// Bans and revocations.
    pub bans: Arc<BanTable>,
    /// Sessions that an operator has ended.
    pub kicks: Arc<KickTable>,
    /// Slots that are looked after.
    pub orphans: Orphanage,
    /// Attempts by address.
    pub addresses: AddressTable,
    /// Connections, all and by address.
    pub caps: Arc<ConnectionCaps>,
    /// What commands wait for.
    pub settled: Arc<Settled>,
    /// Bans that the store has not taken yet.
    pub pending: Arc<Pending>,
    /// The store's time.
    pub store_time: Arc<StoreTime>,
    /// Evidence against users and networks.
    pub penalties: Arc<Penalties>,
    /// Whom feeds have been heard about lately.
    pub hearsay: Hearsay,
    /// Whether it has more to do than it can.
    pub overload: Overload,
    /// Logins, for the fleet's judgement.
    pub sightings: Sightings,
    /// Where a reload reads its configuration.
    pub source: OnceLock<reload::Source>,
    leaving: AtomicBool,
    draining: AtomicBool,
    drain_asked: Arc<Notify>,
    /// Background work that is not over.
    debts: Arc<AtomicUsize>,
    runtime: tokio::runtime::Handle,
}

/// One piece of background work, until it is over or lost.
struct Debt(Arc<AtomicUsize>);

impl Debt {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Asks the store for its time now and then, until the node ends.
async fn keep_time(node: Weak<Node>) {
    loop {
        actix_rt::time::sleep(TIME).await;
        let Some(node) = node.upgrade() else { return };
        let asked = node.clock.mono();
        // a store that is away is reported by the renewal of the lease
        if let Ok(theirs) = node.stores.commands.now().await
            && node.clock.mono().since(asked) < SLOW
        {
            node.store_time.learn(theirs, node.clock.wall());
        }
    }
}

/// Where limits that connections share are counted: in a store of this process's own nobody else counts.
fn allowance(fleet: Option<Sources>) -> Arc<dyn Allowance> {
    match fleet {
        None => Arc::new(Buckets::default()),
        Some(sources) => Arc::new(FleetLimits::new(sources)),
    }
}

impl Node {
    /// Compiles every rule and puts the node together; nothing listens yet. Must run inside the runtime that will carry
    /// the node's background work.
    ///
    /// # Errors
    /// Every problem of the rules at once; the store's.
    pub async fn assemble(mut config: Config, clock: Arc<dyn Clock>, opened: Opened) -> Result<Arc<Self>, StartError> {
        let Opened { epoch, stores, watch, sealer } = opened;
        let metrics = Arc::new(Metrics::new(config.node.workers));
        let membership: Arc<Membership> = Arc::default();
        let sources = |watch| Sources::new(&stores.limits, watch, &membership, &clock, &metrics);
        let allowance = allowance(watch.clone().map(sources));
        // as written: a reload is compared with it
        let rules = compile(&Arc::new(config.clone()), &clock, Arc::clone(&allowance))?;
        config.listen.max_connections = fitting(config.listen.max_connections)?;
        let workers = config.node.workers;
        let registry = Arc::new(Registry::default());
        let rules = Arc::new(ArcSwap::from_pointee(rules));
        let bus = NodeBus::new(
            config.node.id.clone(),
            Arc::clone(&stores.bus),
            Arc::clone(&registry),
            Arc::clone(&metrics),
            Arc::clone(&rules),
            workers,
        );
        let fence = if watch.is_some() { Fence::of(&config.session) } else { Fence::open() };
        let vitals = Vitals::new(fence, watch, Arc::clone(&clock));
        let node = Arc::new(Self {
            rules,
            allowance,
            reloading: tokio::sync::Mutex::default(),
            last_reload: ArcSwapOption::empty(),
            addresses: AddressTable::new(&config.limit),
            caps: ConnectionCaps::new(config.listen.max_connections, config.listen.max_connections_per_ip),
            bans: Arc::new(BanTable::new(config.auth.max_token_life + config.auth.leeway)),
            kicks: Arc::new(KickTable::new(config.session.absolute_timeout)),
            orphans: Orphanage::default(),
            life: Arc::new(Life::new(epoch)),
            fence: Arc::clone(&vitals.fence),
            vitals,
            membership,
            bus: Arc::new(bus),
            settled: Arc::default(),
            pending: Arc::default(),
            store_time: Arc::default(),
            penalties: Arc::default(),
            hearsay: Hearsay::default(),
            sightings: Sightings::default(),
            overload: Overload::default(),
            source: OnceLock::new(),
            leaving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            drain_asked: Arc::default(),
            debts: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
            config,
            clock,
            stores,
            registry,
            metrics,
        });
        node.metrics.rules_version.set(1);
        node.join_fleet().await?;
        control::start(&node, sealer).await?;
        Ok(node)
    }

    /// Lease, control log, bus: in this order, because a node that is not known must not act.
    async fn join_fleet(self: &Arc<Self>) -> Result<(), StartError> {
        let id = self.config.node.id.clone();
        // the life before this one may have ended without a word: then its lease runs out
        let until = self.clock.mono().after(LEASE + Duration::from_secs(2));
        let mut sent = self.clock.mono();
        while !self.stores.lease.take(id.clone(), self.epoch(), LEASE).await? {
            if self.clock.mono() >= until {
                return Err(StartError::NodeIdTaken);
            }
            actix_rt::time::sleep(Duration::from_millis(500)).await;
            sent = self.clock.mono();
        }
        self.fence.renewed(sent, self.clock.mono());
        // how many share the fleet's limits is known before the first message
        let asked = self.clock.mono();
        self.membership.answered(&self.stores.lease.members().await?, &[], asked, self.clock.mono());
        self.store_time.learn(self.stores.commands.now().await?, self.clock.wall());
        let asked = Arc::clone(&self.drain_asked);
        let estate = Arc::new(Estate {
            node: id,
            life: Arc::clone(&self.life),
            fence: Arc::clone(&self.fence),
            renewing: tokio::sync::Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            membership: Arc::clone(&self.membership),
            clock: Arc::clone(&self.clock),
            registry: Arc::clone(&self.registry),
            bans: Arc::clone(&self.bans),
            kicks: Arc::clone(&self.kicks),
            sweep: Sweep::default(),
            store_time: Arc::clone(&self.store_time),
            stores: self.stores.clone(),
            watch: self.vitals.watch(),
            metrics: Arc::clone(&self.metrics),
            cap: self.config.session.max_per_user,
            on_drain: Box::new(move || asked.notify_one()),
        });
        EraKeeper::join(Arc::clone(&estate)).await?;
        let manager = ManagerHandle::start(estate);
        self.pending.attach(manager.clone());
        let follower = Follower {
            manager: manager.clone(),
            settled: Arc::clone(&self.settled),
            pending: Arc::clone(&self.pending),
            counted: Mutex::default(),
        };
        self.stores.control.follow(Arc::new(follower)).await?;
        self.bus.attach(manager);
        self.vitals.joined();
        actix_rt::spawn(pending::write(Arc::downgrade(self)));
        actix_rt::spawn(keep_time(Arc::downgrade(self)));
        actix_rt::spawn(penalty::flush::run(Arc::downgrade(self)));
        actix_rt::spawn(penalty::sightings::run(Arc::downgrade(self)));
        actix_rt::spawn(overload::run(Arc::downgrade(self)));
        self.rules.load().verifier.start();
        Ok(())
    }

    /// The store's time, as well as this node knows it.
    #[must_use]
    pub fn now_at_store(&self) -> UnixMs {
        self.store_time.at(self.clock.wall())
    }

    /// The epoch of the present life.
    #[must_use]
    pub fn epoch(&self) -> NodeEpoch {
        self.life.epoch()
    }

    /// `memory` or `redis`, for `/health`.
    #[must_use]
    pub fn store_kind(&self) -> &'static str {
        match self.config.store.url {
            StoreUrl::Memory => "memory",
            StoreUrl::Redis(_) => "redis",
        }
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.config.node.id.as_str()
    }

    /// Whether new sessions are refused because the node goes away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// From now on the node says that it is not ready; it still admits.
    pub fn set_leaving(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// From now on new sessions are refused.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Has the node drain, as soon as whoever waits in [`Node::drain_asked`] is told.
    pub fn ask_to_drain(&self) {
        self.drain_asked.notify_one();
    }

    /// Waits until the control log asks this node to drain.
    pub async fn drain_asked(&self) {
        self.drain_asked.notified().await;
    }

    /// Carries work to its end that its session does not wait for.
    pub fn background(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let debt = Debt::new(&self.debts);
        self.runtime.spawn(async move {
            let _debt = debt;
            work.await;
        });
    }

    /// Work that a drain does not wait for.
    pub fn errand(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.runtime.spawn(work);
    }

    /// How much of what [`Node::background`] took is not over. A drain waits for it.
    #[must_use]
    pub fn debts(&self) -> usize {
        self.debts.load(Ordering::Acquire)
    }

    /// `max-age` of `Strict-Transport-Security` for an answer on this connection.
    #[must_use]
    pub fn hsts(&self, io: &Io) -> Option<Duration> {
        let tls = &self.config.tls;
        let secure = io.is_tls() || tls.mode == TlsMode::Upstream;
        Some(tls.hsts_max_age).filter(|age| secure && !age.is_zero())
    }

    /// The same for plain HTTP, where the connection is not at hand.
    #[must_use]
    pub fn hsts_for_http(&self) -> Option<Duration> {
        let tls = &self.config.tls;
        Some(tls.hsts_max_age).filter(|age| tls.mode != TlsMode::Off && !age.is_zero())
    }

    /// What does not work at the moment although the node is ready: live sessions go on, new ones are refused.
    #[must_use]
    pub fn degraded(&self) -> Vec<&'static str> {
        let mut all = self.vitals.degraded();
        if !self.stores.eras.current().is_some_and(|view| view.whole) {
            all.push("the store forgot, and is not whole yet");
        }
        all.extend(match self.overload.step() {
            0 => None,
            1 => Some("overload: no new sessions"),
            2 => Some("overload: no new sessions, no messages of low priority"),
            _ => Some("overload: no new sessions, no messages of low priority, the largest queues are closed"),
        });
        if self.allowance.decides_alone(self.clock.nanos()) {
            all.push("limits are decided by this node's share");
        }
        if self.rules.load().feeds.any_over(self.clock.wall()) {
            all.push("a feed of reputation is over, and says nothing any more");
        }
        all
    }

    /// Whether somebody new may be let in at all: the node stays, and may act in the fleet.
    ///
    /// # Errors
    /// `store_unavailable` with a time after which to try again.
    pub fn takes_newcomers(&self) -> Result<(), Reject> {
        if self.is_draining() {
            return Err(Reject::new(Code::StoreUnavailable, "draining").retry(Duration::from_secs(1)));
        }
        self.overload.takes_newcomers()?;
        self.vitals.may_admit()
    }

    /// Why no new connection should be sent here; empty when ready.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.leaving.load(Ordering::Acquire) || self.is_draining() {
            reasons.push("draining".to_owned());
        }
        reasons.extend(self.vitals.not_ready());
        if !self.rules.load().verifier.ready() {
            reasons.push("no keys of some issuer yet".to_owned());
        }
        let now = self.clock.mono();
        for (worker, beat) in self.metrics.heartbeat.iter().enumerate() {
            let beat = Mono(beat.load(Ordering::Relaxed) / 1_000_000);
            if beat.0 == 0 || now.since(beat) > WORKER_SILENCE {
                reasons.push(format!("worker {worker} does not run"));
            }
        }
        reasons
    }
}
