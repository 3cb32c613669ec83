//! The figures that the design promises.

use std::fmt;

/// A bound on a figure, inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// At most so much.
    AtMost(f64),
    /// At least so much.
    AtLeast(f64),
    /// From one to the other: flat.
    Between(f64, f64),
}

impl Budget {
    /// Whether `value` keeps to it.
    #[must_use]
    pub fn allows(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
            Self::Between(low, high) => (low..=high).contains(&value),
        }
    }

    /// How far `value` is from the bound that it is nearest to, as people say it.
    #[must_use]
    pub fn distance(self, value: f64) -> String {
        let bound = match self {
            Self::AtMost(bound) | Self::AtLeast(bound) => bound,
            Self::Between(low, high) if value - low < high - value => low,
            Self::Between(_, high) => high,
        };
        if bound == 0.0 {
            return if value == 0.0 { "exactly".to_owned() } else { format!("{value} too many") };
        }
        let share = (value / bound - 1.0) * 100.0;
        format!("{:.0} % {}", share.abs(), if share < 0.0 { "below" } else { "above" })
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::Between(low, high) => write!(f, "{low} to {high}"),
        }
    }
}

/// What the project set out to reach, in the order in which it is told: a finding's id, and what it is.
pub const PROMISES: [(&str, &str); 33] = [
    ("idle.rss", "idle authenticated session, bytes, whole gateway, defaults on (aim 2,560)"),
    ("idle-tls.rss", "the same over TLS"),
    ("echo.w1.ratio", "300-byte chat message, whole path / raw echo, CPU, window 1"),
    ("echo.w8.ratio", "the same, window 8"),
    ("fanout.1000.vs.uws", "fan-out of 128 bytes to 1,000, CPU per delivery / uWebSockets (aim 1.0)"),
    ("fanout.5000.vs.uws", "the same to 5,000"),
    ("fanout.1000.vs.ws", "fan-out to 1,000 / ws"),
    ("fanout.5000.vs.ws", "fan-out to 5,000 / ws"),
    ("fanout.1000.vs.socketio", "fan-out to 1,000 / Socket.IO with its Redis adapter"),
    ("fanout.5000.vs.socketio", "fan-out to 5,000 / Socket.IO with its Redis adapter"),
    ("fanout.1000.vs.nchan", "fan-out to 1,000 / Nchan"),
    ("fanout.5000.vs.nchan", "fan-out to 5,000 / Nchan"),
    ("fanout.1000.vs.nats", "fan-out to 1,000 / NATS"),
    ("fanout.5000.vs.nats", "fan-out to 5,000 / NATS"),
    ("nodes2.1000.vs.one", "fan-out to 1,000 over two nodes with Redis / over one node"),
    ("nodes2.5000.vs.one", "the same to 5,000"),
    ("nodes2.redis_growth", "CPU of Redis for a message to 400 members / to 10, two nodes, same rate"),
    ("handshake.hs256", "handshakes with registration per core-second, HS256"),
    ("handshake.eddsa", "the same, EdDSA"),
    ("relay.handshake_scripts", "round trips to Redis for a handshake"),
    ("relay.p99_ratio", "node to node p99 / Redis publish to subscribe p99"),
    ("policy.saturated.calls", "policy calls per message at a saturated 100/s key"),
    ("policy.quiet.calls", "policy calls per message, 1,000 users at 0.2 messages/s"),
    ("wide.growth", "CPU per delivery, largest room / 1,000 members"),
    ("idle.growth", "memory per session, most sessions / fewest"),
    ("overload.goodput", "acknowledged at three times the capacity / at capacity, three quarters of low priority"),
    ("overload-flat.goodput", "the same, nothing of low priority"),
    ("overload.recovery", "seconds until an overloaded node answers as before"),
    ("hostile.p99_ratio", "p99 of 2,000 healthy beside 5,000 slow handshakes and 2,000 slow readers / quiet"),
    ("churn.rss_growth", "growth of resident memory by 100,000 more connections, %"),
    ("storm.back", "seconds until all who lost their node are back"),
    ("storm.p99_ratio", "p99 of the healthy beside that storm / quiet"),
    ("storm.missing", "clients that did not come back"),
];

/// What may wait for clients in the overload play, MiB: its `overload.queues`.
pub const QUEUES_MIB: f64 = 64.0;
/// What the embedded store remembers of messages that it took, so that it takes none twice: 500,000 of them, some 130 bytes
/// each. All else that grows with what is said has to fit in as well.
const TAKEN_MIB: f64 = 64.0;

