//! Frees what lives that are gone left behind: slots, room memberships, and the memory of the life itself. In bounded
//! batches, each with the term of the leader on whose word it is done. Nodes do the same for themselves when a user at
//! the cap knocks; nobody minds the others.

use std::time::Duration;

use portcullis_common::membership::Life;
use portcullis_common::store::StoreFault;
use portcullis_common::store::leader::Fence;

use crate::events::Reaped;
use crate::node::Node;

/// Slots, and memberships, that one batch frees at most: a script each, so the store serves others in between.
pub const BATCH: usize = 500;
/// A round begins no further batch after this long; what is left comes after the next poll.
const ROUND: Duration = Duration::from_secs(1);

/// One round; nothing where this coordinator does not lead.
pub async fn round(node: &Node) {
    let gone = node.membership().gone();
    let end = node.clock.mono().after(ROUND);
    for life in gone {
        while node.clock.mono() < end {
            let Some(term) = node.fence() else { return };
            match clear(node, term, &life).await {
                Ok(true) => {
                    node.membership().buried(&life);
                    break;
                }
                Ok(false) => {}
                Err(fault) => return node.failed("remains.reap", Some(term), &fault),
            }
        }
    }
}

/// One batch of one life; true when nothing is left of it.
async fn clear(node: &Node, term: Fence, (name, epoch): &Life) -> Result<bool, StoreFault> {
    let remains = &node.custody.remains;
    let slots = remains.reap_slots(Some(term), name.clone(), *epoch, BATCH).await?;
    let memberships = remains.reap_members(Some(term), name.clone(), *epoch, BATCH).await?;
    let buried = slots < BATCH && memberships < BATCH;
    if buried {
        // what it answers does not matter: a node may have been faster
        remains.bury(Some(term), name.clone(), *epoch).await?;
    }
    Reaped { life: &(name.clone(), *epoch), slots, memberships, buried }.emit(&node.metrics);
    Ok(buried)
}
