//! All users' slots: [`UserSlots`] behind locks by user, with the clock, the bound and the expiry queue.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::era::{MemoryEras, Part, Told, When};
use super::shard::Shards;
use super::slots::{Now, Seq, UserSlots};
use super::{Bounds, ready};
use crate::clock::{Clock, Mono};
use crate::config::model::OnLimit;
use crate::ids::{NodeEpoch, NodeId, SessionId, UserId};
use crate::store::session::{Acquire, Acquired, Holder, Passed, Released, Resumed, SessionLedger, Slot};
use crate::store::{StoreFault, StoreFuture};

/// Users looked at for expired slots by one call.
const SWEEP: usize = 4;

/// One process's way to the slots. Cost of a call: one lock, two hashes of the user's name, and a walk over that user's
/// slots.
pub(super) struct MemoryLedger {
    all: Arc<AllSlots>,
    eras: Arc<MemoryEras>,
}

/// The slots themselves.
pub(super) struct AllSlots {
    clock: Arc<dyn Clock>,
    users: Shards<Users>,
    copied: Shards<Users>,
    seq: Seq,
    held: AtomicUsize,
    bounds: Bounds,
}

#[derive(Clone, Default)]
struct Users {
    told: Told,
    slots: HashMap<UserId, UserSlots>,
    /// Who has a detached slot that expires then, roughly: entries may be outdated, none is missing.
    due: BinaryHeap<Reverse<(Mono, UserId)>>,
}

impl MemoryLedger {
    pub(super) fn new(all: Arc<AllSlots>, eras: Arc<MemoryEras>) -> Self {
        Self { all, eras }
    }

    fn with<T>(&self, user: &UserId, act: impl FnOnce(&mut UserSlots, Now, &Seq) -> T) -> Result<T, StoreFault> {
        self.with_when(When::Any, user, act)
    }

    fn with_when<T>(
        &self,
        when: When,
        user: &UserId,
        act: impl FnOnce(&mut UserSlots, Now, &Seq) -> T,
    ) -> Result<T, StoreFault> {
        let mut users = self.all.users.lock(user);
        self.eras.check(users.told, when)?;
        Ok(self.all.with(&mut users, user, act))
    }

    fn acquire_when(&self, when: When, request: Acquire) -> Result<Acquired, StoreFault> {
        let may_grow = self.all.held.load(Ordering::Relaxed) < self.all.bounds.sessions;
        let user = request.user.clone();
        let answer = self.with_when(when, &user, |slots, now, seq| slots.acquire(request, now, seq, may_grow))?;
        answer.ok_or(StoreFault::Full("sessions"))
    }
}

impl AllSlots {
    pub(super) fn new(clock: Arc<dyn Clock>, bounds: Bounds) -> Self {
        let (users, copied) = (Shards::new(), Shards::new());
        Self { clock, users, copied, seq: Seq::default(), held: AtomicUsize::new(0), bounds }
    }

    fn now(&self) -> Now {
        Now { mono: self.clock.mono(), wall: self.clock.wall() }
    }

    /// Runs `act` on a user's slots as one step. A user without slots costs nothing before or after.
    fn with<T>(&self, users: &mut Users, user: &UserId, act: impl FnOnce(&mut UserSlots, Now, &Seq) -> T) -> T {
        let now = self.now();
        self.sweep(users, now);
        match users.slots.entry(user.clone()) {
            Entry::Occupied(mut found) => {
                let answer = self.change(found.get_mut(), now, act);
                if found.get().len() == 0 {
                    found.remove();
                }
                answer
            }
            Entry::Vacant(vacant) => {
                let mut slots = UserSlots::default();
                let answer = self.change(&mut slots, now, act);
                if slots.len() > 0 {
                    vacant.insert(slots);
                }
                answer
            }
        }
    }

    fn change<T>(&self, slots: &mut UserSlots, now: Now, act: impl FnOnce(&mut UserSlots, Now, &Seq) -> T) -> T {
        let before = slots.len();
        slots.prune(now);
        let answer = act(slots, now, &self.seq);
        self.count(before, slots.len());
        answer
    }

