//! A snapshot of the control log: what was in force when the log had been read up to some place, so that who comes later
//! reads it and then the tail, and the stream can be trimmed behind it.
//!
//! ```text
//! page   sealed under the key of its snapshot, its number as sequence:  { place 8 | length 4 | sealed entry }…
//! meta   sealed under the pointer's key, the place as sequence:          id 16 | place 8 | pages 4
//! ```
//! Entries stay sealed as their issuers sealed them. Pages are written under a key of their own that ends by itself; one
//! script makes them the snapshot, if nobody else did meanwhile, and trims the stream. Whoever wants to write takes a lock
//! first, so that one does at a time; without it nothing would go wrong, but for work done twice.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use redis::FromRedisValue;

use super::Base;
use super::control::{Head, Keys};
use super::keys::{Kind, Name};
use super::link::garbled;
use super::script::{Args, Does, Script};
use super::trust::Trust;
use crate::clock::{UnixMs, millis};
use crate::ids::NodeEpoch;
use crate::store::StoreFault;
use crate::store::control::LogId;
use crate::store::octets::Reader;
use crate::store::record::{Header, Refused};

/// The most entries in a page, and the bytes after which a page is full.
const PAGE: (usize, usize) = (512, 256 << 10);

/// Pages of a snapshot that are read: the log's bound, with every entry as large as an entry can be.
const PAGES: u32 = 4_096;

/// Pages that nobody made a snapshot of, or that another has replaced, last so long.
const ORPHANED: Duration = Duration::from_secs(60);

/// How long a writer is waited for.
const TURN: Duration = Duration::from_secs(10);

static COMMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(Does::Shrinks, &[include_str!("lua/control.lua"), include_str!("lua/control_snapshot.lua")])
});

/// An entry as it is kept: its place in the log, and how it was sealed.
pub type Kept = (LogId, Bytes);

/// Which snapshot the log has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pointer {
    /// The name of its pages; empty: there is none.
    pub id: String,
    /// The last place that it knows of.
    pub covers: LogId,
}

/// Why a snapshot could not be had.
#[derive(Debug)]
pub enum Unread {
    /// The store did not answer, or another snapshot took its place: worth another try.
    Store(StoreFault),
    /// It is not what this cluster wrote.
    Refused(Refused),
}

impl From<StoreFault> for Unread {
    fn from(fault: StoreFault) -> Self {
        Self::Store(fault)
    }
}

/// Entries one after another.
pub(super) fn write_entries<'a>(entries: impl Iterator<Item = (LogId, &'a Bytes)>, out: &mut Vec<u8>) {
    for (place, sealed) in entries {
        out.extend_from_slice(&place.0.to_be_bytes());
        out.extend_from_slice(&u32::try_from(sealed.len()).unwrap_or_default().to_be_bytes());
        out.extend_from_slice(sealed);
    }
}

/// The same again; `None`: cut short.
pub(super) fn read_entries(bytes: &Bytes) -> Option<Vec<Kept>> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while reader.end().is_none() {
        let place = LogId(reader.u64()?);
        let length = usize::try_from(reader.u32()?).ok()?;
        entries.push((place, bytes.slice_ref(reader.take(length)?)));
    }
    Some(entries)
}

/// As many pages as it takes; at least one.
pub fn pages(entries: &[Kept]) -> Vec<Vec<u8>> {
    let mut pages = vec![Vec::new()];
    let mut count = 0;
    for (place, sealed) in entries {
        if let Some(page) = pages.last_mut().filter(|page| count < PAGE.0 && page.len() < PAGE.1) {
            write_entries(std::iter::once((*place, sealed)), page);
            count += 1;
        } else {
            let mut page = Vec::new();
            write_entries(std::iter::once((*place, sealed)), &mut page);
            pages.push(page);
            count = 1;
        }
    }
    pages
}

