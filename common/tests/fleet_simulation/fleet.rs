//! The fleet, its clients, its operator, what befalls it, and what must be true of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use portcullis_common::clock::{Clock, ManualClock, UnixMs};
use portcullis_common::fence::LEASE;
use portcullis_common::ids::{NodeEpoch, NodeId, UserId};
use portcullis_common::store::memory::{Bounds, MemoryWorld};
use portcullis_common::store::session::{Holder, SlotState};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::machine::Machine;
use crate::mutants::Fault;
use crate::net::{NOBODY, NODES, Net, STORE, Token, now};
use crate::node::Node;
use crate::store::Store;

const USERS: u64 = 2;
/// Nobody is hurt before the nodes know each other; nobody is hurt any more while the fleet recovers.
const CALM: u64 = 4_000;
const TROUBLE: u64 = 16_000;
const RECOVERY: u64 = 36_000;

/// Somebody outside.
struct Client {
    user: UserId,
    sid: u128,
    tokens: Vec<Token>,
}

pub struct Fleet {
    pub net: Rc<Net>,
    pub strict: bool,
    pub cap: u32,
    nodes: RefCell<Vec<Option<Rc<Node>>>>,
    clients: RefCell<Vec<Client>>,
    next: Cell<u128>,
    /// Until when caps are not looked at.
    excused: Cell<u64>,
    /// How often things happened that a schedule is for.
    pub happened: RefCell<BTreeMap<&'static str, u64>>,
}

impl Fleet {
    pub fn name(number: usize) -> NodeId {
        NodeId::parse(&format!("n{number}")).expect("a legal name")
    }

    pub fn names() -> impl Iterator<Item = NodeId> {
        (0..NODES).map(Self::name)
    }

