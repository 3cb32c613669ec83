//! The control log over Redis: one stream, appended to by a script that numbers its entries, read by one task a process
//! on a connection of its own (STATE §6).
//!
//! An entry is sealed like every record, with the time of the store as its time of issue. What is refused is counted and
//! skipped. What is in force is snapshotted from time to time, and the stream trimmed behind it (`snapshot.rs`); a copy is
//! kept on this machine's disk (`copy.rs`). `reader.rs` reads all three in the right order, and notices when the store has
//! lost entries.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::Base;
use super::copy::ControlCopy;
use super::counts::{Counters, Counts};
use super::keys::{Kind, Place};
use super::link::garbled;
use super::log::{Log, MOST, Now};
use super::reader::{self, Pace};
use super::script::{Args, Does, Script};
use super::snapshot::Pointer;
use super::trust::Trust;
use crate::clock::{Mono, UnixMs};
use crate::store::control::{ControlEntry, ControlLog, ControlSink, LogId};
use crate::store::leader::Fence;
use crate::store::record::{Header, Refused};
use crate::store::{StoreFault, StoreFuture};

/// A read that was not answered so long after it should have been is given up with its connection.
pub(super) const PATIENCE: Duration = Duration::from_millis(1_500);

static HEAD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(Does::Reads, &[include_str!("lua/control.lua"), include_str!("lua/control_head.lua")])
});
static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(Does::Grows, &[include_str!("lua/control.lua"), include_str!("lua/control_append.lua")])
});

static APPEND_FENCED: LazyLock<Script> = LazyLock::new(|| {
    // the term stands behind the entries
    let fence = concat!(include_str!("lua/fence.lua"), "fence(KEYS[4], table.remove(ARGV))");
    Script::new(Does::Grows, &[fence, include_str!("lua/control.lua"), include_str!("lua/control_append.lua")])
});

/// The store's time, the last entry's place, and which log of which server that is.
#[derive(Debug, Clone)]
pub struct Head {
    /// The store's time.
    pub now: UnixMs,
    /// The last entry's place.
    pub last: LogId,
    /// Which log of which server.
    pub life: String,
    /// The log's snapshot.
    pub snapshot: Pointer,
    /// When it was asked, by the process's own clock.
    pub asked: Mono,
}

impl Head {
    /// The same for one who reads entries: `now` they were there, or came since.
    pub(super) fn times(&self, now: Mono) -> Now {
        Now { least: self.now, most: self.time(now) }
    }

    /// The store's time now, as well as can be known without asking again: never behind it, and ahead by no more than the
    /// question took.
    pub(super) fn time(&self, now: Mono) -> UnixMs {
        self.now.after(now.since(self.asked))
    }
}

/// How far this process has read, for those who wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) last: LogId,
    /// Begun anew so often; odd while it is under way, as at the start.
    pub(super) turns: u64,
    /// When it was last asked which log there is, before that log was read to its end: what is known is at least as new.
    /// `None`: never. An answer may have waited while this process was stopped, so when it came says nothing.
    pub(super) answered: Option<Mono>,
}

impl Progress {
    /// The present log has been read to its end, and what it had lost written back.
    pub(super) fn is_current(&self) -> bool {
        self.answered.is_some() && self.turns.is_multiple_of(2)
    }
}

/// The keys of the log.
pub(super) struct Keys {
    pub(super) stream: String,
    /// Which log it is.
    pub(super) life: String,
    /// Which snapshot it has.
    pub(super) pointer: String,
    /// Who writes the next one.
    pub(super) turn: String,
    /// Which leader wrote last beside it.
    pub(super) fence: String,
}

impl Keys {
    fn of(place: &Place<'_>) -> Self {
        Self {
            stream: place.shared(Kind::Control),
            life: place.shared(Kind::ControlLife),
            pointer: place.shared(Kind::ControlSnapshot),
            turn: place.shared(Kind::ControlTurn),
            fence: place.shared(Kind::Fence),
        }
    }

