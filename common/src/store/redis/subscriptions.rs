//! Which channels the connection listens to: one queue of wishes, carried out in their order, those of one kind that
//! stand together in one command.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Base;
use crate::store::StoreFault;

/// Wishes that wait. At the bound a subscribe fails at once; an unsubscribe is made up for when a message comes.
pub(super) const QUEUE: usize = 16_384;

/// The most in one command.
const BATCH: usize = 512;

pub(super) enum Wish {
    /// Answered when the server has confirmed; sent without a reply it is a renewal.
    Subscribe(String, Option<oneshot::Sender<Result<(), StoreFault>>>),
    Unsubscribe(String),
}

impl Wish {
    fn subscribes(&self) -> bool {
        matches!(self, Self::Subscribe(..))
    }
}

/// Carries wishes out until nobody is left to have any.
pub(super) async fn run(base: Arc<Base>, mut wishes: mpsc::Receiver<Wish>) {
    let mut batch = Vec::with_capacity(BATCH);
    while wishes.recv_many(&mut batch, BATCH).await > 0 {
        let mut rest = std::mem::take(&mut batch).into_iter().peekable();
        while let Some(first) = rest.next() {
            let kind = first.subscribes();
            let mut alike = vec![first];
            while let Some(next) = rest.next_if(|next| next.subscribes() == kind) {
                alike.push(next);
            }
            carry_out(&base, kind, alike).await;
        }
    }
}

async fn carry_out(base: &Base, subscribe: bool, wishes: Vec<Wish>) {
    let (channels, replies): (Vec<_>, Vec<_>) = wishes
        .into_iter()
        .map(|wish| match wish {
            Wish::Subscribe(channel, reply) => (channel, reply),
            Wish::Unsubscribe(channel) => (channel, None),
        })
        .unzip();
    if !subscribe {
        return base.link.unsubscribe(&channels).await;
    }
    for (reply, done) in replies.into_iter().zip(base.link.subscribe(&channels).await) {
        if let Some(reply) = reply {
            // whoever asked may be gone
            let _ = reply.send(done);
        }
    }
}
