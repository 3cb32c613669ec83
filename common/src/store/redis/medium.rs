//! What the reader of the control log asks the store, and how Redis is asked. Whoever follows the log gets at it through
//! this alone: between any two calls others may act, and nothing else is asked.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;

use super::command::{self, Page};
use super::control::{Head, PATIENCE, Shared};
use super::copy;
use super::counts::Counters;
use super::script::{Args, Does, Script};
use super::snapshot::{Kept, Pointer, Snapshots, Unread};
use crate::store::StoreFault;
use crate::store::control::LogId;

static TRIM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(Does::Shrinks, &[include_str!("lua/control.lua"), include_str!("lua/control_trim.lua")])
});

/// How long one read waits for news. The log is asked for its head as often.
const BLOCK: Duration = Duration::from_millis(1_000);

/// An entry of the stream: its id, and what is sealed in it; `None`: nothing of ours.
pub type Entry = (String, Option<Bytes>);

/// See the module. Every call is one step that others may come between.
pub trait Medium: Send {
    /// The log's head.
    fn head(&mut self) -> impl Future<Output = Result<Head, StoreFault>> + Send;

    /// How many pages a snapshot has: that it is this cluster's, and knows of the place that the pointer says.
    fn vouch(&mut self, pointer: &Pointer) -> impl Future<Output = Result<u32, Unread>> + Send;

    /// What that many pages of a snapshot hold.
    fn snapshot(&mut self, pointer: &Pointer, pages: u32) -> impl Future<Output = Result<Vec<Kept>, Unread>> + Send;

    /// At most `most` entries after a place, the first of them; `wait`: there may be none yet.
    fn read(
        &mut self,
        after: &str,
        most: usize,
        head: &Head,
        wait: bool,
    ) -> impl Future<Output = Result<Vec<Entry>, StoreFault>> + Send;

    /// Appends what is sealed already, all or none.
    fn write(&mut self, sealed: &[Bytes]) -> impl Future<Output = Result<LogId, StoreFault>> + Send;

    /// Makes `entries` the snapshot of the log that `head` saw, in place of the one it saw. `None`: somebody else was
    /// faster, or the log is another.
    fn commit(
        &mut self,
        entries: &[Kept],
        covers: LogId,
        head: &Head,
    ) -> impl Future<Output = Result<Option<Pointer>, StoreFault>> + Send;

    /// Takes entries out of the stream of the log that `head` saw, while it has the snapshot that `head` saw; those that
    /// are gone already cost nothing.
    fn trim(&mut self, dead: &[LogId], head: &Head) -> impl Future<Output = ()> + Send;

    /// Puts a copy on this machine's disk, in place of the one before; whether that was done.
    fn save(&mut self, path: PathBuf, copy: Vec<u8>) -> impl Future<Output = bool> + Send;
}

/// Redis: blocking reads on a connection of their own, the rest over the link.
pub(super) struct Stream<'a> {
    pub(super) shared: &'a Shared,
    pub(super) connection: &'a mut MultiplexedConnection,
}

impl Stream<'_> {
    fn snapshots(&self) -> Snapshots<'_> {
        Snapshots { base: &self.shared.base, trust: &self.shared.known.trust, keys: &self.shared.keys }
    }
}

impl Medium for Stream<'_> {
    async fn head(&mut self) -> Result<Head, StoreFault> {
        self.shared.head().await
    }

    async fn vouch(&mut self, pointer: &Pointer) -> Result<u32, Unread> {
        self.snapshots().vouch(pointer).await
    }

    async fn snapshot(&mut self, pointer: &Pointer, pages: u32) -> Result<Vec<Kept>, Unread> {
        self.snapshots().read(pointer, pages).await
    }

    async fn read(&mut self, after: &str, most: usize, head: &Head, wait: bool) -> Result<Vec<Entry>, StoreFault> {
        let Shared { base, keys, known, .. } = self.shared;
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(most);
        if wait {
            command.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        }
        command.arg("STREAMS").arg(&keys.stream);
        match base.desk.cursor(head.now) {
            Some(cursor) => command.arg(base.keys.commands()).arg(after).arg(cursor),
            None => command.arg(after),
        };
        let answer = command.query_async::<Option<StreamReadReply>>(self.connection);
        let read = match tokio::time::timeout(BLOCK + PATIENCE, answer).await {
            Ok(Ok(answer)) => answer.unwrap_or_default(),
            Ok(Err(_)) => return Err(StoreFault::Unavailable(Arc::from("the control log could not be read"))),
            Err(_) => return Err(StoreFault::Unavailable(Arc::from("no answer in time"))),
        };
        let (log, commands): (Vec<_>, Vec<_>) = read.keys.into_iter().partition(|key| key.key == keys.stream);
        let commands = commands.into_iter().flat_map(|key| key.ids).collect();
        if base.desk.take(commands, head.time(known.trust.clock.mono())) == Page::Spoiled {
            command::begin_anew(base, self.connection).await;
            Counters::add(&known.counters.malformed, 1);
        }
        let sealed = |value: Option<&redis::Value>| match value {
            Some(redis::Value::BulkString(sealed)) => Some(Bytes::from(sealed.clone())),
            _ => None,
        };
        let entries = log.into_iter().flat_map(|key| key.ids);
        Ok(entries.map(|entry| (entry.id, sealed(entry.map.get("d")))).collect())
    }

    async fn write(&mut self, sealed: &[Bytes]) -> Result<LogId, StoreFault> {
        self.shared.write(sealed.iter().map(AsRef::as_ref)).await
    }

    async fn commit(&mut self, entries: &[Kept], covers: LogId, head: &Head) -> Result<Option<Pointer>, StoreFault> {
        self.snapshots().write(entries, covers, head).await
    }

    async fn trim(&mut self, dead: &[LogId], head: &Head) {
        let Shared { base, keys, .. } = self.shared;
        let seen = Args::new().with(&head.life).with(&head.snapshot.id);
        let args = dead.iter().fold(seen, |args, id| args.with(id.0));
        // what is not deleted now is dead to the next process that reads the log
        let _ = TRIM.run::<u64>(&base.link, &keys.of_scripts(), &args).await;
    }

    async fn save(&mut self, path: PathBuf, copy: Vec<u8>) -> bool {
        let saved = tokio::task::spawn_blocking(move || copy::save(&path, &copy)).await;
        matches!(saved, Ok(Ok(())))
    }
}
