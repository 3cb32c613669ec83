//! Store eras: what tells a store that forgot from a store in which nobody is.
//!
//! An era is the time in which the store remembered everything it was told. Every decision is made in the caller's era
//! and on the server that was told of it; elsewhere it is refused with [`super::StoreFault::Era`]. Whoever finds that
//! out opens the next era, naming the members it knew; until each of them has said again which sessions it has, nobody
//! gets anything new. What an era held is nothing in the next.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;

use super::StoreFuture;
use crate::ids::NodeId;

/// How long the members of an era are waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long an era is kept from newcomers so that members which its opener does not know can speak up: they look at the
/// era several times in it. Somebody who joined a moment ago may be known to nobody but the store that forgot it.
pub const STRANGERS: Duration = Duration::from_secs(2);

/// Which era. Later ones are larger, as far as the store's clock and the opener's memory reach; no two are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Era {
    /// When it was opened, in µs since 1970 by the store's clock; never less than what its opener knew of.
    pub number: u64,
    /// Tells two stores that were opened in one moment apart.
    pub nonce: u32,
}

impl Era {
    /// Reads what [`fmt::Display`] writes, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, nonce) = text.split_once('-')?;
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if number.len() != 16 || nonce.len() != 8 || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let nonce = nonce.bytes().all(lower).then(|| u32::from_str_radix(nonce, 16).ok())?;
        Some(Self { number: number.parse().ok()?, nonce: nonce? })
    }
}

/// Sixteen decimal and eight hexadecimal digits: texts sort as eras do.
impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016}-{:08x}", self.number, self.nonce)
    }
}

/// An era as the store last showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EraView {
    /// Which.
    pub era: Era,
    /// Every member that was named has said what it has, or was waited for long enough: newcomers are welcome.
    pub whole: bool,
    /// Members that are still waited for.
    pub waiting: usize,
}

/// A member's word about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It has sessions of an earlier era: wait for it.
    Waiting,
    /// All its sessions have been claimed in this one.
    Done,
}

/// The era of one store as one process knows it. Atomic per call; time is the store's. On outage
/// [`super::StoreFault::Unavailable`], and the process goes on in the era it knew.
///
/// A call of another role that is answered [`super::StoreFault::Era`] looks by itself whether there is a newer era; so a
/// process that only reads needs nothing of this trait. A process that holds sessions follows
/// [`Eras::watch`], and claims its sessions in each new era by [`super::session::SessionLedger::reassert`].
pub trait Eras: Send + Sync {
    /// The era in which calls of this process are made: the newest it has seen open. No trip.
    fn current(&self) -> Option<EraView>;

    /// Which one that is. No trip.
    fn era(&self) -> Option<Era> {
        self.current().map(|view| view.era)
    }

    /// [`Eras::current`], now and from now on.
    fn watch(&self) -> watch::Receiver<Option<EraView>>;

    /// Waits until a call of this process was answered with [`super::StoreFault::Era`] and no newer era was found. One
    /// waiter; an alarm that nobody waits for is kept for the next.
    fn alarm(&self) -> StoreFuture<'_, ()>;

    /// Asks the store. A newer era than the present one becomes it. `None`: the store has none, or has lost
    /// the present one: [`Eras::open`]. One round trip.
    fn look(&self) -> StoreFuture<'_, Option<EraView>>;

    /// Opens the next era, unless somebody did meanwhile: then that is the answer. It waits for `members` and for those
    /// whose lease runs in the store, each at most [`PATIENCE`]; and for nobody in particular for `strangers`.
    /// Cost: a trip, one more a partition, pipelined, and a third.
    ///
    /// # Errors
    /// [`super::StoreFault::Full`] for more members than the store has room for.
    fn open(&self, members: Vec<NodeId>, strangers: Duration) -> StoreFuture<'_, EraView>;

    /// What a member says of itself in the present era. Idempotent. A member that was not named is waited for from now
    /// on if the era is not whole; who is done is not waited for again.
    ///
    /// # Errors
    /// [`super::StoreFault::Era`] when it is no longer the present one.
    fn mark(&self, era: Era, node: NodeId, mark: Mark) -> StoreFuture<'_, EraView>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_reads_back_what_it_prints_and_sorts_as_its_text() {
        let eras = [(5, 9), (5, 10), (16, 0), (1_795_000_000_000_000, 0xffff_ffff)];
        let eras = eras.map(|(number, nonce)| Era { number, nonce });
        let texts = eras.map(|era| era.to_string());
        assert!(texts.is_sorted() && eras.is_sorted(), "{texts:?}");
        for (era, text) in eras.iter().zip(&texts) {
            assert_eq!(Era::parse(text), Some(*era));
        }
        for bad in ["", "1-2", "00000000000000x0-00000000", "0000000000000000-0000000G", "+000000000000001-00000000"] {
            assert_eq!(Era::parse(bad), None, "{bad}");
        }
    }
}