/// The budget of a finding, by its id.
#[must_use]
pub fn of(id: &str) -> Option<Budget> {
    Some(match id {
        "idle.rss" => Budget::AtMost(4096.0),
        "idle-tls.rss" => Budget::AtMost(12_288.0),
        "handshake.hs256" | "handshake.eddsa" => Budget::AtLeast(5000.0),
        "echo.w1.ratio" => Budget::AtMost(1.5),
        "echo.w8.ratio" => Budget::AtMost(4.0),
        "wide.growth" => Budget::Between(0.85, 1.15),
        // what the process takes once is shared by more
        "idle.growth" => Budget::AtMost(1.15),
        "nodes2.1000.vs.one" | "nodes2.5000.vs.one" => Budget::AtMost(1.2),
        "nodes2.redis_growth" | "nodes2.redis_commands_growth" => Budget::Between(0.85, 1.15),
        "policy.saturated.calls" => Budget::AtMost(0.05),
        "policy.quiet.calls" => Budget::AtMost(1.0),
        "policy.quiet.parked" => Budget::AtMost(0.0),
        "churn.rss_growth" => Budget::AtMost(5.0),
        "churn.descriptors" | "churn.gauge" | "hostile.harmed" => Budget::AtMost(0.0),
        "hostile.p99_ratio" | "storm.p99_ratio" => Budget::AtMost(3.0),
        "storm.harmed" | "storm.missing" => Budget::AtMost(0.0),
        "storm.back" | "relay.busiest" => Budget::AtMost(20.0),
        "storm.redis_peak" => Budget::AtMost(10_000.0),
        "relay.p99_ratio" | "relay.handshake_scripts" => Budget::AtMost(2.0),
        "relay.redis_growth" => Budget::Between(0.8, 1.1),
        id if id.starts_with("fanout.") || id.starts_with("wide.") => return of_fanout(id),
        id if id.starts_with("overload") => return of_overload(id),
        id if id.starts_with("nodes") || id.starts_with("load.") || id.starts_with("policy.") => {
            return (id.ends_with(".lost") && id != "policy.saturated.lost").then_some(Budget::AtMost(0.0));
        }
        _ => return None,
    })
}

/// Beside peers it counts from a thousand members on: below, all are system calls.
fn of_fanout(id: &str) -> Option<Budget> {
    match id.split_once(".vs.") {
        Some((_, "raw-echo")) => None,
        Some(("fanout.1000" | "fanout.5000", "uws")) => Some(Budget::AtMost(1.15)),
        Some(("fanout.1000" | "fanout.5000", _)) => Some(Budget::AtMost(1.0)),
        Some(_) => None,
        None => id.ends_with(".lost").then_some(Budget::AtMost(0.0)),
    }
}

/// Whatever the mix.
fn of_overload(id: &str) -> Option<Budget> {
    Some(match id.split_once('.')?.1 {
        "goodput" => Budget::AtLeast(0.8),
        "rss_growth" => Budget::AtMost(QUEUES_MIB + TAKEN_MIB),
        "recovery" => Budget::AtMost(10.0),
        // one try of the ladder whether the load has gone: a step down, and up again
        "swings" => Budget::AtMost(2.0),
        "closed" | "unanswered" => Budget::AtMost(0.0),
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
        let flat = Budget::Between(0.85, 1.15);
        assert!(flat.allows(0.85) && flat.allows(1.15) && !flat.allows(0.84) && !flat.allows(1.16));
    }

    #[test]
    fn the_distance_is_told_from_the_nearer_bound() {
        assert_eq!(Budget::AtMost(4096.0).distance(3072.0), "25 % below");
        assert_eq!(Budget::AtLeast(5000.0).distance(15_000.0), "200 % above");
        assert_eq!(Budget::Between(0.5, 1.0).distance(1.5), "50 % above");
        assert_eq!(
            (Budget::AtMost(0.0).distance(0.0), Budget::AtMost(0.0).distance(2.0)),
            ("exactly".into(), "2 too many".into())
        );
    }

    #[test]
    fn the_comparison_with_peers_binds_from_a_thousand_members() {
        assert_eq!(of("fanout.100.vs.uws"), None);
        assert_eq!(
            (of("fanout.1000.vs.uws"), of("fanout.1000.vs.ws")),
            (Some(Budget::AtMost(1.15)), Some(Budget::AtMost(1.0)))
        );
        assert_eq!((of("fanout.5000.lost"), of("fanout.5000")), (Some(Budget::AtMost(0.0)), None));
    }

    #[test]
    fn every_promise_has_a_budget() {
        for (id, _) in PROMISES {
            assert!(of(id).is_some(), "{id}");
        }
    }
}
