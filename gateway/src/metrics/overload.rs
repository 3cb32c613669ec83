//! The overload ladder.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{counter, gauge};

/// The handles.
pub struct OverloadMetrics {
    /// The step now.
    pub step: Gauge,
    /// The one that it would be on but for `overload.dry_run`.
    pub dry_run_step: Gauge,
    /// Changes of either.
    pub steps: Counter,
    /// Outboxes closed on the third step.
    pub closed: Counter,
}

impl OverloadMetrics {
    pub(super) fn new(r: &mut Registry) -> Self {
        Self {
            step: gauge(r, "overload_step", "Step of the overload ladder, 0 to 3"),
            dry_run_step: gauge(r, "overload_dry_run_step", "Step that a dry run of the overload ladder is on, 0 to 3"),
            steps: counter(r, "overload_steps", "Changes of the step"),
            closed: counter(r, "overload_closed", "Sessions closed because their queue was among the largest"),
        }
    }
}
