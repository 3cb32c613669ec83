//! What can happen in the fleet, one random step at a time.

use portcullis_common::clock::Clock;
use portcullis_common::config::model::OnLimit;
use portcullis_common::ids::{NodeEpoch, SessionId};
use portcullis_common::store::session::{Acquire, Acquired, Holder, Slot, SlotState};
use rand::Rng;

use crate::world::{NODES, Phase, Session, USERS, World, ensure, said};

impl World {
    /// One step and all that must hold after it.
    pub fn step(&mut self) -> Result<(), String> {
        self.expire();
        match self.rng.random_range(0..100) {
            0..24 => self.acquire()?,
            24..36 => self.confirm()?,
            36..42 => self.withdraw()?,
            42..50 => self.release()?,
            50..60 => self.detach()?,
            60..66 => self.arm()?,
            66..71 => self.spend()?,
            71..81 => self.resume()?,
            81..88 => self.late()?,
            88..90 => self.crash(),
            90..94 => self.reap()?,
            94..96 => self.remove()?,
            _ => self.clock.advance(std::time::Duration::from_millis(self.rng.random_range(1..=150))),
        }
        self.expire();
        self.settle()?;
        self.check()
    }

    fn acquire(&mut self) -> Result<(), String> {
        let (user, on) = (self.rng.random_range(0..USERS), self.rng.random_range(0..NODES));
        let (node, epoch) = self.nodes[on].clone();
        let holder = Holder { sid: SessionId(u128::from(self.fresh())), node, epoch, generation: 0 };
        let before = said(self.ledger.slots(self.users[user].clone()))?;
        let request =
            Acquire { user: self.users[user].clone(), holder: holder.clone(), cap: self.cap, on_limit: self.policy };
        let answer = said(self.ledger.acquire(request))?;
        let phase = self.judge(user, &before, &answer)?;
        self.sessions.push(Session { user, holder, phase, dead: false, token: None, before: None });
        Ok(())
    }

    /// What the answer to a newcomer has to be, given the slots before it.
    fn judge(&mut self, user: usize, before: &[Slot], answer: &Acquired) -> Result<Phase, String> {
        let full = before.len() >= self.cap as usize;
        let detached = before.iter().find(|slot| matches!(slot.state, SlotState::Detached { .. }));
        let live = before.iter().find(|slot| slot.state == SlotState::Live);
        match answer {
            Acquired::Held { seq } => {
                self.changed(user, *seq)?;
                if full {
                    let Some(slot) = detached else { return Err("held beyond the cap".to_owned()) };
                    let known = self.sessions.iter().position(|s| s.holder == slot.holder);
                    self.end(known.ok_or("an unknown slot made room")?);
                }
                Ok(Phase::Running)
            }
            Acquired::Evicting { seq, victim } => {
                self.changed(user, *seq)?;
                ensure!(full && detached.is_none() && self.policy == OnLimit::EvictOldest, "a needless eviction");
                ensure!(live.is_some_and(|slot| slot.holder == *victim), "not the oldest live one: {victim:?}");
                Ok(Phase::Waiting(victim.sid))
            }
            Acquired::Full { .. } => {
                let none = live.is_none() || self.policy == OnLimit::Reject;
                ensure!(full && detached.is_none() && none, "refused without need");
                Ok(Phase::Gone)
            }
        }
    }

    /// A session that was asked to go has stopped.
    fn confirm(&mut self) -> Result<(), String> {
        let Some(newcomer) = self.pick(|s| matches!(s.phase, Phase::Waiting(_))) else { return Ok(()) };
        let Phase::Waiting(sid) = self.sessions[newcomer].phase else { return Ok(()) };
        let Some(victim) = self.pick(|s| s.holder.sid == sid && s.phase == Phase::Running && !s.dead) else {
            return Ok(());
        };
        self.end(victim);
        let passed = said(self.ledger.confirm(self.user(victim), self.holder(victim)))?;
        let passed = passed.ok_or("a confirmed slot did not pass")?;
        ensure!(passed.to == self.holder(newcomer), "the slot was stolen by {:?}", passed.to);
        self.changed(self.sessions[victim].user, passed.seq)
    }

