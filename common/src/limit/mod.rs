//! Limits that a fleet shares, as one node keeps them: plain state, told the time and what the store answered.
//!
//! The count itself is the store's ([`crate::store::limit`]). A node takes tokens from it in leases of at most
//! [`LEASE`], as many as the key used lately; what is not used lapses. So most messages are decided here, at once, and
//! for every key and window of length `T`
//!
//! > admitted ≤ R·T + B + min(R·3 s, N·b),  b = max(1, ⌊B / 2N⌋)
//!
//! where R is the rate, B the burst and N the nodes of the fleet. Of a slow limit a node holds less, at most twice what its share
//! brings in a lease, and at least one: what lapses there is missed for long. Near the limit a grant is at most an N-th of what is
//! left, one token in the end, so that nothing is stranded on a node that does not need it. A refusal is remembered until
//! the store would grant again, and no key that is over its limit costs a node more than one call in 1/R; one that is
//! pressed, that is for more than this node's share or at the limit twice within it, not more than one in [`PAUSE`] or a
//! quarter of its burst.
//!
//! **The first message of a quiet key does not wait.** It is let in and paid for by the call that it causes; a lease is
//! smaller and shorter by that one token a node, so the bound above holds with it. Where the limit is too small or too
//! slow for that (see [`Plan`]) the message waits for the answer.
//!
//! **While the store does not answer** each key has this node's share: R/N with a burst of B/N, at least 1. Nodes whose
//! views of the fleet differ by one admit at most 1.5 R together. What was admitted before counts against the share, so a
//! store that comes and goes gives nobody a burst each time. What the share let in while a call was merely late is taken
//! out of that call's answer.

mod count;
mod plan;
mod table;

pub use self::count::{Answer, Count, Order, Took};
pub use self::plan::Plan;
pub use self::table::{Standing, Table};

/// The longest life of a leased token, in ns.
pub const LEASE: u64 = 3 * SECOND;

/// How long a message waits for an answer before this node's share decides, in ns.
pub const PATIENCE: u64 = SECOND / 10;

/// How long a key that is pressed beyond this node's share is not asked for again, at most, in ns.
pub const PAUSE: u64 = SECOND / 2;

/// Between two calls for a key whose last call failed, in ns.
pub const AGAIN: u64 = SECOND / 2;

const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests;
