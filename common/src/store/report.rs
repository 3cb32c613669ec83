//! What nodes saw of refused logins, for whoever leads to judge.

use super::StoreFuture;
use crate::clock::UnixMs;
use crate::ids::NodeId;
use crate::stuffing::{Mark, Report};

/// Reports that are kept; at the bound the oldest go.
pub const KEPT: usize = 4_096;
/// How long they are kept at least, where there is room: the longest `stuffing.window`.
pub const AGE: std::time::Duration = std::time::Duration::from_secs(3_600);
/// Reports of one page.
pub const PAGE: usize = 128;

/// A place among the reports; later is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place(pub u64, pub u64);

/// A report in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filed {
    /// Whose.
    pub node: NodeId,
    /// When it was filed (the store's time, as its node knew it).
    pub at: UnixMs,
    /// What it says.
    pub report: Report,
}

/// The next of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The store's time.
    pub now: UnixMs,
    /// In their order.
    pub filed: Vec<Filed>,
    /// Where the next page begins.
    pub last: Place,
    /// There may be more.
    pub more: bool,
    /// Records that were not what the cluster's nodes write, or were there before: nothing of them is in [`Self::filed`].
    pub refused: u32,
}

/// Kept for [`AGE`], at most [`KEPT`] of them. They outlive eras, and what is lost with the store is told again by whoever
/// goes on.
pub trait Reports: Send + Sync {
    /// A name for these words: equal on every node of the cluster, and no way back. The words may hold anything but the byte
    /// 0. Cost: one keyed hash.
    fn mark(&self, words: &[&str]) -> Mark;

    /// Adds a report, at the moment `at` (the store's time). Cost: one command.
    fn file(&self, report: Report, at: UnixMs) -> StoreFuture<'_, ()>;

    /// What stands behind a place, at most [`PAGE`]. One reader a process: it remembers whose reports it has read, and takes
    /// none twice. Cost: one command.
    fn read(&self, after: Place) -> StoreFuture<'_, Page>;
}