/// How snapshots are sealed and opened. No I/O.
pub struct Seals<'a> {
    /// Who seals, and under which keys.
    pub trust: &'a Trust,
    /// The key of the pointer.
    pub pointer: &'a str,
}

impl Seals<'_> {
    /// What stands beside the pointer.
    #[must_use]
    pub fn meta(&self, id: u128, covers: LogId, pages: u32, now: UnixMs) -> Vec<u8> {
        let body = [&id.to_be_bytes()[..], &covers.0.to_be_bytes(), &pages.to_be_bytes()].concat();
        self.seal(self.pointer, covers.0, now, &body)
    }

    /// A page of the snapshot whose pages have that key.
    #[must_use]
    pub fn page(&self, key: &str, number: u32, now: UnixMs, page: &[u8]) -> Vec<u8> {
        self.seal(key, u64::from(number), now, page)
    }

    /// How many pages the snapshot has.
    ///
    /// # Errors
    /// It is not what this cluster wrote for this pointer.
    pub fn open_meta(&self, sealed: &Bytes, pointer: &Pointer) -> Result<u32, Refused> {
        let opened = self.trust.sealer.open(self.pointer.as_bytes(), sealed)?;
        let mut reader = Reader::new(&opened.body);
        let told = reader.u128().zip(reader.u64()).zip(reader.u32()).filter(|_| reader.end().is_some());
        let ((id, covers), count) = told.ok_or(Refused::Malformed)?;
        if format!("{id:032x}") != pointer.id || LogId(covers) != pointer.covers || count > PAGES {
            return Err(Refused::Forged);
        }
        Ok(count)
    }

    /// What the page of that number holds; `None`: there is no such page.
    ///
    /// # Errors
    /// It is not this page of this snapshot.
    pub fn open_page(&self, key: &str, number: u32, sealed: Option<Bytes>) -> Result<Vec<Kept>, Refused> {
        let opened = self.trust.sealer.open(key.as_bytes(), &sealed.ok_or(Refused::Malformed)?)?;
        if opened.header.sequence != u64::from(number) {
            return Err(Refused::Replayed);
        }
        read_entries(&opened.body).ok_or(Refused::Malformed)
    }

    fn seal(&self, channel: &str, sequence: u64, now: UnixMs, body: &[u8]) -> Vec<u8> {
        let header = Header { issuer: self.trust.issuer.clone(), sequence, at: now };
        self.trust.sealer.seal(channel.as_bytes(), &header, body)
    }
}

/// For one process.
pub(super) struct Snapshots<'a> {
    pub(super) base: &'a Base,
    pub(super) trust: &'a Trust,
    pub(super) keys: &'a Keys,
}

