//! Where operators' commands go and nodes' answers are gathered. The store carries them and judges nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::StoreFuture;
use crate::clock::UnixMs;
use crate::control::sign::Nonce;

/// Commands that the store keeps for nodes that have not read them yet; the oldest give way.
pub const KEPT: usize = 1_024;

/// Answers to one command that are kept; the oldest give way.
pub const ANSWERS: usize = 4_096;

/// How long answers and claims are kept after the last one.
pub const ANSWERS_KEPT: Duration = Duration::from_secs(60);

/// A place among the answers to a command; later is larger, the default is before all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AnswerPlace(pub u64, pub u64);

/// A command as it reaches a node: bytes that nobody has checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What somebody wrote.
    pub bytes: Bytes,
    /// The store's time when it was read, as well as the node can know it: not behind it.
    pub at: UnixMs,
}

/// Where a node takes commands, in their order; called on whatever thread the store uses, and must not block.
pub trait CommandSink: Send + Sync {
    /// The next one.
    fn take(&self, received: Received);
}

/// The sender's side: needs no key of the cluster. Cost: one command each.
pub trait Commands: Send + Sync {
    /// The store's time: what commands are issued and judged by.
    fn now(&self) -> StoreFuture<'_, UnixMs>;

    /// Hands a command to every node that follows. At most [`KEPT`] wait for slow readers.
    fn dispatch(&self, command: Bytes) -> StoreFuture<'_, ()>;

    /// The answers behind `after`, in the order in which they came, with their places. When there is none it waits for
    /// one up to `wait`, where the store can wait; it may answer none earlier.
    fn answers(&self, to: Nonce, after: AnswerPlace, wait: Duration) -> StoreFuture<'_, Vec<(AnswerPlace, Bytes)>>;
}

/// The nodes' side.
pub trait CommandDesk: Send + Sync {
    /// Has every later command brought to `sink`, none from before; answers the store's time at which that began. One
    /// that came during a long loss of the store may be missed: its sender gets no answer.
    ///
    /// # Errors
    /// [`super::StoreFault::Full`] at the store's bound on sinks.
    fn follow(&self, sink: Arc<dyn CommandSink>) -> StoreFuture<'_, UnixMs>;

    /// Of all nodes that claim a command, one gets it: what is to be done once for the fleet is that one's to do.
    /// Forgotten after [`ANSWERS_KEPT`].
    fn claim(&self, nonce: Nonce) -> StoreFuture<'_, bool>;

    /// An answer for whoever sent the command. Kept for [`ANSWERS_KEPT`].
    fn answer(&self, to: Nonce, answer: Bytes) -> StoreFuture<'_, ()>;
}
