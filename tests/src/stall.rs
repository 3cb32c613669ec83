//! Stores that hold their answers back or refuse, one kind of call at a time, over the memory store: what a store of
//! the network does to a node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_common::config::model::History;
use portcullis_common::ids::{NodeEpoch, NodeId, RoomName, SessionId, UserId};
use portcullis_common::store::bus::{Bus, BusSink, Dedupe, NodeMail, Position, Published, Record, Recovery};
use portcullis_common::store::presence::{Change, Occupant, Presence};
use portcullis_common::store::session::{Acquire, Acquired, Holder, Passed, Released, Resumed, SessionLedger, Slot};
use portcullis_common::store::{StoreFault, StoreFuture, Stores};
use tokio::sync::watch;

/// What becomes of a kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Carried out when the future is first polled, answered when the rule is lifted.
    Late,
    /// Carried out, and answered, when the rule is lifted.
    Held,
    /// Refused, and not carried out.
    Refused,
    /// Refused, and carried out all the same, when the rule is lifted.
    Astray,
}

#[derive(Default)]
struct Table {
    rules: HashMap<&'static str, Rule>,
    /// Calls that are waiting, by name.
    waiting: HashMap<&'static str, usize>,
    /// Calls so far, by name.
    made: HashMap<&'static str, usize>,
}

/// The switches of a set of stores. Calls are named as in `presence.enter`.
#[derive(Clone)]
pub struct Stall {
    table: Arc<Mutex<Table>>,
    changed: watch::Sender<u64>,
}

impl Default for Stall {
    fn default() -> Self {
        Self { table: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl Stall {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, call: &'static str, rule: Option<Rule>) {
        match rule {
            Some(rule) => self.table().rules.insert(call, rule),
            None => self.table().rules.remove(call),
        };
        self.changed.send_modify(|n| *n += 1);
    }

    /// From now on the store takes this call and does not answer it.
    pub fn late(&self, call: &'static str) {
        self.set(call, Some(Rule::Late));
    }

    /// From now on the store does not see this call.
    pub fn hold(&self, call: &'static str) {
        self.set(call, Some(Rule::Held));
    }

    /// From now on this call fails, and nothing is changed by it.
    pub fn refuse(&self, call: &'static str) {
        self.set(call, Some(Rule::Refused));
    }

    /// From now on this call fails, and is carried out all the same, long after.
    pub fn lead_astray(&self, call: &'static str) {
        self.set(call, Some(Rule::Astray));
    }

    /// This call works again; what was held back goes on.
    pub fn lift(&self, call: &'static str) {
        self.set(call, None);
    }

    /// How many of these calls wait at the moment. One whose future was dropped waits no more.
    #[must_use]
    pub fn waiting(&self, call: &str) -> usize {
        self.table().waiting.get(call).copied().unwrap_or(0)
    }

    /// Calls made since the last time that this was asked, by name.
    #[must_use]
    pub fn made(&self) -> std::collections::BTreeMap<&'static str, usize> {
        self.table().made.drain().collect()
    }

    /// `stores` behind these switches.
    #[must_use]
    pub fn over(&self, stores: Stores) -> Stores {
        Stores {
            bus: Arc::new(Slow { inner: Arc::clone(&stores.bus), stall: self.clone() }),
            presence: Arc::new(Slow { inner: Arc::clone(&stores.presence), stall: self.clone() }),
            ledger: Arc::new(Slow { inner: Arc::clone(&stores.ledger), stall: self.clone() }),
            ..stores
        }
    }

    async fn lifted(&self, call: &'static str, rule: Rule) {
        let mut changes = self.changed.subscribe();
        let _waiting = Waiting::new(self, call);
        while self.table().rules.get(call) == Some(&rule) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Runs `work` as the rule of `call` says.
    fn run<T: Send + 'static>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, StoreFault>> + Send + 'static,
    ) -> StoreFuture<'static, T> {
        let stall = self.clone();
        Box::pin(async move {
            *stall.table().made.entry(call).or_default() += 1;
            let rule = stall.table().rules.get(call).copied();
            match rule {
                None => work.await,
                Some(Rule::Late) => {
                    let answer = work.await;
                    stall.lifted(call, Rule::Late).await;
                    answer
                }
                Some(Rule::Held) => {
                    stall.lifted(call, Rule::Held).await;
                    work.await
                }
                Some(Rule::Refused) => Err(StoreFault::Unavailable("refused by a test".into())),
                Some(Rule::Astray) => {
                    tokio::spawn(async move {
                        stall.lifted(call, Rule::Astray).await;
                        drop(work.await);
                    });
                    Err(StoreFault::Unavailable("no answer in time".into()))
                }
            }
        })
    }
}

/// Counts a call while it waits.
struct Waiting<'a>(&'a Stall, &'static str);

impl<'a> Waiting<'a> {
    fn new(stall: &'a Stall, call: &'static str) -> Self {
        *stall.table().waiting.entry(call).or_default() += 1;
        Self(stall, call)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.0.table().waiting.entry(self.1).or_default() -= 1;
    }
}

struct Slow<T: ?Sized> {
    inner: Arc<T>,
    stall: Stall,
}

