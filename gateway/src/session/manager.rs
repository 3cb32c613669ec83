//! The session manager: the node's supervised actor that closes sessions on command, confirms evictions, renews the
//! node's lease. It keeps nothing: registry, bans and stores live outside, so a panic in it costs the one command that
//! caused it.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Supervised};
use portcullis_common::ids::{NodeEpoch, NodeId, UserId};
use portcullis_common::store::control::{ControlEntry, ControlSink, Logged, Target};
use portcullis_common::store::lease::Leases;
use portcullis_common::store::session::Holder;

use super::connection::Order;
use super::registry::{Registry, SessionEntry};
use super::supervise::Guardian;
use super::talk::Stop;
use crate::admit::bans::{BanTable, canonical};
use crate::events::{PanicCaught, StoreFailed};
use crate::metrics::Metrics;

/// How long a lease lasts.
pub const LEASE: Duration = Duration::from_secs(10);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(3);
/// Commands that wait for the manager; more are carried out by whoever brings them.
const MAILBOX: usize = 1_024;

/// What the manager works on; all of it outlives the actor.
pub struct Estate {
    /// This node.
    pub node: NodeId,
    /// This life of it.
    pub epoch: NodeEpoch,
    /// Live sessions.
    pub registry: Arc<Registry>,
    /// BanTable and revocations.
    pub bans: Arc<BanTable>,
    /// Node leases.
    pub lease: Arc<dyn Leases>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What to do when the control log asks this node to drain.
    pub on_drain: Box<dyn Fn() + Send + Sync>,
}

/// A command for the manager.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub enum Command {
    /// An entry of the control log whose state part is applied already.
    Entry(ControlEntry),
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
        self.submit(Command::Entry(logged.entry.clone()));
    }
}

impl Estate {
    fn carry_out(&self, command: Command) {
        match command {
            Command::Entry(ControlEntry::Kick { target, .. }) => {
                let stop = match &target {
                    Target::Token(id) => Stop::KickedToken(id.as_str().into()),
                    _ => Stop::Kicked,
                };
                tell(&self.sessions(&target), &stop);
            }
            // bans and revocations are in the table already: each session looks itself up
            Command::Entry(ControlEntry::Ban { target, .. }) => tell(&self.sessions(&target), &Stop::Recheck),
            Command::Entry(ControlEntry::Revoke { user, .. }) => tell(&self.registry.of_user(&user), &Stop::Recheck),
            Command::Entry(ControlEntry::Drain { node }) => {
                if node == self.node {
                    (self.on_drain)();
                }
            }
            Command::Entry(ControlEntry::Lift { .. }) => {}
            Command::Evict { victim, .. } => {
                tell(self.registry.doom(&victim).as_slice(), &Stop::Evicted);
            }
            #[cfg(feature = "fault-injection")]
            Command::Panic => {
                assert!(self.node.as_str().is_empty(), "injected into the manager");
            }
        }
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
        ctx.run_interval(RENEW, |manager, _| {
            let estate = Arc::clone(&manager.estate);
            actix_rt::spawn(async move {
                match estate.lease.renew(estate.node.clone(), estate.epoch, LEASE).await {
                    Ok(true) => {}
                    Ok(false) => tracing::warn!(event = "lease_lost", node = %estate.node),
                    Err(fault) => StoreFailed { call: "lease.renew", fault: &fault }.emit(&estate.metrics),
                }
            });
        });
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
