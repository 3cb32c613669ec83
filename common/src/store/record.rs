//! What goes over a shared medium that nobody has to trust: a body with the name of who issued it, when, and as which of
//! its records on this channel, under a MAC that only the cluster can make.
//!
//! ```text
//! version 1 | MAC 32 | kid 2+n | node 2+n | node epoch 16 | sequence 8 | time 8 | body
//! ```
//! The MAC is keyed BLAKE3 (the specification, section 6.2 on keyed hashing) over the cluster's id and the channel, each
//! with its length in front, then the version and everything behind the MAC: a record is good in one cluster, on one
//! channel. It is compared in constant time. Cost: one hash of the record.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::keyring::Keyring;
use super::octets::{Reader, put_text};
use crate::clock::UnixMs;
use crate::ids::{NodeEpoch, NodeId};

/// The format written here, and the only one read here.
pub const VERSION: u8 = 1;

/// A record is taken so long after its issue, and no longer.
pub const FRESH: Duration = Duration::from_secs(30);

/// A record may be so far ahead of the receiver's clock.
pub const AHEAD: Duration = Duration::from_secs(30);

/// Version and MAC.
const PREFIX: usize = 33;

/// Whose record it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Issuer {
    /// The node.
    pub node: NodeId,
    /// Its life: new at each start, so that sequences may begin at 1 again.
    pub epoch: NodeEpoch,
}

/// What a record says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Who issued it.
    pub issuer: Issuer,
    /// Counts the issuer's records on this channel, from 1.
    pub sequence: u64,
    /// When.
    pub at: UnixMs,
}

/// A record whose MAC was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who, when, which.
    pub header: Header,
    /// What.
    pub body: Bytes,
}

/// Why a record was refused. Says nothing of what was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Cut short, or not of the format.
    #[error("malformed")]
    Malformed,
    /// Of a version this software does not read.
    #[error("of an unknown version")]
    Version,
    /// Under a key that the key file does not have.
    #[error("under an unknown key")]
    UnknownKey,
    /// The MAC is wrong: another cluster, another channel, changed, or made up.
    #[error("not authentic")]
    Forged,
    /// Issued more than [`FRESH`] ago.
    #[error("too old")]
    Old,
    /// Issued more than [`AHEAD`] in the future.
    #[error("from the future")]
    Future,
    /// This one or a later one of the same issuer and channel was taken already.
    #[error("replayed")]
    Replayed,
}

/// Seals and opens the records of one cluster.
#[derive(Debug, Clone)]
pub struct Sealer {
    cluster: Arc<str>,
    keys: Arc<Keyring>,
}

impl Sealer {
    /// For the cluster of that id.
    #[must_use]
    pub fn new(cluster: &str, keys: Arc<Keyring>) -> Self {
        Self { cluster: Arc::from(cluster), keys }
    }

    /// The record on the wire.
    #[must_use]
    pub fn seal(&self, channel: &[u8], header: &Header, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(PREFIX + 128 + body.len());
        out.push(VERSION);
        out.extend_from_slice(&[0; 32]);
        put_text(&mut out, self.keys.signs());
        put_text(&mut out, header.issuer.node.as_str());
        out.extend_from_slice(&header.issuer.epoch.0.to_be_bytes());
        out.extend_from_slice(&header.sequence.to_be_bytes());
        out.extend_from_slice(&header.at.0.to_be_bytes());
        out.extend_from_slice(body);
        let mac = self.mac(self.keys.signing(), channel, out.get(PREFIX..).unwrap_or_default());
        if let Some(place) = out.get_mut(1..PREFIX) {
            place.copy_from_slice(mac.as_bytes());
        }
        out
    }

    /// Checks that the record is the cluster's, for this channel. Freshness and repetition are the caller's to check
    /// ([`fresh`], [`super::replay::ReplayGuard`]). The body shares the record's memory.
    ///
    /// # Errors
    /// [`Refused::Malformed`], [`Refused::Version`], [`Refused::UnknownKey`], [`Refused::Forged`].
    pub fn open(&self, channel: &[u8], record: &Bytes) -> Result<Opened, Refused> {
        let mut reader = Reader::new(record);
        match reader.u8() {
            None => return Err(Refused::Malformed),
            Some(VERSION) => {}
            Some(_) => return Err(Refused::Version),
        }
        let mac = reader.array::<32>().ok_or(Refused::Malformed)?;
        let covered = reader.rest();
        let kid = reader.text().ok_or(Refused::Malformed)?;
        let key = self.keys.verifying(kid).ok_or(Refused::UnknownKey)?;
        // equality of hashes takes constant time
        if self.mac(key, channel, covered) != blake3::Hash::from_bytes(mac) {
            return Err(Refused::Forged);
        }
        let header = header(&mut reader).ok_or(Refused::Malformed)?;
        Ok(Opened { header, body: record.slice_ref(reader.rest()) })
    }

    fn mac(&self, key: &[u8; 32], channel: &[u8], covered: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(key);
        for part in [self.cluster.as_bytes(), channel] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(&[VERSION]);
        hasher.update(covered);
        hasher.finalize()
    }
}

/// What a record says, whoever wrote it: for those who have no key of the cluster and trust the store instead.
///
/// # Errors
/// [`Refused::Malformed`], [`Refused::Version`].
pub fn read_unverified(record: &Bytes) -> Result<Opened, Refused> {
    let mut reader = Reader::new(record);
    match reader.u8() {
        None => return Err(Refused::Malformed),
        Some(VERSION) => {}
        Some(_) => return Err(Refused::Version),
    }
    reader.array::<32>().and_then(|_| reader.text().map(drop)).ok_or(Refused::Malformed)?;
    let header = header(&mut reader).ok_or(Refused::Malformed)?;
    Ok(Opened { header, body: record.slice_ref(reader.rest()) })
}

fn header(reader: &mut Reader<'_>) -> Option<Header> {
    let node = NodeId::parse(reader.text()?).ok()?;
    let issuer = Issuer { node, epoch: NodeEpoch(reader.u128()?) };
    Some(Header { issuer, sequence: reader.u64()?, at: UnixMs(reader.u64()?) })
}

/// Whether a record issued at `at` may be taken at `now`.
///
/// # Errors
/// [`Refused::Old`], [`Refused::Future`].
pub fn fresh(at: UnixMs, now: UnixMs) -> Result<(), Refused> {
    if at.after(FRESH) < now {
        return Err(Refused::Old);
    }
    if now.after(AHEAD) < at {
        return Err(Refused::Future);
    }
    Ok(())
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
