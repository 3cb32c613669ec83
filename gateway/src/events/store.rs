//! The store: what is found out about it, what it failed to do, and what that means for the node.

use portcullis_common::ids::NodeId;
use portcullis_common::store::StoreFault;
use portcullis_common::store::era::Era;
use portcullis_common::store::redis::BadCopy;

use crate::metrics::Metrics;

/// A server of the store may drop keys when its memory is short, or none does any more: one was promoted, or started
/// again, with another `maxmemory-policy`.
pub struct StoreEvicts<'a> {
    /// The node.
    pub node: &'a NodeId,
    /// One does now.
    pub evicts: bool,
}

impl StoreEvicts<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_evicts.set(i64::from(self.evicts));
        if self.evicts {
            tracing::error!(event = "store_evicts", node = %self.node, evicts = true);
        } else {
            tracing::info!(event = "store_evicts", node = %self.node, evicts = false);
        }
    }
}

/// The node's lease lapsed and a new life began; its sessions re-assert themselves.
pub struct LeaseLapsed<'a> {
    /// The node.
    pub node: &'a NodeId,
    /// How many sessions have to.
    pub sessions: usize,
}

impl LeaseLapsed<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.lease_lapses.inc();
        tracing::warn!(event = "lease_lapsed", node = %self.node, sessions = self.sessions);
    }
}

/// The lease could not be renewed in time: every socket is cut before another node could give its slots away.
pub struct Fenced<'a> {
    /// The node.
    pub node: &'a NodeId,
    /// How many sessions it costs.
    pub sessions: usize,
}

impl Fenced<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.fences.inc();
        tracing::warn!(event = "fenced", node = %self.node, sessions = self.sessions);
    }
}

/// The store is in another era than before: it forgot, or another server took its place.
pub struct EraBegan<'a> {
    /// The node.
    pub node: &'a NodeId,
    /// The era.
    pub era: Era,
    /// Sessions that have to claim their slots in it.
    pub sessions: usize,
}

impl EraBegan<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_eras.inc();
        tracing::warn!(event = "store_era_began", node = %self.node, era = %self.era, sessions = self.sessions);
    }
}

/// Every session of this node has its slot in the store's present era, or was told that there is none.
pub struct EraClaimed<'a> {
    /// The node.
    pub node: &'a NodeId,
    /// The era.
    pub era: Era,
    /// How many had to be ended.
    pub lost: usize,
}

impl EraClaimed<'_> {
    /// Log only.
    pub fn emit(&self) {
        tracing::info!(event = "store_era_claimed", node = %self.node, era = %self.era, lost = self.lost);
    }
}

/// The limits that the fleet shares are decided by this node's share, or by the fleet again.
pub struct LimitsAlone {
    /// By this node alone.
    pub alone: bool,
}

impl LimitsAlone {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.limits.is_alone.set(i64::from(self.alone));
        if self.alone {
            tracing::warn!(event = "limits_alone");
        } else {
            tracing::info!(event = "limits_shared");
        }
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

/// The store did not answer at the start; the node waits for it.
pub struct StoreAwaited<'a> {
    /// What kept it from being opened.
    pub why: &'a str,
}

impl StoreAwaited<'_> {
    /// Log only: nothing counts yet.
    pub fn emit(&self) {
        tracing::warn!(event = "store_awaited", why = self.why);
    }
}

/// The copy of the control log on disk is of no use; another will take its place.
pub struct CopyRefused<'a> {
    /// Why.
    pub bad: &'a BadCopy,
}

impl CopyRefused<'_> {
    /// Log only: nothing counts yet.
    pub fn emit(&self) {
        tracing::error!(event = "control_copy_refused", why = %self.bad);
    }
}
