//! What the node answers: sealed under the cluster's key, in the name of the node's present life.

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_common::control::ack::{Answer, seal};
use portcullis_common::control::sign::Nonce;
use portcullis_common::store::record::{Header, Issuer, Sealer};

use crate::events::StoreFailed;
use crate::node::Node;

/// Seals and sends answers.
pub(super) struct Acks {
    sealer: Sealer,
    sequence: AtomicU64,
}

impl Acks {
    pub(super) fn new(sealer: Sealer) -> Self {
        Self { sealer, sequence: AtomicU64::new(0) }
    }

    /// Sends an answer. When the store does not take it, its sender counts this node as silent.
    pub(super) async fn send(&self, node: &Node, nonce: Nonce, answer: &Answer) {
        let issuer = Issuer { node: node.config.node.id.clone(), epoch: node.epoch() };
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let header = Header { issuer, sequence, at: node.clock.wall() };
        let sealed = seal(&self.sealer, nonce, &header, answer);
        if let Err(fault) = node.stores.desk.answer(nonce, sealed).await {
            StoreFailed { call: "desk.answer", fault: &fault }.emit(&node.metrics);
        }
    }
}
