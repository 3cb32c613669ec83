//! What can happen, one random step at a time, and how it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{NodeEpoch, NodeId, UserId};
use portcullis_common::store::control::{ControlEntry, ControlSink, Target};
use portcullis_common::store::record::{Header, Issuer};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::judge;
use crate::machine::{Skewed, Task, Time};
use crate::mutants::Fault;
use crate::node::{Disk, Node, Sink, THEIRS, sealer};
use crate::store::{Log, SKEW, STREAM, Shared, Store};

const STEPS: usize = 320;
const NODES: usize = 3;
const USERS: usize = 2;
/// The servers' clocks are apart by no more, in ms, either way, with room.
const SLACK: u64 = 10_000;
/// Turns of everybody, in which a fleet that is left alone becomes whole.
const HEALS: usize = 300;

/// See the module.
pub struct World {
    rng: StdRng,
    time: Time,
    shared: Shared,
    nodes: Vec<Option<Node>>,
    disks: Vec<Option<Arc<Mutex<Disk>>>>,
    tasks: Vec<Task>,
    stopped: Vec<u64>,
    /// Entries that at every moment since they were appended somebody knew.
    always: BTreeSet<usize>,
    fault: Option<Fault>,
    entries: u64,
    loud: bool,
}

type Happened = BTreeMap<&'static str, u64>;

