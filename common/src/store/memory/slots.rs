//! One user's slots: the rules of the ledger as plain functions of state and time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Mono, UnixMs};
use crate::config::model::OnLimit;
use crate::ids::{NodeEpoch, NodeId, SessionId};
use crate::store::session::{Acquire, Acquired, Holder, Passed, Released, Resumed, Slot, SlotState};

/// When it is worth another try at a full cap: nobody knows when a session ends, so this only spreads the load.
const RETRY_FULL: Duration = Duration::from_secs(5);

/// When it is worth another try while slots are passing: an eviction is settled within a second.
const RETRY_PASSING: Duration = Duration::from_secs(1);

/// One moment on both clocks.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) mono: Mono,
    pub(super) wall: UnixMs,
}

/// Numbers the changes of all users; so a user who was forgotten goes on where they were.
#[derive(Default)]
pub(super) struct Seq(AtomicU64);

impl Seq {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The first half of a token's keyed hash: 128 bits nobody can aim at, half the memory. Zero is no token.
fn short(token: &[u8; 32]) -> u128 {
    token.first_chunk::<16>().map_or(1, |half| u128::from_le_bytes(*half).max(1))
}

#[derive(Clone)]
enum State {
    Live,
    Detached { until: Mono },
    Evicting { by: Box<Holder> },
}

/// The token before the armed one, good until its successor is proved.
#[derive(Clone)]
struct Before {
    token: u128,
    until: Mono,
}

/// A slot in 112 bytes.
#[derive(Clone)]
struct Entry {
    sid: SessionId,
    epoch: NodeEpoch,
    token: u128,
    node: NodeId,
    since: UnixMs,
    state: State,
    before: Option<Box<Before>>,
    generation: u32,
}

impl Entry {
    fn new(holder: Holder, now: Now) -> Self {
        let Holder { sid, node, epoch, generation } = holder;
        Self { sid, epoch, token: 0, node, since: now.wall, state: State::Live, before: None, generation }
    }

    fn holder(&self) -> Holder {
        Holder { sid: self.sid, node: self.node.clone(), epoch: self.epoch, generation: self.generation }
    }

    fn is(&self, holder: &Holder) -> bool {
        self.sid == holder.sid && self.epoch == holder.epoch && self.generation == holder.generation
    }

    fn awaited_by(&self, newcomer: &Holder) -> bool {
        matches!(&self.state, State::Evicting { by } if same(by, newcomer))
    }

    fn is_detached(&self) -> bool {
        matches!(self.state, State::Detached { .. })
    }

    fn slot(&self, now: Now) -> Slot {
        let state = match &self.state {
            State::Live => SlotState::Live,
            State::Detached { until } => SlotState::Detached { until: now.wall.after(until.since(now.mono)) },
            State::Evicting { by } => SlotState::Evicting { by: (**by).clone() },
        };
        Slot { holder: self.holder(), state, since: self.since }
    }

    fn arm(&mut self, token: u128, until: Mono) {
        if token == self.token || self.before.as_ref().is_some_and(|before| before.token == token) {
            return;
        }
        if self.before.is_none() && self.token != 0 {
            self.before = Some(Box::new(Before { token: self.token, until }));
        }
        self.token = token;
    }

    /// Whether `token` wins this slot; then it is the only one that is good.
    fn redeem(&mut self, token: u128, now: Now) -> bool {
        let good = match &self.state {
            State::Live => true,
            State::Detached { until } => *until > now.mono,
            State::Evicting { .. } => false,
        };
        let before = self.before.as_ref().is_some_and(|before| before.token == token && before.until > now.mono);
        if !good || (self.token != token && !before) {
            return false;
        }
        self.token = token;
        self.before = None;
        true
    }
}

fn same(a: &Holder, b: &Holder) -> bool {
    a.sid == b.sid && a.epoch == b.epoch && a.generation == b.generation
}

/// A user's slots, oldest session first. Every method expects that [`UserSlots::prune`] went before it.
#[derive(Clone, Default)]
pub(super) struct UserSlots(Vec<Entry>);

impl UserSlots {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Drops what has expired.
    pub(super) fn prune(&mut self, now: Now) {
        self.0.retain(|entry| !matches!(entry.state, State::Detached { until } if until <= now.mono));
    }

