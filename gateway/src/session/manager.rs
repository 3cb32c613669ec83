//! The session manager: the node's supervised actor that closes sessions on command, confirms evictions, renews the
//! node's lease. It keeps nothing: registry, bans and stores live outside, so a panic in it costs the one command that
//! caused it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Supervised};
use portcullis_common::clock::{Clock, UnixMs};
use portcullis_common::fence::{Fence, LEASE, Standing};
use portcullis_common::ids::{NodeEpoch, NodeId, UserId};
use portcullis_common::membership::Life as Lived;
use portcullis_common::store::control::{ControlEntry, ControlSink, EVENT_KEPT, Logged, Target};
use portcullis_common::store::lease::Member;
use portcullis_common::store::session::Holder;
use portcullis_common::store::watch::StoreWatch;
use portcullis_common::store::{StoreFault, Stores};
use portcullis_common::trie::canonical;

use super::connection::Order;
use super::membership::Membership;
use super::purge::purge;
use super::registry::{Registry, SessionEntry};
use super::supervise::Guardian;
use super::sweep::{Sweep, wanted};
use super::talk::Stop;
use super::verify::look_over;
use crate::admit::bans::BanTable;
use crate::admit::kicks::{KickTable, ended_user};
use crate::events::{Fenced, LeaseLapsed, PanicCaught, StoreEvicts, StoreFailed};
use crate::metrics::Metrics;
use crate::store_time::StoreTime;

/// How often it is looked whether the own lease has to be renewed; what failed is tried again as often.
const TICK: Duration = Duration::from_millis(500);
/// How often the own lease is renewed.
const RENEW: Duration = Duration::from_secs(3);
/// Every how many ticks live sessions are asked after.
const VERIFY: u64 = 2;
/// Slots, and memberships, of a dead life that are freed in one tick.
const REAP: usize = 1_000;
/// Sessions that re-assert themselves in one tick.
const REASSERT: usize = 2_000;
/// How far a node's clock may be behind the store's without a session that came after a kick being ended by it.
const SKEW: Duration = Duration::from_secs(120);
/// Commands that wait for the manager; more are carried out by whoever brings them.
const MAILBOX: usize = 1_024;

/// What the manager works on; all of it outlives the actor.
pub struct Estate {
    /// This node.
    pub node: NodeId,
    /// The present life of it.
    pub life: Arc<Life>,
    /// How long this node may act.
    pub fence: Arc<Fence>,
    /// One renewal at a time.
    pub renewing: tokio::sync::Mutex<()>,
    /// One look at the others at a time.
    pub looking: tokio::sync::Mutex<()>,
    /// The lives of the others.
    pub membership: Arc<Membership>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Live sessions.
    pub registry: Arc<Registry>,
    /// BanTable and revocations.
    pub bans: Arc<BanTable>,
    /// Sessions that were ended.
    pub kicks: Arc<KickTable>,
    /// Looks through all sessions that are due.
    pub sweep: Sweep,
    /// The store's time.
    pub store_time: Arc<StoreTime>,
    /// Node leases, session slots, room members.
    pub stores: Stores,
    /// How the store is doing; `None` where it is always well.
    pub watch: Option<Arc<dyn StoreWatch>>,
    /// `session.max_per_user`.
    pub cap: u32,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What to do when the control log asks this node to drain.
    pub on_drain: Box<dyn Fn() + Send + Sync>,
}

/// The present life of a node: a lease that lapsed is never renewed, a new life begins.
pub struct Life(Mutex<NodeEpoch>);

impl Life {
    /// The first life of this process.
    #[must_use]
    pub fn new(epoch: NodeEpoch) -> Self {
        Self(Mutex::new(epoch))
    }

    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> NodeEpoch {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, epoch: NodeEpoch) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }
}

/// A command for the manager.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub enum Command {
    /// An entry of the control log whose state part is applied already, and when it was written.
    Entry(ControlEntry, UnixMs),
    /// Looks through all sessions for those that entries are about.
    Sweep,
    /// Stop this session; its slot is promised to another.
    Evict {
        /// Its user.
        user: UserId,
        /// The session.
        victim: Holder,
    },
    /// A test asked for a panic.
    #[cfg(feature = "fault-injection")]
    Panic,
}

