//! Steps of the overload ladder.

use serde_json::json;

use crate::metrics::Metrics;
use crate::overload::ladder::Load;

/// The node takes less than before, or more again.
pub struct OverloadStep {
    /// The step before.
    pub before: u8,
    /// The step now.
    pub step: u8,
    /// Why.
    pub load: Load,
    /// Or would, but for `overload.dry_run`.
    pub dry_run: bool,
}

impl OverloadStep {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { before, step, load: Load { memory, queues, lag, turned_away, .. }, dry_run } = *self;
        metrics.overload.steps.inc();
        if step > before {
            tracing::error!(event = "overload_step", before, step, memory, queues, lag, turned_away, dry_run);
        } else {
            tracing::warn!(event = "overload_step", before, step, memory, queues, lag, turned_away, dry_run);
        }
        metrics.tap.say(|| json!({"event": "overload_step", "before": before, "step": step, "dryRun": dry_run}));
    }
}

/// Outboxes were closed because they were the largest.
pub struct QueuesClosed {
    /// How many.
    pub count: usize,
}

impl QueuesClosed {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.overload.closed.inc_by(self.count as u64);
        tracing::warn!(event = "queues_closed", count = self.count);
    }
}