    fn count(&self, before: usize, after: usize) {
        if after > before {
            self.held.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.held.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Drops expired slots of users who never come back, a few a call, and those that expire first where there are too
    /// many.
    fn sweep(&self, users: &mut Users, now: Now) {
        for _ in 0..SWEEP {
            let full = users.due.len() > self.bounds.detached.div_ceil(Shards::<Users>::COUNT);
            match users.due.peek() {
                Some(Reverse((until, _))) if full || *until <= now.mono => {}
                _ => break,
            }
            let Some(Reverse((until, user))) = users.due.pop() else { break };
            let Some(slots) = users.slots.get_mut(&user) else { continue };
            let late = Now { mono: now.mono.max(until), ..now };
            self.change(slots, late, |_, _, _| ());
            if slots.len() == 0 {
                users.slots.remove(&user);
            } else if let Some(until) = slots.next_expiry() {
                users.due.push(Reverse((until, user)));
            }
        }
    }
}

impl Users {
    /// Notes an expiry. The queue never outgrows the users: outdated entries go when they are the majority.
    fn expect(&mut self, until: Mono, user: UserId) {
        if self.due.len() > 2 * self.slots.len() + 64 {
            let fresh = |(user, slots): (&UserId, &UserSlots)| Some(Reverse((slots.next_expiry()?, user.clone())));
            self.due = self.slots.iter().filter_map(fresh).collect();
        }
        self.due.push(Reverse((until, user)));
    }
}

/// Counts what a shard loses with its slots.
impl Part for AllSlots {
    fn tell(&self, told: Told) {
        for mut users in self.users.each() {
            if told.follows(users.told) {
                self.replace(&mut users, Users { told, ..Users::default() });
            }
        }
    }

    fn forget(&self) {
        for mut users in self.users.each() {
            self.replace(&mut users, Users::default());
        }
    }

    fn copy(&self) {
        for (users, mut copied) in self.users.each().zip(self.copied.each()) {
            *copied = users.clone();
        }
    }

    fn go_back(&self) {
        for (mut users, copied) in self.users.each().zip(self.copied.each()) {
            self.replace(&mut users, copied.clone());
        }
    }
}

impl AllSlots {
    fn replace(&self, users: &mut Users, by: Users) {
        let count = |users: &Users| users.slots.values().map(UserSlots::len).sum();
        let before = count(users);
        *users = by;
        self.count(before, count(users));
    }
}

impl SessionLedger for MemoryLedger {
    fn acquire(&self, request: Acquire) -> StoreFuture<'_, Acquired> {
        ready(self.acquire_when(When::Whole, request))
    }

    fn reassert(&self, request: Acquire) -> StoreFuture<'_, Acquired> {
        ready(self.acquire_when(When::Any, Acquire { on_limit: OnLimit::Reject, ..request }))
    }

