//! Tasks that go on when they are told to, and a clock that moves when it is told to.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use portcullis_common::clock::{Clock, UnixMs};

/// True time of day at the beginning of every schedule, in ms.
pub const START: u64 = 1_800_000_000_000;

/// True time, in ms.
#[derive(Debug, Clone)]
pub struct Time(Arc<AtomicU64>);

impl Default for Time {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }
}

impl Time {
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

/// What a process takes for the time: its wall clock is wrong, its other one began when it did.
#[derive(Debug, Clone)]
pub struct Skewed {
    pub time: Time,
    pub skew: i64,
    pub zero: u64,
}

impl Clock for Skewed {
    fn wall(&self) -> UnixMs {
        UnixMs(self.time.now().saturating_add_signed(self.skew))
    }

    fn nanos(&self) -> u64 {
        (self.time.now() - self.zero) * 1_000_000
    }
}

/// Waits for its turn once.
pub fn turn() -> impl Future<Output = ()> + Send {
    let mut waited = false;
    std::future::poll_fn(move |_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending })
}

/// Something that a process does.
pub struct Task {
    pub owner: usize,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

impl Task {
    pub fn new(owner: usize, work: impl Future<Output = ()> + 'static) -> Self {
        Self { owner, work: Box::pin(work) }
    }

    /// One turn; true: it has ended.
    pub fn go_on(&mut self) -> bool {
        self.work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}