    pub(super) fn of_scripts(&self) -> [String; 3] {
        [self.stream.clone(), self.life.clone(), self.pointer.clone()]
    }
}

pub(super) struct Shared {
    pub(super) base: Arc<Base>,
    pub(super) keys: Keys,
    /// The last sequence; held through an append, so that entries stand in the log in their order.
    sequence: tokio::sync::Mutex<u64>,
    pub(super) known: Known,
}

/// What this process knows of the log.
pub(super) struct Known {
    pub(super) trust: Trust,
    /// The key of the stream, under which its entries are sealed.
    pub(super) stream: String,
    log: Mutex<Log>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) counters: Counters,
    /// The copy on disk, and how often it could not be written.
    pub(super) copy: Option<Arc<ControlCopy>>,
    pub(super) copies_failed: AtomicU64,
    pub(super) pace: Pace,
}

/// The control log of one process. Its reader ends when it is dropped.
pub struct RedisControl(Arc<Shared>);

impl RedisControl {
    /// Starts its reader on the present runtime.
    pub(super) fn start(base: Arc<Base>, trust: &Trust, copy: Option<Arc<ControlCopy>>) -> Self {
        let keys = Keys::of(&base.keys.fleet());
        let known = Known::new(trust, keys.stream.clone(), copy, Pace::default());
        let shared = Arc::new(Shared { base, keys, sequence: tokio::sync::Mutex::new(0), known });
        tokio::spawn(reader::run(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// What was refused and lost so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.known.counters.read()
    }

    /// How old this process's knowledge of the log is: since the last read that was answered was sent; `None`: none was.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        self.0.known.staleness()
    }

    /// Whether the present log has been read to its end, and what it had lost written back.
    pub(super) fn is_current(&self) -> bool {
        self.0.known.is_current()
    }

    /// How often the copy on disk could not be written.
    pub(super) fn copies_failed(&self) -> u64 {
        self.0.known.copies_failed.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Shared {
    pub(super) async fn head(&self) -> Result<Head, StoreFault> {
        type Words = (u64, u64, String, String, u64);
        let asked = self.known.trust.clock.mono();
        let words: Words = HEAD.run(&self.base.link, &self.keys.of_scripts(), &Args::new()).await?;
        let (now, last, life, id, covers) = words;
        let snapshot = Pointer { id, covers: LogId(covers) };
        Ok(Head { now: UnixMs(now), last: LogId(last), life, snapshot, asked })
    }

    /// Waits until this process has read so far, and is not reading everything again.
    async fn reached(&self, last: LogId) -> Result<(), StoreFault> {
        let mut progress = self.known.progress.subscribe();
        let there = progress.wait_for(|progress| progress.is_current() && progress.last >= last);
        match tokio::time::timeout(self.base.link.timeout() + PATIENCE, there).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(StoreFault::Unavailable(Arc::from("the control log was not read in time"))),
        }
    }

    async fn append(&self, by: Option<Fence>, entries: Vec<ControlEntry>) -> Result<LogId, StoreFault> {
        let mut sequence = self.sequence.lock().await;
        let head = self.head().await?;
        // what this replaces has to be known
        self.reached(head.last).await?;
        let all = self.known.seal(entries, head.now, &mut sequence)?;
        self.write_by(by, all.iter().map(AsRef::as_ref)).await
    }

    /// All or none, in this order.
    pub(super) async fn write(&self, sealed: impl Iterator<Item = &[u8]>) -> Result<LogId, StoreFault> {
        self.write_by(None, sealed).await
    }

    async fn write_by(&self, by: Option<Fence>, sealed: impl Iterator<Item = &[u8]>) -> Result<LogId, StoreFault> {
        // one of its kind, should the log be new
        let life = format!("{}-{}", self.known.trust.issuer.epoch, self.known.trust.clock.nanos());
        let args = sealed.fold(Args::new().with(MOST).with(life), Args::with);
        let id: u64 = match by {
            None => APPEND.run(&self.base.link, &self.keys.of_scripts(), &args).await?,
            Some(Fence(term)) => {
                let [stream, of_log, pointer] = self.keys.of_scripts();
                let keys = [stream, of_log, pointer, self.keys.fence.clone()];
                APPEND_FENCED.run(&self.base.link, &keys, &args.with(term)).await?
            }
        };
        if id == 0 { Err(StoreFault::Full("control log")) } else { Ok(LogId(id)) }
    }
}

impl Known {
    pub(super) fn new(trust: &Trust, stream: String, copy: Option<Arc<ControlCopy>>, pace: Pace) -> Self {
        let progress = Progress { last: LogId(0), turns: 1, answered: None };
        Self {
            trust: trust.clone(),
            stream,
            log: Mutex::default(),
            progress: watch::Sender::new(progress),
            counters: Counters::default(),
            copy,
            copies_failed: AtomicU64::new(0),
            pace,
        }
    }

    /// See [`RedisControl::staleness`].
    pub(super) fn staleness(&self) -> Option<Duration> {
        let answered = self.progress.borrow().answered;
        answered.map(|answered| self.trust.clock.mono().since(answered))
    }

    pub(super) fn is_current(&self) -> bool {
        self.progress.borrow().is_current()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// What this process appends at the store's time `now`, as it goes into the stream; `sequence` is the last that was
    /// used.
    pub(super) fn seal(
        &self,
        entries: Vec<ControlEntry>,
        now: UnixMs,
        sequence: &mut u64,
    ) -> Result<Vec<Bytes>, StoreFault> {
        let (mut all, mut before) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
        for entry in entries {
            let (at, sealed) = self.lock().prepare(entry, &before, now)?;
            *sequence += 1;
            let header = Header { issuer: self.trust.issuer.clone(), sequence: *sequence, at };
            let body = serde_json::to_vec(&sealed).map_err(|_| garbled())?;
            all.push(Bytes::from(self.trust.sealer.seal(self.stream().as_bytes(), &header, &body)));
            before.push(sealed);
        }
        Ok(all)
    }

    /// One entry of the stream.
    pub(super) fn take(&self, id: &str, sealed: Bytes, now: Now) -> Option<Refused> {
        let place = id.strip_suffix("-0").and_then(|number| number.parse().ok()).map(LogId);
        let opened = self.trust.sealer.open(self.stream().as_bytes(), &sealed);
        match (place, opened) {
            (Some(place), Ok(opened)) => self.lock().read(place, &sealed, &opened, now, &self.counters),
            (None, Ok(_)) => Counters::add(&self.counters.malformed, 1),
            (_, Err(why)) => {
                self.counters.refused(why);
                return Some(why);
            }
        }
        None
    }

    /// What the store had then has been read.
    pub(super) fn advance(&self, sent: Mono, change: impl FnOnce(&mut Progress)) {
        let last = self.lock().last;
        let answered = Some(sent);
        self.progress.send_modify(|progress| {
            (progress.last, progress.answered) = (last, answered);
            change(progress);
        });
    }
}

impl ControlLog for RedisControl {
    fn append_all(&self, entries: Vec<ControlEntry>) -> StoreFuture<'_, LogId> {
        Box::pin(self.0.append(None, entries))
    }

    fn append_by(&self, by: Fence, entries: Vec<ControlEntry>) -> StoreFuture<'_, LogId> {
        Box::pin(self.0.append(Some(by), entries))
    }

    fn follow(&self, sink: Arc<dyn ControlSink>) -> StoreFuture<'_, LogId> {
        Box::pin(async move {
            let head = self.0.head().await?;
            loop {
                self.0.reached(head.last).await?;
                let mut log = self.0.known.lock();
                // under the lock, which whoever begins anew takes after having said so
                if self.0.known.is_current() {
                    return log.tell(sink, head.now);
                }
            }
        })
    }
}
