//! Limits that a fleet shares: one count a key, from which nodes lease tokens.

use std::time::Duration;

use super::StoreFuture;
use crate::gcra::Gcra;

/// Whose count: names what is counted, and by which limit. The store sees a keyed hash of it only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitKey {
    /// The limit's name.
    pub limit: String,
    /// What it counts by, as in `user`.
    pub per: &'static str,
    /// Whom.
    pub counted: String,
}

/// What a node asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Of which count.
    pub key: LimitKey,
    /// By which limit. The count is in time, not in tokens: another rate takes effect at once and forgives nothing.
    pub limit: Gcra,
    /// Tokens that were used already: charged whatever the count says, so that it may run ahead of the burst by them.
    pub paid: u32,
    /// Tokens wanted beside them.
    pub want: u32,
    /// Nodes that share the count: a grant is at most one N-th of what is left, rounded down, and at least one token
    /// where there is one.
    pub nodes: u32,
}

/// What it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leased {
    /// Tokens, at most as many as were wanted, charged now.
    pub granted: u32,
    /// How long until there is another one; zero when there is one now.
    pub wait: Duration,
}

/// Atomic per key. Time is the store's. A count outlives eras, is forgotten when it says nothing any more, and is refused
/// in a store that lost its era ([`super::StoreFault::Era`]); a store that goes back in time by `t` admits at most `R·t`
/// more. One round trip. [`super::StoreFault::Unavailable`]: nothing is known of what became of it.
pub trait LimitCounts: Send + Sync {
    /// Charges what was used, and leases what there is.
    fn lease(&self, ask: Ask) -> StoreFuture<'_, Leased>;
}

/// A count as the algorithm has it: the theoretical arrival time, in the unit of `now` and `interval`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Drawn {
    pub tat: u64,
    pub leased: Leased,
}

/// The decision itself, in ns; `lua/limit_lease.lua` is the same in µs.
pub(crate) fn draw(tat: u64, ask: &Ask, now: u64) -> Drawn {
    let (interval, tolerance) = (ask.limit.interval(), ask.limit.tolerance());
    let nodes = u64::from(ask.nodes.max(1));
    // hardly further ahead than all nodes' tokens on credit: what a clock that went back left is healed by that
    let most = now.saturating_add(tolerance).saturating_add(interval.saturating_mul(2 * nodes));
    let tat = tat.max(now).saturating_add(interval.saturating_mul(u64::from(ask.paid))).min(most);
    let left = now.saturating_add(tolerance).saturating_sub(tat) / interval;
    let granted = u64::from(ask.want).min((left / nodes).max(1)).min(left);
    let tat = tat.saturating_add(interval.saturating_mul(granted));
    let wait = tat.saturating_add(interval).saturating_sub(now.saturating_add(tolerance));
    let granted = u32::try_from(granted).unwrap_or(u32::MAX);
    Drawn { tat, leased: Leased { granted, wait: Duration::from_nanos(wait) } }
}
