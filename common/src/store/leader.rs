//! Which of several coordinators leads, and what only a leader that nobody has followed may do.
//!
//! A lease alone does not keep an old leader from writing: it may have been stopped between looking at its clock and
//! writing. So every term has a number, its [`Fence`], larger than all before; whatever a leader writes carries it, and
//! where a larger one has written a smaller one is refused (Kleppmann, "How to do distributed locking", 2016).

use std::time::Duration;

use super::StoreFuture;
use crate::ids::{NodeEpoch, NodeId};

/// The number of a term: larger than that of every term before, also over times in which the store knew nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

/// Who may lead: a process, in one life of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name, for people.
    pub id: NodeId,
    /// New at each start, so that two processes of one name are two candidates.
    pub life: NodeEpoch,
}

/// A term that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Who leads.
    pub id: NodeId,
    /// Its number.
    pub fence: Fence,
    /// What is left of it.
    pub remaining: Duration,
}

/// The answer to [`Leadership::stand`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stood {
    /// The candidate leads, in a term of this number.
    Elected(Fence),
    /// Somebody else does.
    Led(Term),
}

/// The election. Atomic; time is the store's. At any moment at most one term runs.
pub trait Leadership: Send + Sync {
    /// Begins a term of `ttl` if none runs. A candidate whose own term runs gets that one again, and its `ttl` begins
    /// anew: so a lost answer costs nothing. Cost: one script.
    fn stand(&self, who: Candidate, ttl: Duration) -> StoreFuture<'_, Stood>;

    /// Prolongs the term to `now + ttl` if it runs. A term that has ended is never renewed.
    fn renew(&self, who: Candidate, fence: Fence, ttl: Duration) -> StoreFuture<'_, bool>;

    /// Ends the term if it runs, so that the next candidate need not wait.
    fn resign(&self, who: Candidate, fence: Fence) -> StoreFuture<'_, bool>;

    /// The term that runs.
    fn term(&self) -> StoreFuture<'_, Option<Term>>;

    /// Tells every partition of the store about this term: when the answer is there, no write of an earlier term is
    /// taken anywhere any more. Not atomic over partitions; can be repeated. Cost: 256 small scripts.
    ///
    /// # Errors
    /// [`super::StoreFault::Fenced`] when a later term has written already.
    fn proclaim(&self, fence: Fence) -> StoreFuture<'_, ()>;
}

/// What lives of nodes leave behind when they end without a word.
///
/// `by` is the term of a coordinator that acts as leader; nodes, which may clean up as well, act without one. Clearing
/// is idempotent and never touches a life that it was not asked to, so any number may do it at once.
///
/// # Errors
/// [`super::StoreFault::Fenced`] when a later term than `by` has written to the same partition: nothing was changed there.
pub trait Remains: Send + Sync {
    /// Lives that held a lease, hold none now, did not give it up, and were not [`Remains::bury`]-ed: also those that
    /// ended before the caller was there to see it. At most 4,096 lives are remembered.
    fn lapsed(&self) -> StoreFuture<'_, Vec<(NodeId, NodeEpoch)>>;

    /// As [`super::session::SessionLedger::reap`].
    fn reap_slots(&self, by: Option<Fence>, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize>;

    /// As [`super::presence::Presence::reap`].
    fn reap_members(&self, by: Option<Fence>, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize>;

    /// Nothing is left of a life: it is not remembered any more, nor is its lease. False when it was not, or when its
    /// lease runs after all: then it stays.
    fn bury(&self, by: Option<Fence>, node: NodeId, epoch: NodeEpoch) -> StoreFuture<'_, bool>;
}
