//! Ledgers that misbehave, each in one way, to show that the simulation would notice.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_common::config::model::OnLimit;
use portcullis_common::ids::{NodeEpoch, NodeId, SessionId, UserId};
use portcullis_common::store::session::{
    Acquire, Acquired, Holder, Passed, Released, Resumed, SessionLedger, Slot, SlotState,
};
use portcullis_common::store::{StoreFault, StoreFuture};

use crate::world::now;

/// How a ledger can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `release` looks at the session alone, not at epoch and generation.
    ReleaseIgnoresTheHolder,
    /// The victim's slot is given away before its node has confirmed.
    EvictionFreesAtOnce,
    /// A slot that has passed passes once more.
    DoublePass,
    /// A resumed session has the generation of before.
    ResumeForgetsTheGeneration,
    /// One slot more than allowed.
    CapOffByOne,
    /// Giving up leaves the claim on the victim's slot.
    WithdrawIsForgotten,
    /// A broken socket loses the slot.
    DetachFrees,
    /// The old token stays good after its successor was proved.
    SpendIsForgotten,
    /// All lives of a dead node count as dead.
    ReapIgnoresTheEpoch,
    /// The number of a change is not above the one before.
    SeqRepeats,
}

impl Fault {
    pub const ALL: [Self; 10] = [
        Self::ReleaseIgnoresTheHolder,
        Self::EvictionFreesAtOnce,
        Self::DoublePass,
        Self::ResumeForgetsTheGeneration,
        Self::CapOffByOne,
        Self::WithdrawIsForgotten,
        Self::DetachFrees,
        Self::SpendIsForgotten,
        Self::ReapIgnoresTheEpoch,
        Self::SeqRepeats,
    ];
}

/// A good ledger with one fault.
pub struct Mutant {
    inner: Arc<dyn SessionLedger>,
    fault: Fault,
    users: Mutex<BTreeSet<UserId>>,
    passed: Mutex<HashMap<Holder, Passed>>,
}

impl Mutant {
    pub fn new(inner: Arc<dyn SessionLedger>, fault: Fault) -> Self {
        Self { inner, fault, users: Mutex::default(), passed: Mutex::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The present holder of the session, if it has a slot.
    fn present(&self, user: &UserId, sid: SessionId) -> Result<Option<Slot>, StoreFault> {
        Ok(now(self.inner.slots(user.clone()))?.into_iter().find(|slot| slot.holder.sid == sid))
    }

    fn acquire_at_once(&self, request: Acquire) -> Result<Acquired, StoreFault> {
        let user = request.user.clone();
        let answer = now(self.inner.acquire(request))?;
        if let Acquired::Evicting { victim, .. } = &answer {
            now(self.inner.confirm(user, victim.clone()))?;
        }
        Ok(answer)
    }

    fn confirm_again(&self, user: UserId, victim: Holder) -> Result<Option<Passed>, StoreFault> {
        let mut earlier = self.passed.lock().expect("one thread");
        if let Some(passed) = now(self.inner.confirm(user, victim.clone()))? {
            earlier.insert(victim, passed.clone());
            return Ok(Some(passed));
        }
        Ok(earlier.get(&victim).cloned())
    }

    /// A good number for a change that does not happen: what a holder or newcomer asks for again, it has already.
    fn pretend(&self, user: UserId, holder: &Holder) -> Result<Released, StoreFault> {
        let known = |slot: &Slot| slot.holder == *holder || slot.state == SlotState::Evicting { by: holder.clone() };
        if !now(self.inner.slots(user.clone()))?.iter().any(known) {
            return Ok(Released::default());
        }
        let request = Acquire { user, holder: holder.clone(), cap: 0, on_limit: OnLimit::Reject };
        Ok(match now(self.inner.acquire(request))? {
            Acquired::Held { seq } | Acquired::Evicting { seq, .. } => Released { seq: Some(seq), passed: None },
            Acquired::Full { .. } => Released::default(),
        })
    }

    fn reap_all_lives(&self, node: &NodeId, limit: usize) -> Result<usize, StoreFault> {
        let mut freed = 0;
        for user in self.users.lock().expect("one thread").iter() {
            for slot in now(self.inner.slots(user.clone()))? {
                let socket = !matches!(slot.state, SlotState::Detached { .. });
                if freed < limit && socket && slot.holder.node == *node {
                    now(self.inner.release(user.clone(), slot.holder))?;
                    freed += 1;
                }
            }
        }
        Ok(freed)
    }
}

fn at_once<'a, T: Send + 'a>(answer: Result<T, StoreFault>) -> StoreFuture<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl SessionLedger for Mutant {
    fn acquire(&self, mut request: Acquire) -> StoreFuture<'_, Acquired> {
        self.users.lock().expect("one thread").insert(request.user.clone());
        match self.fault {
            Fault::EvictionFreesAtOnce => at_once(self.acquire_at_once(request)),
            Fault::CapOffByOne => {
                request.cap += 1;
                self.inner.acquire(request)
            }
            Fault::SeqRepeats => at_once(now(self.inner.acquire(request)).map(|answer| match answer {
                Acquired::Held { seq } => Acquired::Held { seq: (seq - seq % 4).max(1) },
                other => other,
            })),
            _ => self.inner.acquire(request),
        }
    }

    fn reassert(&self, request: Acquire) -> StoreFuture<'_, Acquired> {
        self.inner.reassert(request)
    }