/// Sends commands to the manager. When its mailbox is full, or the actor is gone for good, the caller's thread carries
/// the command out: nothing waits and nothing is lost.
#[derive(Clone)]
pub struct ManagerHandle {
    address: Addr<Manager>,
    estate: Arc<Estate>,
}

impl ManagerHandle {
    /// Starts the manager on the current arbiter and follows its lease.
    #[must_use]
    pub fn start(estate: Arc<Estate>) -> Self {
        let mut context = Context::new();
        context.set_mailbox_capacity(MAILBOX);
        let address = context.address();
        let metrics = Arc::clone(&estate.metrics);
        let future = context.into_future(Manager { estate: Arc::clone(&estate) });
        actix_rt::spawn(Guardian::new(future, move |_| PanicCaught { part: "manager" }.emit(&metrics)));
        Self { address, estate }
    }

    /// Stops one session because another takes its slot.
    pub fn evict(&self, user: UserId, victim: Holder) {
        self.submit(Command::Evict { user, victim });
    }

    /// How many sessions of this node a kick or ban of the target is about. `None` for a token: each session knows its
    /// own, and the registry none.
    #[must_use]
    pub fn concerned(&self, target: &Target) -> Option<usize> {
        (!matches!(target, Target::Token(_))).then(|| self.estate.sessions(target).len())
    }

    /// Puts an entry in force that the log has not brought yet: whatever it brings about the same target takes its place.
    pub fn apply_provisionally(&self, logged: &Logged) {
        self.estate.bans.apply_provisionally(logged);
        self.estate.kicks.apply(logged);
        self.notice(logged);
    }

    /// Has the sessions told that an entry is about.
    fn notice(&self, logged: &Logged) {
        match wanted(&logged.entry) {
            Some(wanted) if self.estate.sweep.ask(wanted) => self.submit(Command::Sweep),
            Some(_) => {}
            None => self.submit(Command::Entry(logged.entry.clone(), logged.at)),
        }
    }

    /// Hands over a command.
    pub fn submit(&self, command: Command) {
        if let Err(actix::dev::SendError::Full(command) | actix::dev::SendError::Closed(command)) =
            self.address.try_send(command)
        {
            self.estate.carry_out(command);
        }
    }
}

impl ControlSink for ManagerHandle {
    fn apply(&self, logged: &Logged) {
        // the state first, here and now: after `append` returned no handshake of a banned user succeeds on this node
        self.estate.bans.apply(logged);
        self.estate.kicks.apply(logged);
        // whoever starts reads what was done long ago
        if let Some((user, until)) = ended_user(logged).filter(|_| !self.estate.is_late(logged.at)) {
            purge(&self.estate.stores.ledger, &self.estate.metrics, user.clone(), until);
        }
        self.notice(logged);
    }
}

impl Estate {
    fn carry_out(&self, command: Command) {
        match command {
            Command::Entry(entry, at) => self.act_on(&entry, at),
            Command::Sweep => self.look_through(),
            Command::Evict { victim, .. } => {
                tell(self.registry.doom(&victim).as_slice(), &Stop::Evicted);
            }
            #[cfg(feature = "fault-injection")]
            Command::Panic => {
                assert!(self.node.as_str().is_empty(), "injected into the manager");
            }
        }
    }

    fn act_on(&self, entry: &ControlEntry, at: UnixMs) {
        match entry {
            ControlEntry::Kick { target, .. } => {
                let stop = match target {
                    Target::Token(id) => Stop::KickedToken(id.as_str().into()),
                    _ => Stop::Kicked,
                };
                let mut ended = self.sessions(target);
                if self.is_late(at) && !matches!(target, Target::Session(_)) {
                    // read late: whoever came since then is not meant
                    ended.retain(|session| session.opened.after(SKEW) < at);
                }
                tell(&ended, &stop);
            }
            // the rest is in the table already: each session looks itself up
            ControlEntry::Ban { target, .. }
            | ControlEntry::Restrict { target, .. }
            | ControlEntry::Lift { target } => {
                tell(&self.sessions(target), &Stop::Recheck);
            }
            // it is about newcomers
            ControlEntry::Shut { .. } => {}
            ControlEntry::Revoke { user, .. } => tell(&self.registry.of_user(user), &Stop::Recheck),
            ControlEntry::Drain { node } => {
                if *node == self.node {
                    (self.on_drain)();
                }
            }
        }
    }

