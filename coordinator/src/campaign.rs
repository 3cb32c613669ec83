//! The election's hands: one call at a time, as [`Election`](crate::election::Election) says.

use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::store::StoreFault;
use portcullis_common::store::leader::Fence;

use crate::election::{Proclaimed, Step};
use crate::events::LeadershipResigned;
use crate::metrics::Part;
use crate::node::Node;

/// How long it sleeps at most, so that a loss is acted on soon.
const NAP: Duration = Duration::from_millis(200);

/// Stands, proclaims and renews for ever.
pub async fn run(node: Arc<Node>) {
    let lag = node.metrics.lag.get_or_create_owned(&Part { part: "campaign" });
    loop {
        let now = node.clock.mono();
        node.campaign.now(now);
        let (step, lost) = node.election().step(now);
        node.tell(lost);
        if let Step::Wait(until) = step {
            let nap = until.since(now).min(NAP);
            tokio::time::sleep(nap).await;
            lag.set(node.clock.mono().since(now.after(nap)).as_secs_f64());
        } else {
            take(&node, step, now).await;
        }
    }
}

async fn take(node: &Node, step: Step, sent: Mono) {
    let (who, lease, leadership) = (node.candidate.clone(), node.settings.lease, &node.custody.leadership);
    match step {
        Step::Wait(_) => {}
        Step::Stand => {
            let answer = leadership.stand(who.clone(), lease).await;
            let answer = answer.inspect_err(|fault| node.failed("leadership.stand", None, fault)).ok();
            let change = node.election().stood(&who.id, sent, node.clock.mono(), answer);
            node.tell(change);
        }
        Step::Proclaim(fence) => {
            let answer = match leadership.proclaim(fence).await {
                Ok(()) => Proclaimed::Everywhere,
                Err(fault) => {
                    node.failed("leadership.proclaim", Some(fence), &fault);
                    if matches!(fault, StoreFault::Fenced) { Proclaimed::Refused } else { Proclaimed::Unanswered }
                }
            };
            let change = node.election().proclaimed(fence, node.clock.mono(), answer);
            node.tell(change);
        }
        Step::Renew(fence) => {
            let answer = leadership.renew(who, fence, lease).await;
            let answer = answer.inspect_err(|fault| node.failed("leadership.renew", Some(fence), fault)).ok();
            let change = node.election().renewed(fence, sent, node.clock.mono(), answer);
            node.tell(change);
        }
    }
}

/// Gives the term up, if there is one, so that another coordinator need not wait for its end.
pub async fn resign(node: &Node) {
    let fence: Option<Fence> = node.election().resign();
    let Some(term) = fence else { return };
    let answer = node.custody.leadership.resign(node.candidate.clone(), term).await;
    if let Err(fault) = &answer {
        node.failed("leadership.resign", Some(term), fault);
    }
    LeadershipResigned { term, told: answer.is_ok_and(|ended| ended) }.emit(&node.metrics);
}
