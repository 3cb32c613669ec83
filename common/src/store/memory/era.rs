//! Eras of the memory store: one server that can be made to forget, and what each process knows of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngCore;
use tokio::sync::{Notify, watch};

use super::lease::MemoryLeases;
use super::ready;
use super::shard::lock;
use crate::clock::{Clock, Mono};
use crate::ids::NodeId;
use crate::store::era::{Era, EraView, Eras, Mark, PATIENCE};
use crate::store::{StoreFault, StoreFuture};

/// What a part of the store was told: its era, and by its server's name of whom. Nothing: it was never told, or forgot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    era: u64,
    run: u64,
}

/// When a decision is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// In whatever era it is.
    Any,
    /// Once the era is whole: it gives somebody something new.
    Whole,
}

/// A role's state, as the server tells it of eras and loses it.
pub(super) trait Part: Send + Sync {
    /// Another era begins: what was held is nothing. Not for a part that is in a later one.
    fn tell(&self, told: Told);
    /// Everything is lost, what it was told too.
    fn forget(&self);
    /// Keeps a copy of everything, instead of the one before.
    fn copy(&self);
    /// Goes back to the copy; without one everything is lost.
    fn go_back(&self);
    /// The server is another one from now on; nothing was lost.
    fn restart(&self) {}
}

#[derive(Clone)]
struct Record {
    era: Era,
    run: u64,
    open: bool,
    at: Mono,
    strangers: Duration,
    /// True: still waited for.
    members: BTreeMap<NodeId, bool>,
}

impl Record {
    fn view(&self, now: Mono) -> EraView {
        let waiting = self.members.values().filter(|waits| **waits).count();
        let age = now.since(self.at);
        let whole = age >= PATIENCE || (waiting == 0 && age >= self.strangers);
        EraView { era: self.era, whole: self.open && whole, waiting }
    }
}

/// The server behind all processes of a memory store.
pub(super) struct Server {
    clock: Arc<dyn Clock>,
    nonces: Mutex<Box<dyn RngCore + Send>>,
    run: AtomicU64,
    record: Mutex<Option<Record>>,
    copied: Mutex<Option<Record>>,
    pub(super) leases: Arc<MemoryLeases>,
    bound: usize,
    parts: Vec<Arc<dyn Part>>,
}

impl Server {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        rng: Box<dyn RngCore + Send>,
        leases: Arc<MemoryLeases>,
        bound: usize,
        parts: Vec<Arc<dyn Part>>,
    ) -> Self {
        let (record, copied) = (Mutex::default(), Mutex::default());
        Self { clock, nonces: Mutex::new(rng), run: AtomicU64::new(1), record, copied, leases, bound, parts }
    }

    /// Everything is lost.
    pub(super) fn forget(&self) {
        *lock(&self.record) = None;
        self.leases.forget();
        self.parts.iter().for_each(|part| part.forget());
    }

    /// A copy that follows later, or never, becomes the server's state by [`Self::go_back`].
    pub(super) fn copy(&self) {
        *lock(&self.copied) = lock(&self.record).clone();
        self.leases.copy();
        self.parts.iter().for_each(|part| part.copy());
    }

    /// The copy becomes the server.
    pub(super) fn go_back(&self) {
        self.run.fetch_add(1, Ordering::AcqRel);
        *lock(&self.record) = lock(&self.copied).clone();
        self.leases.go_back();
        self.parts.iter().for_each(|part| part.go_back());
    }

    /// It is another server from now on, with the same data.
    pub(super) fn restart(&self) {
        self.run.fetch_add(1, Ordering::AcqRel);
        self.parts.iter().for_each(|part| part.restart());
    }

    fn run(&self) -> u64 {
        self.run.load(Ordering::Acquire)
    }

    /// An open era that this server was told of.
    fn look(&self) -> Option<EraView> {
        let now = self.clock.mono();
        let record = lock(&self.record);
        record.as_ref().filter(|record| record.run == self.run() && record.open).map(|record| record.view(now))
    }

    /// The record of an era that this process does not know, or a new one.
    fn begin(&self, before: Option<Era>, members: Vec<NodeId>, strangers: Duration) -> Result<Record, StoreFault> {
        let mut record = lock(&self.record);
        let run = self.run();
        if let Some(present) = record.as_ref().filter(|record| record.run == run && Some(record.era) != before) {
            return Ok(present.clone());
        }
        let members: BTreeMap<_, _> =
            members.into_iter().chain(self.leases.living()).map(|node| (node, true)).collect();
        if members.len() > self.bound {
            return Err(StoreFault::Full("nodes"));
        }
        let known = record.as_ref().map(|record| record.era).max(before);
        let number = (self.clock.wall().0 * 1_000).max(known.map_or(1, |era| era.number + 1));
        let era = Era { number, nonce: lock(&self.nonces).next_u32() };
        let begun = Record { era, run, open: false, at: self.clock.mono(), strangers, members };
        *record = Some(begun.clone());
        Ok(begun)
    }

    fn change(&self, era: Era, change: impl FnOnce(&mut Record)) -> Result<EraView, StoreFault> {
        let now = self.clock.mono();
        let mut record = lock(&self.record);
        let present = record.as_mut().filter(|record| record.run == self.run() && record.era == era);
        let present = present.ok_or(StoreFault::Era)?;
        change(present);
        Ok(present.view(now))
    }
}

