//! What is found out about the store itself.

use portcullis_common::ids::NodeId;

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
