//! What follows from a limit and the number of nodes: how many tokens a node may hold, how long, and its share.

use super::{LEASE, PAUSE, SECOND};
use crate::gcra::Gcra;

/// A limit as one of `nodes` nodes keeps it. Cheap to make: a few divisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The limit itself.
    pub limit: Gcra,
    /// Nodes of the fleet, at least 1.
    pub nodes: u32,
    /// The most tokens that a node holds.
    pub held: u32,
    /// Whether this node's share is two tokens or more in the time of a lease: only then they are fetched ahead.
    pub steady: bool,
    /// How long a token lives, counted from the moment its call was sent, in ns.
    pub lease: u64,
    /// Whether the first message of a quiet key is let in before it is paid for: only where a lease of at least a second
    /// and a token to hold are left beside it.
    pub advance: bool,
    /// How long a key that presses is left alone, in ns.
    pub pause: u64,
    /// What this node enforces by itself.
    pub share: Gcra,
}

impl Plan {
    /// For a fleet of `nodes`, at least 1.
    #[must_use]
    pub fn new(limit: Gcra, nodes: u32) -> Self {
        let nodes = nodes.max(1);
        let parts = u64::from(nodes);
        let batch = u32::try_from(limit.burst() / (2 * parts)).unwrap_or(u32::MAX).max(1);
        // what this node's share brings in the time of a lease: of a slow limit not more is put at stake than twice that
        let steady = LEASE / limit.interval().saturating_mul(parts);
        let stake = u32::try_from(steady.saturating_mul(2)).unwrap_or(u32::MAX).max(1);
        // one token of each node, in time
        let ahead = limit.interval().saturating_mul(parts);
        let advance = batch >= 2 && LEASE.saturating_sub(ahead) >= SECOND;
        Self {
            limit,
            nodes,
            held: if advance { batch - 1 } else { batch }.min(stake),
            steady: steady >= 2,
            lease: if advance { LEASE - ahead } else { LEASE },
            advance,
            pause: PAUSE.min(limit.tolerance() / 4).max(limit.interval()),
            share: limit.share(parts),
        }
    }

    /// Whether `attempts` in the time of a lease are more than this node's share of the rate.
    pub(super) fn presses(&self, attempts: f32) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "compared with an estimate")]
        let share = LEASE as f32 / self.share.interval() as f32;
        attempts > share
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::{Limit, Rate};

    fn plan(count: u32, seconds: u64, burst: u32, nodes: u32) -> Plan {
        Plan::new(Gcra::new(Limit { rate: Rate { count, period: Duration::from_secs(seconds) }, burst }), nodes)
    }

    #[test]
    fn what_a_node_may_have_keeps_the_bound() {
        for (count, seconds, burst) in [(100, 1, 200), (100, 60, 20), (1, 1, 1), (5, 1, 500), (1, 3_600, 10)] {
            for nodes in 1..=12 {
                let plan = plan(count, seconds, burst, nodes);
                let batch = (u64::from(burst) / (2 * u64::from(nodes))).max(1);
                assert!(u64::from(plan.held) + u64::from(plan.advance) <= batch, "{plan:?}");
                let ahead = if plan.advance { plan.limit.interval() * u64::from(nodes) } else { 0 };
                assert!(plan.lease + ahead <= LEASE, "{plan:?}");
            }
        }
    }

    #[test]
    fn usual_limits_let_the_first_message_of_a_quiet_user_in_at_once() {
        assert!(plan(100, 1, 200, 3).advance);
        assert!(plan(100, 60, 20, 3).advance);
        assert!(!plan(1, 1, 20, 3).advance, "too slow: three nodes' tokens are three seconds");
        assert!(!plan(100, 1, 5, 3).advance, "too small");
    }
}
