//! The control log on this machine's disk, for a start after the store lost it, or without the store: what was in force
//! when the process last knew, under the cluster's MAC, replaced in one step.
//!
//! ```text
//! sealed under "disk" and the log's key, the last place as sequence:  life 2+n | { place 8 | length 4 | sealed entry }…
//! ```
//! What of it the log lacks is what the store may have lost, or somebody took away who put an old snapshot there: it is
//! written back. Newer words about the same target win, also tombstones, so an old copy bans nobody who was pardoned since;
//! of the very log that the store has it says nothing new, and nothing is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::RedisOptions;
use super::keys::{Keys, Kind};
use super::log::{Stamp, decode, lasts};
use super::snapshot::{Kept, read_entries, write_entries};
use super::trust::Trust;
use crate::clock::UnixMs;
use crate::store::control::{ControlSink, LogId};
use crate::store::octets::{Reader, put_text};
use crate::store::record::{Header, Refused};

/// A larger file is no copy: the log's bound, with every entry as large as an entry can be.
const LARGEST: u64 = 512 << 20;

/// Why a copy was not used.
#[derive(Debug, thiserror::Error)]
pub enum BadCopy {
    /// The machine's.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is not what this cluster wrote.
    #[error("is {0}")]
    Refused(#[from] Refused),
}

/// What a copy holds.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Of which log of which server.
    pub(super) life: String,
    pub(super) last: LogId,
    pub(super) entries: Vec<Kept>,
}

/// The file of one node.
#[derive(Debug)]
pub struct ControlCopy {
    path: PathBuf,
    channel: Vec<u8>,
    stream: String,
    pub(super) found: Copied,
}

impl ControlCopy {
    /// Looks for the copy of the log that a store of these options has, in a file of this process's own; a file that is
    /// not there is an empty copy, and so is one that is not what it should be: then the answer says why. Blocks, and asks
    /// no store.
    #[must_use]
    pub fn open(path: PathBuf, options: &RedisOptions, trust: &Trust) -> (Self, Option<BadCopy>) {
        // a prefix that is none is found out when the store is opened
        let keys = Keys::new(&options.prefix, options.naming_key);
        let stream = keys.map(|keys| keys.fleet().shared(Kind::Control)).unwrap_or_default();
        let read = read(&path);
        Self::of(path, stream, read, trust)
    }

    /// The copy of that stream out of what the file holds.
    pub(super) fn of(
        path: PathBuf,
        stream: String,
        read: io::Result<Option<Bytes>>,
        trust: &Trust,
    ) -> (Self, Option<BadCopy>) {
        let channel = [b"disk:", stream.as_bytes()].concat();
        let found = match read {
            Ok(None) => Ok(Copied::default()),
            Ok(Some(bytes)) => parse(&bytes, &channel, trust).map_err(BadCopy::from),
            Err(error) => Err(BadCopy::from(error)),
        };
        let (found, bad) = match found {
            Ok(found) => (found, None),
            Err(bad) => (Copied::default(), Some(bad)),
        };
        (Self { path, channel, stream, found }, bad)
    }

    /// Tells what was in force to somebody who cannot ask the store, in the log's order.
    pub fn tell(&self, trust: &Trust, sink: &dyn ControlSink) {
        for (place, sealed) in &self.found.entries {
            let logged = trust.sealer.open(self.stream.as_bytes(), sealed).ok().and_then(|o| decode(*place, &o));
            if let Some(logged) = logged {
                sink.apply(&logged);
            }
        }
    }

    /// What is to be written, for [`Self::save`].
    pub(super) fn compose<'a>(
        &self,
        trust: &Trust,
        life: &str,
        last: LogId,
        now: UnixMs,
        entries: impl Iterator<Item = (LogId, &'a Bytes)>,
    ) -> Vec<u8> {
        let mut body = Vec::new();
        put_text(&mut body, life);
        write_entries(entries, &mut body);
        let header = Header { issuer: trust.issuer.clone(), sequence: last.0, at: now };
        trust.sealer.seal(&self.channel, &header, &body)
    }

    /// The file that a composed copy goes to.
    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

/// `None`: there is no such file.
fn read(path: &Path) -> io::Result<Option<Bytes>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(Some(Bytes::from(bytes)))
}

fn parse(bytes: &Bytes, channel: &[u8], trust: &Trust) -> Result<Copied, Refused> {
    let opened = trust.sealer.open(channel, bytes)?;
    let mut reader = Reader::new(&opened.body);
    let life = reader.text().ok_or(Refused::Malformed)?.to_owned();
    let entries = read_entries(&opened.body.slice_ref(reader.rest())).ok_or(Refused::Malformed)?;
    Ok(Copied { life, last: LogId(opened.header.sequence), entries })
}

/// Replaces the file in one step: whoever reads it, after a crash too, finds the old one or the new one whole. Blocks.
pub(super) fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// What of a copy the log may have lost and lasts at that time: stamped, for the log to compare.
pub(super) fn stamped(entries: &[Kept], stream: &str, trust: &Trust, now: UnixMs) -> Vec<(Stamp, Bytes)> {
    let open = |sealed: &Bytes| trust.sealer.open(stream.as_bytes(), sealed).ok().filter(|opened| lasts(opened, now));
    let stamp = |(_, sealed): &Kept| open(sealed).map(|opened| (Stamp::of(&opened.header), sealed.clone()));
    entries.iter().filter_map(stamp).collect()
}
