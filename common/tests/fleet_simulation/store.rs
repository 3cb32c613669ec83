//! What the store is asked, as it happens there: the memory store's own calls, each compared with what it must never do,
//! and broken where a mutant wants that.

use std::rc::Rc;
use std::time::Duration;

use portcullis_common::fence::{LEASE, Standing};
use portcullis_common::ids::{NodeEpoch, NodeId, SessionId, UserId};
use portcullis_common::store::era::{EraView, Mark};
use portcullis_common::store::session::{Acquire, Acquired, Holder, Released, Resumed};
use portcullis_common::store::{StoreFault, Stores};

use crate::fleet::Fleet;
use crate::mutants::Fault;
use crate::net::{Net, Token, now};

/// How long a session waits for its client.
pub const WINDOW: Duration = Duration::from_secs(8);

/// One process's way in.
#[derive(Clone)]
pub struct Store {
    pub net: Rc<Net>,
    pub stores: Stores,
}

impl Store {
    fn ignoring_eras<T>(&self, act: impl Fn() -> Result<T, StoreFault>) -> Result<T, StoreFault> {
        match act() {
            Err(StoreFault::Era) if self.net.is(Fault::EraIgnored) => {
                self.open_for_nobody()?;
                act()
            }
            answer => answer,
        }
    }

    fn open_for_nobody(&self) -> Result<EraView, StoreFault> {
        let mut view = now(self.stores.eras.open(Vec::new(), Duration::ZERO))?;
        for node in Fleet::names() {
            view = now(self.stores.eras.mark(view.era, node, Mark::Done))?;
        }
        Ok(view)
    }

    pub fn open(&self, members: Vec<NodeId>, strangers: Duration) -> Result<EraView, StoreFault> {
        if self.net.is(Fault::NobodyIsNamed) {
            return self.open_for_nobody();
        }
        now(self.stores.eras.open(members, strangers))
    }

    pub fn renew(&self, node: NodeId, epoch: NodeEpoch) -> Result<bool, StoreFault> {
        let renewed = now(self.stores.lease.renew(node.clone(), epoch, LEASE))?;
        if !renewed && self.net.is(Fault::RenewalSetsTheLease) {
            return now(self.stores.lease.take(node, epoch, LEASE));
        }
        Ok(renewed)
    }

    pub fn acquire(&self, request: &Acquire) -> Result<Acquired, StoreFault> {
        self.ignoring_eras(|| now(self.stores.ledger.acquire(request.clone())))
    }

    pub fn reassert(&self, request: &Acquire) -> Result<Acquired, StoreFault> {
        let answer = self.ignoring_eras(|| now(self.stores.ledger.reassert(request.clone())))?;
        if matches!(answer, Acquired::Held { .. }) {
            self.net.record.borrow_mut().ended.remove(&request.holder.sid.0);
        }
        Ok(answer)
    }

    /// Whoever gives something back has it: nobody else loses anything by it.
    fn given_back(
        &self,
        user: &UserId,
        asked: &Holder,
        act: impl FnOnce(Holder) -> Result<Released, StoreFault>,
    ) -> Result<Released, StoreFault> {
        let before = now(self.stores.ledger.slots(user.clone()))?;
        let mut holder = asked.clone();
        if self.net.is(Fault::ReleaseIgnoresTheHolder)
            && let Some(present) = before.iter().find(|slot| slot.holder.sid == asked.sid)
        {
            holder = present.holder.clone();
        }
        let released = act(holder)?;
        if released.seq.is_some() && !before.iter().any(|slot| slot.holder == *asked) {
            self.net.wrong(|| format!("{asked:?} gave back what is another's: {before:?}"));
        }
        Ok(released)
    }

    pub fn release(&self, user: &UserId, holder: &Holder) -> Result<Released, StoreFault> {
        let ledger = &self.stores.ledger;
        self.given_back(user, holder, |holder| now(ledger.release(user.clone(), holder)))
    }

