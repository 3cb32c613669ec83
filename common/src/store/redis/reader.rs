//! Reads the control log: the snapshot, then the stream behind it, then what comes; one task a process.
//!
//! The store may have lost entries when it is another log than before, or on another server, or its last place or its
//! snapshot is behind what was read. Then everything is read again, and every process writes back what was in force and
//! is missing; until that is read too nothing counts as known. What the copy on disk had at the start is treated the same
//! way.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::control::{Head, Known, Shared};
use super::copy;
use super::counts::Counters;
use super::log::Stamp;
use super::medium::{Medium, Stream};
use super::snapshot::{Kept, Pointer, Unread};
use crate::clock::{Mono, UnixMs};
use crate::store::StoreFault;
use crate::store::control::LogId;
use crate::store::record::Refused;

/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(100);

/// What the store calls any number that is not ours.
const LARGEST: u64 = 1 << 53;

/// When something is worth its cost.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Entries of one read, and of one write of what the store lost.
    pub page: usize,
    /// Dead entries that are worth a command.
    pub trim: usize,
    /// Entries behind the snapshot that are worth another one; with many in force a quarter of those.
    pub due: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { page: 512, trim: 64, due: 256 }
    }
}

/// After a snapshot that could not be written.
const AGAIN: Duration = Duration::from_secs(5);

/// Between two copies to disk.
const COPY: Duration = Duration::from_secs(1);

/// Where the next read goes on.
pub(super) struct Cursor {
    id: String,
    /// The log that is read.
    life: String,
    /// Its snapshot, as last seen.
    snapshot: Pointer,
    /// The snapshot that could not be opened: it is to be replaced.
    spoiled: Option<String>,
    /// What was in force when the store lost the log, to be written back once it has been read again.
    restore: Option<Vec<(Stamp, Bytes)>>,
    /// It was written back, up to there, and has not been read yet: until then it may be lost again.
    written: Option<LogId>,
    /// Everything was read once: what this process knows is the whole.
    whole: bool,
    /// The last place that it could not read for want of a key or a version, or that somebody forged, which looks the same
    /// to a process whose key is wrong: others may be able to read it, so it is not trimmed.
    blind: LogId,
    snapshot_after: Mono,
    /// What the copy on disk has, and when it was written.
    copied: (String, LogId),
    copy_after: Mono,
}

impl Cursor {
    /// Nothing was read yet.
    pub(super) fn new() -> Self {
        Self {
            id: "0-0".to_owned(),
            life: String::new(),
            snapshot: Pointer::default(),
            spoiled: None,
            restore: None,
            written: None,
            whole: false,
            blind: LogId(0),
            snapshot_after: Mono(0),
            copied: (String::new(), LogId(0)),
            copy_after: Mono(0),
        }
    }
}