impl World {
    /// One schedule.
    pub fn run(seed: u64, fault: Option<Fault>, loud: bool) -> Result<Happened, String> {
        let time = Time::default();
        let shared = Arc::new(Mutex::new(Store::new(seed, time.clone(), fault)));
        let disks = (0..NODES).map(|node| (node != 1).then(Arc::default)).collect();
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            time,
            shared,
            nodes: (0..NODES).map(|_| None).collect(),
            disks,
            tasks: Vec::new(),
            stopped: vec![0; NODES],
            always: BTreeSet::new(),
            fault,
            entries: 0,
            loud,
        };
        world.shared.lock().unwrap().loud = loud;
        (0..NODES).for_each(|number| world.start(number));
        for step in 0..STEPS {
            world.step();
            world.check(false).map_err(|why| format!("step {step}: {why}"))?;
        }
        world.heal().map_err(|why| format!("in the end: {why}"))?;
        let happened = world.shared.lock().unwrap().happened.clone();
        Ok(happened)
    }

    fn say(&self, what: &dyn std::fmt::Debug) {
        if self.loud {
            println!("{:>9} {what:?}", self.time.now() - crate::machine::START);
        }
    }

    fn start(&mut self, number: usize) {
        if self.nodes[number].is_some() {
            return;
        }
        let clock =
            Skewed { time: self.time.clone(), skew: self.rng.random_range(-90_000..=90_000), zero: self.time.now() };
        let node = Node::start(number, &self.shared, clock, self.disks[number].clone(), self.fault);
        self.tasks.push(node.reader());
        self.nodes[number] = Some(node);
        self.say(&("start", number));
    }

    fn crash(&mut self, number: usize) {
        self.tasks.retain(|task| task.owner != number);
        self.nodes[number] = None;
        self.forget();
        self.say(&("crash", number));
    }

    /// What nobody knows any more.
    fn forget(&mut self) {
        let store = self.shared.lock().unwrap();
        let mut known: BTreeSet<usize> = store.log.has.keys().copied().collect();
        self.nodes.iter().flatten().for_each(|node| known.extend(node.sink.numbers()));
        self.disks.iter().flatten().for_each(|disk| known.extend(&disk.lock().unwrap().has));
        self.always.retain(|number| known.contains(number));
    }

    fn step(&mut self) {
        match self.rng.random_range(0..1_000) {
            0..700 => self.go_on(),
            700..820 => self.append(),
            820..890 => self.time.advance(self.rng.random_range(1..200)),
            890..910 => self.time.advance(self.rng.random_range(1_000..20_000)),
            910..940 => self.replicate(),
            940..950 => self.fail_over(),
            950..955 => self.empty(),
            955..965 => {
                let number = self.rng.random_range(0..NODES);
                self.crash(number);
            }
            965..980 => {
                let number = self.rng.random_range(0..NODES);
                self.start(number);
            }
            980..984 => {
                let number = self.rng.random_range(0..NODES);
                self.stopped[number] = self.time.now() + self.rng.random_range(100..30_000);
                self.say(&("stopped", number));
            }
            984..988 => {
                let mut store = self.shared.lock().unwrap();
                store.up = !store.up;
            }
            _ => self.attack(),
        }
        self.remember();
    }

    /// What was appended just now.
    fn remember(&mut self) {
        let store = self.shared.lock().unwrap();
        self.always.extend(store.log.has.iter().filter(|(_, since)| **since == self.time.now()).map(|(n, _)| *n));
    }

    /// Some task gets a few turns.
    fn go_on(&mut self) {
        let turns = self.rng.random_range(1..=24);
        for _ in 0..turns {
            if self.tasks.is_empty() {
                return;
            }
            let at = self.rng.random_range(0..self.tasks.len());
            if self.stopped[self.tasks[at].owner] <= self.time.now() && self.tasks[at].go_on() {
                self.tasks.swap_remove(at);
            }
        }
    }

    fn entry(&mut self) -> ControlEntry {
        let now = self.shared.lock().unwrap().now().0;
        let user = UserId::parse(&format!("u{}", self.rng.random_range(0..USERS))).unwrap();
        let target = Target::User(user.clone());
        self.entries += 1;
        let reason = format!("e{}", self.entries);
        let ends = *[Some(4_000), Some(15_000), Some(60_000), Some(600_000), None].choose(&mut self.rng).unwrap();
        match self.rng.random_range(0..100) {
            0..35 => ControlEntry::Ban { target, until: ends.map(|ms| UnixMs(now + ms)), reason },
            35..60 => ControlEntry::Lift { target },
            60..78 => {
                let until = UnixMs(now + ends.unwrap_or(300_000));
                ControlEntry::Restrict { target, until, close: false, reason }
            }
            78..90 => ControlEntry::Kick { target, reason },
            _ => ControlEntry::Revoke { user, issued_until: UnixMs(now - self.rng.random_range(0..100_000)) },
        }
    }

    fn append(&mut self) {
        let number = self.rng.random_range(0..NODES);
        let count = if self.rng.random_ratio(1, 10) { 6 } else { 1 };
        let entries: Vec<ControlEntry> = (0..count).map(|_| self.entry()).collect();
        if let Some(task) = self.nodes[number].as_ref().and_then(|node| node.append(entries)) {
            self.tasks.push(task);
        }
    }

    fn replicate(&mut self) {
        let mut store = self.shared.lock().unwrap();
        store.replica = store.log.clone();
    }

    fn fail_over(&mut self) {
        {
            let mut store = self.shared.lock().unwrap();
            let replica = store.replica.clone();
            store.promote(replica);
            store.note("fail-overs");
        }
        self.forget();
        self.say(&"fail-over");
    }

    fn empty(&mut self) {
        {
            let mut store = self.shared.lock().unwrap();
            store.note("emptied");
            if self.rng.random() {
                store.promote(Log::default());
            } else {
                store.log = Log::default();
            }
        }
        self.forget();
        self.say(&"emptied");
    }

    /// Somebody writes to the store who has no key.
    fn attack(&mut self) {
        let mut store = self.shared.lock().unwrap();
        store.note("attacks");
        let beyond = self.rng.random_range(1..4);
        let mut records: Vec<Bytes> = store.records.keys().cloned().collect();
        records.sort();
        let record = records.choose(&mut self.rng).cloned();
        let kind = self.rng.random_range(0..8);
        self.say(&("attack", kind));
        match kind {
            0 => store.scribble(beyond, 0, None),
            1 => store.scribble(beyond, 0, Some(Bytes::from_static(b"rubbish"))),
            2 => {
                let entry = r#"{"entry":{"entry":"ban","target":{"user":"u0"},"until":null,"reason":"forged"}}"#;
                let issuer = Issuer { node: NodeId::parse("gw-0").unwrap(), epoch: NodeEpoch(1) };
                let header = Header { issuer, sequence: 1, at: store.now() };
                let sealed = sealer(THEIRS).seal(STREAM.as_bytes(), &header, entry.as_bytes());
                store.scribble(beyond, 0, Some(Bytes::from(sealed)));
            }
            3 => store.scribble(beyond, self.rng.random_range(1..3), record),
            4 => {
                if let Some((pointer, meta, pages)) = store.old.choose(&mut self.rng).cloned() {
                    store.forge(&pointer.id, pointer.covers.0, meta, pages);
                }
            }
            5 => {
                let covers = self.rng.random_range(0..40);
                if let Some((pointer, meta, mut pages)) = store.old.choose(&mut self.rng).cloned() {
                    pages.reverse();
                    store.forge(&pointer.id, covers, meta, pages);
                }
            }
            _ => {
                if let Some(record) = record {
                    store.append(&[record]);
                }
            }
        }
        drop(store);
        self.forget();
    }

    /// What must be true at every moment.
    fn check(&self, in_the_end: bool) -> Result<(), String> {
        for node in self.nodes.iter().flatten() {
            node.sink.check().map_err(|why| format!("node {}: {why}", node.number))?;
        }
        let store = self.shared.lock().unwrap();
        for node in self.nodes.iter().flatten().filter(|node| node.follower.is_current()) {
            let Some(age) = node.follower.staleness() else { continue };
            let since = self.time.now().saturating_sub(u64::try_from(age.as_millis()).unwrap());
            let told = node.sink.numbers();
            // whoever comes before those who know have put it right believes an old snapshot
            if store.attacked && !in_the_end {
                continue;
            }
            if let Some(number) = judge::unknown(&store, &told, since, store.now().0 + SLACK) {
                let (who, issued) = (node.number, &store.issued[number]);
                return Err(format!("node {who} says that it knows all up to {since}, and not {number}: {issued:?}"));
            }
        }
        Ok(())
    }

    /// Everybody is there, and nothing goes wrong any more.
    fn heal(&mut self) -> Result<(), String> {
        {
            let mut store = self.shared.lock().unwrap();
            (store.up, store.lossy) = (true, false);
        }
        self.stopped.fill(0);
        (0..NODES).for_each(|number| self.start(number));
        self.say(&"heals");
        self.rest();
        if self.shared.lock().unwrap().attacked {
            // what an operator does about it: the log goes, and those who know bring it back
            self.shared.lock().unwrap().log = Log::default();
            self.forget();
            self.rest();
        }
        self.check(true)?;
        if let Some(node) = self.nodes.iter().flatten().find(|node| !node.follower.is_current()) {
            return Err(format!("node {} is not current: {:?}", node.number, node.follower.counts()));
        }
        self.compare()
    }

    fn rest(&mut self) {
        for _ in 0..HEALS {
            self.tasks.retain_mut(|task| !task.go_on());
            self.remember();
            self.time.advance(20);
        }
    }

    fn compare(&mut self) -> Result<(), String> {
        let now = self.shared.lock().unwrap().now();
        let late = Node::start(
            NODES,
            &self.shared,
            Skewed { time: self.time.clone(), skew: 0, zero: self.time.now() },
            None,
            self.fault,
        );
        let mut reader = late.reader();
        (0..HEALS).for_each(|_| {
            reader.go_on();
        });
        let mut all = Vec::new();
        for node in self.nodes.iter().flatten().chain([&late]) {
            let asks = Sink::new(&self.shared);
            node.follower.tell(Arc::clone(&asks) as Arc<dyn ControlSink>, now).unwrap();
            let told = asks.all();
            let (in_force, kicks) = (judge::in_force(&told, now), judge::kicks(&told));
            let live = judge::in_force(&node.sink.all(), now);
            let contested = judge::contested(&self.shared.lock().unwrap(), &node.sink.numbers(), 2 * SKEW, now);
            let differs = |subject: &judge::Subject| live.get(subject) != in_force.get(subject);
            if live.keys().chain(in_force.keys()).any(|subject| differs(subject) && !contested.contains(subject)) {
                return Err(format!("node {} acts on {live:#?} and knows {in_force:#?}", node.number));
            }
            all.push((node.number, in_force, kicks, asks.numbers()));
        }
        let (_, first, kicks, known) = &all[0];
        if let Some(other) = all.iter().find(|other| (&other.1, &other.2) != (first, kicks)) {
            return Err(format!("node 0 knows {first:#?} {kicks:?}, node {} {:#?} {:?}", other.0, other.1, other.2));
        }
        let store = self.shared.lock().unwrap();
        judge::outcome(&store, known, &self.always, now, SLACK)
    }
}
