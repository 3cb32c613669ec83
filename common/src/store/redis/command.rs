//! Operators' commands over Redis: a stream beside the control log, read by the control log's reader; one stream of
//! answers a command.
//!
//! Its names are known to whoever knows the prefix, so that an operator needs no key of the fleet. Whoever may write to
//! the stream can delay commands, not make one: an entry in an impossible place is taken out with the stream, and the
//! stream begins anew.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamReadReply};

use super::keys::{Keys, Kind, Name};
use super::link::{Link, Own, garbled};
use super::script::{Args, Does, Script};
use super::{Base, ConnectFault, RedisOptions};
use crate::clock::{UnixMs, millis};
use crate::config::model::{Store, StoreUrl};
use crate::control::sign::Nonce;
use crate::store::command::{ANSWERS, ANSWERS_KEPT, AnswerPlace, CommandDesk, CommandSink, Commands, KEPT, Received};
use crate::store::lease::Leases;
use crate::store::{StoreFault, StoreFuture};

/// Sinks of one process.
const SINKS: usize = 64;

/// An entry that says it is from so far in the future is nobody's: the server numbers entries by its own time.
const AHEAD: Duration = Duration::from_secs(60);

/// Longer than an answer may take, and not for ever.
const PATIENCE: Duration = Duration::from_millis(1_000);

static NOW: LazyLock<Script> = LazyLock::new(|| Script::new(Does::Reads, &[include_str!("lua/command_now.lua")]));
static ANSWER: LazyLock<Script> = LazyLock::new(|| Script::new(Does::Grows, &[include_str!("lua/command_answer.lua")]));

/// Where the reader of the control log finds who wants commands, and where it goes on.
#[derive(Default)]
pub(super) struct Desk(Mutex<Followers>);

#[derive(Default)]
struct Followers {
    sinks: Vec<Arc<dyn CommandSink>>,
    /// The last place that was read: the server's time in ms, and a number.
    last: (u64, u64),
}

/// What came of a page of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// The reader goes on.
    Read,
    /// The stream is spoiled, see [`AHEAD`]: it has to be deleted.
    Spoiled,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Followers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place after which the reader reads on, if anybody wants commands. The server's time at the last look at it
    /// bounds it: after a clock that was set back, or on another server, places begin lower.
    pub(super) fn cursor(&self, now: UnixMs) -> Option<String> {
        let mut followers = self.lock();
        if followers.sinks.is_empty() {
            return None;
        }
        if followers.last.0 > now.0.saturating_add(millis(AHEAD)) {
            followers.last = (now.0, 0);
        }
        Some(format!("{}-{}", followers.last.0, followers.last.1))
    }

    /// Entries of the stream, at the store's time `now`.
    pub(super) fn take(&self, entries: Vec<StreamId>, now: UnixMs) -> Page {
        for entry in entries {
            let Some(place) = place(&entry.id) else { continue };
            if place.0 > now.0.saturating_add(millis(AHEAD)) {
                return Page::Spoiled;
            }
            let sinks = {
                let mut followers = self.lock();
                followers.last = (place.0, place.1);
                followers.sinks.clone()
            };
            if let Some(Value::BulkString(bytes)) = entry.map.get("c") {
                let bytes = Bytes::from(bytes.clone());
                sinks.iter().for_each(|sink| sink.take(Received { bytes: bytes.clone(), at: now }));
            }
        }
        Page::Read
    }
}

fn place(id: &str) -> Option<AnswerPlace> {
    let (ms, number) = id.split_once('-')?;
    Some(AnswerPlace(ms.parse().ok()?, number.parse().ok()?))
}

impl Keys {
    /// The stream of commands.
    pub(super) fn commands(&self) -> String {
        self.fleet().shared(Kind::Commands)
    }

    fn answers(&self, nonce: Nonce, kind: Kind) -> Option<String> {
        // 32 hexadecimal digits, as every name
        Some(self.fleet().beside(kind, &Name::parse(nonce.to_string())?))
    }
}

pub(super) struct RedisCommands {
    base: Arc<Base>,
    /// For reads that wait; connected when first needed.
    waiting: tokio::sync::Mutex<Option<Own>>,
}

impl RedisCommands {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { base, waiting: tokio::sync::Mutex::new(None) }
    }

    async fn time(&self) -> Result<UnixMs, StoreFault> {
        let key = self.base.keys.commands();
        Ok(UnixMs(NOW.run(&self.base.link, &[key], &Args::new()).await?))
    }
}

impl Commands for RedisCommands {
    fn now(&self) -> StoreFuture<'_, UnixMs> {
        Box::pin(self.time())
    }

    fn dispatch(&self, command: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let Base { link, keys, .. } = &*self.base;
            let mut add = redis::cmd("XADD");
            add.arg(keys.commands()).arg("MAXLEN").arg("~").arg(KEPT).arg("*").arg("c").arg(&command[..]);
            link.command::<String>(&add).await?;
            Ok(())
        })
    }

    fn answers(&self, to: Nonce, after: AnswerPlace, wait: Duration) -> StoreFuture<'_, Vec<(AnswerPlace, Bytes)>> {
        Box::pin(async move {
            let key = self.base.keys.answers(to, Kind::Answers).ok_or_else(garbled)?;
            let mut waiting = self.waiting.lock().await;
            // all answers are of one partition
            let own = match waiting.take().filter(|own| self.base.link.leads(own)) {
                Some(own) => waiting.insert(own),
                None => waiting.insert(self.base.link.own_connection(&key).await?),
            };
            let answer = read(&mut own.connection, &key, after, wait).await;
            if answer.is_err() {
                *waiting = None;
            }
            answer
        })
    }
}