/// Reads until the log is dropped; connects again as long as it takes.
pub(super) async fn run(shared: Weak<Shared>) {
    let mut cursor = Cursor::new();
    loop {
        let Some(strong) = shared.upgrade() else { return };
        let own = strong.base.link.own_connection(strong.known.stream()).await;
        drop(strong);
        if let Ok(mut own) = own {
            // a server that is none of ours any more may go on answering
            while let Some(strong) = shared.upgrade().filter(|strong| strong.base.link.leads(&own)) {
                let mut stream = Stream { shared: &strong, connection: &mut own.connection };
                if strong.known.read_once(&mut stream, &mut cursor).await.is_err() {
                    break;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The number of an entry.
fn place_of(id: &str) -> LogId {
    LogId(id.split('-').next().and_then(|number| number.parse().ok()).map_or(0, |number| LARGEST.min(number)))
}

impl Known {
    /// One round: what has changed, what is behind it, and what follows. Everything that is asked of the store is asked
    /// here, in this order.
    pub(super) async fn read_once(&self, medium: &mut impl Medium, cursor: &mut Cursor) -> Result<(), StoreFault> {
        let head = medium.head().await?;
        self.recognise(&head, cursor);
        self.load_snapshot(medium, &head, cursor).await?;
        let caught_up = self.lock().last >= head.last;
        if caught_up {
            self.settle(medium, &head, cursor).await?;
        }
        if caught_up && cursor.whole && cursor.restore.is_none() {
            self.snapshot(medium, &head, cursor).await;
            self.copy(medium, &head, cursor).await;
        }
        let entries = medium.read(&cursor.id, self.pace.page, &head, caught_up).await?;
        // entries may be younger than the look at the head, by as long as this process was stopped
        let now = head.times(self.trust.clock.mono());
        let whole_tail = entries.len() < self.pace.page;
        let ends = entries.iter().map(|(id, _)| place_of(id)).max().unwrap_or_else(|| self.lock().last);
        let first = entries.first().map(|(id, _)| place_of(id));
        if first.is_some_and(|first| first <= cursor.snapshot.covers) && cursor.snapshot == head.snapshot {
            // a snapshot goes into its place with a trim of the stream: this one was put there by somebody else
            Counters::add(&self.counters.replayed, 1);
            self.pass_over(cursor, &head);
            return Ok(());
        }
        if self.was_trimmed(medium, first, whole_tail && ends < head.last, cursor).await? {
            return Ok(());
        }
        for (id, sealed) in entries {
            let place = place_of(&id);
            match sealed {
                Some(sealed) => {
                    let refused = self.take(&id, sealed, now);
                    if matches!(refused, Some(Refused::UnknownKey | Refused::Version | Refused::Forged)) {
                        cursor.blind = place;
                    }
                }
                None => Counters::add(&self.counters.malformed, 1),
            }
            {
                let mut log = self.lock();
                log.last = log.last.max(place);
            }
            cursor.id = id;
        }
        if whole_tail && ends < head.last {
            // the last ones merged away or were trimmed: there is nothing between here and there
            self.lock().last = head.last;
            cursor.id = format!("{}-0", head.last.0);
        }
        if whole_tail {
            self.lock().expire(now.least);
            self.advance(head.asked, |_| {});
        }
        self.trim(medium, &head).await;
        Ok(())
    }

    /// Whether the stream was trimmed between the look at its snapshot and the read: then what is between was not read,
    /// and stands in the new snapshot. Only a hole in the numbers can tell; most are of entries that merged away.
    async fn was_trimmed(
        &self,
        medium: &mut impl Medium,
        first: Option<LogId>,
        at_the_end: bool,
        cursor: &Cursor,
    ) -> Result<bool, StoreFault> {
        let last = self.lock().last;
        if !at_the_end && first.is_none_or(|first| first.0 <= last.0 + 1) {
            return Ok(false);
        }
        let now = medium.head().await?.snapshot;
        Ok(now != cursor.snapshot && cursor.spoiled.as_ref() != Some(&now.id))
    }

    /// Whether this is the log that was read so far; if not, it is read from its beginning.
    fn recognise(&self, head: &Head, cursor: &mut Cursor) {
        let last = self.lock().last;
        let began = std::mem::replace(&mut cursor.life, head.life.clone());
        // what was written went into another
        cursor.written = cursor.written.filter(|_| began == head.life);
        // an entry that was read before the log had a name may be of one that is gone again
        let another = began != head.life && !began.is_empty() && last > LogId(0);
        if another || head.last < last || head.snapshot.covers < cursor.snapshot.covers {
            self.begin_anew(cursor, head.now);
        }
        if began.is_empty()
            && let Some(copy) = &self.copy
        {
            // of the very log that is there it says nothing new, unless somebody has put an old snapshot into it
            let found = &copy.found;
            cursor.copied = (found.life.clone(), found.last);
            cursor.restore = Some(copy::stamped(&found.entries, self.stream(), &self.trust, head.now));
        }
    }

    /// It is another log, or another server: what was read does not count any more.
    fn begin_anew(&self, cursor: &mut Cursor, now: UnixMs) {
        self.progress.send_modify(|progress| progress.turns += (progress.turns % 2) ^ 1);
        let mut kept = self.lock().begin_anew(now);
        kept.extend(cursor.restore.take().into_iter().flatten());
        (cursor.id, cursor.restore) = ("0-0".to_owned(), Some(kept));
        (cursor.snapshot, cursor.blind, cursor.written) = (Pointer::default(), LogId(0), None);
        Counters::add(&self.counters.renewed, 1);
    }

    /// Reads the snapshot, if it knows of more than was read; that it is the cluster's is looked at in any case, for whoever
    /// comes later depends on it.
    async fn load_snapshot(
        &self,
        medium: &mut impl Medium,
        head: &Head,
        cursor: &mut Cursor,
    ) -> Result<(), StoreFault> {
        let pointer = &head.snapshot;
        if *pointer == cursor.snapshot || cursor.spoiled.as_ref() == Some(&pointer.id) {
            return Ok(());
        }
        let unread = pointer.covers > self.lock().last;
        let read = async {
            let none = pointer.id.is_empty() && pointer.covers == LogId(0);
            let pages = if none { 0 } else { medium.vouch(pointer).await? };
            if unread { medium.snapshot(pointer, pages).await } else { Ok(Vec::new()) }
        };
        match read.await {
            Ok(entries) => self.take_snapshot(entries, head, cursor),
            Err(Unread::Store(fault)) => return Err(fault),
            Err(Unread::Refused(why)) => return self.spoiled(why, head, cursor),
        }
        if unread {
            // the read goes on where it was: of what the snapshot covers nothing is left in the stream
            self.lock().last = pointer.covers;
        }
        cursor.snapshot = pointer.clone();
        Ok(())
    }

    fn take_snapshot(&self, entries: Vec<Kept>, head: &Head, cursor: &mut Cursor) {
        let now = head.times(self.trust.clock.mono());
        for (place, sealed) in entries {
            match self.trust.sealer.open(self.stream().as_bytes(), &sealed) {
                Ok(opened) => self.lock().recall(place, &sealed, &opened, now, &self.counters),
                Err(why) => {
                    self.counters.refused(why);
                    cursor.blind = head.snapshot.covers;
                }
            }
        }
    }

    /// The snapshot is not what this cluster wrote. A process that knows the whole log puts another in its place; one
    /// that does not must not act as if there were no bans.
    fn spoiled(&self, why: Refused, head: &Head, cursor: &mut Cursor) -> Result<(), StoreFault> {
        self.counters.refused(why);
        // of a newer key or version is not made up
        if !cursor.whole || matches!(why, Refused::UnknownKey | Refused::Version) {
            return Err(StoreFault::Unavailable("the control log's snapshot cannot be read".into()));
        }
        self.pass_over(cursor, head);
        Ok(())
    }

    /// Reads the log without its snapshot, which is to be replaced.
    fn pass_over(&self, cursor: &mut Cursor, head: &Head) {
        self.begin_anew(cursor, head.now);
        cursor.spoiled = Some(head.snapshot.id.clone());
    }

    /// Everything has been read: what is missing of what was in force goes back, and is read too; then those who waited
    /// go on.
    async fn settle(&self, medium: &mut impl Medium, head: &Head, cursor: &mut Cursor) -> Result<(), StoreFault> {
        let read = cursor.written.is_some_and(|place| self.lock().last >= place);
        if let Some(before) = cursor.restore.as_ref().filter(|_| !read) {
            let opened = |sealed: &Bytes| self.trust.sealer.open(self.stream().as_bytes(), sealed).ok();
            let mut missing = self.lock().missing(before);
            missing.retain(|sealed| opened(sealed).is_some_and(|opened| self.lock().lacks(&opened)));
            let mut written = None;
            for some in missing.chunks(self.pace.page) {
                written = Some(medium.write(some).await?);
            }
            if written.is_some() {
                // once more, when what was written has been read
                cursor.written = written;
                return Ok(());
            }
        }
        (cursor.restore, cursor.written) = (None, None);
        cursor.whole = true;
        self.advance(head.asked, |progress| progress.turns += progress.turns % 2);
        Ok(())
    }

    /// Writes a snapshot when it is due. Not by a process that could not read all: what it cannot read would be trimmed;
    /// nor by one that has never read anything of this cluster's.
    async fn snapshot(&self, medium: &mut impl Medium, head: &Head, cursor: &mut Cursor) {
        let now = self.trust.clock.mono();
        let (last, kept) = {
            let log = self.lock();
            (log.last, log.len() as u64)
        };
        let tail = last.0.saturating_sub(head.snapshot.covers.0);
        let spoiled = cursor.spoiled.as_ref() == Some(&head.snapshot.id);
        let due = spoiled || tail >= self.pace.due.max(kept / 4);
        let blind = cursor.blind > head.snapshot.covers || self.counters.read().taken == 0;
        if !due || blind || now < cursor.snapshot_after || cursor.restore.is_some() {
            return;
        }
        cursor.snapshot_after = now.after(AGAIN);
        let entries: Vec<Kept> = self.lock().kept().map(|(place, sealed)| (place, sealed.clone())).collect();
        // whether one was written whose answer was lost, the next look at the pointer tells
        let written = medium.commit(&entries, last, head).await;
        if let Ok(Some(pointer)) = written {
            // noted at once: should it be lost before the next look, nobody else may know
            cursor.snapshot = pointer;
            cursor.snapshot_after = now;
            cursor.spoiled = None;
        }
    }

    /// Brings the copy on disk up to date.
    async fn copy(&self, medium: &mut impl Medium, head: &Head, cursor: &mut Cursor) {
        let Some(copy) = &self.copy else { return };
        let now = self.trust.clock.mono();
        let last = self.lock().last;
        let upto = (head.life.clone(), last);
        if cursor.copied == upto || now < cursor.copy_after {
            return;
        }
        cursor.copy_after = now.after(COPY);
        let bytes = {
            let log = self.lock();
            copy.compose(&self.trust, &head.life, last, head.now, log.kept())
        };
        if medium.save(copy.path(), bytes).await {
            cursor.copied = upto;
        } else {
            self.copies_failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes out of the stream what merged away or ended. Every process does; what is gone already costs nothing.
    async fn trim(&self, medium: &mut impl Medium, head: &Head) {
        let dead = self.lock().dead(self.pace.trim);
        if !dead.is_empty() {
            medium.trim(&dead, head).await;
        }
    }
}
