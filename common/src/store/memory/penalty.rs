//! Penalties: one map of accounts.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::era::{MemoryEras, Part, Told, When};
use super::shard::lock;
use super::{Bounds, ready};
use crate::clock::{Clock, UnixMs};
use crate::ids::NodeId;
use crate::penalty::{Account, Subject};
use crate::store::penalty::{Charge, Noted, Penalties, REMEMBERED, Standing, Statement};
use crate::store::{StoreFault, StoreFuture};

#[derive(Clone, Default)]
struct Kept {
    account: Account,
    facts: VecDeque<Noted>,
    /// When it equals a new one.
    ends: UnixMs,
}

#[derive(Clone, Default)]
struct Accounts {
    told: Told,
    kept: HashMap<Subject, Kept>,
}

/// One process's way to the accounts.
pub(super) struct MemoryPenalties {
    all: Arc<AllAccounts>,
    eras: Arc<MemoryEras>,
}

/// The accounts themselves.
pub(super) struct AllAccounts {
    clock: Arc<dyn Clock>,
    accounts: Mutex<Accounts>,
    copied: Mutex<Accounts>,
    bound: usize,
}

impl MemoryPenalties {
    pub(super) fn new(all: Arc<AllAccounts>, eras: Arc<MemoryEras>) -> Self {
        Self { all, eras }
    }
}

impl AllAccounts {
    pub(super) fn new(clock: Arc<dyn Clock>, bounds: Bounds) -> Self {
        Self { clock, accounts: Mutex::default(), copied: Mutex::default(), bound: bounds.accounts }
    }
}

impl Part for AllAccounts {
    /// What an account says outlives the era.
    fn tell(&self, told: Told) {
        let mut accounts = lock(&self.accounts);
        if told.follows(accounts.told) {
            accounts.told = told;
        }
    }

    fn forget(&self) {
        *lock(&self.accounts) = Accounts::default();
    }

    fn copy(&self) {
        *lock(&self.copied) = lock(&self.accounts).clone();
    }

    fn go_back(&self) {
        *lock(&self.accounts) = lock(&self.copied).clone();
    }
}

impl Accounts {
    fn charge(&mut self, by: &NodeId, charge: Charge, now: UnixMs, bound: usize) -> Result<Standing, StoreFault> {
        if self.kept.len() >= bound && !self.kept.contains_key(&charge.subject) {
            self.kept.retain(|_, kept| kept.ends > now);
            if self.kept.len() >= bound {
                return Err(StoreFault::Full("accounts"));
            }
        }
        let kept = self.kept.entry(charge.subject).or_default();
        if kept.ends <= now {
            *kept = Kept::default();
        }
        let step = kept.account.charge(&charge.ladder, charge.weight, now);
        kept.ends = UnixMs(now.0.saturating_add(kept.account.matters(&charge.ladder, now)));
        kept.facts.extend(charge.facts.into_iter().map(|fact| Noted { at: now, node: by.to_string(), fact }));
        let over = kept.facts.len().saturating_sub(REMEMBERED);
        kept.facts.drain(..over);
        Ok(Standing { account: kept.account, step })
    }
}

impl Penalties for MemoryPenalties {
    fn charge(&self, by: NodeId, charges: Vec<Charge>) -> StoreFuture<'_, (UnixMs, Vec<Standing>)> {
        let now = self.all.clock.wall();
        let mut accounts = lock(&self.all.accounts);
        if let Err(fault) = self.eras.check(accounts.told, When::Any) {
            return ready(Err(fault));
        }
        let standings = charges.into_iter().map(|charge| accounts.charge(&by, charge, now, self.all.bound));
        ready(standings.collect::<Result<Vec<_>, _>>().map(|standings| (now, standings)))
    }

    fn statement(&self, subject: Subject) -> StoreFuture<'_, (UnixMs, Option<Statement>)> {
        let now = self.all.clock.wall();
        let accounts = lock(&self.all.accounts);
        let kept = accounts.kept.get(&subject).filter(|kept| kept.ends > now);
        let statement =
            kept.map(|kept| Statement { account: kept.account, facts: kept.facts.iter().cloned().collect() });
        ready(Ok((now, statement)))
    }

    fn clear(&self, subject: Subject) -> StoreFuture<'_, ()> {
        lock(&self.all.accounts).kept.remove(&subject);
        ready(Ok(()))
    }
}
