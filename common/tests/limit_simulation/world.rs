//! The fleet: nodes, the network, the store, and what happens to them.

mod trouble;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::Clock;
use portcullis_common::config::model::{Limit, Rate};
use portcullis_common::gcra::Gcra;
use portcullis_common::limit::{Answer, Order, PATIENCE, Plan, Standing, Table};
use portcullis_common::store::Stores;
use portcullis_common::store::limit::{Ask, Leased, LimitKey};
use portcullis_common::store::memory::{Bounds, MemoryWorld};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::judge::{Admitted, Forgotten, Promise};
use crate::mutants::Fault;
use crate::store::{SimClock, now};
use crate::told::Told;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
/// The simulated world begins late enough for clocks that are behind.
const BEGIN: u64 = 1_000 * S;
/// When a call is given up.
const TIMEOUT: u64 = 500 * MS;
const USERS: usize = 2;
/// How long a plot takes.
const PLOT: u64 = 60 * S;

struct Node {
    table: Table<usize>,
    life: u32,
    alive: bool,
    /// Its clock, against true time.
    offset: u64,
    /// How many nodes it sees.
    view: u32,
    /// Whether it believes the store to answer.
    up: bool,
    stores: Stores,
    /// After the first failed call (for a mutant).
    bitter: bool,
    /// By user: when the last call was sent, by true time, that was refused.
    refused: [Option<u64>; USERS],
}

struct Call {
    node: usize,
    life: u32,
    user: usize,
    plan: Plan,
    order: Order,
    sent: u64,
    over: bool,
}

#[derive(Debug, Clone, Copy)]
struct Parked {
    node: usize,
    life: u32,
    user: usize,
    at: u64,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Attempt {
        stream: usize,
        round: u32,
    },
    /// A parked message has waited long enough.
    Enough(Parked),
    Arrive(usize),
    Back(usize, Option<Leased>),
    Timeout(usize),
    Incident,
    Reopen,
    Copy,
    Believe {
        node: usize,
        up: bool,
    },
    See {
        node: usize,
    },
    Rebirth {
        node: usize,
    },
    NewStreams,
    /// A message of a node that is just quiet enough for credit.
    Drip {
        node: usize,
    },
    /// One message.
    Single {
        node: usize,
    },
}

/// What a schedule begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plot {
    /// Whatever may happen.
    Any,
    /// One node presses, and others use credit as often as they can.
    Drips,
    /// Nodes lease much, fall silent until the count is full again, and then want everything.
    Hoards,
}

/// Messages of a user on a node.
struct Stream {
    node: usize,
    user: usize,
    /// A second; 0: none.
    rate: f64,
    round: u32,
}

pub struct World {
    rng: StdRng,
    fault: Option<Fault>,
    t: u64,
    seq: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Event>,
    clock: Arc<SimClock>,
    /// Of the store's clock, against true time.
    skew: u64,
    memory: MemoryWorld,
    nodes: Vec<Node>,
    streams: Vec<Stream>,
    parked: Vec<Parked>,
    calls: Vec<Call>,
    limit: Gcra,
    promise: Promise,
    paused: u64,
    /// The longest way of a call, one way, in µs.
    lag: u64,
    /// A second limit refuses this share of what passes.
    other: f64,
    /// Troubles are over.
    calm: bool,
    plot: Plot,
    admitted: [Vec<Admitted>; USERS],
    forgot: Forgotten,
    told: Told,
}

fn seconds(t: u64) -> f64 {
    t as f64 / S as f64
}