    /// When the next detached slot expires.
    pub(super) fn next_expiry(&self) -> Option<Mono> {
        let until = |entry: &Entry| match entry.state {
            State::Detached { until } => Some(until),
            State::Live | State::Evicting { .. } => None,
        };
        self.0.iter().filter_map(until).min()
    }

    /// `None` when a slot would be needed and the store `may_grow` no more.
    pub(super) fn acquire(&mut self, request: Acquire, now: Now, seq: &Seq, may_grow: bool) -> Option<Acquired> {
        let Acquire { holder, cap, on_limit, .. } = request;
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.sid == holder.sid) {
            return Some(reassert(entry, &holder, seq));
        }
        if let Some(answer) = self.0.iter_mut().find_map(|entry| rewait(entry, &holder, seq)) {
            return Some(answer);
        }
        if cap == 0 {
            return Some(Acquired::Full { retry_after: RETRY_FULL });
        }
        let mut surplus = (self.0.len() + 1).saturating_sub(cap as usize);
        if surplus == 0 && !may_grow {
            return None;
        }
        if surplus > self.0.iter().filter(|entry| entry.is_detached()).count() {
            return Some(match on_limit {
                OnLimit::Reject => self.full(),
                OnLimit::EvictOldest => self.evict_oldest(holder, seq),
            });
        }
        self.0.retain(|entry| {
            let goes = surplus > 0 && entry.is_detached();
            surplus -= usize::from(goes);
            !goes
        });
        self.push(Entry::new(holder, now));
        Some(Acquired::Held { seq: seq.next() })
    }

    fn full(&self) -> Acquired {
        let passing = self.0.iter().any(|entry| matches!(entry.state, State::Evicting { .. }));
        Acquired::Full { retry_after: if passing { RETRY_PASSING } else { RETRY_FULL } }
    }

    fn evict_oldest(&mut self, newcomer: Holder, seq: &Seq) -> Acquired {
        match self.0.iter_mut().find(|entry| matches!(entry.state, State::Live)) {
            Some(entry) => {
                entry.state = State::Evicting { by: Box::new(newcomer) };
                Acquired::Evicting { seq: seq.next(), victim: entry.holder() }
            }
            None => self.full(),
        }
    }

    /// Most users have one session: grow by one, not by four.
    fn push(&mut self, entry: Entry) {
        self.0.reserve_exact(1);
        self.0.push(entry);
    }

    fn place(&self, holder: &Holder) -> Option<usize> {
        self.0.iter().position(|entry| entry.is(holder))
    }