    fn confirm(&self, user: UserId, victim: Holder) -> StoreFuture<'_, Option<Passed>> {
        if self.is(Fault::DoublePass) {
            return at_once(self.confirm_again(user, victim));
        }
        self.inner.confirm(user, victim)
    }

    fn withdraw(&self, user: UserId, newcomer: Holder) -> StoreFuture<'_, Released> {
        if self.is(Fault::WithdrawIsForgotten) {
            return at_once(self.pretend(user, &newcomer));
        }
        self.inner.withdraw(user, newcomer)
    }

    fn release(&self, user: UserId, holder: Holder) -> StoreFuture<'_, Released> {
        if self.is(Fault::ReleaseIgnoresTheHolder)
            && let Ok(Some(slot)) = self.present(&user, holder.sid)
        {
            return self.inner.release(user, slot.holder);
        }
        self.inner.release(user, holder)
    }

    fn detach(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released> {
        if self.is(Fault::DetachFrees) {
            return self.inner.release(user, holder);
        }
        self.inner.detach(user, holder, token, window)
    }

    fn arm(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released> {
        self.inner.arm(user, holder, token, window)
    }

    fn spend(&self, user: UserId, holder: Holder) -> StoreFuture<'_, Released> {
        if self.is(Fault::SpendIsForgotten) {
            return at_once(self.pretend(user, &holder));
        }
        self.inner.spend(user, holder)
    }

    fn resume(
        &self,
        user: UserId,
        token: [u8; 32],
        node: NodeId,
        epoch: NodeEpoch,
    ) -> StoreFuture<'_, Option<Resumed>> {
        if self.is(Fault::ResumeForgetsTheGeneration) {
            let forget = |mut resumed: Resumed| {
                resumed.holder.generation = resumed.previous.generation;
                resumed
            };
            return at_once(now(self.inner.resume(user, token, node, epoch)).map(|answer| answer.map(forget)));
        }
        self.inner.resume(user, token, node, epoch)
    }

    fn remove(&self, user: UserId, sid: SessionId) -> StoreFuture<'_, Option<Slot>> {
        self.inner.remove(user, sid)
    }

    fn holds(&self, user: UserId, holder: Holder) -> StoreFuture<'_, bool> {
        self.inner.holds(user, holder)
    }

    fn slots(&self, user: UserId) -> StoreFuture<'_, Vec<Slot>> {
        self.inner.slots(user)
    }

    fn nodes(&self, user: UserId) -> StoreFuture<'_, Vec<NodeId>> {
        self.inner.nodes(user)
    }

    fn reap(&self, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize> {
        if self.is(Fault::ReapIgnoresTheEpoch) {
            return at_once(self.reap_all_lives(&node, limit));
        }
        self.inner.reap(node, epoch, limit)
    }
}