    pub fn detach(&self, user: &UserId, holder: &Holder, token: Token) -> Result<Released, StoreFault> {
        let ledger = &self.stores.ledger;
        self.given_back(user, holder, |holder| now(ledger.detach(user.clone(), holder, token, WINDOW)))
    }

    pub fn withdraw(&self, user: &UserId, holder: &Holder) -> Result<Released, StoreFault> {
        let ledger = &self.stores.ledger;
        self.given_back(user, holder, |holder| now(ledger.withdraw(user.clone(), holder)))
    }

    pub fn arm(&self, user: &UserId, holder: &Holder, token: Token) -> Result<bool, StoreFault> {
        let armed = now(self.stores.ledger.arm(user.clone(), holder.clone(), token, WINDOW))?.seq.is_some();
        if armed {
            let record = &mut *self.net.record.borrow_mut();
            let given = record.given.entry(holder.sid.0).or_default();
            // in another era a session is armed with the token that it has
            given.retain(|known| *known != token);
            given.push(token);
            // a store that forgot knows of no later one
            record.spent.remove(&token);
        }
        Ok(armed)
    }

    pub fn spend(&self, user: &UserId, holder: &Holder) -> Result<(), StoreFault> {
        let holds = now(self.stores.ledger.holds(user.clone(), holder.clone()))?;
        if !self.net.is(Fault::SpentTokensWin) {
            now(self.stores.ledger.spend(user.clone(), holder.clone()))?;
        }
        let mut record = self.net.record.borrow_mut();
        let given = record.given.get(&holder.sid.0).cloned().unwrap_or_default();
        if holds && let Some((_, before)) = given.split_last() {
            record.spent.extend(before);
        }
        Ok(())
    }

    pub fn resume(
        &self,
        user: &UserId,
        token: Token,
        node: NodeId,
        epoch: NodeEpoch,
    ) -> Result<Option<Resumed>, StoreFault> {
        let won = self.ignoring_eras(|| now(self.stores.ledger.resume(user.clone(), token, node.clone(), epoch)))?;
        let Some(mut resumed) = won else { return Ok(None) };
        let sid = resumed.holder.sid.0;
        let (spent, ended) = {
            let mut record = self.net.record.borrow_mut();
            record.given.insert(sid, vec![token]);
            record.generations.insert(sid, resumed.holder.generation);
            (record.spent.contains(&token), record.ended.contains(&sid))
        };
        if spent {
            self.net.wrong(|| format!("a spent token has resumed session {sid}"));
        }
        if ended {
            self.net.wrong(|| format!("session {sid} was ended, and has been resumed"));
        }
        if self.net.is(Fault::ResumeKeepsTheGeneration) {
            resumed.holder.generation = resumed.previous.generation;
        }
        Ok(Some(resumed))
    }

    pub fn end(&self, user: &UserId, sid: u128) -> Result<(), StoreFault> {
        if self.net.is(Fault::EndedCanResume) {
            let there = now(self.stores.ledger.slots(user.clone()))?.iter().any(|slot| slot.holder.sid.0 == sid);
            self.net.record.borrow_mut().ended.extend(there.then_some(sid));
        } else if now(self.stores.ledger.remove(user.clone(), SessionId(sid)))?.is_some() {
            self.net.record.borrow_mut().ended.insert(sid);
        }
        Ok(())
    }

    /// Nobody is reaped who may still act by its own count.
    pub fn reap(&self, fleet: &Fleet, node: &NodeId, epoch: NodeEpoch) -> Result<(), StoreFault> {
        if self.net.is(Fault::NobodyReaps) {
            return Ok(());
        }
        let freed = now(self.stores.ledger.reap(node.clone(), epoch, 1_000))?;
        let lives = fleet
            .node(node)
            .is_some_and(|there| there.life.get() == epoch && there.fence.standing(there.mono()) == Standing::Held);
        self.net.say(|| format!("{freed} slots of {node:?} {epoch} are reaped"));
        if freed > 0 && lives {
            self.net.wrong(|| format!("{freed} slots of {node:?} were reaped while it lives"));
        }
        now(self.stores.remains.bury(None, node.clone(), epoch)).map(|_| ())
    }
}