    fn withdraw(&mut self) -> Result<(), String> {
        let Some(newcomer) = self.pick(|s| matches!(s.phase, Phase::Waiting(_)) && !s.dead) else { return Ok(()) };
        self.end(newcomer);
        let answer = said(self.ledger.withdraw(self.user(newcomer), self.holder(newcomer)))?;
        self.changed(self.sessions[newcomer].user, answer.seq.ok_or("it was waiting")?)
    }

    fn release(&mut self) -> Result<(), String> {
        let Some(session) = self.pick(|s| s.phase == Phase::Running && !s.dead) else { return Ok(()) };
        self.end(session);
        let answer = said(self.ledger.release(self.user(session), self.holder(session)))?;
        self.changed(self.sessions[session].user, answer.seq.ok_or("it was running")?)
    }

    fn detach(&mut self) -> Result<(), String> {
        let Some(session) = self.pick(|s| s.phase == Phase::Running && !s.dead) else { return Ok(()) };
        let (user, window) = (self.sessions[session].user, self.window());
        let until = self.clock.mono().after(window);
        let token = self.sessions[session].token.unwrap_or_else(|| self.fresh_token(user));
        if self.waiter(session).is_some() {
            self.end(session);
        } else {
            let known = &mut self.sessions[session];
            known.phase = Phase::Detached(until);
            known.token = Some(token);
            known.before = known.before.map(|(before, _)| (before, until));
        }
        let answer = said(self.ledger.detach(self.user(session), self.holder(session), token, window))?;
        self.changed(user, answer.seq.ok_or("it was running")?)
    }

    /// A `welcome` with a new token is sent; whether it arrives, only `spend` and `resume` tell.
    fn arm(&mut self) -> Result<(), String> {
        let Some(session) = self.pick(|s| s.phase == Phase::Running && !s.dead) else { return Ok(()) };
        let (user, window) = (self.sessions[session].user, self.window());
        let until = self.clock.mono().after(window);
        let token = self.fresh_token(user);
        let known = &mut self.sessions[session];
        known.before = known.before.or(known.token.map(|before| (before, until)));
        known.token = Some(token);
        let answer = said(self.ledger.arm(self.user(session), self.holder(session), token, window))?;
        self.changed(user, answer.seq.ok_or("it was running")?)
    }

    fn spend(&mut self) -> Result<(), String> {
        let Some(session) = self.pick(|s| s.phase == Phase::Running && !s.dead && s.before.is_some()) else {
            return Ok(());
        };
        self.sessions[session].before = None;
        let answer = said(self.ledger.spend(self.user(session), self.holder(session)))?;
        self.changed(self.sessions[session].user, answer.seq.ok_or("there was a predecessor")?)
    }

    /// Somebody shows a token: a good one, a spent one, one of another user.
    fn resume(&mut self) -> Result<(), String> {
        if self.tokens.is_empty() {
            return Ok(());
        }
        let recent = self.tokens.len().saturating_sub(6);
        let (mut user, token) = self.tokens[self.rng.random_range(recent..self.tokens.len())];
        if self.rng.random_bool(0.1) {
            user = (user + 1) % USERS;
        }
        let (node, epoch) = self.nodes[self.rng.random_range(0..NODES)].clone();
        let good = (0..self.sessions.len()).find(|&n| {
            let s = &self.sessions[n];
            let known = s.token == Some(token) || s.before.is_some_and(|(before, _)| before == token);
            let open = matches!(s.phase, Phase::Detached(_)) || (s.phase == Phase::Running && self.waiter(n).is_none());
            s.user == user && known && open
        });
        let answer = said(self.ledger.resume(self.users[user].clone(), token, node.clone(), epoch))?;
        let (Some(session), Some(resumed)) = (good, &answer) else {
            ensure!(good.is_none() && answer.is_none(), "good token: {good:?}, answer: {answer:?}");
            return Ok(());
        };
        let previous = self.holder(session);
        let next = Holder { sid: previous.sid, node, epoch, generation: previous.generation + 1 };
        ensure!(resumed.previous == previous && resumed.holder == next, "{resumed:?} after {previous:?}");
        self.stale.push((user, previous));
        let known = &mut self.sessions[session];
        *known =
            Session { holder: next, phase: Phase::Running, dead: false, token: Some(token), before: None, ..*known };
        self.changed(user, resumed.seq)
    }

