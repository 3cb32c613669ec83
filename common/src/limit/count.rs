//! One key of one limit: the tokens that are here, what the store said last, and how much the key is used.

use std::time::Duration;

use super::{AGAIN, LEASE, PATIENCE, Plan, Standing};
use crate::gcra::Tat;
use crate::store::limit::Leased;

/// A call that was neither answered nor failed for this long is lost, in ns.
const LOST: u64 = 2 * LEASE;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is let in.
    Yes,
    /// It is refused, and would be let in after this long, as far as is known.
    Wait(Duration),
    /// It has to wait until the call that is under way is over, or [`PATIENCE`] has passed.
    Ask,
}

/// A call to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Tokens that were let in already: they are charged whatever the count says.
    pub paid: u32,
    /// Tokens wanted beside them.
    pub want: u32,
    /// Nodes of the fleet.
    pub nodes: u32,
}

/// What a [`Count::take`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// For the message.
    pub answer: Answer,
    /// For the store: begun as of now, so it has to be [`Count::answered`] or [`Count::failed`].
    pub order: Option<Order>,
    /// This node's share decided, because the store did not.
    pub alone: bool,
}

impl From<Answer> for Took {
    fn from(answer: Answer) -> Self {
        Self { answer, order: None, alone: false }
    }
}

/// Tokens of one grant.
#[derive(Debug, Clone, Copy, Default)]
struct Lease {
    tokens: u32,
    until: u64,
}

/// How sure this node is of the store, for one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Trust {
    /// Nothing was asked yet.
    #[default]
    New,
    /// The last call was answered.
    Answered,
    /// The last call failed; the next is due at this moment.
    Failed(u64),
}

/// One key's state, 112 bytes. All times are ns of one monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    /// Attempts in the last [`LEASE`], exponentially decayed.
    pressure: f32,
    /// The last attempt; 0: none.
    touched: u64,
    /// The older first.
    leases: [Lease; 2],
    /// When the call that is under way was sent, and the tokens that it may bring.
    sent: Option<u64>,
    wanted: u32,
    /// Until when the store would refuse.
    closed: u64,
    /// When the last call was sent that did not get all it wanted, or the last token; 0: none.
    tight: u64,
    trust: Trust,
    /// What the share let in while a call was late.
    owed: u32,
    share: Tat,
}

