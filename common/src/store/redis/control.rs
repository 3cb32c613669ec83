//! The control log over Redis: one stream, appended to by a script that numbers its entries, read by one task a process
//! on a connection of its own (STATE §6).
//!
//! An entry is sealed like every record, with the time of the store as its time of issue. What is refused is counted and
//! skipped, and never deleted: a node with a wrong key file must not be able to empty the log. When it is another log than
//! before, or on another server, or its last number is behind what was read, the store may have lost entries: the log is
//! read again, and every node writes back what was in force and is missing.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use tokio::sync::watch;

use super::Base;
use super::command::{self, Page};
use super::counts::{Counters, Counts};
use super::keys::Kind;
use super::link::garbled;
use super::log::{Log, MOST};
use super::script::{Args, Does, Script};
use super::trust::Trust;
use crate::clock::{Mono, UnixMs};
use crate::store::control::{ControlEntry, ControlLog, ControlSink, LogId};
use crate::store::record::Header;
use crate::store::{StoreFault, StoreFuture};

/// How long one read waits for news. The log is asked for its head as often.
const BLOCK: Duration = Duration::from_millis(1_000);

/// Entries of one read.
const PAGE: usize = 512;

/// A read that was not answered so long after it should have been is given up with its connection.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(100);

/// What the store calls any number that is not ours.
const LARGEST: u64 = 1 << 53;

/// Dead entries that are worth a command.
const TRIM: usize = 64;

static HEAD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(Does::Reads, &[include_str!("lua/control.lua"), include_str!("lua/control_head.lua")])
});
static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(Does::Grows, &[include_str!("lua/control.lua"), include_str!("lua/control_append.lua")])
});

/// The store's time, the last entry's place, and which log of which server that is.
struct Head {
    now: UnixMs,
    last: LogId,
    life: String,
    /// When it was asked, by the process's own clock.
    asked: Mono,
}

impl Head {
    /// The store's time now, as well as can be known without asking again: never behind it, and ahead by no more than the
    /// question took.
    fn time(&self, now: Mono) -> UnixMs {
        self.now.after(now.since(self.asked))
    }
}

/// How far this process has read, for those who wait for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    last: LogId,
    /// Begun anew so often; odd while it is under way.
    turns: u64,
    /// When the last read that was answered was sent: what is known is at least as new. `None`: none was. An answer may
    /// have waited while this process was stopped, so when it came says nothing.
    answered: Option<Mono>,
}

struct Shared {
    base: Arc<Base>,
    trust: Trust,
    /// The log and its life.
    keys: [String; 2],
    log: Mutex<Log>,
    progress: watch::Sender<Progress>,
    /// The last sequence; held through an append, so that entries stand in the log in their order.
    sequence: tokio::sync::Mutex<u64>,
    counters: Counters,
}

/// The control log of one process. Its reader ends when it is dropped.
pub struct RedisControl(Arc<Shared>);

