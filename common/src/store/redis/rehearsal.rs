//! The control log of one process without Redis: the reader, the log, the copy and the snapshots as they are, over a
//! [`Medium`] and a clock of the caller's. For simulations.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use super::control::Head;
pub use super::medium::{Entry, Medium};
pub use super::reader::Pace;
pub use super::snapshot::{Kept, Pointer, Seals, Unread, pages};

use super::control::Known;
use super::copy::ControlCopy;
use super::counts::Counts;
use super::reader::Cursor;
use super::trust::Trust;
use crate::clock::UnixMs;
use crate::store::StoreFault;
use crate::store::control::{ControlEntry, ControlSink, LogId};

/// Where a follower goes on.
pub struct Place(Cursor);

impl Default for Place {
    fn default() -> Self {
        Self(Cursor::new())
    }
}

/// What one process knows of the log.
pub struct Follower(Known);

impl Follower {
    /// Of the log with that stream, whose entries these keys seal. `disk` is what its copy holds; without it there is
    /// none, and none is written.
    #[must_use]
    pub fn new(trust: &Trust, stream: &str, disk: Option<Option<Bytes>>, pace: Pace) -> Self {
        let copy = disk.map(|bytes| ControlCopy::of(PathBuf::new(), stream.to_owned(), Ok(bytes), trust).0);
        Self(Known::new(trust, stream.to_owned(), copy.map(Arc::new), pace))
    }

    /// One round of the reader.
    ///
    /// # Errors
    /// The medium's, or that its snapshot cannot be read.
    pub async fn round(&self, medium: &mut impl Medium, place: &mut Place) -> Result<(), StoreFault> {
        self.0.read_once(medium, &mut place.0).await
    }

    /// What is to be written for an append at the store's time `now`.
    ///
    /// # Errors
    /// Too much is in force.
    pub fn seal(&self, entries: Vec<ControlEntry>, now: UnixMs, sequence: &mut u64) -> Result<Vec<Bytes>, StoreFault> {
        self.0.seal(entries, now, sequence)
    }

    /// Hands over what is kept, and everything later.
    ///
    /// # Errors
    /// At the bound on sinks.
    pub fn tell(&self, sink: Arc<dyn ControlSink>, now: UnixMs) -> Result<LogId, StoreFault> {
        self.0.lock().tell(sink, now)
    }

    /// See [`super::RedisControl::staleness`].
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        self.0.staleness()
    }

    /// Whether the present log has been read to its end, and what it had lost written back.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.0.is_current()
    }

    /// The last place that it has read, to the end of the log.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.0.progress.borrow().last
    }

    /// What was refused so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counters.read()
    }
}