    /// Whether an entry of that time is read long after it was written.
    fn is_late(&self, at: UnixMs) -> bool {
        at.after(EVENT_KEPT) < self.store_time.at(self.clock.wall())
    }

    /// Has the sessions that networks or tokens are about look themselves up.
    fn look_through(&self) {
        let (addresses, tokens) = self.sweep.take();
        let now = self.clock.wall();
        let theirs = self.store_time.at(now);
        let meant = |entry: &SessionEntry| {
            let barred = || self.bans.check_address(entry.client, now).is_err();
            tokens || (addresses && (barred() || self.bans.restriction(None, Some(entry.client), theirs).is_some()))
        };
        tell(&self.registry.select(usize::MAX, meant), &Stop::Recheck);
    }

    fn sessions(&self, target: &Target) -> Vec<Arc<SessionEntry>> {
        match target {
            Target::Session(sid) => self.registry.get(*sid).into_iter().collect(),
            Target::User(user) => self.registry.of_user(user),
            Target::Network(network) => {
                let network = canonical(*network);
                self.registry.select(usize::MAX, |e| network.contains(&e.client.to_canonical()))
            }
            // the registry does not know tokens: every session compares its own
            Target::Token(_) => self.registry.select(usize::MAX, |_| true),
        }
    }
}

/// Gives every session an order. Where a mailbox is full the order waits for room; where it is closed there is no
/// session any more.
pub fn tell(sessions: &[Arc<SessionEntry>], stop: &Stop) {
    for session in sessions {
        if let Err(actix::dev::SendError::Full(order)) = session.address.try_send(Order(stop.clone())) {
            let waiting = session.address.send(order);
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(waiting)),
                Err(_) => tracing::error!(event = "order_lost", session = %session.holder.sid),
            }
        }
    }
}

/// The actor; see the module.
pub struct Manager {
    estate: Arc<Estate>,
}

impl Manager {
    fn begin(&self, ctx: &mut Context<Self>) {
        let mut ticks = 0u64;
        let (mut before, mut evicts) = (Standing::Held, false);
        ctx.run_interval(TICK, move |manager, _| {
            ticks += 1;
            let turn = ticks.is_multiple_of(VERIFY).then_some(ticks / VERIFY);
            let estate = Arc::clone(&manager.estate);
            before = estate.report(before);
            evicts = estate.report_policy(evicts);
            actix_rt::spawn(async move {
                estate.renew().await;
                estate.look_around().await;
                if let Some(turn) = turn.filter(|_| estate.watch.is_some()) {
                    look_over(&estate, turn).await;
                }
            });
        });
    }
}

impl Estate {
    /// Says so when the fence has fallen since `before`; what the node may do now.
    fn report(&self, before: Standing) -> Standing {
        let standing = self.fence.standing(self.clock.mono());
        self.metrics.fenced.set(i64::from(standing == Standing::Fenced));
        if standing == Standing::Fenced && before != Standing::Fenced {
            Fenced { node: &self.node, sessions: self.registry.count() }.emit(&self.metrics);
        }
        standing
    }

    /// Says so when a server that may drop keys has come or gone since `before`; whether there is one.
    fn report_policy(&self, before: bool) -> bool {
        let evicts = self.watch.as_ref().is_some_and(|watch| watch.evicts());
        if evicts != before {
            StoreEvicts { node: &self.node, evicts }.emit(&self.metrics);
        }
        evicts
    }

