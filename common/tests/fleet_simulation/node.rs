//! One node: what `gateway/src/session/{manager,era,acquire,resume,guard}.rs` do, in their order and with their times, over
//! the fence and the membership that they use. No actors, no sockets: a session is an entry of a map.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::fence::{Fence, LEASE, Standing};
use portcullis_common::ids::{NodeEpoch, NodeId, UserId};
use portcullis_common::membership::{Life, Membership};
use portcullis_common::store::StoreFault;
use portcullis_common::store::era::Era;
use portcullis_common::store::session::Holder;

use crate::fleet::Fleet;
use crate::mutants::Fault;
use crate::net::{Net, Token, now};
use crate::store::Store;

const TICK: u64 = 500;
const RENEW: Duration = Duration::from_secs(3);
/// Seconds in which every session is checked once.
const CHECKS: u128 = 30;

/// Eras and lives.
mod era;

/// Sessions.
mod session;

/// What becomes of a slot.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Withdraw,
    Release,
    Detach(Token),
}

/// An open session.
#[derive(Clone, Debug)]
pub struct Session {
    pub user: UserId,
    pub holder: Holder,
    pub token: Token,
    /// The generation of the fence, and the era, in which its slot was asked for.
    pub fence: u64,
    pub era: Option<Era>,
    renaming: bool,
}

pub struct Node {
    pub number: usize,
    pub id: NodeId,
    pub life: Cell<NodeEpoch>,
    pub fence: Fence,
    pub membership: RefCell<Membership>,
    pub sessions: RefCell<BTreeMap<u128, Session>>,
    pub ended: RefCell<BTreeSet<u128>>,
    /// Sessions whose handshake is under way.
    expected: RefCell<BTreeSet<u128>>,
    pub joined: Cell<bool>,
    store: Store,
    fleet: Rc<Fleet>,
    /// Its clock: where it began, and how many of its milliseconds are a thousand true ones.
    clock: (u64, u64),
    renewing: Cell<bool>,
    looking: Cell<bool>,
    seen: Cell<Option<Era>>,
    done: Cell<Option<Era>>,
}

impl Node {
    pub fn new(fleet: &Rc<Fleet>, number: usize, clock: (u64, u64)) -> Rc<Self> {
        let net = Rc::clone(&fleet.net);
        let store = Store { stores: net.world.stores(), net };
        let fence = if fleet.strict {
            Fence::cutting_after(portcullis_common::fence::STRICT)
        } else {
            Fence::cutting_after(Duration::from_secs(600))
        };
        Rc::new(Self {
            number,
            id: Fleet::name(number),
            life: Cell::new(fleet.fresh_epoch()),
            fence,
            membership: RefCell::default(),
            sessions: RefCell::default(),
            ended: RefCell::default(),
            expected: RefCell::default(),
            joined: Cell::new(false),
            store,
            fleet: Rc::clone(fleet),
            clock,
            renewing: Cell::new(false),
            looking: Cell::new(false),
            seen: Cell::new(None),
            done: Cell::new(None),
        })
    }

    fn net(&self) -> &Rc<Net> {
        &self.fleet.net
    }

    /// What its own clock shows.
    pub fn mono(&self) -> Mono {
        Mono(self.clock.0 + self.net().machine.now() * self.clock.1 / 1_000)
    }

    pub fn is_cut(&self, generation: u64) -> bool {
        !self.net().is(Fault::FenceOff) && self.fence.cuts(generation, self.mono())
    }

    /// Whether its lease has run out by its own count.
    pub fn has_lapsed(&self) -> bool {
        self.fence.standing(self.mono()) != Standing::Held
    }

    /// Whether every session has a slot in this life and era, as far as the node can know.
    pub fn is_settled(&self) -> bool {
        let current = self.store.stores.eras.era();
        let settled = |s: &Session| s.holder.epoch == self.life.get() && s.era == current;
        self.joined.get()
            && self.fence.standing(self.mono()) == Standing::Held
            && self.sessions.borrow().values().all(settled)
    }