    fn confirm(&self, user: UserId, victim: Holder) -> StoreFuture<'_, Option<Passed>> {
        ready(self.with(&user, |slots, now, seq| slots.confirm(&victim, now, seq)))
    }

    fn withdraw(&self, user: UserId, newcomer: Holder) -> StoreFuture<'_, Released> {
        ready(self.with(&user, |slots, now, seq| slots.withdraw(&newcomer, now, seq)))
    }

    fn release(&self, user: UserId, holder: Holder) -> StoreFuture<'_, Released> {
        ready(self.with(&user, |slots, now, seq| slots.release(&holder, now, seq)))
    }

    fn detach(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released> {
        let until = self.all.clock.mono().after(window);
        let released = self.with(&user, |slots, now, seq| slots.detach(&holder, &token, until, now, seq));
        if released.as_ref().is_ok_and(|released| released.seq.is_some()) {
            self.all.users.lock(&user).expect(until, user.clone());
        }
        ready(released)
    }

    fn arm(&self, user: UserId, holder: Holder, token: [u8; 32], window: Duration) -> StoreFuture<'_, Released> {
        let until = self.all.clock.mono().after(window);
        ready(self.with(&user, |slots, now, seq| slots.arm(&holder, &token, until, now, seq)))
    }

    fn spend(&self, user: UserId, holder: Holder) -> StoreFuture<'_, Released> {
        ready(self.with(&user, |slots, _, seq| slots.spend(&holder, seq)))
    }

    fn resume(
        &self,
        user: UserId,
        token: [u8; 32],
        node: NodeId,
        epoch: NodeEpoch,
    ) -> StoreFuture<'_, Option<Resumed>> {
        ready(self.with_when(When::Whole, &user, |slots, now, seq| slots.resume(&token, node, epoch, now, seq)))
    }

    fn remove(&self, user: UserId, sid: SessionId) -> StoreFuture<'_, Option<Slot>> {
        ready(self.with(&user, |slots, now, seq| slots.remove(sid, now, seq)))
    }

    fn holds(&self, user: UserId, holder: Holder) -> StoreFuture<'_, bool> {
        ready(self.with(&user, |slots, _, _| slots.holds(&holder)))
    }

    fn slots(&self, user: UserId) -> StoreFuture<'_, Vec<Slot>> {
        ready(self.with(&user, |slots, now, _| slots.list(now)))
    }

    fn nodes(&self, user: UserId) -> StoreFuture<'_, Vec<NodeId>> {
        ready(self.with(&user, |slots, _, _| slots.nodes()))
    }

    fn reap(&self, node: NodeId, epoch: NodeEpoch, limit: usize) -> StoreFuture<'_, usize> {
        let mut freed = 0;
        for mut users in self.all.users.each() {
            if let Err(fault) = self.eras.check(users.told, When::Any) {
                return ready(Err(fault));
            }
            let now = self.all.now();
            users.slots.retain(|_, slots| {
                freed +=
                    self.all.change(slots, now, |slots, now, seq| slots.reap(&node, epoch, limit - freed, now, seq));
                slots.len() > 0
            });
            if freed == limit {
                break;
            }
        }
        ready(Ok(freed))
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::clock::{ManualClock, UnixMs};

    fn now<T>(mut answer: StoreFuture<'_, T>) -> Result<T, StoreFault> {
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("a memory store answers at once"),
        }
    }

    /// In an era of its own.
    fn alone(clock: &Arc<ManualClock>, sessions: usize) -> MemoryLedger {
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        let bounds = Bounds { sessions, detached: 6_400, ..Bounds::default() };
        let all = Arc::new(AllSlots::new(Arc::clone(&clock), bounds));
        let eras = super::super::era::tests::alone(clock, Arc::clone(&all) as Arc<dyn Part>);
        MemoryLedger::new(all, eras)
    }

    fn request(user: &str, sid: u128) -> Acquire {
        let holder =
            Holder { sid: SessionId(sid), node: NodeId::parse("n").unwrap(), epoch: NodeEpoch(1), generation: 0 };
        Acquire { user: UserId::parse(user).unwrap(), holder, cap: 5, on_limit: OnLimit::Reject }
    }

    #[test]
    fn the_bound_refuses_newcomers_and_lets_the_present_go_on() {
        let ledger = alone(&Arc::new(ManualClock::default()), 2);
        assert!(matches!(now(ledger.acquire(request("a", 1))), Ok(Acquired::Held { .. })));
        assert!(matches!(now(ledger.acquire(request("b", 2))), Ok(Acquired::Held { .. })));
        assert!(matches!(now(ledger.acquire(request("c", 3))), Err(StoreFault::Full("sessions"))));
        assert!(matches!(now(ledger.acquire(request("b", 2))), Ok(Acquired::Held { .. })), "idempotent at the bound");
        let Acquire { user, holder, .. } = request("a", 1);
        assert!(now(ledger.release(user, holder)).unwrap().seq.is_some());
        assert!(matches!(now(ledger.acquire(request("c", 3))), Ok(Acquired::Held { .. })));
    }

    #[test]
    fn expired_users_are_forgotten_by_the_calls_of_others() {
        let clock = Arc::new(ManualClock::at(UnixMs(1)));
        let ledger = alone(&clock, 1_000_000);
        for sid in 0..2_000 {
            let Acquire { user, holder, .. } = request(&format!("gone-{sid}"), sid);
            now(ledger.acquire(request(&format!("gone-{sid}"), sid))).unwrap();
            now(ledger.detach(user, holder, [1; 32], Duration::from_secs(1))).unwrap();
        }
        clock.advance(Duration::from_secs(2));
        for call in 0..2_000 {
            now(ledger.slots(UserId::parse(&format!("other-{call}")).unwrap())).unwrap();
        }
        let left: usize = ledger.all.users.each().map(|users| users.slots.len() + users.due.len()).sum();
        assert_eq!((left, ledger.all.held.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn at_the_bound_of_detached_slots_those_that_expire_first_are_free() {
        let clock = Arc::new(ManualClock::default());
        let ledger = alone(&clock, 1_000_000);
        for sid in 0..20_000 {
            let Acquire { user, holder, .. } = request(&format!("u{sid}"), sid);
            now(ledger.acquire(request(&format!("u{sid}"), sid))).unwrap();
            now(ledger.detach(user, holder, [1; 32], Duration::from_secs(100))).unwrap();
            clock.advance(Duration::from_millis(1));
        }
        let kept = |sid: u32| !now(ledger.slots(UserId::parse(&format!("u{sid}")).unwrap())).unwrap().is_empty();
        let left = ledger.all.held.load(Ordering::Relaxed);
        assert!((6_000..6_600).contains(&left), "{left}");
        assert!((0..10_000).all(|sid| !kept(sid)) && (19_000..20_000).all(kept));
    }

    #[test]
    fn one_user_who_comes_and_goes_does_not_grow_the_expiry_queue() {
        let ledger = alone(&Arc::new(ManualClock::default()), 10);
        for sid in 0..10_000 {
            let Acquire { user, holder, .. } = request("a", sid);
            now(ledger.acquire(request("a", sid))).unwrap();
            now(ledger.detach(user.clone(), holder, [1; 32], Duration::from_secs(100))).unwrap();
            now(ledger.remove(user, SessionId(sid))).unwrap();
        }
        let queued: usize = ledger.all.users.each().map(|users| users.due.len()).sum();
        assert!(queued <= 70, "{queued}");
    }
}