    /// Renews the lease when it is time, or begins a new life where it lapsed.
    async fn renew(&self) {
        let Ok(_turn) = self.renewing.try_lock() else { return };
        if self.fence.since_renewal(self.clock.mono()) < RENEW {
            return;
        }
        let sent = self.clock.mono();
        match self.stores.lease.renew(self.node.clone(), self.life.epoch(), LEASE).await {
            Ok(true) => self.fence.renewed(sent, self.clock.mono()),
            // a store that forgot a lease which has not run out is no reason for another life
            Ok(false) if self.keep_lease().await => {}
            Ok(false) => self.begin_life().await,
            Err(fault) => self.failed("lease.renew", &fault),
        }
    }

    /// A lease that lapsed is never renewed: another life takes one.
    async fn begin_life(&self) {
        let epoch = NodeEpoch::random(&mut rand::rng());
        let sent = self.clock.mono();
        match self.stores.lease.take(self.node.clone(), epoch, LEASE).await {
            Ok(true) => {
                LeaseLapsed { node: &self.node, sessions: self.registry.count() }.emit(&self.metrics);
                // first the life, or a newcomer could be let in under the old one
                self.life.begin(epoch);
                self.fence.renewed(sent, self.clock.mono());
            }
            Ok(false) => tracing::error!(event = "node_id_taken", node = %self.node),
            Err(fault) => self.failed("lease.take", &fault),
        }
    }

    /// Takes the lease again for the present life, unless it has run out by this node's own count.
    pub(super) async fn keep_lease(&self) -> bool {
        let sent = self.clock.mono();
        if self.fence.since_renewal(sent) >= LEASE {
            return false;
        }
        let taken = self.stores.lease.take(self.node.clone(), self.life.epoch(), LEASE).await;
        let kept = taken.is_ok_and(|taken| taken);
        if kept {
            self.fence.renewed(sent, self.clock.mono());
        }
        kept
    }

    fn failed(&self, call: &'static str, fault: &StoreFault) {
        StoreFailed { call, fault }.emit(&self.metrics);
    }

    /// Frees slots and memberships of a life that is over, so many a tick; true when nothing is left of it. Every node
    /// does it, and none minds the others.
    async fn bury(&self, (node, epoch): &(NodeId, NodeEpoch)) -> Result<bool, StoreFault> {
        let slots = self.stores.ledger.reap(node.clone(), *epoch, REAP).await?;
        let members = self.stores.presence.reap(node.clone(), *epoch, REAP).await?;
        let nothing_left = slots < REAP && members < REAP;
        if nothing_left {
            self.stores.remains.bury(None, node.clone(), *epoch).await?;
        }
        Ok(nothing_left)
    }

    /// The members first: a life that ends between the two questions is in neither answer, and in the next poll.
    async fn ask_who_lives(&self) -> Result<(Vec<Member>, Vec<Lived>), StoreFault> {
        let members = self.stores.lease.members().await?;
        Ok((members, self.stores.remains.lapsed().await?))
    }

    /// Who else lives; what the dead left behind; and whether sessions of an earlier life have to say that they are still here.
    async fn look_around(&self) {
        let Ok(_turn) = self.looking.try_lock() else { return };
        let sent = self.clock.mono();
        match self.ask_who_lives().await {
            Ok((members, lapsed)) => self.membership.answered(&members, &lapsed, sent, self.clock.mono()),
            Err(_) => return self.membership.unanswered(),
        }
        for life in self.membership.gone() {
            match self.bury(&life).await {
                Ok(true) => self.membership.buried(&life),
                Ok(false) => {}
                Err(fault) => {
                    self.failed("reap", &fault);
                    return;
                }
            }
        }
        let (epoch, era) = (self.life.epoch(), self.stores.eras.era());
        let earlier = |entry: &SessionEntry| entry.holder.epoch != epoch && entry.era == era;
        tell(&self.registry.select(REASSERT, earlier), &Stop::Reassert(epoch));
    }
}

impl Actor for Manager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.begin(ctx);
    }
}

impl Supervised for Manager {
    fn restarting(&mut self, ctx: &mut Self::Context) {
        self.begin(ctx);
    }
}

impl Handler<Command> for Manager {
    type Result = ();

    fn handle(&mut self, command: Command, _: &mut Self::Context) {
        self.estate.carry_out(command);
    }
}
