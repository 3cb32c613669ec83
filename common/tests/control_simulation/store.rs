//! The store: one log on one server, what a replica of it has, and the way to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use portcullis_common::clock::UnixMs;
use portcullis_common::store::StoreFault;
use portcullis_common::store::control::{ControlEntry, LogId};
use portcullis_common::store::record::read_unverified;
use portcullis_common::store::redis::Trust;
use portcullis_common::store::redis::rehearsal::{Entry, Head, Kept, Medium, Pointer, Seals, Unread, pages};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::machine::{START, Time, turn};
use crate::mutants::Fault;
use crate::node::{Disk, Sink};

pub const STREAM: &str = "blue:control";
/// How far a server's clock is off, in ms, either way.
pub const SKEW: u64 = 4_000;
const POINTER: &str = "blue:control-snapshot";

/// Which of two entries is newer: time of issue, life of the issuer, its count.
pub type Stamp = (u64, u128, u64);

/// An entry that some process sealed.
#[derive(Debug, Clone)]
pub struct Issued {
    pub number: usize,
    pub stamp: Stamp,
    pub entry: ControlEntry,
    /// What its issuer knew of then.
    pub knew: BTreeSet<usize>,
    /// Some log had it once.
    pub appended: bool,
}

/// What a server has of the log.
#[derive(Debug, Clone, Default)]
pub struct Log {
    stream: BTreeMap<u64, (String, Option<Bytes>)>,
    top: u64,
    life: String,
    pointer: Pointer,
    meta: Bytes,
    pages: HashMap<String, Vec<Bytes>>,
    /// Every entry that was ever appended to it, and since when.
    pub has: BTreeMap<usize, u64>,
}

/// See the module.
pub struct Store {
    pub time: Time,
    pub rng: StdRng,
    pub log: Log,
    pub replica: Log,
    /// Which server answers, and how its clock is off.
    pub server: u64,
    pub skew: i64,
    pub up: bool,
    /// Whether calls and answers get lost.
    pub lossy: bool,
    pub issued: Vec<Issued>,
    /// Which entry a record is.
    pub records: HashMap<Bytes, usize>,
    /// Which entries say that at that time: lifts of two processes may be alike.
    pub named: HashMap<(u64, String), Vec<usize>>,
    /// Snapshots that were once there: pointer, what stands beside it, pages.
    pub old: Vec<(Pointer, Bytes, Vec<Bytes>)>,
    pub happened: BTreeMap<&'static str, u64>,
    /// Somebody has put an old snapshot, or none, in the place of the one there.
    pub attacked: bool,
    /// Says what happens.
    pub loud: bool,
    lives: u64,
    fault: Option<Fault>,
}

pub type Shared = Arc<Mutex<Store>>;

impl Store {
    pub fn new(seed: u64, time: Time, fault: Option<Fault>) -> Self {
        Self {
            time,
            rng: StdRng::seed_from_u64(seed ^ 0x57_0e),
            log: Log::default(),
            replica: Log::default(),
            server: 1,
            skew: 0,
            up: true,
            lossy: true,
            issued: Vec::new(),
            records: HashMap::new(),
            named: HashMap::new(),
            old: Vec::new(),
            happened: BTreeMap::new(),
            attacked: false,
            loud: false,
            lives: 0,
            fault,
        }
    }

    pub fn note(&mut self, what: &'static str) {
        if self.loud {
            println!("{:>9} {what}, {} to {}", self.time.now() - START, self.log.pointer.covers.0, self.log.top);
        }
        *self.happened.entry(what).or_default() += 1;
    }

    pub fn now(&self) -> UnixMs {
        UnixMs(self.time.now().saturating_add_signed(self.skew))
    }

    fn life(&self) -> String {
        let server = if self.fault == Some(Fault::ServersLookAlike) { 0 } else { self.server };
        format!("{server}:{}", self.log.life)
    }

    /// Another server answers from now on, with what it has: each entry is there since it was on both.
    pub fn promote(&mut self, log: Log) {
        self.server += 1;
        let before = std::mem::replace(&mut self.log, log);
        let now = self.time.now();
        for (number, since) in &mut self.log.has {
            *since = before.has.get(number).map_or(now, |before| (*before).max(*since));
        }
        self.skew = self.rng.random_range(-SKEW.cast_signed()..=SKEW.cast_signed());
    }

