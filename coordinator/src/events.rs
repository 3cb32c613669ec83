//! What happened, as types: each event emits its log line and its metric in one place.

use portcullis_common::ids::NodeId;
use portcullis_common::membership::{Life, Standing};
use portcullis_common::store::StoreFault;
use portcullis_common::store::leader::Fence;
use portcullis_common::stuffing::verdict::Decision;

use crate::election::Loss;
use crate::metrics::{Metrics, name};

/// The coordinator changed its state: `started`, `stopping`, `stopped`.
pub struct CoordinatorState<'a> {
    /// Which.
    pub id: &'a NodeId,
    /// What it is now.
    pub state: &'static str,
}

impl CoordinatorState<'_> {
    /// Log only.
    pub fn emit(&self) {
        tracing::info!(event = "coordinator_state", coordinator = %self.id, state = self.state);
    }
}

/// This coordinator leads from now on.
pub struct LeadershipTaken {
    /// The number of its term.
    pub term: Fence,
}

impl LeadershipTaken {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.leading.set(1);
        metrics.leader_changes.inc();
        known(metrics, self.term);
        tracing::info!(event = "leadership_taken", term = self.term.0);
    }
}

/// This coordinator leads no more.
pub struct LeadershipLost {
    /// The number of its term.
    pub term: Fence,
    /// Why.
    pub loss: Loss,
}

impl LeadershipLost {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.leading.set(0);
        let why = match self.loss {
            Loss::Expired => "expired",
            Loss::NotRenewed => "not_renewed",
            Loss::Fenced => "fenced",
        };
        tracing::warn!(event = "leadership_lost", term = self.term.0, why);
    }
}

/// This coordinator gave its term up.
pub struct LeadershipResigned {
    /// The number of its term.
    pub term: Fence,
    /// Whether the store took it; else the term runs out by itself.
    pub told: bool,
}

impl LeadershipResigned {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.leading.set(0);
        tracing::info!(event = "leadership_resigned", term = self.term.0, told = self.told);
    }
}

/// Another coordinator leads.
pub struct LeaderSeen<'a> {
    /// Which.
    pub leader: &'a NodeId,
    /// The number of its term.
    pub term: Fence,
}

impl LeaderSeen<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.leader_changes.inc();
        known(metrics, self.term);
        tracing::info!(event = "leader_seen", leader = %self.leader, term = self.term.0);
    }
}

fn known(metrics: &Metrics, term: Fence) {
    metrics.term.set(i64::try_from(term.0).unwrap_or(i64::MAX));
}

/// A write of this coordinator was refused because of a later term.
pub struct WriteFenced {
    /// Which call.
    pub call: &'static str,
    /// The number of its term.
    pub term: Fence,
}

impl WriteFenced {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fenced.inc();
        tracing::warn!(event = "write_fenced", call = self.call, term = self.term.0);
    }
}

/// A life of a node became something else.
pub struct MemberChanged<'a> {
    /// Which.
    pub life: &'a Life,
    /// What it is now.
    pub now: Standing,
}

impl MemberChanged<'_> {
    /// Log only; the numbers are gauges.
    pub fn emit(&self) {
        let ((node, epoch), state) = (self.life, name(self.now));
        tracing::info!(event = "member_changed", node = %node, epoch = %epoch, state);
    }
}

/// Some of what a life left behind was freed.
pub struct Reaped<'a> {
    /// Which.
    pub life: &'a Life,
    /// Slots in this batch.
    pub slots: usize,
    /// Room memberships in this batch.
    pub memberships: usize,
    /// Nothing is left of it.
    pub buried: bool,
}

impl Reaped<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.reaped_slots.inc_by(self.slots as u64);
        metrics.reaped_memberships.inc_by(self.memberships as u64);
        metrics.reaped_lives.inc_by(u64::from(self.buried));
        let ((node, epoch), slots, memberships) = (self.life, self.slots, self.memberships);
        tracing::info!(event = "reaped", node = %node, epoch = %epoch, slots, memberships, buried = self.buried);
    }
}

/// The fleet shuts its doors to an address or network, or would.
pub struct StuffingFound<'a> {
    /// Whom, until when, and why.
    pub decision: &'a Decision,
    /// The term in which it was decided.
    pub term: Fence,
    /// Nothing is done.
    pub dry_run: bool,
}

impl StuffingFound<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { decision, term, dry_run } = self;
        metrics.stuffing(decision.why, *dry_run);
        tracing::warn!(
            event = "stuffing_found", network = %decision.network, why = decision.why.name(),
            evidence = %decision.evidence, until = decision.until.0, term = term.0, dry_run,
        );
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
        metrics.stuffing_withheld.inc_by(u64::from(self.addresses));
        tracing::error!(event = "stuffing_withheld", addresses = self.addresses);
    }
}

/// Somebody wrote into the store what no node did, or wrote again what was there before.
pub struct ReportsRefused {
    /// How many.
    pub records: u32,
}

impl ReportsRefused {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.reports_refused.inc_by(u64::from(self.records));
        tracing::error!(event = "reports_refused", records = self.records);
    }
}

/// A store call failed.
pub struct StoreFailed<'a> {
    /// Which call.
    pub call: &'static str,
    /// Why.
    pub fault: &'a StoreFault,
}

impl StoreFailed<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_faults.inc();
        tracing::warn!(event = "store_failed", call = self.call, fault = %self.fault);
    }
}
