//! Slots that this node holds and has no session for: the store carried a resume out and its answer never came. Nobody
//! else can know of them, and they would count until the node's life ends.
//!
//! A slot is an orphan when it stood in the ledger in this life's name twice, longer apart than a handshake can take,
//! and no session or handshake of this node had it either time. Where the store was away for longer than a lease, the
//! life itself is over and its slots are reaped.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_common::ids::UserId;
use portcullis_common::store::StoreFault;
use portcullis_common::store::session::{Holder, SlotState};

use super::guard::free;
use super::manager::tell;
use super::talk::Stop;
use crate::events::StoreFailed;
use crate::node::Node;

/// Longer than a handshake may take (`upgrade::ADMISSION`).
const PATIENCE: Duration = Duration::from_secs(6);
/// Looks that the store may leave unanswered.
const TRIES: usize = 5;
/// Users that are looked after at once; more are left to the end of the node's life.
const USERS: usize = 4_096;

/// The users whose slots are being looked after.
#[derive(Default)]
pub struct Orphanage(Mutex<HashSet<UserId>>);

impl Orphanage {
    fn enter(&self, user: &UserId) -> bool {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.len() < USERS && users.insert(user.clone())
    }

    fn leave(&self, user: &UserId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(user);
    }
}

/// A resume that the store was asked for; dropped without an answer, what it may have left behind is looked for.
pub struct Asked<'a> {
    node: &'a Arc<Node>,
    user: &'a UserId,
    answered: bool,
}

impl<'a> Asked<'a> {
    /// The store is about to be asked.
    #[must_use]
    pub fn new(node: &'a Arc<Node>, user: &'a UserId) -> Self {
        Self { node, user, answered: false }
    }

    /// It has answered, and the answer is in good hands.
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.answered || !self.node.orphans.enter(self.user) {
            return;
        }
        let (node, user) = (Arc::clone(self.node), self.user.clone());
        self.node.errand(Box::pin(async move {
            look_after(&node, &user).await;
            node.orphans.leave(&user);
        }));
    }
}

async fn look_after(node: &Arc<Node>, user: &UserId) {
    let mut seen: Option<Vec<Holder>> = None;
    for _ in 0..TRIES {
        match strays(node, user).await {
            Ok(strays) => match seen.replace(strays) {
                None => {}
                Some(before) => {
                    let both = seen.into_iter().flatten().filter(|stray| before.contains(stray));
                    for stray in both {
                        // a connection of an earlier generation is over too: the resume took its slot
                        tell(node.registry.doom(&stray).as_slice(), &Stop::Evicted);
                        free(node, user, &stray).await;
                    }
                    return;
                }
            },
            Err(fault) => StoreFailed { call: "ledger.slots", fault: &fault }.emit(&node.metrics),
        }
        actix_rt::time::sleep(PATIENCE).await;
    }
}

/// The slots of a user that stand in the name of this life and belong to no session or handshake here.
async fn strays(node: &Node, user: &UserId) -> Result<Vec<Holder>, StoreFault> {
    let slots = node.stores.ledger.slots(user.clone()).await?;
    let own = |holder: &Holder| holder.node == node.config.node.id && holder.epoch == node.epoch();
    let has_socket = slots.into_iter().filter(|slot| !matches!(slot.state, SlotState::Detached { .. }));
    Ok(has_socket.map(|slot| slot.holder).filter(|h| own(h) && !node.registry.knows(h)).collect())
}
