//! IP reputation: what others say about addresses, as files that are compiled once and carried to the nodes.
//!
//! ```text
//! lists (netset, DROP, CSV) ─► read ─► gates ─► compact, signed file ─► every node: look-up at the door
//! ```
//! What a list says is hearsay about addresses that change hands: so it has an end, it has to pass [`gate`] before it
//! goes anywhere, and a node believes only what the key it was told signed, never an older version than the one it has.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU8;

use ipnet::IpNet;

use crate::clock::UnixMs;

/// What lists look like.
pub mod list;

/// What a list has to pass.
pub mod gate;

/// Ranges that no list may name.
pub mod reserved;

/// The compiled file.
pub mod file;

/// Networks in a feed, at most: about 64 MB on a node.
pub const ENTRIES: usize = 1_000_000;

/// Bytes of a compiled file, at most.
pub const LARGEST: u64 = 32 << 20;

/// How bad an address is, 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(NonZeroU8);

impl Score {
    /// The worst.
    pub const WORST: u8 = 100;

    /// `None` outside of 1 to 100.
    #[must_use]
    pub fn new(score: u8) -> Option<Self> {
        NonZeroU8::new(score).filter(|score| score.get() <= Self::WORST).map(Self)
    }

    /// 1 to 100.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0.get()
    }

    /// As a mark in a trie.
    fn mark(self) -> NonZeroU8 {
        self.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}

/// What a source says about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing {
    /// The network that it is listed by.
    pub network: IpNet,
    /// How bad.
    pub score: Score,
}

/// Which state of a source this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition {
    /// Grows from each to the next.
    pub version: u64,
    /// When it was made.
    pub made: UnixMs,
    /// From here on it says nothing any more.
    pub expires: UnixMs,
    /// Networks in it.
    pub entries: usize,
    /// BLAKE3 over all of it.
    pub digest: [u8; 32],
}

/// Somebody who says how bad addresses are.
pub trait Reputation: Send + Sync {
    /// What is said about an address, in its canonical form, at `now` (wall time). Asked at every handshake: it answers
    /// from memory and at once, and a source that has to ask somebody else says `None` until it was told. Nothing that
    /// has expired is said. Of several networks around the address the one with the highest score counts.
    fn look(&self, ip: IpAddr, now: UnixMs) -> Option<Listing>;

    /// Which state this is.
    fn edition(&self) -> Edition;
}

#[cfg(test)]
mod tests;
