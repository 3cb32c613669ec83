//! A process: the reader of the control log as it is, what follows it, and a disk that outlives it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{NodeEpoch, NodeId};
use portcullis_common::store::control::{ControlEntry, ControlSink, Logged};
use portcullis_common::store::keyring::Keyring;
use portcullis_common::store::record::{Issuer, Sealer};
use portcullis_common::store::redis::Trust;
use portcullis_common::store::redis::rehearsal::{Follower, Head, Medium as _, Pace, Place};

use crate::machine::{Skewed, Task, turn};
use crate::mutants::Fault;
use crate::store::{STREAM, Shared, Way};

pub const OURS: &str = "k:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
pub const THEIRS: &str = "k:/wIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

/// Turns for which an append waits until the log has been read.
const PATIENCE: usize = 40;

/// Small, so that a few dozen entries fill pages and snapshots.
const PACE: Pace = Pace { page: 4, trim: 3, due: 9 };

/// The copy of a machine, and which entries had been told when it was written.
#[derive(Debug, Default)]
pub struct Disk {
    pub bytes: Option<Bytes>,
    pub has: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct Told {
    all: Vec<Logged>,
    numbers: BTreeSet<usize>,
    strange: Option<String>,
    kicks: HashMap<String, u32>,
}

/// What a process was told.
pub struct Sink {
    shared: Shared,
    told: Mutex<Told>,
}

impl Sink {
    pub fn new(shared: &Shared) -> Arc<Self> {
        Arc::new(Self { shared: Arc::clone(shared), told: Mutex::default() })
    }

    pub fn all(&self) -> Vec<Logged> {
        self.told.lock().unwrap().all.clone()
    }

    pub fn numbers(&self) -> BTreeSet<usize> {
        self.told.lock().unwrap().numbers.clone()
    }

    /// Nothing that nobody said, and no kick twice.
    pub fn check(&self) -> Result<(), String> {
        let told = self.told.lock().unwrap();
        if let Some(strange) = &told.strange {
            return Err(format!("told what nobody said: {strange}"));
        }
        match told.kicks.iter().find(|(_, times)| **times > 1) {
            Some((kick, _)) => Err(format!("told twice: {kick}")),
            None => Ok(()),
        }
    }
}

impl ControlSink for Sink {
    fn apply(&self, logged: &Logged) {
        let name = (logged.at.0, format!("{:?}", logged.entry));
        let numbers = self.shared.lock().unwrap().named.get(&name).cloned();
        let mut told = self.told.lock().unwrap();
        told.all.push(logged.clone());
        match numbers {
            Some(numbers) => told.numbers.extend(numbers),
            None => told.strange = Some(format!("{logged:?}")),
        }
        if matches!(logged.entry, ControlEntry::Kick { .. }) {
            *told.kicks.entry(name.1).or_default() += 1;
        }
    }
}

/// See the module.
pub struct Node {
    pub number: usize,
    pub follower: Arc<Follower>,
    pub sink: Arc<Sink>,
    pub disk: Option<Arc<Mutex<Disk>>>,
    shared: Shared,
    trust: Trust,
    sequence: Arc<Mutex<u64>>,
    appending: Arc<Mutex<bool>>,
}

impl Node {
    /// A new life.
    pub fn start(
        number: usize,
        shared: &Shared,
        clock: Skewed,
        disk: Option<Arc<Mutex<Disk>>>,
        fault: Option<Fault>,
    ) -> Self {
        let epoch = NodeEpoch(rand::Rng::random(&mut shared.lock().unwrap().rng));
        let issuer = Issuer { node: NodeId::parse(&format!("gw-{number}")).unwrap(), epoch };
        let trust = Trust { sealer: sealer(OURS), issuer, clock: Arc::new(clock) };
        let sink = Sink::new(shared);
        let unread = fault == Some(Fault::CopyIsNotRead);
        let found = disk.as_ref().map(|disk| disk.lock().unwrap().bytes.clone().filter(|_| !unread));
        let follower = Arc::new(Follower::new(&trust, STREAM, found, PACE));
        follower.tell(Arc::clone(&sink) as Arc<dyn ControlSink>, UnixMs(0)).unwrap();
        let shared = Arc::clone(shared);
        Self { number, follower, sink, disk, shared, trust, sequence: Arc::default(), appending: Arc::default() }
    }

    fn way(&self) -> Way {
        let (shared, trust, sink) = (Arc::clone(&self.shared), self.trust.clone(), Arc::clone(&self.sink));
        Way { shared, trust, sink, disk: self.disk.clone(), connected: 0 }
    }

    /// Reads for ever.
    pub fn reader(&self) -> Task {
        let (follower, mut way) = (Arc::clone(&self.follower), self.way());
        Task::new(self.number, async move {
            let mut place = Place::default();
            loop {
                let _ = follower.round(&mut way, &mut place).await;
                turn().await;
            }
        })
    }

    /// An append, as `RedisControl` does it; `None`: one is under way.
    pub fn append(&self, entries: Vec<ControlEntry>) -> Option<Task> {
        if std::mem::replace(&mut *self.appending.lock().unwrap(), true) {
            return None;
        }
        let (follower, mut way) = (Arc::clone(&self.follower), self.way());
        let (appending, sequence) = (Arc::clone(&self.appending), Arc::clone(&self.sequence));
        Some(Task::new(self.number, async move {
            let head = way.head().await;
            let there = |head: &Head| follower.is_current() && follower.last() >= head.last;
            for _ in 0..PATIENCE {
                if head.as_ref().is_ok_and(there) {
                    break;
                }
                turn().await;
            }
            if let Some(head) = head.ok().filter(there) {
                let knew = way.sink.numbers();
                let sealed = follower.seal(entries.clone(), head.now, &mut sequence.lock().unwrap()).unwrap();
                for (sealed, entry) in sealed.iter().zip(&entries) {
                    way.shared.lock().unwrap().issue(sealed, entry, &knew);
                }
                let _ = way.send(&sealed).await;
            }
            *appending.lock().unwrap() = false;
        }))
    }
}

pub fn sealer(keys: &str) -> Sealer {
    Sealer::new("blue", Arc::new(Keyring::parse(keys).unwrap()))
}