async fn read(
    connection: &mut MultiplexedConnection,
    key: &str,
    after: AnswerPlace,
    wait: Duration,
) -> Result<Vec<(AnswerPlace, Bytes)>, StoreFault> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(512);
    if !wait.is_zero() {
        // 0 would be for ever
        command.arg("BLOCK").arg(millis(wait).max(1));
    }
    command.arg("STREAMS").arg(key).arg(format!("{}-{}", after.0, after.1));
    let answer = command.query_async::<Option<StreamReadReply>>(connection);
    let unread = |why: &str| StoreFault::Unavailable(Arc::from(why));
    let read = match tokio::time::timeout(wait + PATIENCE, answer).await {
        Ok(Ok(answer)) => answer.unwrap_or_default(),
        Ok(Err(error)) => return Err(unread(error.code().unwrap_or("the answers could not be read"))),
        Err(_) => return Err(unread("no answer in time")),
    };
    let entries = read.keys.into_iter().flat_map(|key| key.ids);
    let answers = entries.filter_map(|entry| match (place(&entry.id), entry.map.get("a")) {
        (Some(place), Some(Value::BulkString(bytes))) => Some((place, Bytes::from(bytes.clone()))),
        _ => None,
    });
    Ok(answers.collect())
}

impl CommandDesk for RedisCommands {
    fn follow(&self, sink: Arc<dyn CommandSink>) -> StoreFuture<'_, UnixMs> {
        Box::pin(async move {
            let now = self.time().await?;
            let mut followers = self.base.desk.lock();
            if followers.sinks.len() >= SINKS {
                return Err(StoreFault::Full("command sinks"));
            }
            if followers.sinks.is_empty() {
                // what stands in this very ms may be from before: the reader cannot tell, a command's own time can
                followers.last = (now.0.saturating_sub(1), u64::MAX);
            }
            followers.sinks.push(sink);
            Ok(now)
        })
    }

    fn claim(&self, nonce: Nonce) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let Base { link, keys, .. } = &*self.base;
            let key = keys.answers(nonce, Kind::Claim).ok_or_else(garbled)?;
            let mut set = redis::cmd("SET");
            set.arg(key).arg(1).arg("NX").arg("PX").arg(millis(ANSWERS_KEPT));
            Ok(link.command::<Option<String>>(&set).await?.is_some())
        })
    }

    fn answer(&self, to: Nonce, answer: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let Base { link, keys, .. } = &*self.base;
            let key = keys.answers(to, Kind::Answers).ok_or_else(garbled)?;
            let args = Args::new().with(&answer[..]).with(ANSWERS).with(millis(ANSWERS_KEPT));
            ANSWER.run::<String>(link, &[key], &args).await?;
            Ok(())
        })
    }
}

/// Deletes a spoiled stream; see the module.
pub(super) async fn begin_anew(base: &Base, connection: &mut MultiplexedConnection) {
    let mut del = redis::cmd("DEL");
    del.arg(base.keys.commands());
    // whatever goes wrong, the next read finds it again
    let _ = tokio::time::timeout(PATIENCE, del.query_async::<u64>(connection)).await;
}

/// What an operator's program has of a fleet: commands, answers, and who is there. No key of the cluster.
pub struct RedisOperator {
    base: Arc<Base>,
}

impl RedisOperator {
    /// Opens the fleet behind `store.url`, on the present runtime; of the section's key files none is read.
    ///
    /// # Errors
    /// See [`ConnectFault`]; [`ConnectFault::Url`] for `memory:`, where there is nobody to talk to; files that cannot be
    /// read.
    pub async fn connect(store: &Store, timeout: Duration) -> Result<Self, ConnectFault> {
        let StoreUrl::Redis(url) = &store.url else { return Err(ConnectFault::Url) };
        let url = std::str::from_utf8(url.expose()).map_err(|_| ConnectFault::Url)?;
        let options = RedisOptions::of_operator(store).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(|(path, problem)| format!("{path}: {problem}")).collect();
            ConnectFault::Unreachable(Arc::from(lines.join("; ")))
        })?;
        Self::open(url, RedisOptions { command_timeout: timeout, connect_timeout: timeout, ..options }).await
    }

    /// The same with options of the caller's. The naming key is of no account: it names users and rooms, and none is
    /// named here; nor is it an operator's program that has to mind what the server may forget.
    ///
    /// # Errors
    /// See [`ConnectFault`].
    pub async fn open(url: &str, options: RedisOptions) -> Result<Self, ConnectFault> {
        let options = RedisOptions { may_evict: true, ..options };
        let keys = Keys::new(&options.prefix, options.naming_key)?;
        let (link, pushes) = Link::connect(url, &options).await?;
        // nothing is subscribed to
        drop(pushes);
        let (desk, era) = (Desk::default(), super::era::Present::default());
        Ok(Self { base: Arc::new(Base { link, keys, keep: options.keep, desk, era }) })
    }

    /// Where commands go and answers come from.
    #[must_use]
    pub fn commands(&self) -> Arc<dyn Commands> {
        Arc::new(RedisCommands::new(Arc::clone(&self.base)))
    }

    /// Who is there. To be read only.
    #[must_use]
    pub fn members(&self) -> Arc<dyn Leases> {
        Arc::new(super::lease::RedisLeases::new(Arc::clone(&self.base)))
    }
}