/// What one process knows.
pub(super) struct MemoryEras {
    server: Arc<Server>,
    view: watch::Sender<Option<EraView>>,
    /// The view again, for the path of every call; 0: none.
    number: AtomicU64,
    whole: AtomicBool,
    alarm: Notify,
    lost: AtomicU64,
}

impl MemoryEras {
    pub(super) fn new(server: Arc<Server>) -> Self {
        let (view, alarm) = (watch::Sender::default(), Notify::new());
        let (number, lost) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { server, view, number, whole: AtomicBool::new(false), alarm, lost }
    }

    /// Whether a decision may be made on a part that was told this.
    pub(super) fn check(&self, told: Told, when: When) -> Result<(), StoreFault> {
        if self.fits(told, when) {
            return Ok(());
        }
        let before = self.number.load(Ordering::Acquire);
        self.look_now();
        if self.fits(told, when) {
            return Ok(());
        }
        let present = self.number.load(Ordering::Acquire);
        if present == 0 || (present == before && !self.is_here(told)) {
            self.lost.store(present, Ordering::Release);
            self.alarm.notify_one();
        }
        Err(StoreFault::Era)
    }

    fn is_here(&self, told: Told) -> bool {
        let era = self.number.load(Ordering::Acquire);
        era != 0 && told == Told { era, run: self.server.run() }
    }

    fn fits(&self, told: Told, when: When) -> bool {
        self.is_here(told) && (when == When::Any || self.whole.load(Ordering::Acquire))
    }

    fn look_now(&self) -> Option<EraView> {
        let seen = self.server.look()?;
        self.learn(seen);
        Some(seen).filter(|view| view.era.number != self.lost.load(Ordering::Acquire))
    }

    fn learn(&self, seen: EraView) {
        self.view.send_if_modified(|present| {
            let changed = match *present {
                Some(known) if known.era > seen.era => false,
                // what is whole stays so
                Some(known) if known.era == seen.era && known.whole => false,
                known => known != Some(seen),
            };
            if !changed {
                return false;
            }
            *present = Some(seen);
            self.number.store(seen.era.number, Ordering::Release);
            self.whole.store(seen.whole, Ordering::Release);
            true
        });
    }

    pub(super) fn open_now(&self, members: Vec<NodeId>, strangers: Duration) -> Result<EraView, StoreFault> {
        let before = self.era();
        let begun = self.server.begin(before, members, strangers)?;
        if !begun.open {
            let told = Told { era: begun.era.number, run: begun.run };
            self.server.parts.iter().for_each(|part| part.tell(told));
        }
        let now = self.server.clock.mono();
        let view = self.server.change(begun.era, |record| {
            record.at = if record.open { record.at } else { now };
            record.open = true;
        })?;
        self.learn(view);
        Ok(view)
    }
}

impl Told {
    /// Whether it is a later era, or the same on another server: what was held before is nothing.
    pub(super) fn follows(self, before: Self) -> bool {
        self.era > before.era || (self.era == before.era && self.run != before.run)
    }
}

impl Eras for MemoryEras {
    fn current(&self) -> Option<EraView> {
        *self.view.borrow()
    }

    fn watch(&self) -> watch::Receiver<Option<EraView>> {
        self.view.subscribe()
    }

    fn alarm(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.alarm.notified().await;
            Ok(())
        })
    }

    fn look(&self) -> StoreFuture<'_, Option<EraView>> {
        ready(Ok(self.look_now()))
    }

    fn open(&self, members: Vec<NodeId>, strangers: Duration) -> StoreFuture<'_, EraView> {
        ready(self.open_now(members, strangers))
    }

    fn mark(&self, era: Era, node: NodeId, mark: Mark) -> StoreFuture<'_, EraView> {
        let now = self.server.clock.mono();
        let view = self.server.change(era, |record| {
            let whole = record.view(now).whole;
            match (mark, record.members.get_mut(&node)) {
                (Mark::Done, Some(waits)) => *waits = false,
                // who speaks up is heard until the era is whole
                (Mark::Waiting, None) if !whole => drop(record.members.insert(node, true)),
                _ => {}
            }
        });
        ready(view.inspect(|view| self.learn(*view)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    /// What the only process of a server with this one part knows.
    pub(in super::super) fn alone(clock: Arc<dyn Clock>, part: Arc<dyn Part>) -> Arc<MemoryEras> {
        let leases = Arc::new(MemoryLeases::new(Arc::clone(&clock), 8));
        let server = Server::new(clock, Box::new(StdRng::seed_from_u64(1)), leases, 8, vec![part]);
        let eras = MemoryEras::new(Arc::new(server));
        eras.open_now(Vec::new(), Duration::ZERO).unwrap();
        Arc::new(eras)
    }
}