    /// A message of an old holder arrives late: nothing may come of it.
    fn late(&mut self) -> Result<(), String> {
        if self.stale.is_empty() {
            return Ok(());
        }
        let recent = self.stale.len().saturating_sub(8);
        let (user, holder) = self.stale[self.rng.random_range(recent..self.stale.len())].clone();
        let (who, ledger) = (self.users[user].clone(), std::sync::Arc::clone(&self.ledger));
        let seq = match self.rng.random_range(0..6) {
            0 => said(ledger.confirm(who, holder.clone()))?.map(|passed| passed.seq),
            1 => said(ledger.detach(who, holder.clone(), [9; 32], self.window()))?.seq,
            2 => said(ledger.arm(who, holder.clone(), [9; 32], self.window()))?.seq,
            3 => said(ledger.spend(who, holder.clone()))?.seq,
            4 => said(ledger.withdraw(who, holder.clone()))?.seq,
            _ => said(ledger.release(who, holder.clone()))?.seq,
        };
        ensure!(seq.is_none(), "an old holder changed something: {holder:?}");
        Ok(())
    }

    fn crash(&mut self) {
        let on = self.rng.random_range(0..NODES);
        let (node, epoch) = self.nodes[on].clone();
        for session in &mut self.sessions {
            let there = session.holder.epoch == epoch && session.holder.node == node;
            session.dead |= there && matches!(session.phase, Phase::Running | Phase::Waiting(_));
        }
        self.nodes[on].1 = NodeEpoch(u128::from(self.fresh()));
        self.dead.push((node, epoch));
    }

    fn reap(&mut self) -> Result<(), String> {
        if self.dead.is_empty() {
            return Ok(());
        }
        let (node, epoch) = self.dead[self.rng.random_range(0..self.dead.len())].clone();
        let limit = self.rng.random_range(1..=3);
        let freed = said(self.ledger.reap(node.clone(), epoch, limit))?;
        ensure!(freed <= limit, "{freed} freed, limit {limit}");
        let mut listed = Vec::new();
        for user in &self.users {
            listed.extend(said(self.ledger.slots(user.clone()))?);
        }
        let mut ended = 0;
        for n in 0..self.sessions.len() {
            let session = &self.sessions[n];
            if session.holder.node != node || session.holder.epoch != epoch {
                continue;
            }
            let holds = listed.iter().any(|slot| slot.holder == session.holder);
            let awaits = |slot: &Slot| matches!(&slot.state, SlotState::Evicting { by } if *by == session.holder);
            let left = match session.phase {
                Phase::Running => !holds,
                Phase::Waiting(_) => !holds && !listed.iter().any(awaits),
                Phase::Detached(_) | Phase::Gone => continue,
            };
            ensure!(left || freed == limit, "reap says that it is done, but {session:?} is left");
            if left {
                ended += usize::from(session.phase == Phase::Running);
                self.end(n);
            }
        }
        ensure!(ended == freed, "{ended} slots went, {freed} were said to");
        Ok(())
    }

    /// An operator ends a session.
    fn remove(&mut self) -> Result<(), String> {
        let Some(session) = self.pick(|s| s.phase != Phase::Gone) else { return Ok(()) };
        let waits = matches!(self.sessions[session].phase, Phase::Waiting(_));
        self.end(session);
        let slot = said(self.ledger.remove(self.user(session), self.sessions[session].holder.sid))?;
        let expected = (!waits).then(|| self.holder(session));
        ensure!(slot.as_ref().map(|slot| &slot.holder) == expected.as_ref(), "removed {slot:?}, not {expected:?}");
        Ok(())
    }
}
