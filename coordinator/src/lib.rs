//! The coordinator: knows who belongs to the fleet, and clears up after nodes that ended without a word.
//!
//! Several run; all of them watch, one leads. They meet the gateways in the store and nowhere else. The modules in the
//! order in which a life of a node meets them:
//!
//! ```text
//! lookout (polls the leases) → membership (joined, suspect, gone; in common) → reaper (only the leader's)
//!                                            campaign (stands, renews) → election ─┘ its term goes with every write
//!           reports of nodes → threat (refused logins, judged over the fleet) → control log ──┘
//! ```

/// Whether this coordinator leads: state without clock or I/O.
pub mod election;

/// Stands for election, proclaims, renews: the election's hands.
pub mod campaign;

/// Polls the leases: the membership's eyes, and the reaper's clock.
pub mod lookout;

/// Frees what lives that are gone left behind, in bounded batches.
pub mod reaper;

/// Judges what nodes report of refused logins: only the leader's.
pub mod threat;

/// What the parts of a coordinator share.
pub mod node;

/// A coordinator's life: connect, watch, wait for the end, resign.
pub mod run;

/// Health and metrics.
pub mod api;

/// What happened, as types.
pub mod events;

/// Counters by handle.
pub mod metrics;
