//! One clock that jumps, and tasks that sleep on it: what runs when is decided by the seed alone.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_common::clock::ManualClock;

/// Who stops when a process is stopped: a node by its number, the store, or nobody.
pub type Owner = usize;

struct Task {
    owner: Owner,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

/// See the module.
pub struct Machine {
    pub clock: Arc<ManualClock>,
    now: Cell<u64>,
    serial: Cell<u64>,
    due: RefCell<BinaryHeap<Reverse<(u64, u64, usize)>>>,
    tasks: RefCell<Vec<Option<Task>>>,
    free: RefCell<Vec<usize>>,
    running: Cell<usize>,
    /// Until when each owner is stopped.
    stopped: RefCell<Vec<u64>>,
}

impl Machine {
    pub fn new(clock: Arc<ManualClock>, owners: usize) -> Rc<Self> {
        Rc::new(Self {
            clock,
            now: Cell::new(0),
            serial: Cell::new(0),
            due: RefCell::default(),
            tasks: RefCell::default(),
            free: RefCell::default(),
            running: Cell::new(0),
            stopped: RefCell::new(vec![0; owners]),
        })
    }

    /// Milliseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.now.get()
    }

    /// The task that runs.
    pub fn current(&self) -> usize {
        self.running.get()
    }

    /// Has a task look again at that time.
    pub fn wake(&self, task: usize, at: u64) {
        self.serial.set(self.serial.get() + 1);
        self.due.borrow_mut().push(Reverse((at.max(self.now()), self.serial.get(), task)));
    }

    pub fn spawn(&self, owner: Owner, work: impl Future<Output = ()> + 'static) {
        let task = Some(Task { owner, work: Box::pin(work) });
        let place = self.free.borrow_mut().pop();
        let mut tasks = self.tasks.borrow_mut();
        let place = match place {
            Some(place) => {
                tasks[place] = task;
                place
            }
            None => {
                tasks.push(task);
                tasks.len() - 1
            }
        };
        drop(tasks);
        self.wake(place, self.now());
    }

    /// Ends all that an owner does.
    pub fn kill(&self, owner: Owner) {
        let mut dead = Vec::new();
        for (place, task) in self.tasks.borrow_mut().iter_mut().enumerate() {
            if task.as_ref().is_some_and(|task| task.owner == owner) {
                dead.extend(task.take());
                self.free.borrow_mut().push(place);
            }
        }
        drop(dead);
    }

    /// Stops an owner until then.
    pub fn stop(&self, owner: Owner, until: u64) {
        let mut stopped = self.stopped.borrow_mut();
        stopped[owner] = stopped[owner].max(until);
    }

    pub fn is_stopped(&self, owner: Owner) -> bool {
        self.stopped.borrow()[owner] > self.now()
    }

    /// Lets time pass up to that moment.
    pub fn run_until(&self, end: u64) {
        loop {
            let next = self.due.borrow().peek().map(|Reverse((at, ..))| *at);
            let Some(at) = next.filter(|at| *at <= end) else { break };
            let Some(Reverse((_, _, place))) = self.due.borrow_mut().pop() else { break };
            self.advance_to(at);
            let Some(mut task) = self.tasks.borrow_mut()[place].take() else { continue };
            let stopped = self.stopped.borrow()[task.owner];
            if stopped > at {
                self.tasks.borrow_mut()[place] = Some(task);
                self.wake(place, stopped);
                continue;
            }
            self.running.set(place);
            match task.work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => self.tasks.borrow_mut()[place] = Some(task),
                Poll::Ready(()) => self.free.borrow_mut().push(place),
            }
        }
        self.advance_to(end);
    }

    fn advance_to(&self, at: u64) {
        self.clock.advance(Duration::from_millis(at - self.now()));
        self.now.set(at);
    }

    pub fn sleep(self: &Rc<Self>, ms: u64) -> Sleep {
        Sleep { machine: Rc::clone(self), until: self.now() + ms, noted: false }
    }
}

/// Ready at a time.
pub struct Sleep {
    machine: Rc<Machine>,
    until: u64,
    noted: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.machine.now() >= self.until {
            return Poll::Ready(());
        }
        if !self.noted {
            self.noted = true;
            self.machine.wake(self.machine.current(), self.until);
        }
        Poll::Pending
    }
}