    /// A process sealed an entry.
    pub fn issue(&mut self, sealed: &Bytes, entry: &ControlEntry, knew: &BTreeSet<usize>) {
        let header = read_unverified(sealed).unwrap().header;
        let number = self.issued.len();
        let stamp = (header.at.0, header.issuer.epoch.0, header.sequence);
        self.issued.push(Issued { number, stamp, entry: entry.clone(), knew: knew.clone(), appended: false });
        self.records.insert(sealed.clone(), number);
        self.named.entry((header.at.0, format!("{entry:?}"))).or_default().push(number);
    }

    pub fn append(&mut self, sealed: &[Bytes]) -> LogId {
        let there = !self.log.stream.is_empty() || self.log.top > 0;
        if !there || self.log.life.is_empty() {
            self.lives += 1;
            self.log.life = format!("l{}", self.lives);
        }
        let mut next = self.log.top.max(self.log.pointer.covers.0);
        for sealed in sealed {
            next += 1;
            self.log.stream.insert(next, (format!("{next}-0"), Some(sealed.clone())));
            if let Some(number) = self.records.get(sealed) {
                self.log.has.entry(*number).or_insert(self.time.now());
                self.issued[*number].appended = true;
            }
        }
        self.log.top = next;
        LogId(next)
    }

    /// What somebody wrote who may write to the store and knows no key: at a place of their choice.
    pub fn scribble(&mut self, beyond: u64, suffix: u64, sealed: Option<Bytes>) {
        let place = self.log.top.max(self.log.pointer.covers.0) + beyond;
        if self.log.top == 0 {
            self.append(&[]);
        }
        self.log.stream.insert(place, (format!("{place}-{suffix}"), sealed));
        self.log.top = place;
    }

    /// Somebody puts a pointer of their own there, with what once stood beside another, and its pages.
    pub fn forge(&mut self, id: &str, covers: u64, meta: Bytes, pages: Vec<Bytes>) {
        self.log.pointer = Pointer { id: id.to_owned(), covers: LogId(covers) };
        self.log.meta = meta;
        self.log.pages.insert(id.to_owned(), pages);
        self.attacked = true;
        self.lose_snapshot();
    }

    /// Of what was in the snapshot, and not in the stream, nothing is left.
    fn lose_snapshot(&mut self) {
        let left: BTreeSet<usize> =
            self.log.stream.values().filter_map(|(_, sealed)| self.records.get(sealed.as_ref()?).copied()).collect();
        self.log.has.retain(|number, _| left.contains(number));
    }

    fn head(&self) -> (LogId, Pointer) {
        let last = self.log.top.max(self.log.pointer.covers.0);
        (LogId(last), self.log.pointer.clone())
    }

    fn commit(&mut self, name: String, covers: LogId, head: &Head, meta: Bytes, sealed: Vec<Bytes>) -> bool {
        let same = self.life() == head.life;
        let before = self.log.pointer.id == head.snapshot.id;
        if !same || !before || self.head().0 < covers {
            return false;
        }
        let replaced = std::mem::replace(&mut self.log.pointer, Pointer { id: name.clone(), covers });
        self.log.meta = meta.clone();
        self.log.pages.remove(&replaced.id);
        self.log.pages.insert(name.clone(), sealed.clone());
        self.old.push((self.log.pointer.clone(), meta, sealed));
        let edge = covers.0 + 1 + u64::from(self.fault == Some(Fault::SnapshotTrimsOneMore));
        self.log.stream = self.log.stream.split_off(&edge);
        self.log.top = self.log.top.max(covers.0);
        self.note("snapshots");
        true
    }
}

/// The way of one process to the store.
pub struct Way {
    pub shared: Shared,
    pub trust: Trust,
    pub sink: Arc<Sink>,
    pub disk: Option<Arc<Mutex<Disk>>>,
    /// The server to which its connection goes.
    pub connected: u64,
}

fn away() -> StoreFault {
    StoreFault::Unavailable(Arc::from("simulated"))
}

impl Way {
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.shared.lock().unwrap()
    }

    /// Something is asked, and answered, or not.
    async fn call<T>(&self, mut ask: impl FnMut(&mut Store) -> T) -> Result<T, StoreFault> {
        turn().await;
        let answer = {
            let mut store = self.lock();
            if !store.up || (store.lossy && store.rng.random_ratio(1, 60)) {
                return Err(away());
            }
            ask(&mut store)
        };
        turn().await;
        let mut store = self.lock();
        if store.lossy && store.rng.random_ratio(1, 60) { Err(away()) } else { Ok(answer) }
    }

    /// An append, as far as it is the store's.
    pub async fn send(&mut self, sealed: &[Bytes]) -> Result<LogId, StoreFault> {
        self.call(|store| store.append(sealed)).await
    }

    fn seals(&self) -> Seals<'_> {
        Seals { trust: &self.trust, pointer: POINTER }
    }

    fn is(&self, fault: Fault) -> bool {
        self.lock().fault == Some(fault)
    }
}

