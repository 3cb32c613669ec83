//! Going away without hurting anybody: not ready, a while for load balancers to notice, no accepts, every client told to
//! come back at a time of its own, 1012.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use crate::events::NodeState;
use crate::node::Node;
use crate::serve::Listening;
use crate::session::manager::tell;
use crate::session::talk::Stop;

/// How often the end of a phase is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Drains the node and stops its servers. Takes at most `node.drain_notice`, `node.drain_deadline` and the time for close
/// handshakes.
pub async fn drain(node: &Arc<Node>, listening: &Listening) {
    let notice = node.config.node.drain_notice;
    if !notice.is_zero() {
        // whoever a load balancer still sends here is let in as ever
        node.set_leaving();
        NodeState { node: node.id(), state: "leaving" }.emit(&node.metrics.draining);
        actix_rt::time::sleep(notice).await;
    }
    node.set_draining();
    NodeState { node: node.id(), state: "draining" }.emit(&node.metrics.draining);
    listening.stop_accepting().await;
    let config = &node.config.node;
    let spread = u64::try_from(config.drain_spread.as_millis()).unwrap_or(u64::MAX);
    for session in node.registry.select(usize::MAX, |_| true) {
        let after = Duration::from_millis(rand::rng().random_range(0..=spread));
        tell(&[session], &Stop::Drain(after));
    }
    settled(node, config.drain_deadline, |node| node.registry.count() + node.registry.coming() == 0).await;
    // whoever is left came in while the rest was told
    tell(&node.registry.select(usize::MAX, |_| true), &Stop::Drain(Duration::ZERO));
    // and what sessions owe the store is paid: nothing could pay it later
    settled(node, node.config.session.close_timeout, |node| node.caps.total() + node.debts() == 0).await;
    if let Err(fault) = node.stores.lease.release(node.config.node.id.clone(), node.epoch()).await {
        crate::events::StoreFailed { call: "lease.release", fault: &fault }.emit(&node.metrics);
    }
    listening.stop().await;
    NodeState { node: node.id(), state: "stopped" }.emit(&node.metrics.draining);
}

async fn settled(node: &Arc<Node>, patience: Duration, done: impl Fn(&Node) -> bool) {
    let until = node.clock.mono().after(patience);
    while !done(node) && node.clock.mono() < until {
        actix_rt::time::sleep(POLL).await;
    }
}
