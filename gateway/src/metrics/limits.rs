//! What limits of the fleet cost, and who decides them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Outcome, by_outcome, counter, gauge};

/// The handles.
pub struct LimitMetrics {
    calls: [Counter; 2],
    /// Messages that waited for the fleet's answer.
    pub parked: Counter,
    /// Messages that this node's share decided.
    pub alone: Counter,
    /// 1 while it does.
    pub is_alone: Gauge,
}

impl LimitMetrics {
    pub(super) fn new(r: &mut Registry) -> Self {
        let calls = by_outcome(r, "limit_calls", "Calls for tokens of limits that the fleet shares");
        Self {
            calls: ["failed", "answered"].map(|name| calls.get_or_create_owned(&Outcome { outcome: name })),
            parked: counter(r, "parked", "Messages that waited for the fleet's answer about a limit"),
            alone: counter(r, "limit_alone", "Messages of the fleet's limits that this node's share decided"),
            is_alone: gauge(r, "limits_alone", "1 while this node's share decides limits of the fleet"),
        }
    }

    /// A call for tokens was answered, or was not.
    pub fn called(&self, answered: bool) {
        if let Some(counter) = self.calls.get(usize::from(answered)) {
            counter.inc();
        }
    }
}
