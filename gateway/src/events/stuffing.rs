//! Stuffing and scanning, judged by a node that has no coordinator.

use portcullis_common::stuffing::verdict::Decision;
use serde_json::json;

use crate::metrics::Metrics;

/// The doors are shut to an address or network, or would be.
pub struct StuffingFound<'a> {
    /// Whom, until when, and why.
    pub decision: &'a Decision,
    /// Nothing was done.
    pub dry_run: bool,
}

impl StuffingFound<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { decision, dry_run } = self;
        metrics.stuffing.found(decision.why, *dry_run);
        let (network, why) = (decision.network.to_string(), decision.why.name());
        tracing::warn!(
            event = "stuffing_found", network, why, evidence = %decision.evidence, until = decision.until.0, dry_run,
        );
        metrics.tap.say(|| json!({"event": "stuffing_found", "network": network, "why": why, "dry_run": dry_run}));
    }
}

/// More was found than `stuffing.budget` allows: an attack from very many places, or thresholds that are too low.
pub struct StuffingWithheld {
    /// How many are still let in.
    pub addresses: u32,
}

impl StuffingWithheld {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.stuffing.withheld.inc_by(u64::from(self.addresses));
        tracing::error!(event = "stuffing_withheld", addresses = self.addresses);
    }
}

/// A door that is shut refused a newcomer.
pub struct DoorShut;

impl DoorShut {
    /// Metric only: the refusal itself is an event.
    pub fn emit(metrics: &Metrics) {
        metrics.stuffing.turned_away.inc();
    }
}
