//! A small fleet that uses one ledger, and knows the truth: which sessions run. Every answer and, after every step, the
//! whole list of slots is compared with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_common::clock::{Clock, ManualClock, Mono, UnixMs};
use portcullis_common::config::model::OnLimit;
use portcullis_common::ids::{NodeEpoch, NodeId, SessionId, UserId};
use portcullis_common::store::session::{Holder, SessionLedger, SlotState};
use portcullis_common::store::{StoreFault, StoreFuture};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// `Err` with a text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}
pub(crate) use ensure;

pub const USERS: usize = 2;
pub const NODES: usize = 3;

/// What a ready future holds.
pub fn now<T>(mut answer: StoreFuture<'_, T>) -> Result<T, StoreFault> {
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(StoreFault::Unavailable("the simulation runs on ready futures".into())),
    }
}

/// The same where a fault would be a finding.
pub fn said<T>(answer: StoreFuture<'_, T>) -> Result<T, String> {
    now(answer).map_err(|fault| fault.to_string())
}

#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Was told to wait for this session's slot.
    Waiting(SessionId),
    /// Dispatches: there must be a slot for it.
    Running,
    Detached(Mono),
    Gone,
}

pub type Token = [u8; 32];

/// One session as its node and its client know it.
#[derive(Debug, Clone)]
pub struct Session {
    pub user: usize,
    pub holder: Holder,
    pub phase: Phase,
    /// Its node died; nobody acts for it until it is resumed or reaped.
    pub dead: bool,
    pub token: Option<Token>,
    pub before: Option<(Token, Mono)>,
}

pub struct World {
    pub ledger: Arc<dyn SessionLedger>,
    pub clock: Arc<ManualClock>,
    pub rng: StdRng,
    pub cap: u32,
    pub policy: OnLimit,
    pub users: Vec<UserId>,
    pub sessions: Vec<Session>,
    /// Holders that will never hold again.
    pub stale: Vec<(usize, Holder)>,
    pub tokens: Vec<(usize, Token)>,
    pub nodes: Vec<(NodeId, NodeEpoch)>,
    pub dead: Vec<(NodeId, NodeEpoch)>,
    next: u64,
    last_seq: HashMap<usize, u64>,
}

impl World {
    pub fn new(seed: u64, make: &dyn Fn(Arc<dyn Clock>) -> Arc<dyn SessionLedger>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let clock = Arc::new(ManualClock::at(UnixMs(1_000_000)));
        let name = |n: usize| NodeId::parse(&format!("n{n}")).expect("a legal name");
        Self {
            ledger: make(Arc::clone(&clock) as Arc<dyn Clock>),
            clock,
            cap: rng.random_range(1..=4),
            policy: if rng.random_bool(0.3) { OnLimit::Reject } else { OnLimit::EvictOldest },
            rng,
            users: (0..USERS).map(|n| UserId::parse(&format!("u{n}")).expect("a legal name")).collect(),
            sessions: Vec::new(),
            stale: Vec::new(),
            tokens: Vec::new(),
            nodes: (0..NODES).map(|n| (name(n), NodeEpoch(n as u128))).collect(),
            dead: Vec::new(),
            next: 100,
            last_seq: HashMap::new(),
        }
    }

    pub fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn fresh_token(&mut self, user: usize) -> Token {
        let mut token = [7; 32];
        token[..8].copy_from_slice(&self.fresh().to_le_bytes());
        self.tokens.push((user, token));
        token
    }

    pub fn window(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(1..=200))
    }

    /// A random session that `fits`.
    pub fn pick(&mut self, fits: impl Fn(&Session) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.sessions.len()).filter(|&n| fits(&self.sessions[n])).collect();
        (!fitting.is_empty()).then(|| fitting[self.rng.random_range(0..fitting.len())])
    }

    pub fn user(&self, session: usize) -> UserId {
        self.users[self.sessions[session].user].clone()
    }

    pub fn holder(&self, session: usize) -> Holder {
        self.sessions[session].holder.clone()
    }

    /// The session that waits for the slot of `victim`.
    pub fn waiter(&self, victim: usize) -> Option<usize> {
        let sid = self.sessions[victim].holder.sid;
        self.sessions.iter().position(|session| session.phase == Phase::Waiting(sid))
    }

    pub fn end(&mut self, session: usize) {
        let gone = &mut self.sessions[session];
        gone.phase = Phase::Gone;
        self.stale.push((gone.user, gone.holder.clone()));
    }

    /// Every change of a user has a greater number than the one before.
    pub fn changed(&mut self, user: usize, seq: u64) -> Result<(), String> {
        let last = self.last_seq.entry(user).or_insert(0);
        ensure!(seq > *last, "seq {seq} after {last}");
        *last = seq;
        Ok(())
    }

    /// Lets time have its effect on what is known.
    pub fn expire(&mut self) {
        let now = self.clock.mono();
        for session in 0..self.sessions.len() {
            if matches!(self.sessions[session].phase, Phase::Detached(until) if until <= now) {
                self.end(session);
            }
            let before = &mut self.sessions[session].before;
            *before = before.filter(|(_, until)| *until > now);
        }
    }

    /// Newcomers whose victims are gone run; nobody else may hold anything.
    pub fn settle(&mut self) -> Result<(), String> {
        for newcomer in 0..self.sessions.len() {
            let Phase::Waiting(victim) = self.sessions[newcomer].phase else { continue };
            let holds = said(self.ledger.holds(self.user(newcomer), self.holder(newcomer)))?;
            let stopped = !self.sessions.iter().any(|s| s.holder.sid == victim && s.phase == Phase::Running);
            ensure!(holds == stopped, "newcomer holds: {holds}, its victim has stopped: {stopped}");
            if stopped {
                self.sessions[newcomer].phase = Phase::Running;
            }
        }
        Ok(())
    }

    /// The ledger's list is the truth, slot by slot, and within the cap.
    pub fn check(&mut self) -> Result<(), String> {
        let now = self.clock.mono();
        for user in 0..USERS {
            let slots = said(self.ledger.slots(self.users[user].clone()))?;
            ensure!(slots.len() <= self.cap as usize, "{} slots at cap {}", slots.len(), self.cap);
            let counting = |s: &&Session| s.user == user && matches!(s.phase, Phase::Running | Phase::Detached(_));
            let expected = self.sessions.iter().filter(counting).count();
            ensure!(slots.len() == expected, "{} slots for {expected} sessions", slots.len());
            for slot in slots {
                let Some(known) = self.sessions.iter().position(|s| s.holder == slot.holder) else {
                    return Err(format!("nobody is {:?}", slot.holder));
                };
                let waiter = self.waiter(known).map(|newcomer| &self.sessions[newcomer].holder);
                let agrees = match (&self.sessions[known].phase, &slot.state) {
                    (Phase::Running, SlotState::Live) => waiter.is_none(),
                    (Phase::Running, SlotState::Evicting { by }) => waiter == Some(by),
                    (Phase::Detached(end), SlotState::Detached { until }) => *end == Mono(until.0) && *end > now,
                    _ => false,
                };
                ensure!(agrees, "{:?} is listed as {:?}", self.sessions[known], slot.state);
            }
        }
        Ok(())
    }
}