impl Count {
    /// Takes one message. `born`: when this node began to count.
    pub fn take(&mut self, plan: &Plan, standing: Standing, born: u64) -> Took {
        let Standing { up, patient, now } = standing;
        let quiet = now.saturating_sub(self.touched.max(born)) >= LEASE;
        let expected = self.attempt(now);
        if self.take_token(now) {
            plan.share.note(&mut self.share, now, 1);
            return Took { answer: Answer::Yes, order: self.ahead(plan, up, now), alone: false };
        }
        if now < self.closed {
            return Answer::Wait(Duration::from_nanos(self.closed - now)).into();
        }
        if self.sent.is_some_and(|sent| now.saturating_sub(sent) >= LOST) {
            self.failed(now);
        }
        if let Some(sent) = self.sent {
            let late = now.saturating_sub(sent) >= PATIENCE || matches!(self.trust, Trust::Failed(_)) || !up;
            return if late || !patient { self.alone(plan, None, now) } else { Answer::Ask.into() };
        }
        if !up {
            return self.alone(plan, None, now);
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number above zero")]
        let want = (expected.ceil() as u32).clamp(1, plan.held);
        match self.trust {
            Trust::Failed(again) => {
                let probe = (now >= again).then(|| self.order(plan, 0, want, now));
                self.alone(plan, probe, now)
            }
            Trust::New | Trust::Answered if quiet && plan.advance => {
                plan.share.note(&mut self.share, now, 1);
                let order = Some(self.order(plan, 1, 0, now));
                Took { answer: Answer::Yes, order, alone: false }
            }
            Trust::New | Trust::Answered => {
                let order = Some(self.order(plan, 0, want, now));
                if patient { Took { answer: Answer::Ask, order, alone: false } } else { self.alone(plan, order, now) }
            }
        }
    }

    /// Begins the call that a message will need soon, and takes nothing.
    pub fn prepare(&mut self, plan: &Plan, standing: Standing) -> Option<Order> {
        let Standing { up, now, .. } = standing;
        let ready = self.held(now) > 0 || self.sent.is_some() || now < self.closed;
        if ready || !up || matches!(self.trust, Trust::Failed(_)) {
            return None;
        }
        Some(self.order(plan, 0, 1, now))
    }

    /// How long until [`Self::take`] would let one in, as far as is known; takes nothing.
    #[must_use]
    pub fn wait(&self, plan: &Plan, up: bool, now: u64) -> Duration {
        if self.held(now) > 0 {
            return Duration::ZERO;
        }
        let closed = Duration::from_nanos(self.closed.saturating_sub(now));
        let alone = !up || matches!(self.trust, Trust::Failed(_));
        if alone { closed.max(plan.share.wait(self.share, now, 1)) } else { closed }
    }

    /// Gives a token back that was taken a moment ago for a message that went no further. It lives as long as before;
    /// where its lease is over, or it may have been of this node's share, it is lost: none is made up.
    pub fn give_back(&mut self, plan: &Plan, up: bool, now: u64) {
        let late = self.sent.is_some_and(|sent| now.saturating_sub(sent) >= PATIENCE);
        let coming = if self.sent.is_some() { self.wanted } else { 0 };
        if !up || late || matches!(self.trust, Trust::Failed(_)) {
            plan.share.give_back(&mut self.share, 1);
            return;
        }
        if self.held(now) + coming >= plan.held {
            return;
        }
        if let Some(lease) = self.leases.iter_mut().find(|lease| lease.until > now) {
            lease.tokens += 1;
        } else if let Some(sent) = self.sent.filter(|_| self.wanted == 0) {
            // it was let in on credit, and the call that pays for it is under way
            self.keep(Lease { tokens: 1, until: sent.saturating_add(plan.lease) }, now);
        }
    }

    /// The call that was sent at `sent` was answered.
    pub fn answered(&mut self, plan: &Plan, order: Order, leased: Leased, now: u64) {
        let Some(sent) = self.sent.take() else { return };
        self.trust = Trust::Answered;
        let granted = leased.granted.min(order.want);
        let used = granted.min(std::mem::take(&mut self.owed));
        let until = sent.saturating_add(plan.lease);
        if until > now {
            self.keep(Lease { tokens: granted - used, until }, now);
        }
        let over = !leased.wait.is_zero();
        if over || granted < order.want {
            let wait = u64::try_from(leased.wait.as_nanos()).unwrap_or(u64::MAX);
            let exact = if over { now.saturating_add(wait) } else { now };
            let one = if granted == 0 { sent.saturating_add(plan.limit.interval()) } else { now };
            let again = self.tight != 0 && sent.saturating_sub(self.tight) < plan.pause;
            self.tight = sent.max(1);
            let presses = again || plan.presses(self.pressure(now));
            let pause = if presses { sent.saturating_add(plan.pause) } else { now };
            self.closed = exact.max(one).max(pause);
        }
    }

    /// The call failed: nothing is known of what became of it.
    pub fn failed(&mut self, now: u64) {
        if self.sent.take().is_some() {
            self.trust = Trust::Failed(now.saturating_add(AGAIN));
            self.owed = 0;
        }
    }

    /// Whether the state equals that of a key never seen, so that a table may forget it.
    #[must_use]
    pub fn idle(&self, now: u64) -> bool {
        self.sent.is_none()
            && now >= self.closed
            && self.held(now) == 0
            && now.saturating_sub(self.touched) >= LEASE
            && self.share.0 <= now
    }

    /// Tokens that are here and alive.
    #[must_use]
    pub fn held(&self, now: u64) -> u32 {
        self.leases.iter().filter(|lease| lease.until > now).map(|lease| lease.tokens).sum()
    }

    /// Whether a call is under way.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.sent.is_some()
    }

    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    fn pressure(&self, now: u64) -> f32 {
        let age = now.saturating_sub(self.touched) as f32 / LEASE as f32;
        if age < 20.0 { self.pressure * (-age).exp() } else { 0.0 }
    }

    /// Notes an attempt; the answer is how many were made in the time of a lease, this one left out.
    fn attempt(&mut self, now: u64) -> f32 {
        let before = self.pressure(now);
        self.pressure = before + 1.0;
        self.touched = now.max(1);
        before
    }

    fn take_token(&mut self, now: u64) -> bool {
        match self.leases.iter_mut().find(|lease| lease.until > now && lease.tokens > 0) {
            Some(lease) => {
                lease.tokens -= 1;
                true
            }
            None => false,
        }
    }

    /// Puts a new lease behind the older one.
    fn keep(&mut self, lease: Lease, now: u64) {
        let [first, second] = self.leases;
        let older = if second.until > now && second.tokens > 0 { second } else { first };
        self.leases = [older, lease];
    }

    /// The next call, before the tokens run out: for a key in steady use, when what is left lasts a tenth of a second.
    fn ahead(&mut self, plan: &Plan, up: bool, now: u64) -> Option<Order> {
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let left = self.held(now) as f32;
        let due = plan.steady && self.pressure >= 2.0 && left * 30.0 <= self.pressure;
        // two leases have room; the older has to be used up before a third
        let room = self.leases.iter().any(|lease| lease.until <= now || lease.tokens == 0);
        if !due || !room || !up || self.sent.is_some() || now < self.closed || self.trust != Trust::Answered {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number above zero")]
        let want = (self.pressure.ceil() as u32).min(plan.held).saturating_sub(self.held(now));
        (want > 0).then(|| self.order(plan, 0, want, now))
    }

    fn order(&mut self, plan: &Plan, paid: u32, want: u32, now: u64) -> Order {
        self.sent = Some(now);
        self.wanted = want;
        Order { paid, want, nodes: plan.nodes }
    }

    /// This node's share decides.
    fn alone(&mut self, plan: &Plan, order: Option<Order>, now: u64) -> Took {
        let answer = match plan.share.take(&mut self.share, now, 1) {
            Ok(()) => {
                if self.sent.is_some() {
                    self.owed = self.owed.saturating_add(1);
                }
                Answer::Yes
            }
            Err(wait) => Answer::Wait(wait),
        };
        Took { answer, order, alone: true }
    }
}
