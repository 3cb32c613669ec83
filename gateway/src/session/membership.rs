//! What this node sees of the others: the one rule of [`portcullis_common::membership`], shared by the node's threads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_common::clock::Mono;
use portcullis_common::ids::{NodeEpoch, NodeId};
use portcullis_common::membership::{self, Life, Standing};
use portcullis_common::store::lease::Member;

/// The view of one node. Cheap: one short lock a call.
#[derive(Default)]
pub struct Membership(Mutex<membership::Membership>);

impl Membership {
    fn view(&self) -> MutexGuard<'_, membership::Membership> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A poll that was sent at `sent` was answered by `now`.
    pub fn answered(&self, members: &[Member], lapsed: &[Life], sent: Mono, now: Mono) {
        self.view().answered(members, lapsed, sent, now);
    }

    /// A poll was not answered.
    pub fn unanswered(&self) {
        self.view().unanswered();
    }

    /// The lives that are over and may have left something behind.
    pub fn gone(&self) -> Vec<Life> {
        self.view().gone()
    }

    /// The nodes that may still have sessions: all but those that are proved to be over.
    pub fn nodes(&self) -> Vec<NodeId> {
        let lives = self.view().list().into_iter().filter(|(_, standing, _)| *standing != Standing::Gone);
        let mut nodes: Vec<NodeId> = lives.map(|((node, _), ..)| node).collect();
        // lives are in the order of their nodes
        nodes.dedup();
        nodes
    }

    /// Nothing is left of a life that is over.
    pub fn buried(&self, life: &Life) {
        self.view().buried(life);
    }

    /// Whether the life is proved to be over. One that nobody remembers is watched by [`Membership::answered`] as soon as
    /// the store names it.
    pub fn is_gone(&self, node: &NodeId, epoch: NodeEpoch) -> bool {
        self.view().gone().iter().any(|(name, life)| (name, *life) == (node, epoch))
    }
}
