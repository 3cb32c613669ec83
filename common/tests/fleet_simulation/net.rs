//! The way to the store: every call takes time, may be lost on the way there or back, and may be carried out long after
//! its caller has given up. What the store does is looked at where it happens: that is where protocols are broken.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use portcullis_common::store::memory::MemoryWorld;
use portcullis_common::store::{StoreFault, StoreFuture};
use rand::Rng;
use rand::rngs::StdRng;

use crate::machine::Machine;
use crate::mutants::Fault;

/// How many nodes there are, and who else can be stopped.
pub const NODES: usize = 3;
pub const STORE: usize = NODES;
pub const NOBODY: usize = NODES + 1;

/// How long a call is waited for.
const TIMEOUT: u64 = 500;

/// What a ready future holds.
pub fn now<T>(mut answer: StoreFuture<'_, T>) -> Result<T, StoreFault> {
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(silent()),
    }
}

pub fn silent() -> StoreFault {
    StoreFault::Unavailable("no answer in time".into())
}

pub type Token = [u8; 32];

/// What the store did, as far as it must never undo it.
#[derive(Default)]
pub struct Record {
    /// Tokens that each session was given, the last one last.
    pub given: BTreeMap<u128, Vec<Token>>,
    pub spent: BTreeSet<Token>,
    /// The latest generation of each session: a connection of an earlier one is about to be told that it is over.
    pub generations: BTreeMap<u128, u32>,
    /// Sessions that were ended for good, and not claimed by a socket since.
    pub ended: BTreeSet<u128>,
    /// What was found to be wrong.
    pub wrong: Option<String>,
    /// What happened, where somebody wants to read it.
    pub trace: Option<Vec<String>>,
}

/// Everything between the nodes and the store, and the store.
pub struct Net {
    pub machine: Rc<Machine>,
    pub world: MemoryWorld,
    pub rng: RefCell<StdRng>,
    pub fault: Option<Fault>,
    pub record: RefCell<Record>,
    /// Until when a node cannot reach the store.
    pub cut: RefCell<[u64; NODES]>,
    /// Until when calls take long.
    pub lagging: Cell<u64>,
    /// When the last call of each node arrives: one connection keeps the order.
    arrival: RefCell<[u64; NODES]>,
}

impl Net {
    pub fn new(machine: Rc<Machine>, world: MemoryWorld, rng: StdRng, fault: Option<Fault>, trace: bool) -> Rc<Self> {
        let record = Record { trace: trace.then(Vec::new), ..Record::default() };
        Rc::new(Self {
            machine,
            world,
            rng: RefCell::new(rng),
            fault,
            record: RefCell::new(record),
            cut: RefCell::default(),
            lagging: Cell::new(0),
            arrival: RefCell::default(),
        })
    }

    pub fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    pub fn random(&self, range: std::ops::Range<u64>) -> u64 {
        self.rng.borrow_mut().random_range(range)
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        let now = self.machine.now();
        if let Some(trace) = &mut self.record.borrow_mut().trace {
            trace.push(format!("{now:>6} {}", what()));
        }
    }

    /// The first thing that is wrong is the one to tell.
    pub fn wrong(&self, what: impl FnOnce() -> String) {
        let now = self.machine.now();
        self.record.borrow_mut().wrong.get_or_insert_with(|| format!("at {now} ms: {}", what()));
    }

    pub fn is_cut(&self, node: usize) -> bool {
        self.cut.borrow()[node] > self.machine.now()
    }

    fn lag(&self) -> u64 {
        if self.lagging.get() > self.machine.now() {
            return self.random(0..900);
        }
        // mostly a moment, now and then a queue somewhere
        let lag = self.random(0..1_000);
        if lag < 990 { lag % 3 } else { lag - 900 }
    }

    /// A call of a node, carried out when it arrives, answered when the answer does.
    pub fn call<T: 'static>(
        self: &Rc<Self>,
        node: usize,
        act: impl FnOnce() -> Result<T, StoreFault> + 'static,
    ) -> Call<T> {
        let machine = &self.machine;
        let answer = Rc::new(RefCell::new(None));
        if !self.is_cut(node) {
            let at = (machine.now() + self.lag()).max(self.arrival.borrow()[node]);
            self.arrival.borrow_mut()[node] = at;
            let (net, into, caller) = (Rc::clone(self), Rc::clone(&answer), machine.current());
            machine.spawn(STORE, async move {
                net.machine.sleep(at.saturating_sub(net.machine.now())).await;
                if net.is_cut(node) {
                    return;
                }
                let said = act();
                let back = net.machine.now() + net.lag();
                *into.borrow_mut() = Some((back, said));
                net.machine.wake(caller, back);
            });
        }
        Call { net: Rc::clone(self), node, until: machine.now() + TIMEOUT, answer, noted: false }
    }
}

type Said<T> = Rc<RefCell<Option<(u64, Result<T, StoreFault>)>>>;

/// An answer that is waited for.
pub struct Call<T> {
    net: Rc<Net>,
    node: usize,
    until: u64,
    answer: Said<T>,
    noted: bool,
}

impl<T> Future for Call<T> {
    type Output = Result<T, StoreFault>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let machine = Rc::clone(&self.net.machine);
        let there = self.answer.borrow().as_ref().is_some_and(|(at, _)| *at <= machine.now());
        if there
            && !self.net.is_cut(self.node)
            && let Some((_, said)) = self.answer.borrow_mut().take()
        {
            return Poll::Ready(said);
        }
        if machine.now() >= self.until {
            return Poll::Ready(Err(silent()));
        }
        if !self.noted {
            self.noted = true;
            machine.wake(machine.current(), self.until);
        }
        Poll::Pending
    }
}