impl RedisControl {
    /// Starts its reader on the present runtime.
    pub(super) fn start(base: Arc<Base>, trust: &Trust) -> Self {
        let place = base.keys.fleet();
        let keys = [place.shared(Kind::Control), place.shared(Kind::ControlLife)];
        let shared = Arc::new(Shared {
            base,
            trust: trust.clone(),
            keys,
            log: Mutex::default(),
            progress: watch::Sender::default(),
            sequence: tokio::sync::Mutex::new(0),
            counters: Counters::default(),
        });
        tokio::spawn(keep_reading(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// What was refused and lost so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counters.read()
    }

    /// How old this process's knowledge of the log is: since the last read that was answered was sent; `None`: none was.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        let answered = self.0.progress.borrow().answered;
        answered.map(|answered| self.0.trust.clock.mono().since(answered))
    }

    /// Whether the present log has been read to its end, and what it had lost written back.
    pub(super) fn is_current(&self) -> bool {
        let progress = *self.0.progress.borrow();
        progress.answered.is_some() && progress.turns.is_multiple_of(2)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream(&self) -> &str {
        let [stream, _] = &self.keys;
        stream
    }

    async fn head(&self) -> Result<Head, StoreFault> {
        let asked = self.trust.clock.mono();
        let (now, last, life): (u64, u64, String) = HEAD.run(&self.base.link, &self.keys, &Args::new()).await?;
        Ok(Head { now: UnixMs(now), last: LogId(last), life, asked })
    }

    /// Waits until this process has read so far, and is not reading everything again.
    async fn reached(&self, last: LogId) -> Result<(), StoreFault> {
        let mut progress = self.progress.subscribe();
        let there = progress
            .wait_for(|progress| progress.answered.is_some() && progress.turns % 2 == 0 && progress.last >= last);
        match tokio::time::timeout(self.base.link.timeout() + PATIENCE, there).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(StoreFault::Unavailable(Arc::from("the control log was not read in time"))),
        }
    }

    async fn append(&self, entry: ControlEntry) -> Result<LogId, StoreFault> {
        let mut sequence = self.sequence.lock().await;
        let head = self.head().await?;
        self.reached(LogId(0)).await?;
        let (at, sealed) = self.lock().prepare(entry, head.now)?;
        *sequence += 1;
        let header = Header { issuer: self.trust.issuer.clone(), sequence: *sequence, at };
        let body = serde_json::to_vec(&sealed).map_err(|_| garbled())?;
        self.write(&self.trust.sealer.seal(self.stream().as_bytes(), &header, &body)).await
    }

    async fn write(&self, sealed: &[u8]) -> Result<LogId, StoreFault> {
        // one of its kind, should the log be new
        let life = format!("{}-{}", self.trust.issuer.epoch, self.trust.clock.nanos());
        let args = Args::new().with(sealed).with(MOST).with(life);
        let id: u64 = APPEND.run(&self.base.link, &self.keys, &args).await?;
        if id == 0 { Err(StoreFault::Full("control log")) } else { Ok(LogId(id)) }
    }

    /// One entry of the stream.
    fn take(&self, id: &str, sealed: Bytes, now: UnixMs) {
        let place = id.strip_suffix("-0").and_then(|number| number.parse().ok()).map(LogId);
        let opened = self.trust.sealer.open(self.stream().as_bytes(), &sealed);
        match (place, opened) {
            (Some(place), Ok(opened)) => self.lock().read(place, &sealed, &opened, now, &self.counters),
            (None, Ok(_)) => Counters::add(&self.counters.malformed, 1),
            (_, Err(why)) => self.counters.refused(why),
        }
    }

    /// A read that was sent then has been answered.
    fn advance(&self, sent: Mono, change: impl FnOnce(&mut Progress)) {
        let last = self.lock().last;
        let answered = Some(sent);
        self.progress.send_modify(|progress| {
            (progress.last, progress.answered) = (last, answered);
            change(progress);
        });
    }
}

/// Where the next read goes on.
struct Cursor {
    id: String,
    /// The log that is read.
    life: String,
    /// What was in force when the store lost the log, to be written back once it has been read again.
    restore: Option<Vec<(super::log::Stamp, Bytes)>>,
}

/// Reads until the log is dropped; connects again as long as it takes.
async fn keep_reading(shared: Weak<Shared>) {
    let mut cursor = Cursor { id: "0-0".to_owned(), life: String::new(), restore: None };
    loop {
        let Some(strong) = shared.upgrade() else { return };
        let own = strong.base.link.own_connection(strong.stream()).await;
        drop(strong);
        if let Ok(mut own) = own {
            // a server that is none of ours any more may go on answering
            while let Some(strong) = shared.upgrade().filter(|strong| strong.base.link.leads(&own)) {
                if strong.read_once(&mut own.connection, &mut cursor).await.is_err() {
                    break;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

impl Shared {
    async fn read_once(&self, connection: &mut MultiplexedConnection, cursor: &mut Cursor) -> Result<(), StoreFault> {
        let asked = self.trust.clock.mono();
        let head = self.head().await?;
        if cursor.life != head.life {
            let began = std::mem::replace(&mut cursor.life, head.life.clone());
            // the first entry gives a log its life
            let named = began.ends_with(':') && head.life.starts_with(&began);
            let anew = !began.is_empty() && !named && self.lock().last > LogId(0);
            if anew {
                self.begin_anew(cursor, head.now);
            }
        } else if head.last < self.lock().last {
            self.begin_anew(cursor, head.now);
        }
        let caught_up = self.lock().last >= head.last;
        if caught_up {
            self.settle(cursor, asked).await?;
        }
        let sent = self.trust.clock.mono();
        let read = self.read(connection, &cursor.id, head.now, caught_up).await?;
        let (log, commands): (Vec<_>, Vec<_>) = read.keys.into_iter().partition(|key| key.key == self.stream());
        let commands = commands.into_iter().flat_map(|key| key.ids).collect();
        if self.base.desk.take(commands, head.time(self.trust.clock.mono())) == Page::Spoiled {
            command::begin_anew(&self.base, connection).await;
            Counters::add(&self.counters.malformed, 1);
        }
        for entry in log.into_iter().flat_map(|key| key.ids) {
            match entry.map.get("d") {
                Some(redis::Value::BulkString(sealed)) => self.take(&entry.id, Bytes::from(sealed.clone()), head.now),
                _ => Counters::add(&self.counters.malformed, 1),
            }
            let number = entry.id.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            self.lock().last = LogId(LARGEST.min(number));
            cursor.id = entry.id;
        }
        self.advance(sent, |_| {});
        self.trim(connection).await;
        Ok(())
    }

    /// It is another log, or another server: what was read does not count any more.
    fn begin_anew(&self, cursor: &mut Cursor, now: UnixMs) {
        self.progress.send_modify(|progress| progress.turns += (progress.turns % 2) ^ 1);
        let mut kept = self.lock().begin_anew(now);
        kept.extend(cursor.restore.take().into_iter().flatten());
        (cursor.id, cursor.restore) = ("0-0".to_owned(), Some(kept));
        Counters::add(&self.counters.renewed, 1);
    }

    /// Everything has been read: what is missing of what was in force goes back, and those who waited go on.
    async fn settle(&self, cursor: &mut Cursor, asked: Mono) -> Result<(), StoreFault> {
        if let Some(before) = cursor.restore.take() {
            let missing = self.lock().missing(before.clone());
            for sealed in missing {
                if let Err(fault) = self.write(&sealed).await {
                    cursor.restore = Some(before);
                    return Err(fault);
                }
            }
        }
        self.advance(asked, |progress| progress.turns += progress.turns % 2);
        Ok(())
    }

    async fn read(
        &self,
        connection: &mut MultiplexedConnection,
        after: &str,
        now: UnixMs,
        wait: bool,
    ) -> Result<StreamReadReply, StoreFault> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(PAGE);
        if wait {
            command.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        }
        command.arg("STREAMS").arg(self.stream());
        match self.base.desk.cursor(now) {
            Some(cursor) => command.arg(self.base.keys.commands()).arg(after).arg(cursor),
            None => command.arg(after),
        };
        let answer = command.query_async::<Option<StreamReadReply>>(connection);
        match tokio::time::timeout(BLOCK + PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer.unwrap_or_default()),
            Ok(Err(_)) => Err(StoreFault::Unavailable(Arc::from("the control log could not be read"))),
            Err(_) => Err(StoreFault::Unavailable(Arc::from("no answer in time"))),
        }
    }

    /// Takes out of the stream what merged away or ended. Every process does; what is gone already costs nothing.
    async fn trim(&self, connection: &mut MultiplexedConnection) {
        let dead = self.lock().dead(TRIM);
        if !dead.is_empty() {
            let mut command = redis::cmd("XDEL");
            command.arg(self.stream());
            dead.iter().for_each(|id| {
                command.arg(format!("{}-0", id.0));
            });
            // what is not deleted now is dead to the next process that reads the log
            let _ = tokio::time::timeout(PATIENCE, command.query_async::<u64>(connection)).await;
        }
    }
}

impl ControlLog for RedisControl {
    fn append(&self, entry: ControlEntry) -> StoreFuture<'_, LogId> {
        Box::pin(self.0.append(entry))
    }

    fn follow(&self, sink: Arc<dyn ControlSink>) -> StoreFuture<'_, LogId> {
        Box::pin(async move {
            let head = self.0.head().await?;
            self.0.reached(head.last).await?;
            self.0.lock().tell(sink, head.now)
        })
    }
}