impl World {
    pub fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (plot, count, period, burst, size) = trouble::draw(&mut rng);
        let limit = Gcra::new(Limit { rate: Rate { count, period: Duration::from_secs(period) }, burst });
        // a fleet that grows by one while it runs
        let grows = size > 1 && plot == Plot::Any && rng.random_bool(0.2);
        let view = if grows { size - 1 } else { size };
        let clock = SimClock::at(BEGIN);
        let shared: Arc<dyn Clock> = Arc::<SimClock>::clone(&clock);
        let memory = MemoryWorld::new(shared, Box::new(StdRng::seed_from_u64(seed)), Bounds::default());
        let mut nodes: Vec<Node> = (0..size).map(|_| Node::new(&memory, view, rng.random_range(0..180 * S))).collect();
        if let Some(newcomer) = nodes.last_mut() {
            // it sees itself
            newcomer.view = size;
        }
        now(nodes[0].stores.eras.open(Vec::new(), Duration::ZERO)).expect("an era");
        let batch = f64::from((burst / (2 * view)).max(1));
        let promise = Promise {
            rate: f64::from(count) / period as f64,
            burst: f64::from(burst),
            nodes: f64::from(size),
            batch,
            shares: if grows { 1.0 + 1.0 / f64::from(size) } else { 1.0 },
        };
        let mut world = Self {
            fault,
            t: BEGIN,
            seq: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            clock,
            skew: 0,
            memory,
            nodes,
            streams: Vec::new(),
            parked: Vec::new(),
            calls: Vec::new(),
            limit,
            promise,
            paused: 0,
            lag: [300, 2_000, 20_000, 130_000][rng.random_range(0..4)],
            other: if rng.random_bool(0.3) { 0.3 } else { 0.0 },
            calm: false,
            plot,
            admitted: Default::default(),
            forgot: Forgotten::default(),
            told: Told { schedules: 1, ..Told::default() },
            rng,
        };
        if grows {
            for node in 0..world.nodes.len() {
                let late = world.rng.random_range(0..4 * S);
                world.at(late, Event::See { node });
            }
        }
        world
    }

    fn at(&mut self, after: u64, event: Event) {
        self.seq += 1;
        self.queue.push(Reverse((self.t + after, self.seq, self.events.len())));
        self.events.push(event);
    }

    fn until(&mut self, end: u64) -> Result<(), String> {
        while let Some(Reverse((t, ..))) = self.queue.peek()
            && *t <= end
        {
            let Some(Reverse((t, _, event))) = self.queue.pop() else { break };
            self.t = t;
            self.happen(self.events[event])?;
        }
        self.t = end;
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Attempt { stream, round } => {
                let Stream { node, user, rate, round: present } = self.streams[stream];
                if round != present || rate <= 0.0 {
                    return Ok(());
                }
                self.next_attempt(stream);
                if self.nodes[node].alive {
                    self.told.attempts += 1;
                    let life = self.nodes[node].life;
                    self.message(Parked { node, life, user, at: self.t })?;
                }
            }
            Event::Enough(parked) => {
                let same = |p: &Parked| p.at == parked.at && p.node == parked.node && p.user == parked.user;
                if let Some(at) = self.parked.iter().position(same) {
                    let parked = self.parked.swap_remove(at);
                    self.message(parked)?;
                }
            }
            Event::Arrive(call) => self.arrive(call),
            Event::Back(call, leased) => self.back(call, leased)?,
            Event::Timeout(call) => self.back(call, None)?,
            Event::Incident => self.incident(),
            Event::Reopen => {
                let stores = &self.nodes[0].stores;
                now(stores.eras.open(Vec::new(), Duration::ZERO)).expect("an era");
            }
            Event::Copy => self.memory.copy(),
            Event::Believe { node, up } => self.nodes[node].up = up,
            Event::See { node } => self.nodes[node].view = u32::try_from(self.nodes.len()).expect("few"),
            Event::Rebirth { node } => {
                let (view, offset) = (self.nodes[node].view, self.rng.random_range(0..180 * S));
                let life = self.nodes[node].life + 1;
                self.nodes[node] = Node { life, ..Node::new(&self.memory, view, offset + self.t - BEGIN) };
                self.nodes[node].offset = offset;
            }
            Event::NewStreams => self.new_streams(),
            Event::Single { node } => self.single(node)?,
            Event::Drip { node } => {
                self.single(node)?;
                let often = if node == 0 { 150 * MS } else { self.rng.random_range(3_010 * MS..3_100 * MS) };
                if !self.calm {
                    self.at(often, Event::Drip { node });
                }
            }
        }
        Ok(())
    }

    fn single(&mut self, node: usize) -> Result<(), String> {
        self.told.attempts += 1;
        let life = self.nodes[node].life;
        self.message(Parked { node, life, user: 0, at: self.t })
    }

    fn plan(&self, node: usize) -> Plan {
        let plan = Plan::new(self.limit, self.nodes[node].view);
        self.fault.map_or(plan, |fault| fault.plan(plan))
    }

    fn message(&mut self, message: Parked) -> Result<(), String> {
        let Parked { node, life, user, at } = message;
        let plan = self.plan(node);
        let here = &mut self.nodes[node];
        if !here.alive || here.life != life {
            return Ok(());
        }
        let patient = self.t - at < PATIENCE;
        let standing = Standing { up: here.up, patient, now: self.t + here.offset };
        let took = here.table.take(&user, &plan, standing);
        if let Some(order) = took.order {
            self.call(node, user, plan, order)?;
        }
        match took.answer {
            Answer::Yes => self.let_in(node, user, &plan, standing, took.alone),
            Answer::Wait(_) => self.told.refused += 1,
            Answer::Ask => {
                if !patient {
                    return Err(format!("a message waited for {} ms", (self.t - at) / MS));
                }
                self.told.parked += 1;
                self.parked.push(message);
                self.at(PATIENCE - (self.t - at), Event::Enough(message));
            }
        }
        Ok(())
    }

    fn let_in(&mut self, node: usize, user: usize, plan: &Plan, standing: Standing, alone: bool) {
        if self.other > 0.0 && self.rng.random_bool(self.other) {
            self.told.returned += 1;
            let times = if self.fault == Some(Fault::DoubleReturn) { 2 } else { 1 };
            for _ in 0..times {
                self.nodes[node].table.give_back(&user, plan, standing);
            }
            return;
        }
        self.told.admitted += 1;
        self.told.alone += u64::from(alone);
        self.admitted[user].push(Admitted { at: seconds(self.t), alone });
    }

    fn call(&mut self, node: usize, user: usize, plan: Plan, order: Order) -> Result<(), String> {
        self.told.calls += 1;
        self.told.credit += u64::from(order.paid);
        let one = self.limit.interval();
        if let Some(refused) = self.nodes[node].refused[user].take()
            && self.t < refused + one
        {
            let early = self.t - refused;
            return Err(format!("a call {early} ns after one that was refused, a token takes {one} ns"));
        }
        let call = self.calls.len();
        let life = self.nodes[node].life;
        self.calls.push(Call { node, life, user, plan, order, sent: self.t, over: false });
        let way = self.way();
        self.at(way, Event::Arrive(call));
        self.at(TIMEOUT, Event::Timeout(call));
        Ok(())
    }

    fn way(&mut self) -> u64 {
        self.rng.random_range(50..=self.lag) * 1_000
    }

    /// A call reaches the store.
    fn arrive(&mut self, call: usize) {
        if self.t < self.paused {
            // it waits in a socket, or its connection is given up
            if self.rng.random_bool(0.7) {
                let after = self.paused - self.t + self.rng.random_range(0..MS);
                self.at(after, Event::Arrive(call));
            }
            return;
        }
        let Call { node, user, order, .. } = self.calls[call];
        let key = LimitKey { limit: "heavy".to_owned(), per: "user", counted: user.to_string() };
        let mut ask = Ask { key, limit: self.limit, paid: order.paid, want: order.want, nodes: order.nodes };
        if let Some(fault) = self.fault {
            fault.ask(&mut ask, call as u64, node);
        }
        let mine = if self.fault == Some(Fault::ClockOfTheNode) { self.nodes[node].offset } else { self.skew };
        self.clock.set(self.t + mine);
        let leased = now(self.nodes[node].stores.limits.lease(ask)).ok();
        let way = self.way();
        self.at(way, Event::Back(call, leased));
    }

    /// The answer of a call, or the end of waiting for it.
    fn back(&mut self, call: usize, leased: Option<Leased>) -> Result<(), String> {
        let Call { node, life, user, plan, mut order, sent, over } = self.calls[call];
        self.calls[call].over = true;
        let here = &mut self.nodes[node];
        if over || !here.alive || here.life != life {
            return Ok(());
        }
        let local = self.t + here.offset;
        here.bitter |= leased.is_none();
        let unbelieving = self.fault == Some(Fault::ShareNeverRestored) && here.bitter;
        match leased.filter(|_| !unbelieving) {
            Some(mut leased) => {
                if leased.granted == 0 && order.want > 0 {
                    here.refused[user] = Some(sent);
                }
                if let Some(fault) = self.fault {
                    fault.leased(&mut order, &mut leased);
                }
                here.table.answered(&user, &plan, order, leased, local);
            }
            None => {
                self.told.failed += 1;
                here.table.failed(&user, local);
            }
        }
        let (mine, others) = self.parked.drain(..).partition(|p| p.node == node && p.user == user);
        self.parked = others;
        let mine: Vec<Parked> = mine;
        mine.into_iter().try_for_each(|parked| self.message(parked))
    }
}

impl Node {
    fn new(memory: &MemoryWorld, view: u32, offset: u64) -> Self {
        Self {
            table: Table::new(16, BEGIN + offset),
            life: 0,
            alive: true,
            offset,
            view,
            up: true,
            stores: memory.stores(),
            bitter: false,
            refused: [None; USERS],
        }
    }
}