    async fn call<T: 'static>(
        &self,
        act: impl FnOnce(&Store) -> Result<T, StoreFault> + 'static,
    ) -> Result<T, StoreFault> {
        let store = self.store.clone();
        self.net().call(self.number, move || act(&store)).await
    }

    fn sleep(&self, ms: u64) -> crate::machine::Sleep {
        self.net().machine.sleep(ms)
    }

    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.net().machine.spawn(self.number, work);
    }

    fn renewed(&self, sent: Mono) {
        let counted = if self.net().is(Fault::LeaseCountsFromTheAnswer) { self.mono() } else { sent };
        self.net().say(|| format!("{} has its lease {}", self.id.as_str(), self.life.get()));
        self.fence.renewed(counted, self.mono());
    }

    async fn take(&self, epoch: NodeEpoch) -> Result<bool, StoreFault> {
        let id = self.id.clone();
        self.call(move |store| now(store.stores.lease.take(id, epoch, LEASE))).await
    }

    pub async fn run(self: Rc<Self>) {
        loop {
            let sent = self.mono();
            if let Ok(true) = self.take(self.life.get()).await {
                self.renewed(sent);
                break;
            }
            self.sleep(500).await;
        }
        while !self.step().await.is_ok_and(|view| view.whole) {
            self.sleep(50).await;
        }
        self.net().say(|| format!("{} has joined", self.id.as_str()));
        self.joined.set(true);
        let (keeper, looker) = (Rc::clone(&self), Rc::clone(&self));
        self.spawn(async move { keeper.keep_era().await });
        let checker = Rc::clone(&self);
        self.spawn(async move { checker.keep_checking().await });
        self.spawn(async move {
            loop {
                looker.sleep(TICK).await;
                let (one, two) = (Rc::clone(&looker), Rc::clone(&looker));
                looker.sweep();
                looker.spawn(async move { one.renew().await });
                looker.spawn(async move { two.look_around().await });
            }
        });
    }

    async fn renew(&self) {
        if self.renewing.get() || self.fence.since_renewal(self.mono()) < RENEW {
            return;
        }
        self.renewing.set(true);
        let sent = self.mono();
        let (id, epoch) = (self.id.clone(), self.life.get());
        match self.call(move |store| store.renew(id, epoch)).await {
            Ok(true) => self.renewed(sent),
            Ok(false) if self.keep_lease().await => {}
            Ok(false) => self.begin_life().await,
            Err(_) => {}
        }
        self.renewing.set(false);
    }

    async fn begin_life(&self) {
        let (epoch, sent) = (self.fleet.fresh_epoch(), self.mono());
        if let Ok(true) = self.take(epoch).await {
            self.net().say(|| format!("{} begins another life {epoch:?}", self.id.as_str()));
            self.life.set(epoch);
            self.renewed(sent);
        }
    }

    async fn keep_lease(&self) -> bool {
        let sent = self.mono();
        if self.fence.since_renewal(sent) >= LEASE {
            return false;
        }
        let kept = self.take(self.life.get()).await.is_ok_and(|taken| taken);
        if kept {
            self.renewed(sent);
        }
        kept
    }

    /// Sockets past the deadline are cut.
    fn sweep(self: &Rc<Self>) {
        let cut: Vec<u128> =
            self.sessions.borrow().iter().filter(|(_, s)| self.is_cut(s.fence)).map(|(sid, _)| *sid).collect();
        cut.into_iter().for_each(|sid| self.close(sid, true));
    }

    async fn look_around(self: &Rc<Self>) {
        if self.looking.replace(true) {
            return;
        }
        let sent = self.mono();
        let polled = self.call(|store| Ok((now(store.stores.lease.members())?, now(store.stores.remains.lapsed())?)));
        let gone = match polled.await {
            Ok((members, lapsed)) if self.net().is(Fault::ReapOnAPausedStore) => {
                let lives = |life: &Life| members.iter().any(|m| (&m.node, m.epoch) == (&life.0, life.1));
                lapsed.into_iter().filter(|life| !lives(life)).collect()
            }
            Ok((members, lapsed)) => {
                let mut membership = self.membership.borrow_mut();
                membership.answered(&members, &lapsed, sent, self.mono());
                membership.gone()
            }
            Err(_) => {
                self.membership.borrow_mut().unanswered();
                self.looking.set(false);
                return;
            }
        };
        for life in gone {
            let fleet = Rc::clone(&self.fleet);
            let (node, epoch) = life.clone();
            if self.call(move |store| store.reap(&fleet, &node, epoch)).await.is_ok() {
                self.membership.borrow_mut().buried(&life);
            }
        }
        if !self.net().is(Fault::NoReassertion) {
            self.reassert_all();
        }
        self.looking.set(false);
    }

    /// Whether each session holds its slot still: whoever took it may have been unable to say so.
    async fn keep_checking(self: Rc<Self>) {
        let mut turn = 0;
        loop {
            self.sleep(1_000).await;
            turn += 1;
            let due: Vec<Session> =
                self.sessions.borrow().values().filter(|s| s.holder.sid.0 % CHECKS == turn % CHECKS).cloned().collect();
            for session in due {
                let node = Rc::clone(&self);
                self.spawn(async move {
                    if node.has_lost(&session).await {
                        node.sleep(1_000).await;
                        if node.has_lost(&session).await {
                            node.displace(&session.holder);
                        }
                    }
                });
            }
        }
    }

    /// False also where that is not known, or not the question.
    async fn has_lost(&self, session: &Session) -> bool {
        let current = self.store.stores.eras.era();
        let same = self.sessions.borrow().get(&session.holder.sid.0).is_some_and(|s| s.holder == session.holder);
        if !same || session.era != current || session.holder.epoch != self.life.get() {
            return false;
        }
        let (user, holder) = (session.user.clone(), session.holder.clone());
        self.call(move |store| now(store.stores.ledger.holds(user, holder))).await.is_ok_and(|holds| !holds)
    }
}