    /// One schedule from its beginning to its end. `Err`: what was wrong, and the trace if it was asked for.
    pub fn run(seed: u64, fault: Option<Fault>, trace: bool) -> Result<BTreeMap<&'static str, u64>, String> {
        let mut rng = StdRng::seed_from_u64(seed);
        let clock = Arc::new(ManualClock::at(UnixMs(1_000_000)));
        let machine = Machine::new(Arc::clone(&clock), NODES + 2);
        let names = Box::new(StdRng::seed_from_u64(rng.random()));
        let world = MemoryWorld::new(clock as Arc<dyn Clock>, names, Bounds::default());
        let (strict, cap) = (rng.random_bool(0.6), rng.random_range(1..=2));
        let net = Net::new(Rc::clone(&machine), world, rng, fault, trace);
        let fleet = Rc::new(Self {
            net,
            strict,
            cap,
            nodes: RefCell::new(vec![None; NODES]),
            clients: RefCell::default(),
            next: Cell::new(1),
            excused: Cell::new(0),
            happened: RefCell::default(),
        });
        let nodes = fleet.net.random(2..NODES as u64 + 1) as usize;
        (0..nodes).for_each(|number| fleet.start(number));
        let (clients, troubles) = (Rc::clone(&fleet), Rc::clone(&fleet));
        machine.spawn(NOBODY, async move { clients.come_and_go().await });
        machine.spawn(NOBODY, async move { troubles.trouble(nodes).await });
        let mut at = 0;
        while at < CALM + TROUBLE + RECOVERY {
            at += 250;
            machine.run_until(at);
            fleet.check();
            if let Some(why) = fleet.verdict(strict, nodes) {
                return Err(why);
            }
        }
        fleet.check_the_end();
        match fleet.verdict(strict, nodes) {
            Some(why) => Err(why),
            None => Ok(fleet.happened.take()),
        }
    }

    fn verdict(&self, strict: bool, nodes: usize) -> Option<String> {
        let mut record = self.net.record.borrow_mut();
        let wrong = record.wrong.take()?;
        let trace = record.trace.take().unwrap_or_default().join("\n");
        Some(format!("{wrong} (strict: {strict}, nodes: {nodes}, cap: {})\n{trace}", self.cap))
    }

    pub fn count(&self, what: &'static str) {
        *self.happened.borrow_mut().entry(what).or_default() += 1;
    }

    pub fn fresh(&self) -> u128 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    pub fn fresh_epoch(&self) -> NodeEpoch {
        NodeEpoch(self.fresh())
    }

    pub fn fresh_token(&self) -> Token {
        let mut token = [7; 32];
        token[..16].copy_from_slice(&self.fresh().to_le_bytes());
        token
    }

    pub fn node(&self, id: &NodeId) -> Option<Rc<Node>> {
        self.nodes.borrow().iter().flatten().find(|node| node.id == *id).cloned()
    }

    fn living(&self) -> Vec<Rc<Node>> {
        self.nodes.borrow().iter().flatten().cloned().collect()
    }

    fn start(self: &Rc<Self>, number: usize) {
        // up to one part in a hundred too fast or too slow
        let clock = (self.net.random(0..1_000_000), self.net.random(990..1_011));
        let node = Node::new(self, number, clock);
        self.nodes.borrow_mut()[number] = Some(Rc::clone(&node));
        self.net.machine.spawn(number, async move { node.run().await });
    }

    /// The connection before is told that another one has resumed its session; more than once, for mail may be lost.
    pub fn mail_eviction(self: &Rc<Self>, from: usize, previous: Holder) {
        let fleet = Rc::clone(self);
        self.net.machine.spawn(NOBODY, async move {
            for wait in [5, 2_000, 10_000] {
                fleet.net.machine.sleep(wait).await;
                let there = fleet.node(&previous.node).filter(|to| !fleet.is_apart(to.number) && !fleet.is_apart(from));
                if let Some(node) = there {
                    node.displace(&previous);
                }
            }
        });
    }

    /// Nothing reaches it.
    fn is_apart(&self, number: usize) -> bool {
        let machine = &self.net.machine;
        machine.is_stopped(number) || machine.is_stopped(STORE) || self.net.cut.borrow()[number] > machine.now()
    }

    // -- clients and the operator ---------------------------------------------------------------------------------

    async fn come_and_go(self: Rc<Self>) {
        while self.net.machine.now() < CALM + TROUBLE + RECOVERY - 3_000 {
            self.net.machine.sleep(self.net.random(20..900)).await;
            let living = self.living();
            if living.is_empty() {
                continue;
            }
            let node = Rc::clone(&living[self.net.random(0..living.len() as u64) as usize]);
            match self.net.random(0..100) {
                0..40 => self.comes(&node),
                40..55 => self.leaves(&node, true),
                55..63 => self.leaves(&node, false),
                63..88 => self.comes_back(&node),
                88..96 => self.hears(&node),
                _ => self.is_ended(),
            }
        }
    }

    fn comes(self: &Rc<Self>, node: &Rc<Node>) {
        let user = UserId::parse(&format!("u{}", self.net.random(0..USERS))).expect("a legal name");
        let (node, fleet) = (Rc::clone(node), Rc::clone(self));
        self.net.machine.spawn(node.number, async move {
            if let Some((sid, token)) = node.admit(user.clone()).await {
                fleet.clients.borrow_mut().push(Client { user, sid, tokens: vec![token] });
            }
        });
    }

    fn leaves(&self, node: &Rc<Node>, resumable: bool) {
        if self.net.machine.is_stopped(node.number) {
            return;
        }
        let sids: Vec<u128> = node.sessions.borrow().keys().copied().collect();
        if !sids.is_empty() {
            node.close(sids[self.net.random(0..sids.len() as u64) as usize], resumable);
        }
    }

    fn comes_back(self: &Rc<Self>, node: &Rc<Node>) {
        let count = self.clients.borrow().len() as u64;
        if count == 0 {
            return;
        }
        // those who came last are those who have something to come back to
        let place = (count - 1 - self.net.random(0..count.min(4))) as usize;
        let (user, token) = {
            let clients = self.clients.borrow();
            let client = &clients[place];
            // whoever stole a token, or came back to an old page, shows an earlier one
            let back = self.net.random(0..4).saturating_sub(2) as usize;
            let at = client.tokens.len().saturating_sub(1 + back);
            (client.user.clone(), client.tokens[at])
        };
        let (node, fleet) = (Rc::clone(node), Rc::clone(self));
        self.net.machine.spawn(node.number, async move {
            let Some((sid, token)) = node.resume(user, token).await else { return };
            fleet.count("a session resumed");
            // a `welcome` may be lost
            if fleet.net.random(0..10) > 0
                && let Some(client) = fleet.clients.borrow_mut().iter_mut().find(|client| client.sid == sid)
            {
                client.tokens.push(token);
            }
        });
    }

    fn hears(&self, node: &Rc<Node>) {
        let sids: Vec<u128> = node.sessions.borrow().keys().copied().collect();
        if sids.is_empty() || self.net.machine.is_stopped(node.number) {
            return;
        }
        let sid = sids[self.net.random(0..sids.len() as u64) as usize];
        // only somebody who was told the present token has read its `welcome`
        let token = node.sessions.borrow()[&sid].token;
        if self.clients.borrow().iter().any(|client| client.sid == sid && client.tokens.last() == Some(&token)) {
            node.heard(sid);
        }
    }

    /// An operator ends a session: every node is told, as soon as it can be reached.
    fn is_ended(self: &Rc<Self>) {
        if self.net.machine.now() > CALM + TROUBLE + RECOVERY / 2 - 1_000 {
            return;
        }
        let Some((user, sid)) = self.clients.borrow().last().map(|client| (client.user.clone(), client.sid)) else {
            return;
        };
        let fleet = Rc::clone(self);
        self.count("a session was ended");
        self.net.say(|| format!("-- session {sid} is ended"));
        self.net.machine.spawn(NOBODY, async move {
            let mut untold: BTreeSet<usize> = (0..NODES).collect();
            while !untold.is_empty() && fleet.net.machine.now() < CALM + TROUBLE + RECOVERY / 2 {
                fleet.net.machine.sleep(fleet.net.random(1..80)).await;
                untold.retain(|number| match fleet.nodes.borrow()[*number].clone() {
                    Some(node) if !fleet.is_apart(*number) => {
                        node.told(user.clone(), sid);
                        false
                    }
                    _ => true,
                });
            }
        });
    }

    // -- what befalls it ------------------------------------------------------------------------------------------

    async fn trouble(self: Rc<Self>, nodes: usize) {
        let machine = Rc::clone(&self.net.machine);
        machine.sleep(CALM).await;
        let (count, end) = (self.net.random(1..5), machine.now() + TROUBLE);
        for _ in 0..count {
            machine.sleep(self.net.random(0..TROUBLE / count)).await;
            // it is over when the trouble is
            let long = self.net.random(500..16_000).min(end.saturating_sub(machine.now()));
            let until = machine.now() + long;
            let number = self.net.random(0..nodes as u64) as usize;
            match self.net.random(0..14) {
                0..2 => {
                    self.befalls("flush", String::new);
                    self.net.world.forget();
                }
                2..5 => self.fail_over(),
                5 => {
                    self.befalls("restart", String::new);
                    self.net.world.restart();
                }
                6..8 => {
                    self.befalls("the store stops", || format!("for {long}"));
                    machine.stop(STORE, until);
                }
                8..10 => {
                    self.befalls("a node stops", || format!("n{number} for {long}"));
                    machine.stop(number, until);
                }
                10 => self.crash(number),
                11..13 => {
                    self.befalls("a node is cut off", || format!("n{number} for {long}"));
                    let cut = &mut self.net.cut.borrow_mut()[number];
                    *cut = until.max(*cut);
                }
                _ => {
                    self.befalls("lag", || format!("for {long}"));
                    self.net.lagging.set(until);
                }
            }
        }
    }

    fn befalls(&self, what: &'static str, more: impl FnOnce() -> String) {
        self.count(what);
        self.net.say(|| format!("-- {what} {}", more()));
    }

    /// A replica that lags takes over: what the store said yes to in the last moments is lost.
    fn fail_over(self: &Rc<Self>) {
        let lost = self.net.random(1..4_000);
        self.befalls("failover", || format!("losing {lost} ms"));
        self.net.world.copy();
        let fleet = Rc::clone(self);
        self.net.machine.spawn(NOBODY, async move {
            fleet.net.machine.sleep(lost).await;
            fleet.net.say(|| "-- the copy takes over".to_owned());
            fleet.net.world.fail_over();
        });
    }

    fn crash(self: &Rc<Self>, number: usize) {
        let back = self.net.random(0..16_000);
        self.befalls("crash", || format!("n{number}, back after {back}"));
        self.net.machine.kill(number);
        self.nodes.borrow_mut()[number] = None;
        if back < 8_000 {
            let fleet = Rc::clone(self);
            self.net.machine.spawn(NOBODY, async move {
                fleet.net.machine.sleep(back).await;
                if fleet.nodes.borrow()[number].is_none() {
                    fleet.start(number);
                }
            });
        }
    }

    // -- what must be true ----------------------------------------------------------------------------------------

    /// The sessions of each user that can read and write now, on the nodes that `fit`. A connection whose session another
    /// one has resumed counts no more: its node has mail.
    fn acting(&self, fits: impl Fn(&Node) -> bool) -> BTreeMap<UserId, BTreeSet<u128>> {
        let mut acting: BTreeMap<UserId, BTreeSet<u128>> = BTreeMap::new();
        for node in self.living() {
            if self.net.machine.is_stopped(node.number) || !fits(&node) {
                continue;
            }
            for (sid, session) in node.sessions.borrow().iter() {
                let latest = self.net.record.borrow().generations.get(sid).copied().unwrap_or(0);
                // whoever is stopped looks at the clock before anything else when it goes on
                if !node.is_cut(session.fence) && session.holder.generation >= latest {
                    acting.entry(session.user.clone()).or_default().insert(*sid);
                }
            }
        }
        acting
    }

    /// An era is opened. A node that lives, but can neither be known to an opener that has just started nor speak up, because
    /// it is cut off or stopped, is the one case in which a store that forgot may give too many: for as long as a lease lasts.
    pub fn is_opened_for(&self, members: &BTreeSet<NodeId>) {
        let now = self.net.machine.now();
        let mute = |node: &Node| self.net.is_cut(node.number) || self.net.machine.is_stopped(node.number);
        let left_out = |node: &Rc<Node>| {
            mute(node) && !members.contains(&node.id) && !node.sessions.borrow().is_empty() && !node.has_lapsed()
        };
        if self.living().iter().any(left_out) {
            self.count("an era opened without a node that could not speak up");
            self.excused.set(now + 2 * LEASE.as_millis() as u64);
        }
    }

    /// Strict: never more than the cap. Available: not among those who hold their lease and have claimed their sessions.
    fn check(&self) {
        if self.net.machine.now() < self.excused.get() {
            return;
        }
        let acting = if self.strict { self.acting(|_| true) } else { self.acting(Node::is_settled) };
        for (user, sids) in acting {
            if sids.len() > self.cap as usize {
                self.net.wrong(|| format!("{} has {sids:?} at a cap of {}", user.as_str(), self.cap));
            }
        }
    }

    /// After the recovery the ledger has exactly those who are there, everybody works, and nobody is locked out.
    fn check_the_end(self: &Rc<Self>) {
        let store = Store { stores: self.net.world.stores(), net: Rc::clone(&self.net) };
        let living = self.living();
        if living.is_empty() {
            return;
        }
        for node in &living {
            if !node.is_settled() {
                self.net.wrong(|| format!("{:?} has not recovered", node.id));
            }
            if let Some(sid) = node.sessions.borrow().keys().find(|sid| node.ended.borrow().contains(sid)) {
                self.net.wrong(|| format!("session {sid} was ended, and is there"));
            }
        }
        let _ = now(store.stores.eras.look());
        for number in 0..USERS {
            let user = UserId::parse(&format!("u{number}")).expect("a legal name");
            let slots = match now(store.stores.ledger.slots(user.clone())) {
                Ok(slots) => slots,
                Err(fault) => return self.net.wrong(|| format!("the store does not decide: {fault}")),
            };
            let there: Vec<Holder> = living
                .iter()
                .flat_map(|node| node.sessions.borrow().values().cloned().collect::<Vec<_>>())
                .filter(|session| session.user == user)
                .map(|session| session.holder)
                .collect();
            let live: Vec<&Holder> =
                slots.iter().filter(|slot| slot.state == SlotState::Live).map(|slot| &slot.holder).collect();
            let missing: Vec<_> = there.iter().filter(|holder| !live.contains(holder)).collect();
            let idle: Vec<_> = live.iter().filter(|holder| !there.contains(holder)).collect();
            if !missing.is_empty() || !idle.is_empty() || slots.len() > self.cap as usize {
                self.net.wrong(|| {
                    format!("{}: without a slot {missing:?}, slots of nobody {idle:?}, all {slots:?}", user.as_str())
                });
            }
        }
    }
}
