//! Polls the leases twice a second, and lets the reaper work after each poll that was answered.

use std::sync::Arc;
use std::time::Duration;

use portcullis_common::store::StoreFault;
use portcullis_common::store::lease::Member;

use crate::events::{MemberChanged, StoreFailed};
use crate::metrics::Part;
use crate::node::Node;
use crate::reaper;

/// From the beginning of a poll to that of the next. Half a second, so that the three seconds of the proof are not
/// rounded up to four.
const POLL: Duration = Duration::from_millis(500);

/// Watches for ever.
pub async fn run(node: Arc<Node>) {
    let lag = node.metrics.lag.get_or_create_owned(&Part { part: "lookout" });
    let mut due = node.clock.mono();
    loop {
        let now = node.clock.mono();
        node.lookout.now(now);
        lag.set(now.since(due).as_secs_f64());
        if poll(&node).await {
            reaper::round(&node).await;
        }
        // a round that took long is followed by the next at once, but by one only
        due = due.after(POLL).max(node.clock.mono());
        tokio::time::sleep(due.since(node.clock.mono())).await;
    }
}

/// Asks who is there; whether the store answered.
async fn poll(node: &Node) -> bool {
    let sent = node.clock.mono();
    let (members, lapsed) = match ask(node).await {
        Ok(answer) => answer,
        Err(fault) => {
            node.metrics.polls_unanswered.inc();
            StoreFailed { call: "lease.members", fault: &fault }.emit(&node.metrics);
            node.membership().unanswered();
            return false;
        }
    };
    node.metrics.polls_answered.inc();
    let (changes, standings) = {
        let mut membership = node.membership();
        let changes = membership.answered(&members, &lapsed, sent, node.clock.mono());
        (changes, membership.list())
    };
    node.metrics.count_members(standings.iter().map(|(_, standing, _)| *standing));
    for change in &changes {
        MemberChanged { life: &change.life, now: change.now }.emit();
    }
    true
}

/// The members first: a life that ends between the two questions is in neither answer, and in the next poll.
async fn ask(node: &Node) -> Result<(Vec<Member>, Vec<portcullis_common::membership::Life>), StoreFault> {
    let members = node.custody.lease.members().await?;
    let lapsed = node.custody.remains.lapsed().await?;
    Ok((members, lapsed))
}
