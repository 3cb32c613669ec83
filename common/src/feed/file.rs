//! The compiled file: a trie's members in the order of its nodes, each as what differs from the one before, under an
//! Ed25519 signature. One feed is one sequence of bytes.
//!
//! ```text
//! "portcullis feed\0" | format 1 | key id 8 | name 2+n | version 8 | made 8 | expires 8 | IPv4 4 | IPv6 4 | networks | signature 64
//! a network: length 1 | score 1 | bytes that it begins with like the one before 1 | its further bytes
//! ```
//! Numbers are big-endian. The signature is over everything before it; what the file begins with keeps it apart from
//! whatever else the key signs. About 5 bytes a network.

use std::net::IpAddr;

use ipnet::IpNet;

use super::gate::score_of;
use super::{ENTRIES, Edition, LARGEST, Listing, Reputation, Score};
use crate::clock::UnixMs;
use crate::control::key::{KeyId, OperatorKey, PublicKey};
use crate::ids::FeedName;
use crate::store::octets::{Reader, put_text};
use crate::trie::NetworkMarks;

/// What a file begins with.
const MAGIC: &[u8; 16] = b"portcullis feed\0";

/// The format written here, and the only one read here.
const FORMAT: u8 = 1;

/// Bytes of a signature.
const SIGNATURE: usize = 64;

/// Why a file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFeed {
    /// Something else.
    #[error("is not a compiled feed")]
    NotAFeed,
    /// Of a version of the format that this software does not read.
    #[error("is of a format that this version does not read")]
    Format,
    /// Signed by nobody who is believed.
    #[error("is signed by a key that is not believed")]
    UnknownKey,
    /// The signature is wrong.
    #[error("was changed since it was signed, or was never signed")]
    Forged,
    /// Not as this software writes it.
    #[error("is damaged")]
    Malformed,
}

/// What a feed says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which feed.
    pub name: FeedName,
    /// Grows from each to the next.
    pub version: u64,
    /// When it was compiled.
    pub made: UnixMs,
    /// From here on it says nothing any more.
    pub expires: UnixMs,
}

/// Compiles a feed. Cost: a pass over it, and a signature.
#[must_use]
pub fn write(head: &Head, networks: &NetworkMarks, key: &OperatorKey) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.push(FORMAT);
    out.extend_from_slice(&key.public().id().0);
    put_text(&mut out, head.name.as_str());
    for number in [head.version, head.made.0, head.expires.0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    // of each family: how many, and the bytes of the last one
    let (mut v4, mut v6) = ((0_u32, Vec::new()), (0_u32, Vec::new()));
    let mut body = Vec::new();
    networks.each(|network, mark| {
        let (bytes, (count, last)) = match network.addr() {
            IpAddr::V4(ip) => (ip.octets().to_vec(), &mut v4),
            IpAddr::V6(ip) => (ip.octets().to_vec(), &mut v6),
        };
        let own: Vec<u8> = bytes.into_iter().take(width(network.prefix_len())).collect();
        let shared = last.iter().zip(&own).take_while(|(a, b)| a == b).count();
        body.extend([network.prefix_len(), mark.get(), u8::try_from(shared).unwrap_or(u8::MAX)]);
        body.extend(own.iter().skip(shared));
        *count = count.saturating_add(1);
        *last = own;
    });
    out.extend_from_slice(&v4.0.to_be_bytes());
    out.extend_from_slice(&v6.0.to_be_bytes());
    out.extend(body);
    let signature = key.sign(&out);
    out.extend_from_slice(&signature);
    out
}

/// Whole bytes that hold so many bits.
fn width(length: u8) -> usize {
    usize::from(length).div_ceil(8)
}

/// A feed in memory: at most 64 bytes a network.
#[derive(Debug, Clone)]
pub struct Feed {
    head: Head,
    key: KeyId,
    networks: NetworkMarks,
    digest: [u8; 32],
}

impl Feed {
    /// Reads a file that one of these keys signed. Nothing behind the signature's head is looked at before it is known to
    /// be right. Cost: a signature over all of it, and an insertion into a trie for each network.
    ///
    /// # Errors
    /// See [`BadFeed`].
    pub fn read(bytes: &[u8], believed: &[PublicKey]) -> Result<Self, BadFeed> {
        let (signed, signature) = split(bytes)?;
        let mut reader = opened(signed)?;
        let id = KeyId(reader.array().ok_or(BadFeed::Malformed)?);
        let key = believed.iter().find(|key| key.id() == id).ok_or(BadFeed::UnknownKey)?;
        if !key.verifies(signed, signature) {
            return Err(BadFeed::Forged);
        }
        Self::read_unverified(bytes)
    }

