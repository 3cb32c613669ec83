//! Penalties over the fleet: evidence from all nodes on one account for each user and network.

use super::StoreFuture;
use crate::clock::UnixMs;
use crate::ids::NodeId;
use crate::penalty::{Account, Ladder, Step, Subject};

/// Subjects of one call; more are left out by nobody, they are not to be given.
pub const BATCH: usize = 1_024;

/// Pieces of evidence that an account remembers for people.
pub const REMEMBERED: usize = 16;

/// What somebody did, in words for people; the weight counts in [`Charge::weight`].
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// What: a name of ours or of a signature.
    pub what: String,
    /// Points, of all together.
    pub weight: f64,
    /// How often.
    pub count: u32,
}

/// Evidence about one subject, gathered for a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// Whom it is about.
    pub subject: Subject,
    /// Points.
    pub weight: f64,
    /// The ladder that it is held against.
    pub ladder: Ladder,
    /// Why; at most [`REMEMBERED`].
    pub facts: Vec<Fact>,
}

/// What came of a charge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// The account now.
    pub account: Account,
    /// The step that this charge took: of all nodes that charge at once, one is told.
    pub step: Step,
}

/// A remembered fact.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// When (the store's time).
    pub at: UnixMs,
    /// By which node.
    pub node: String,
    /// What.
    pub fact: Fact,
}

/// An account with what people want to know of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statement {
    /// The account.
    pub account: Account,
    /// The latest evidence, oldest first.
    pub facts: Vec<Noted>,
}

/// Atomic per subject; the time is the store's. Accounts outlive eras, and end by themselves once they equal a new one.
/// Cost: one round trip for a batch, a script for each partition in it.
pub trait Penalties: Send + Sync {
    /// Adds evidence; the answers are in the order of the charges, with the store's time. At most [`BATCH`].
    ///
    /// # Errors
    /// [`super::StoreFault::Full`] at the store's bound on accounts; some may have been charged.
    fn charge(&self, by: NodeId, charges: Vec<Charge>) -> StoreFuture<'_, (UnixMs, Vec<Standing>)>;

    /// What stands on an account, with the store's time; `None`: nothing does.
    fn statement(&self, subject: Subject) -> StoreFuture<'_, (UnixMs, Option<Statement>)>;

    /// Clears an account: an operator pardons.
    fn clear(&self, subject: Subject) -> StoreFuture<'_, ()>;
}