impl Snapshots<'_> {
    fn seals(&self) -> Seals<'_> {
        Seals { trust: self.trust, pointer: &self.keys.pointer }
    }

    fn pages_key(&self, id: &str) -> Result<String, Refused> {
        let name = Name::parse(id.to_owned()).ok_or(Refused::Malformed)?;
        Ok(self.base.keys.fleet().beside(Kind::ControlPages, &name))
    }

    async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, StoreFault> {
        Ok(self.base.link.command(command).await?)
    }

    /// How many pages the snapshot has, by what stands beside the pointer.
    pub(super) async fn vouch(&self, pointer: &Pointer) -> Result<u32, Unread> {
        // together: whether they belong together could not be told of two looks
        let mut get = redis::cmd("HMGET");
        get.arg(&self.keys.pointer).arg("id").arg("meta");
        let (id, sealed) = self.ask::<(Option<String>, Option<Vec<u8>>)>(&get).await?;
        if id.unwrap_or_default() != pointer.id {
            // between the look at the pointer and this one another was written: the next look tells
            return Err(moved());
        }
        let sealed = sealed.ok_or(Unread::Refused(Refused::Malformed))?;
        self.seals().open_meta(&Bytes::from(sealed), pointer).map_err(Unread::Refused)
    }

    /// What that many pages of the snapshot hold.
    pub(super) async fn read(&self, pointer: &Pointer, count: u32) -> Result<Vec<Kept>, Unread> {
        let key = self.pages_key(&pointer.id).map_err(Unread::Refused)?;
        let mut entries = Vec::new();
        for number in 0..count {
            let mut get = redis::cmd("HGET");
            get.arg(&key).arg(number);
            let sealed = self.ask::<Option<Vec<u8>>>(&get).await?;
            entries.extend(self.seals().open_page(&key, number, sealed.map(Bytes::from)).map_err(Unread::Refused)?);
        }
        Ok(entries)
    }

    /// Makes `entries` the snapshot of the log that `head` saw, in place of the one it saw. `None`: somebody else is
    /// writing one, or has, or the log is another.
    pub(super) async fn write(
        &self,
        entries: &[Kept],
        covers: LogId,
        head: &Head,
    ) -> Result<Option<Pointer>, StoreFault> {
        let mut lock = redis::cmd("SET");
        lock.arg(&self.keys.turn).arg(self.trust.issuer.epoch.to_string()).arg("NX").arg("PX").arg(millis(TURN));
        if self.base.link.command::<Option<String>>(&lock).await?.is_none() {
            return Ok(None);
        }
        let id = NodeEpoch::random(&mut rand::rng()).0;
        let name = format!("{id:032x}");
        let key = self.pages_key(&name).map_err(|_| garbled())?;
        let pages = pages(entries);
        let count = u32::try_from(pages.len()).map_err(|_| StoreFault::Full("control log"))?;
        for (number, page) in (0..count).zip(&pages) {
            let sealed = self.seals().page(&key, number, head.now, page);
            let mut set = redis::cmd("HSET");
            set.arg(&key).arg(number).arg(sealed);
            self.base.link.command::<u64>(&set).await?;
            let mut end = redis::cmd("PEXPIRE");
            end.arg(&key).arg(millis(ORPHANED));
            self.base.link.command::<u64>(&end).await?;
        }
        let (before, life) = (&head.snapshot.id, &head.life);
        let old = self.pages_key(before).unwrap_or_else(|_| key.clone());
        let keys = [self.keys.stream.clone(), self.keys.life.clone(), self.keys.pointer.clone(), key, old];
        let meta = self.seals().meta(id, covers, count, head.now);
        let args = Args::new().with(life).with(before).with(&name).with(covers.0).with(count).with(meta);
        let done: u8 = COMMIT.run(&self.base.link, &keys, &args.with(millis(ORPHANED))).await?;
        let mut unlock = redis::cmd("DEL");
        unlock.arg(&self.keys.turn);
        // it ends by itself
        let _ = self.base.link.command::<u64>(&unlock).await;
        Ok((done == 1).then_some(Pointer { id: name, covers }))
    }
}

fn moved() -> Unread {
    Unread::Store(garbled())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(sizes: &[usize]) -> Vec<Kept> {
        (1..).zip(sizes).map(|(place, size)| (LogId(place), Bytes::from(vec![7; *size]))).collect()
    }

    #[test]
    fn pages_are_bounded_in_entries_and_in_bytes() {
        assert_eq!(pages(&[]), [Vec::<u8>::new()], "an empty snapshot has a page too");
        assert_eq!(pages(&kept(&[10; 1_025])).len(), 3);
        let large = pages(&kept(&[100_000; 7]));
        assert_eq!(large.len(), 3);
        assert!(large.iter().all(|page| page.len() < PAGE.1 + 100_012));
    }

    proptest! {
        #[test]
        fn pages_hold_every_entry_in_its_order(sizes in proptest::collection::vec(0..3_000_usize, 0..1_500)) {
            let entries = kept(&sizes);
            let read: Vec<Kept> =
                pages(&entries).into_iter().flat_map(|page| read_entries(&Bytes::from(page)).unwrap()).collect();
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn noise_is_nothing_or_entries_and_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_entries(&Bytes::from(noise));
        }
    }
}