    /// Reads a file whoever signed it: to look at, not to believe.
    ///
    /// # Errors
    /// As [`Self::read`], but for keys and signatures.
    pub fn read_unverified(bytes: &[u8]) -> Result<Self, BadFeed> {
        let (signed, _) = split(bytes)?;
        Self::contents(opened(signed)?, *blake3::hash(bytes).as_bytes()).ok_or(BadFeed::Malformed)
    }

    fn contents(mut reader: Reader<'_>, digest: [u8; 32]) -> Option<Self> {
        let key = KeyId(reader.array()?);
        let name = FeedName::parse(reader.text()?).ok()?;
        let (version, made, expires) = (reader.u64()?, UnixMs(reader.u64()?), UnixMs(reader.u64()?));
        let (v4, v6) = (reader.u32()?, reader.u32()?);
        let mut networks = NetworkMarks::default();
        family::<4>(&mut reader, v4, &mut networks)?;
        family::<16>(&mut reader, v6, &mut networks)?;
        reader.end()?;
        Some(Self { head: Head { name, version, made, expires }, key, networks, digest })
    }

    /// What it says about itself.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// By which key it says it is signed.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Every network in its order, IPv4 first.
    pub fn each(&self, mut see: impl FnMut(Listing)) {
        self.networks.each(|network, mark| {
            if let Some(score) = score_of(mark) {
                see(Listing { network, score });
            }
        });
    }
}

impl Reputation for Feed {
    fn look(&self, ip: IpAddr, now: UnixMs) -> Option<Listing> {
        if now >= self.head.expires {
            return None;
        }
        let mut worst: Option<Listing> = None;
        self.networks.any(ip, |network, mark| {
            if let Some(score) = score_of(mark).filter(|score| worst.is_none_or(|worst| worst.score <= *score)) {
                worst = Some(Listing { network, score });
            }
            false
        });
        worst
    }

    fn edition(&self) -> Edition {
        let Head { version, made, expires, .. } = self.head;
        Edition { version, made, expires, entries: self.networks.len(), digest: self.digest }
    }
}

/// What is signed, and the signature.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8; SIGNATURE]), BadFeed> {
    if bytes.len() as u64 > LARGEST {
        return Err(BadFeed::NotAFeed);
    }
    bytes.split_last_chunk::<SIGNATURE>().ok_or(BadFeed::NotAFeed)
}

/// Behind what every file begins with.
fn opened(signed: &[u8]) -> Result<Reader<'_>, BadFeed> {
    let mut reader = Reader::new(signed);
    if reader.array() != Some(*MAGIC) {
        return Err(BadFeed::NotAFeed);
    }
    match reader.u8() {
        Some(FORMAT) => Ok(reader),
        Some(_) => Err(BadFeed::Format),
        None => Err(BadFeed::NotAFeed),
    }
}

/// The networks of one family; `None` for whatever [`write`] would not have written.
fn family<const N: usize>(reader: &mut Reader<'_>, count: u32, networks: &mut NetworkMarks) -> Option<()>
where
    IpAddr: From<[u8; N]>,
{
    let mut last: Option<([u8; N], u8)> = None;
    for _ in 0..count {
        let (length, score, shared) = (reader.u8()?, Score::new(reader.u8()?)?, usize::from(reader.u8()?));
        let mut bytes = [0; N];
        if let Some((before, _)) = &last {
            bytes.iter_mut().zip(before).take(shared).for_each(|(to, from)| *to = *from);
        }
        let own = width(length).checked_sub(shared)?;
        bytes.get_mut(shared..shared + own)?.copy_from_slice(reader.take(own)?);
        let common = last.map_or(0, |(before, width_before)| {
            before.iter().zip(&bytes).take(width(width_before).min(width(length))).take_while(|(a, b)| a == b).count()
        });
        let network = IpNet::new(IpAddr::from(bytes), length).ok()?;
        if common != shared || network.trunc() != network || last.is_some_and(|last| last >= (bytes, length)) {
            return None;
        }
        networks.insert(network, score.mark());
        last = Some((bytes, length));
    }
    (networks.len() <= ENTRIES).then_some(())
}
