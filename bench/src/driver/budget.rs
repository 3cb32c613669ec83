//! The figures that the design promises.

use std::fmt;

/// A bound on a figure, inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// At most so much.
    AtMost(f64),
    /// At least so much.
    AtLeast(f64),
}

impl Budget {
    /// Whether `value` keeps to it.
    #[must_use]
    pub fn allows(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
        }
    }
}

/// The budget of a finding, by its id.
#[must_use]
pub fn of(id: &str) -> Option<Budget> {
    Some(match id {
        "idle.rss" => Budget::AtMost(4096.0),
        "handshake.hs256" | "handshake.eddsa" => Budget::AtLeast(5000.0),
        "echo.w1.ratio" => Budget::AtMost(1.5),
        "echo.w8.ratio" => Budget::AtMost(4.0),
        "churn.rss_growth" => Budget::AtMost(5.0),
        "churn.descriptors" | "churn.gauge" | "hostile.harmed" => Budget::AtMost(0.0),
        "hostile.p99_ratio" | "storm.p99_ratio" => Budget::AtMost(3.0),
        "storm.harmed" | "storm.missing" => Budget::AtMost(0.0),
        "storm.back" | "relay.busiest" => Budget::AtMost(20.0),
        "storm.redis_peak" => Budget::AtMost(10_000.0),
        "relay.p99_ratio" | "relay.handshake_scripts" => Budget::AtMost(2.0),
        "relay.redis_growth" => Budget::AtMost(1.1),
        id if id.starts_with("fanout.") && id.ends_with(".lost") => Budget::AtMost(0.0),
        id if id.starts_with("fanout.") && id.ends_with(".vs.uws") && !id.starts_with("fanout.100.") => {
            Budget::AtMost(1.15)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_allows_its_own_bound_and_nothing_beyond() {
        assert!(Budget::AtMost(1.5).allows(1.5) && !Budget::AtMost(1.5).allows(1.501));
        assert!(Budget::AtLeast(5000.0).allows(5000.0) && !Budget::AtLeast(5000.0).allows(4999.0));
    }

    #[test]
    fn the_comparison_with_uwebsockets_binds_from_a_thousand_members() {
        assert_eq!(of("fanout.100.vs.uws"), None);
        assert_eq!(of("fanout.1000.vs.uws"), Some(Budget::AtMost(1.15)));
        assert_eq!((of("fanout.5000.lost"), of("fanout.5000")), (Some(Budget::AtMost(0.0)), None));
    }
}