    fn entry(&mut self, holder: &Holder) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.is(holder))
    }

    /// Takes the slot away from its holder: to the newcomer that waits for it, or to nobody.
    fn vacate(&mut self, place: usize, now: Now) -> Option<Holder> {
        let State::Evicting { by } = self.0.remove(place).state else { return None };
        self.push(Entry::new((*by).clone(), now));
        Some(*by)
    }

    pub(super) fn confirm(&mut self, victim: &Holder, now: Now, seq: &Seq) -> Option<Passed> {
        let place =
            self.0.iter().position(|entry| entry.is(victim) && matches!(entry.state, State::Evicting { .. }))?;
        let to = self.vacate(place, now)?;
        Some(Passed { to, seq: seq.next() })
    }

    pub(super) fn withdraw(&mut self, newcomer: &Holder, now: Now, seq: &Seq) -> Released {
        if let Some(victim) = self.0.iter_mut().find(|entry| entry.awaited_by(newcomer)) {
            victim.state = State::Live;
            return Released { seq: Some(seq.next()), passed: None };
        }
        self.release(newcomer, now, seq)
    }

    pub(super) fn release(&mut self, holder: &Holder, now: Now, seq: &Seq) -> Released {
        let Some(place) = self.place(holder) else { return Released::default() };
        let to = self.vacate(place, now);
        let seq = seq.next();
        Released { seq: Some(seq), passed: to.map(|to| Passed { to, seq }) }
    }

    pub(super) fn detach(&mut self, holder: &Holder, token: &[u8; 32], until: Mono, now: Now, seq: &Seq) -> Released {
        let Some(entry) = self.entry(holder) else { return Released::default() };
        if matches!(entry.state, State::Evicting { .. }) {
            return self.release(holder, now, seq);
        }
        entry.before = entry.before.take().filter(|before| before.until > now.mono);
        entry.arm(short(token), until);
        entry.state = State::Detached { until };
        if let Some(before) = &mut entry.before {
            before.until = until;
        }
        Released { seq: Some(seq.next()), passed: None }
    }

    pub(super) fn arm(&mut self, holder: &Holder, token: &[u8; 32], until: Mono, now: Now, seq: &Seq) -> Released {
        let change = self.entry(holder).map(|entry| {
            entry.before = entry.before.take().filter(|before| before.until > now.mono);
            entry.arm(short(token), until);
            seq.next()
        });
        Released { seq: change, passed: None }
    }

    pub(super) fn spend(&mut self, holder: &Holder, seq: &Seq) -> Released {
        let spent = self.entry(holder).and_then(|entry| entry.before.take());
        Released { seq: spent.map(|_| seq.next()), passed: None }
    }

    pub(super) fn resume(
        &mut self,
        token: &[u8; 32],
        node: NodeId,
        epoch: NodeEpoch,
        now: Now,
        seq: &Seq,
    ) -> Option<Resumed> {
        let token = short(token);
        let entry = self.0.iter_mut().find_map(|entry| entry.redeem(token, now).then_some(entry))?;
        let (previous, was_live) = (entry.holder(), !entry.is_detached());
        entry.generation = entry.generation.checked_add(1)?;
        entry.node = node;
        entry.epoch = epoch;
        entry.state = State::Live;
        Some(Resumed { previous, was_live, holder: entry.holder(), since: entry.since, seq: seq.next() })
    }

    pub(super) fn remove(&mut self, sid: SessionId, now: Now, seq: &Seq) -> Option<Slot> {
        if let Some(place) = self.0.iter().position(|entry| entry.sid == sid) {
            let slot = self.0.get(place).map(|entry| entry.slot(now));
            self.vacate(place, now);
            seq.next();
            return slot;
        }
        let waits = |entry: &&mut Entry| matches!(&entry.state, State::Evicting { by } if by.sid == sid);
        if let Some(victim) = self.0.iter_mut().find(waits) {
            victim.state = State::Live;
            seq.next();
        }
        None
    }

    pub(super) fn holds(&self, holder: &Holder) -> bool {
        self.0.iter().any(|entry| entry.is(holder) && !entry.is_detached())
    }

    pub(super) fn list(&self, now: Now) -> Vec<Slot> {
        self.0.iter().map(|entry| entry.slot(now)).collect()
    }

    pub(super) fn nodes(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = Vec::new();
        for entry in self.0.iter().filter(|entry| !entry.is_detached()) {
            if !nodes.contains(&entry.node) {
                nodes.push(entry.node.clone());
            }
        }
        nodes
    }

    /// Ends what a dead life held or waited for; at most `limit` slots.
    pub(super) fn reap(&mut self, node: &NodeId, epoch: NodeEpoch, limit: usize, now: Now, seq: &Seq) -> usize {
        for entry in &mut self.0 {
            if matches!(&entry.state, State::Evicting { by } if by.epoch == epoch && by.node == *node) {
                entry.state = State::Live;
                seq.next();
            }
        }
        let mut freed = 0;
        let dead = |entry: &Entry| entry.epoch == epoch && entry.node == *node && !entry.is_detached();
        while freed < limit {
            let Some(place) = self.0.iter().position(dead) else { break };
            self.vacate(place, now);
            seq.next();
            freed += 1;
        }
        freed
    }
}

/// A holder asks again for the sid of `entry`.
fn reassert(entry: &mut Entry, holder: &Holder, seq: &Seq) -> Acquired {
    if entry.node != holder.node || entry.generation != holder.generation {
        return Acquired::Full { retry_after: RETRY_FULL };
    }
    entry.epoch = holder.epoch;
    if entry.is_detached() {
        entry.state = State::Live;
    }
    Acquired::Held { seq: seq.next() }
}

/// A holder asks again for a sid that waits for `entry`; `None` when another waits for it, or nobody.
fn rewait(entry: &mut Entry, holder: &Holder, seq: &Seq) -> Option<Acquired> {
    match &mut entry.state {
        State::Evicting { by } if by.sid == holder.sid => {
            if by.node != holder.node || by.generation != holder.generation {
                return Some(Acquired::Full { retry_after: RETRY_FULL });
            }
            by.epoch = holder.epoch;
            Some(Acquired::Evicting { seq: seq.next(), victim: entry.holder() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_stays_small_because_there_is_one_for_every_idle_session() {
        assert!(size_of::<Entry>() <= 112, "{}", size_of::<Entry>());
    }
}
