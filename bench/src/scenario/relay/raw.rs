//! Redis publish to subscribe: one connection says, another hears, a thread each, paced as the room messages are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::histogram::Histogram;
use crate::proc::Probe;
use crate::redis::Redis;
use crate::{Outcome, clock};

/// What a room message carries besides its payload: envelope, header, MAC.
const AROUND: usize = 250;

pub(super) struct Pair {
    publisher: Redis,
    address: SocketAddr,
    bytes: usize,
    runs: u64,
}

impl Pair {
    pub(super) fn connect(address: SocketAddr, bytes: usize) -> Outcome<Self> {
        Ok(Self { publisher: Redis::connect(address)?, address, bytes: bytes + AROUND, runs: 0 })
    }

    /// Publishes `total` messages at `rate` and waits for all of them.
    pub(super) fn run(&mut self, total: u64, rate: f64) -> Outcome<Histogram> {
        self.runs += 1;
        let channel = format!("bench-raw-{}", self.runs).into_bytes();
        let mut subscriber = Redis::connect(self.address)?;
        subscriber.send(&[b"SUBSCRIBE", &channel])?;
        subscriber.answer()?;
        let sent: Arc<Vec<AtomicU64>> = Arc::new((0..total).map(|_| AtomicU64::new(0)).collect());
        let times = Arc::clone(&sent);
        let hears =
            std::thread::Builder::new().name("subscriber".into()).spawn(move || -> Result<Histogram, String> {
                let mut latency = Histogram::default();
                for at in times.iter() {
                    // one connection publishes, so they come in order
                    subscriber.answer().map_err(|error| error.to_string())?;
                    latency.record(clock::now_ns().saturating_sub(at.load(Ordering::Acquire)));
                }
                Ok(latency)
            })?;
        let (step, first) = (clock::seconds(1.0 / rate), clock::now_ns());
        let payload = vec![b'x'; self.bytes];
        for (due, at) in (1..).map(|n| first + n * step).zip(sent.iter()) {
            std::thread::sleep(Duration::from_nanos(due.saturating_sub(clock::now_ns())));
            at.store(clock::now_ns(), Ordering::Release);
            self.publisher.send(&[b"PUBLISH", &channel, &payload])?;
            self.publisher.answer()?;
        }
        Ok(hears.join().map_err(|_| "the subscriber's thread ended")??)
    }
}

/// Nanoseconds of Redis's CPU for one message that so many connections hear, `count` of them in a row.
pub(super) fn cost(address: SocketAddr, probe: &Probe, bytes: usize, listeners: usize, count: u64) -> Outcome<f64> {
    let channel = format!("bench-listeners-{listeners}").into_bytes();
    let mut hears = Vec::new();
    for _ in 0..listeners {
        let mut subscriber = Redis::connect(address)?;
        subscriber.send(&[b"SUBSCRIBE", &channel])?;
        subscriber.answer()?;
        hears.push(std::thread::Builder::new().name("listener".into()).spawn(move || -> Result<(), String> {
            for _ in 0..count {
                subscriber.answer().map_err(|error| error.to_string())?;
            }
            Ok(())
        })?);
    }
    let mut publisher = Redis::connect(address)?;
    let (payload, before) = (vec![b'x'; bytes + AROUND], probe.cpu_ns()?);
    // some at once, as a busy node's pipeline sends them
    const AT_ONCE: u64 = 16;
    for _ in 0..count / AT_ONCE {
        for _ in 0..AT_ONCE {
            publisher.send(&[b"PUBLISH", &channel, &payload])?;
        }
        for _ in 0..AT_ONCE {
            publisher.answer()?;
        }
    }
    for _ in 0..count % AT_ONCE {
        publisher.send(&[b"PUBLISH", &channel, &payload])?;
        publisher.answer()?;
    }
    for listener in hears {
        listener.join().map_err(|_| "a listener's thread ended")??;
    }
    Ok((probe.cpu_ns()? - before) as f64 / count.max(1) as f64)
}