/// One call through the switches: the inner call is made when its turn comes, as a network's would be.
macro_rules! through {
    ($self:ident, $name:literal, $inner:ident => $call:expr) => {{
        let $inner = Arc::clone(&$self.inner);
        $self.stall.run($name, async move { $call.await })
    }};
}

impl Bus for Slow<dyn Bus> {
    fn attach(&self, node: NodeId, sink: Arc<dyn BusSink>) {
        self.inner.attach(node, sink);
    }

    fn detach(&self, node: NodeId) {
        self.inner.detach(node);
    }

    fn subscribe(&self, node: NodeId, room: RoomName) -> StoreFuture<'_, Position> {
        through!(self, "bus.subscribe", inner => inner.subscribe(node, room))
    }

    fn unsubscribe(&self, node: NodeId, room: RoomName) -> StoreFuture<'_, ()> {
        through!(self, "bus.unsubscribe", inner => inner.unsubscribe(node, room))
    }

    fn publish(
        &self,
        room: RoomName,
        record: Record,
        dedupe: Option<Dedupe>,
        keep: Option<History>,
    ) -> StoreFuture<'static, Published> {
        through!(self, "bus.publish", inner => inner.publish(room, record, dedupe, keep))
    }

    fn recover(&self, room: RoomName, since: Position, limit: usize) -> StoreFuture<'_, Recovery> {
        through!(self, "bus.recover", inner => inner.recover(room, since, limit))
    }

    fn send(&self, node: NodeId, mail: NodeMail) -> StoreFuture<'_, bool> {
        through!(self, "bus.send", inner => inner.send(node, mail))
    }

    fn first(&self, dedupe: Dedupe, to: UserId) -> StoreFuture<'_, bool> {
        through!(self, "bus.first", inner => inner.first(dedupe, to))
    }
}

impl Presence for Slow<dyn Presence> {
    fn enter(&self, room: RoomName, occupant: Occupant) -> StoreFuture<'_, Change> {
        through!(self, "presence.enter", inner => inner.enter(room, occupant))
    }

    fn exit(&self, room: RoomName, sid: SessionId, epoch: NodeEpoch) -> StoreFuture<'_, Change> {
        through!(self, "presence.exit", inner => inner.exit(room, sid, epoch))
    }

    fn list(&self, room: RoomName, limit: usize) -> StoreFuture<'_, (Vec<UserId>, usize)> {
        through!(self, "presence.list", inner => inner.list(room, limit))
    }

    fn reap(&self, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize> {
        through!(self, "presence.reap", inner => inner.reap(node, epoch, limit))
    }
}

impl SessionLedger for Slow<dyn SessionLedger> {
    fn acquire(&self, request: Acquire) -> StoreFuture<'_, Acquired> {
        through!(self, "ledger.acquire", inner => inner.acquire(request))
    }

    fn reassert(&self, request: Acquire) -> StoreFuture<'_, Acquired> {
        through!(self, "ledger.acquire", inner => inner.reassert(request))
    }

    fn confirm(&self, user: UserId, victim: Holder) -> StoreFuture<'_, Option<Passed>> {
        through!(self, "ledger.confirm", inner => inner.confirm(user, victim))
    }

    fn withdraw(&self, user: UserId, newcomer: Holder) -> StoreFuture<'_, Released> {
        through!(self, "ledger.withdraw", inner => inner.withdraw(user, newcomer))
    }

    fn release(&self, user: UserId, holder: Holder) -> StoreFuture<'_, Released> {
        through!(self, "ledger.release", inner => inner.release(user, holder))
    }

    fn detach(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released> {
        through!(self, "ledger.detach", inner => inner.detach(user, holder, token, window))
    }

    fn arm(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released> {
        through!(self, "ledger.arm", inner => inner.arm(user, holder, token, window))
    }

    fn spend(&self, user: UserId, holder: Holder) -> StoreFuture<'_, Released> {
        through!(self, "ledger.spend", inner => inner.spend(user, holder))
    }

    fn resume(
        &self,
        user: UserId,
        token: [u8; 32],
        node: NodeId,
        epoch: NodeEpoch,
    ) -> StoreFuture<'_, Option<Resumed>> {
        through!(self, "ledger.resume", inner => inner.resume(user, token, node, epoch))
    }

    fn remove(&self, user: UserId, sid: SessionId) -> StoreFuture<'_, Option<Slot>> {
        through!(self, "ledger.remove", inner => inner.remove(user, sid))
    }

    fn holds(&self, user: UserId, holder: Holder) -> StoreFuture<'_, bool> {
        through!(self, "ledger.holds", inner => inner.holds(user, holder))
    }

    fn slots(&self, user: UserId) -> StoreFuture<'_, Vec<Slot>> {
        through!(self, "ledger.slots", inner => inner.slots(user))
    }

    fn nodes(&self, user: UserId) -> StoreFuture<'_, Vec<NodeId>> {
        through!(self, "ledger.nodes", inner => inner.nodes(user))
    }

    fn reap(&self, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize> {
        through!(self, "ledger.reap", inner => inner.reap(node, epoch, limit))
    }
}
