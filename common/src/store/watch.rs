//! How a store is doing, as the process that uses it sees it.

use std::time::Duration;

use super::redis::Counts;

/// Whether the bus brings back what this process says to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Nothing has come back yet since the start.
    Pending,
    /// It does, or the store does not answer, which proves nothing about the bus.
    Returns,
    /// The store takes what is said, and for so long nothing of it has come back.
    Silent(Duration),
}

/// What was taken, refused and lost, from the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Records of the bus.
    pub bus: Counts,
    /// Entries of the control log.
    pub control: Counts,
    /// What the store pushed and this process was too slow to take.
    pub pushes_lost: u64,
    /// Copies of the control log that could not be written to disk.
    pub copies_failed: u64,
}

/// A look at a store that is not this process. Cheap; never asks the store.
pub trait StoreWatch: Send + Sync {
    /// Whether the last call was answered.
    fn answers(&self) -> bool;

    /// Age of what this process knows of the control log: since the last read that was answered was **sent**. `None`: none
    /// was answered yet.
    fn log_age(&self) -> Option<Duration>;

    /// Whether the log of the store's present era has been read to its end, and what was missing in it written back.
    fn log_current(&self) -> bool;

    /// Whether a server drops keys when memory is short, and may not; as it said when the present connection to it began.
    fn evicts(&self) -> bool;

    /// The bus.
    fn probe(&self) -> Probe;

    /// The counters.
    fn counts(&self) -> StoreCounts;
}