impl Medium for Way {
    async fn head(&mut self) -> Result<Head, StoreFault> {
        let asked = self.trust.clock.mono();
        let (now, (last, snapshot), life) = self.call(|store| (store.now(), store.head(), store.life())).await?;
        let early = u64::from(self.is(Fault::HeadIsEarly));
        Ok(Head { now, last: LogId(last.0.saturating_sub(3 * early)), life, snapshot, asked })
    }

    async fn vouch(&mut self, pointer: &Pointer) -> Result<u32, Unread> {
        let (there, meta) = self.call(|store| (store.log.pointer.id.clone(), store.log.meta.clone())).await?;
        if there != pointer.id {
            return Err(Unread::Store(away()));
        }
        self.seals().open_meta(&meta, pointer).map_err(Unread::Refused)
    }

    async fn snapshot(&mut self, pointer: &Pointer, count: u32) -> Result<Vec<Kept>, Unread> {
        let mut entries = Vec::new();
        for number in 0..count {
            let page = |store: &mut Store| {
                store.log.pages.get(&pointer.id).and_then(|pages| pages.get(number as usize)).cloned()
            };
            let sealed = self.call(page).await?;
            entries.extend(self.seals().open_page(&pointer.id, number, sealed).map_err(Unread::Refused)?);
        }
        Ok(entries)
    }

    async fn read(&mut self, after: &str, most: usize, _: &Head, wait: bool) -> Result<Vec<Entry>, StoreFault> {
        let server = self.lock().server;
        if std::mem::replace(&mut self.connected, server) != server {
            return Err(away());
        }
        let mut after: u64 = after.split('-').next().unwrap().parse().unwrap();
        after += u64::from(self.is(Fault::ReadSkipsAnEntry) && after % 5 == 2);
        let until = self.lock().time.now() + 1_000;
        loop {
            let read = |store: &mut Store| {
                let page = store.log.stream.range(after + 1..).take(most);
                (store.server, page.map(|(_, entry)| entry.clone()).collect::<Vec<_>>())
            };
            let (answered, entries) = self.call(read).await?;
            if answered != server {
                return Err(away());
            }
            if !entries.is_empty() || !wait || self.lock().time.now() >= until {
                return Ok(entries);
            }
        }
    }

    async fn write(&mut self, sealed: &[Bytes]) -> Result<LogId, StoreFault> {
        if self.is(Fault::NothingIsWrittenBack) {
            return Ok(LogId(1));
        }
        self.lock().note("written back");
        self.call(|store| store.append(sealed)).await
    }

    async fn commit(&mut self, entries: &[Kept], covers: LogId, head: &Head) -> Result<Option<Pointer>, StoreFault> {
        let id: u128 = self.lock().rng.random();
        let name = format!("{id:032x}");
        let mut entries = entries.to_vec();
        if self.is(Fault::SnapshotLosesTheNewest) {
            entries.pop();
        }
        let pages = pages(&entries);
        let page = |(number, page): (u32, &Vec<u8>)| Bytes::from(self.seals().page(&name, number, head.now, page));
        let sealed: Vec<Bytes> = (0..).zip(&pages).map(page).collect();
        let count = u32::try_from(sealed.len()).unwrap();
        let meta = Bytes::from(self.seals().meta(id, covers, count, head.now));
        turn().await;
        let commit = |store: &mut Store| store.commit(name.clone(), covers, head, meta.clone(), sealed.clone());
        let done = self.call(commit).await?;
        Ok(done.then_some(Pointer { id: name, covers }))
    }

    async fn trim(&mut self, dead: &[LogId], head: &Head) {
        let trim = |store: &mut Store| {
            let same = store.life() == head.life && store.log.pointer.id == head.snapshot.id;
            if same {
                dead.iter().for_each(|id| {
                    store.log.stream.remove(&id.0);
                });
                store.note("trims");
            }
        };
        let _ = self.call(trim).await;
    }

    async fn save(&mut self, _: PathBuf, copy: Vec<u8>) -> bool {
        turn().await;
        let Some(disk) = &self.disk else { return false };
        if self.lock().rng.random_ratio(1, 20) {
            return false;
        }
        let mut disk = disk.lock().unwrap();
        disk.has = self.sink.numbers();
        if self.is(Fault::CopyIsNotWritten) {
            return true;
        }
        disk.bytes = Some(Bytes::from(copy));
        self.lock().note("copies");
        true
    }
}
