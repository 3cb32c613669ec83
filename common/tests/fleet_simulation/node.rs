//! One node: what `gateway/src/session/{manager,era,acquire,resume,guard}.rs` do, in their order and with their times, over
//! the fence and the membership that they use. No actors, no sockets: a session is an entry of a map.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::config::model::OnLimit;
use portcullis_common::fence::{Fence, LEASE, Standing};
use portcullis_common::ids::{NodeEpoch, NodeId, SessionId, UserId};
use portcullis_common::membership::{self, Life, Membership};
use portcullis_common::store::StoreFault;
use portcullis_common::store::era::{Era, EraView, Mark, STRANGERS};
use portcullis_common::store::session::{Acquire, Acquired, Holder, SlotState};

use crate::fleet::Fleet;
use crate::mutants::Fault;
use crate::net::{Net, Token, now};
use crate::store::Store;

const TICK: u64 = 500;
const RENEW: Duration = Duration::from_secs(3);
/// Seconds in which every session is checked once.
const CHECKS: u128 = 30;
/// Waits before further tries to give something back.
const RETRIES: [u64; 6] = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000];

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

    /// Whether every session has a slot in this life and era, as far as the node can know.
    pub fn is_settled(&self) -> bool {
        let current = self.store.stores.eras.current().map(|view| view.era);
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

    // -- the lease ------------------------------------------------------------------------------------------------

    fn renewed(&self, sent: Mono) {
        let counted = if self.net().is(Fault::LeaseCountsFromTheAnswer) { self.mono() } else { sent };
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
        let current = self.store.stores.eras.current().map(|view| view.era);
        let same = self.sessions.borrow().get(&session.holder.sid.0).is_some_and(|s| s.holder == session.holder);
        if !same || session.era != current || session.holder.epoch != self.life.get() {
            return false;
        }
        let (user, holder) = (session.user.clone(), session.holder.clone());
        self.call(move |store| now(store.stores.ledger.holds(user, holder))).await.is_ok_and(|holds| !holds)
    }

    // -- eras and lives: the sessions say that they are there -----------------------------------------------------

    fn reassert_all(self: &Rc<Self>) {
        let epoch = self.life.get();
        let mut named = Vec::new();
        for session in self.sessions.borrow_mut().values_mut() {
            if session.holder.epoch != epoch && !session.renaming {
                session.renaming = true;
                named.push(session.clone());
            }
        }
        for session in named {
            let node = Rc::clone(self);
            self.spawn(async move { node.reassert(session, epoch).await });
        }
    }

    async fn reassert(self: &Rc<Self>, session: Session, epoch: NodeEpoch) {
        let sid = session.holder.sid.0;
        let holder = Holder { epoch, ..session.holder.clone() };
        let answer = self.claim_slot(&session.user, &holder).await;
        let there = self.sessions.borrow().get(&sid).is_some_and(|s| s.holder == session.holder);
        match answer {
            Ok(Acquired::Held { .. }) if there => {
                if let Some(live) = self.sessions.borrow_mut().get_mut(&sid) {
                    (live.holder, live.renaming) = (holder, false);
                }
            }
            Ok(Acquired::Full { .. } | Acquired::Evicting { .. }) if there => {
                if let Some(live) = self.sessions.borrow_mut().get_mut(&sid) {
                    live.renaming = false;
                }
                self.refused(sid);
            }
            // it ended under way: what it was given meanwhile goes back as it ended
            Ok(_) => self.give_back(session.user, holder, Fate::Detach(session.token)),
            Err(_) => {
                if let Some(live) = self.sessions.borrow_mut().get_mut(&sid) {
                    live.renaming = false;
                }
            }
        }
    }

    async fn claim_slot(&self, user: &UserId, holder: &Holder) -> Result<Acquired, StoreFault> {
        let request = self.request(user, holder);
        self.call(move |store| store.reassert(&request)).await
    }

    fn request(&self, user: &UserId, holder: &Holder) -> Acquire {
        Acquire { user: user.clone(), holder: holder.clone(), cap: self.fleet.cap, on_limit: OnLimit::Reject }
    }

    fn refused(self: &Rc<Self>, sid: u128) {
        self.close(sid, false);
    }

    async fn keep_era(self: Rc<Self>) {
        let mut wait = 500;
        loop {
            self.sleep(wait).await;
            wait = match self.step().await {
                Ok(view) if view.whole => 500,
                _ => 50,
            };
        }
    }

    async fn step(self: &Rc<Self>) -> Result<EraView, StoreFault> {
        let view = match self.call(|store| now(store.stores.eras.look())).await? {
            Some(view) => view,
            None => self.open_era().await?,
        };
        if self.done.get() == Some(view.era) {
            return Ok(view);
        }
        if self.seen.get() != Some(view.era) {
            self.net().say(|| format!("{} sees {}", self.id.as_str(), view.era));
            self.seen.set(Some(view.era));
            self.keep_lease().await;
            // who opened the era may have known less than this node
            for other in self.others().into_iter().filter(|_| !view.whole) {
                self.call(move |store| now(store.stores.eras.mark(view.era, other, Mark::Waiting))).await?;
            }
        }
        if !self.sessions.borrow().is_empty() {
            self.mark(view.era, Mark::Waiting).await?;
        }
        if !self.net().is(Fault::ClaimsAreSkipped) {
            self.claim_all(view.era).await?;
        }
        let view = self.mark(view.era, Mark::Done).await?;
        self.done.set(Some(view.era));
        Ok(view)
    }

    async fn mark(&self, era: Era, mark: Mark) -> Result<EraView, StoreFault> {
        let id = self.id.clone();
        self.call(move |store| now(store.stores.eras.mark(era, id, mark))).await
    }

    /// The other nodes that may have sessions.
    fn others(&self) -> BTreeSet<NodeId> {
        let lives = self.membership.borrow().list();
        let may_live = lives.into_iter().filter(|(_, standing, _)| *standing != membership::Standing::Gone);
        may_live.map(|((node, _), ..)| node).filter(|node| *node != self.id).collect()
    }

    async fn open_era(&self) -> Result<EraView, StoreFault> {
        let mut members = self.others();
        members.insert(self.id.clone());
        self.net().say(|| format!("{} opens an era for {members:?}", self.id.as_str()));
        self.call(move |store| store.open(members.into_iter().collect(), STRANGERS)).await
    }

    async fn claim_all(self: &Rc<Self>, era: Era) -> Result<(), StoreFault> {
        loop {
            let next = self.sessions.borrow().values().find(|s| s.era != Some(era)).cloned();
            let Some(session) = next else { return Ok(()) };
            let answer = self.claim_slot(&session.user, &session.holder).await?;
            let sid = session.holder.sid.0;
            let here = match self.sessions.borrow_mut().get_mut(&sid) {
                Some(live) if live.holder == session.holder => {
                    live.era = Some(era);
                    true
                }
                _ => false,
            };
            match answer {
                Acquired::Held { .. } if here => {
                    let Session { user, holder, token, .. } = session;
                    self.call(move |store| store.arm(&user, &holder, token)).await?;
                }
                Acquired::Held { .. } => {
                    let Session { user, holder, .. } = session;
                    self.call(move |store| store.release(&user, &holder)).await?;
                }
                _ => self.refused(sid),
            }
        }
    }

    // -- sessions -------------------------------------------------------------------------------------------------

    pub fn close(self: &Rc<Self>, sid: u128, resumable: bool) {
        let Some(session) = self.sessions.borrow_mut().remove(&sid) else { return };
        self.net().say(|| format!("{} closes {sid} ({resumable})", self.id.as_str()));
        let fate = if resumable { Fate::Detach(session.token) } else { Fate::Release };
        self.give_back(session.user, session.holder, fate);
    }

    /// An operator has ended a session: its connection goes, and where it has none, its record.
    pub fn told(self: &Rc<Self>, user: UserId, sid: u128) {
        if !self.net().is(Fault::EndedCanResume) {
            self.ended.borrow_mut().insert(sid);
        }
        self.close(sid, false);
        let node = Rc::clone(self);
        self.spawn(async move {
            let who = user.clone();
            let Ok(slots) = node.call(move |store| now(store.stores.ledger.slots(who))).await else { return };
            let waits = |state: &SlotState| matches!(state, SlotState::Detached { .. });
            if slots.iter().any(|slot| slot.holder.sid.0 == sid && waits(&slot.state)) {
                // what the store does not do now, it does not do later
                let _ = node.call(move |store| store.end(&user, sid)).await;
            }
        });
    }

    fn give_back(self: &Rc<Self>, user: UserId, holder: Holder, fate: Fate) {
        self.net().say(|| format!("{} gives back {holder:?} {fate:?}", self.id.as_str()));
        let node = Rc::clone(self);
        self.spawn(async move {
            for wait in [0].into_iter().chain(RETRIES) {
                if wait > 0 {
                    node.sleep(wait).await;
                }
                let (user, holder) = (user.clone(), holder.clone());
                let answer = node.call(move |store| match fate {
                    Fate::Withdraw => store.withdraw(&user, &holder),
                    Fate::Release => store.release(&user, &holder),
                    Fate::Detach(token) => store.detach(&user, &holder, token),
                });
                if answer.await.is_ok() {
                    return;
                }
            }
        });
    }

    fn may_admit(&self) -> bool {
        self.joined.get() && self.fence.standing(self.mono()) == Standing::Held
    }

    /// In which times a slot is asked for.
    fn asking(&self) -> (u64, Option<Era>) {
        (self.fence.generation(), self.store.stores.eras.current().map(|view| view.era))
    }

    /// A newcomer; the token that it was told, if it was let in.
    pub async fn admit(self: &Rc<Self>, user: UserId) -> Option<(u128, Token)> {
        if !self.may_admit() {
            return None;
        }
        let (sid, asked) = (self.fleet.fresh(), self.asking());
        let holder = Holder { sid: SessionId(sid), node: self.id.clone(), epoch: self.life.get(), generation: 0 };
        let mut tries = 0;
        loop {
            let request = self.request(&user, &holder);
            match self.call(move |store| store.acquire(&request)).await {
                Ok(Acquired::Held { .. }) => break,
                Ok(_) if tries == 0 && self.free_dead(&user).await => tries = 1,
                Ok(_) => return None,
                Err(_) => {
                    self.give_back(user, holder, Fate::Withdraw);
                    return None;
                }
            }
        }
        self.seat(user, holder, asked, Fate::Release).await
    }

    async fn seat(
        self: &Rc<Self>,
        user: UserId,
        holder: Holder,
        (fence, era): (u64, Option<Era>),
        otherwise: Fate,
    ) -> Option<(u128, Token)> {
        let (sid, token) = (holder.sid.0, self.fleet.fresh_token());
        let (who, whose) = (user.clone(), holder.clone());
        self.expected.borrow_mut().insert(sid);
        let armed = self.call(move |store| store.arm(&who, &whose, token)).await;
        self.expected.borrow_mut().remove(&sid);
        let current = self.store.stores.eras.current().map(|view| view.era);
        let same_era = era == current;
        let fenced = self.is_cut(fence) || self.fence.standing(self.mono()) != Standing::Held;
        let overtaken = self.sessions.borrow().get(&sid).is_some_and(|s| s.holder.generation > holder.generation);
        if !armed.is_ok_and(|armed| armed) || !same_era || fenced || overtaken || self.ended.borrow().contains(&sid) {
            self.give_back(user, holder, otherwise);
            return None;
        }
        // an earlier connection of it goes first
        self.close(sid, false);
        self.net().say(|| format!("{} opens {sid} of {}: {holder:?}", self.id.as_str(), user.as_str()));
        let session = Session { user, holder, token, fence, era, renaming: false };
        self.sessions.borrow_mut().insert(sid, session);
        self.fleet.count("a session opened");
        Some((sid, token))
    }

    /// Whether lives that are proved dead held slots of this user.
    async fn free_dead(self: &Rc<Self>, user: &UserId) -> bool {
        let who = user.clone();
        let Ok(slots) = self.call(move |store| now(store.stores.ledger.slots(who))).await else { return false };
        let gone = self.membership.borrow().gone();
        let lives: BTreeSet<Life> = slots.into_iter().map(|slot| (slot.holder.node, slot.holder.epoch)).collect();
        let mut freed = false;
        for (node, epoch) in lives.into_iter().filter(|life| gone.contains(life)) {
            let fleet = Rc::clone(&self.fleet);
            freed |= self.call(move |store| store.reap(&fleet, &node, epoch)).await.is_ok();
        }
        freed
    }

    /// Somebody shows a token.
    pub async fn resume(self: &Rc<Self>, user: UserId, shown: Token) -> Option<(u128, Token)> {
        if !self.may_admit() {
            return None;
        }
        let asked = self.asking();
        let (who, id, epoch) = (user.clone(), self.id.clone(), self.life.get());
        let Ok(resumed) = self.call(move |store| store.resume(&who, shown, id, epoch)).await else {
            // whoever does not live to hear the answer may hold a slot without knowing it
            let node = Rc::clone(self);
            self.spawn(async move { node.look_after(&user).await });
            return None;
        };
        let resumed = resumed?;
        let sid = resumed.holder.sid.0;
        if resumed.was_live {
            self.fleet.mail_eviction(self.number, resumed.previous);
        }
        if self.ended.borrow().contains(&sid) {
            let who = user.clone();
            // what cannot be deleted now is given back with its session
            let _ = self.call(move |store| store.end(&who, sid)).await;
            return None;
        }
        // the connection before is on this node, and goes first
        self.close(sid, false);
        self.seat(user, resumed.holder, asked, Fate::Detach(shown)).await
    }

    /// A slot that stands in this life's name twice, and that no session or handshake here has, is nobody's.
    async fn look_after(self: &Rc<Self>, user: &UserId) {
        let mut seen: Option<Vec<Holder>> = None;
        for _ in 0..5 {
            let who = user.clone();
            if let Ok(slots) = self.call(move |store| now(store.stores.ledger.slots(who))).await {
                let live = slots.into_iter().filter(|slot| !matches!(slot.state, SlotState::Detached { .. }));
                let strays: Vec<Holder> = live.map(|slot| slot.holder).filter(|h| self.is_stray(h)).collect();
                if let Some(before) = seen.replace(strays) {
                    for stray in seen.into_iter().flatten().filter(|stray| before.contains(stray)) {
                        self.displace(&stray);
                        let who = user.clone();
                        // one that fails stays until this life is reaped
                        let _ = self.call(move |store| store.release(&who, &stray)).await;
                    }
                    return;
                }
            }
            self.sleep(6_000).await;
        }
    }

    /// The connection of this generation, or an earlier one, is over.
    pub fn displace(self: &Rc<Self>, holder: &Holder) {
        let sid = holder.sid.0;
        let earlier = |s: &Session| s.holder.generation <= holder.generation;
        if self.sessions.borrow().get(&sid).is_some_and(earlier) {
            self.close(sid, false);
        }
    }

    fn is_stray(&self, holder: &Holder) -> bool {
        let any = self.net().is(Fault::StraysAreKnownBySession);
        let same = |s: &Session| any || s.holder.generation == holder.generation;
        let known = self.sessions.borrow().get(&holder.sid.0).is_some_and(same);
        let own = holder.node == self.id && holder.epoch == self.life.get();
        own && !known && !self.expected.borrow().contains(&holder.sid.0)
    }

    /// The client has read what it was told.
    pub fn heard(self: &Rc<Self>, sid: u128) {
        let Some(session) = self.sessions.borrow().get(&sid).cloned() else { return };
        let node = Rc::clone(self);
        self.spawn(async move {
            let Session { user, holder, .. } = session;
            // one that is not spent lapses by itself
            let _ = node.call(move |store| store.spend(&user, &holder)).await;
        });
    }
}
