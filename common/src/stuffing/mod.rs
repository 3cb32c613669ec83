//! Credential stuffing and scanning, seen by the fleet as one: what nodes count of refused logins, and who is shut out for it.
//!
//! ```text
//! node: Tally ─► Report, one a second where there is something to say ─► store ─┐
//! node: Tally ─► Report ────────────────────────────────────────────────────────┼─► Detector (the leading coordinator) ─► Shut
//! node: Tally ─► Report ────────────────────────────────────────────────────────┘
//! ```
//! What a token merely claims (its subject, its issuer and key) is counted as what was tried *from an address*. It never
//! speaks against the subject: nobody is refused because somebody else failed with their name. And it is weighed against
//! whoever got in from the same address, because many people share one.
//!
//! Plain state, told the time; nothing here has a clock or does I/O.

use std::net::IpAddr;

use crate::store::octets::Reader;

/// What a node counts.
pub mod tally;

/// Who is to be shut out.
pub mod detector;

/// What came of it.
pub mod verdict;

/// Sets that forget.
mod fading;

/// Something that a client said or is, as a keyed hash: equal on all nodes, and nothing to anybody without the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark(pub u64);

/// Networks of one report.
pub const NETWORKS: usize = 1_024;
/// Accounts of one network in one report.
pub const ACCOUNTS: usize = 48;
/// Families of tokens of one network in one report.
pub const FAMILIES: usize = 4;
/// Users of one network in one report.
pub const USERS: usize = 32;

const VERSION: u8 = 1;

/// What one node saw of one address since its last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The address, or the first of its /64 for IPv6.
    pub from: IpAddr,
    /// Refused logins.
    pub refused: u32,
    /// Accounts that the refused tokens claimed to be of; at most [`ACCOUNTS`].
    pub accounts: Vec<Mark>,
    /// Families of them: issuer, key and algorithm; at most [`FAMILIES`].
    pub families: Vec<Mark>,
    /// Users who got in from there lately; at most [`USERS`].
    pub users: Vec<Mark>,
}

/// What one node saw since its last report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// By address; at most [`NETWORKS`].
    pub seen: Vec<Seen>,
    /// Addresses that found no room in the node's memory.
    pub left_out: u32,
}

impl Report {
    /// Its stored form. Cost: about 30 bytes and 8 a mark for each address.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.seen.len() * 96);
        out.push(VERSION);
        out.extend_from_slice(&self.left_out.to_be_bytes());
        for seen in self.seen.iter().take(NETWORKS) {
            let bits = match seen.from {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
                IpAddr::V6(v6) => v6.to_bits(),
            };
            out.extend_from_slice(&bits.to_be_bytes());
            out.extend_from_slice(&seen.refused.to_be_bytes());
            put(&mut out, &seen.accounts, ACCOUNTS);
            put(&mut out, &seen.families, FAMILIES);
            put(&mut out, &seen.users, USERS);
        }
        out
    }

    /// Reads [`Self::write`]; `None`: it is of another version, or none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let mut report = Self { left_out: reader.u32()?, seen: Vec::new() };
        while reader.end().is_none() {
            if report.seen.len() >= NETWORKS {
                return None;
            }
            report.seen.push(Seen {
                from: std::net::Ipv6Addr::from_bits(reader.u128()?).to_canonical(),
                refused: reader.u32()?,
                accounts: get(&mut reader, ACCOUNTS)?,
                families: get(&mut reader, FAMILIES)?,
                users: get(&mut reader, USERS)?,
            });
        }
        Some(report)
    }
}

fn put(out: &mut Vec<u8>, marks: &[Mark], bound: usize) {
    let count = marks.len().min(bound);
    // every bound is below 256
    out.push(u8::try_from(count).unwrap_or(u8::MAX));
    marks.iter().take(count).for_each(|mark| out.extend_from_slice(&mark.0.to_be_bytes()));
}

fn get(reader: &mut Reader<'_>, bound: usize) -> Option<Vec<Mark>> {
    let count = usize::from(reader.u8()?);
    if count > bound {
        return None;
    }
    (0..count).map(|_| reader.u64().map(Mark)).collect()
}

#[cfg(test)]
mod tests;
