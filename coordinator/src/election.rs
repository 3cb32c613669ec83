//! Whether this coordinator leads: plain state, told what time it is and what the store answered.
//!
//! ```text
//!            elected                    proclaimed
//!  Standby ───────────► Claimed(term) ────────────► Leading(term)
//!     ▲                      │                           │
//!     └──────────────────────┴───────────────────────────┘  time is up · renewal refused · a later term has written
//! ```
//!
//! A term is counted from when its last renewal was *sent*, so this side never believes in it for longer than the store
//! does, however late an answer comes. That alone cannot keep a process that is stopped between looking at the clock and
//! writing from writing too late; so every write carries the term's number, and the store refuses an old one.

use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::ids::NodeId;
use portcullis_common::store::leader::{Fence, Stood, Term};

/// A renewal is sent after this part of the term; so two may be lost.
const RENEW_PART: u32 = 3;
/// How soon a call that was not answered is made again.
const RETRY: Duration = Duration::from_millis(500);
/// How often a standby looks, at least: it may have to wait for less when a leader resigns.
const LOOK: Duration = Duration::from_secs(1);
/// How long after the end of somebody's term a standby stands again.
const AFTER: Duration = Duration::from_millis(20);

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing until then.
    Wait(Mono),
    /// Stand for election.
    Stand,
    /// Tell every partition about the term.
    Proclaim(Fence),
    /// Prolong the term.
    Renew(Fence),
}

/// What this coordinator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It watches.
    Standby,
    /// It was elected, and does not act yet: writes of the leader before it may still be taken somewhere.
    Claimed(Fence),
    /// It acts.
    Leading(Fence),
}

/// Why a coordinator leads no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its time was up before a renewal was answered.
    Expired,
    /// The store does not know its term any more.
    NotRenewed,
    /// The store refused a write because of a later term.
    Fenced,
}

/// Something that people want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This coordinator leads.
    Leads(Fence),
    /// It leads no more.
    Lost(Fence, Loss),
    /// Another one does, since a term that was not known before.
    Follows(NodeId, Fence),
}

/// One candidate's part in the election.
#[derive(Debug)]
pub struct Election {
    lease: Duration,
    role: Role,
    /// The end of the own term.
    until: Mono,
    /// When the next call is due.
    next: Mono,
    /// The latest term that is known, and whose it is.
    latest: Option<(NodeId, Fence)>,
}

impl Election {
    /// A standby whose terms last so long.
    #[must_use]
    pub fn new(lease: Duration) -> Self {
        Self { lease, role: Role::Standby, until: Mono(0), next: Mono(0), latest: None }
    }

    /// What it is, whatever the time.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The number that goes with a write now; `None`: do not write.
    #[must_use]
    pub fn fence(&self, now: Mono) -> Option<Fence> {
        match self.role {
            Role::Leading(fence) if now < self.until => Some(fence),
            _ => None,
        }
    }

    /// The latest term that is known, and whose it is.
    #[must_use]
    pub fn latest(&self) -> Option<&(NodeId, Fence)> {
        self.latest.as_ref()
    }

    /// What to do at `now`; ends a term whose time is up.
    pub fn step(&mut self, now: Mono) -> (Step, Option<Change>) {
        let lost = match self.role {
            Role::Claimed(fence) | Role::Leading(fence) if now >= self.until => Some(self.lose(fence, Loss::Expired)),
            _ => None,
        };
        let step = match self.role {
            _ if now < self.next => Step::Wait(self.next),
            Role::Standby => Step::Stand,
            Role::Claimed(fence) => Step::Proclaim(fence),
            Role::Leading(fence) => Step::Renew(fence),
        };
        (step, lost)
    }

    /// Standing, sent at `sent`, was answered at `now`; `None`: it was not.
    pub fn stood(&mut self, me: &NodeId, sent: Mono, now: Mono, answer: Option<Stood>) -> Option<Change> {
        match answer {
            None => {
                self.next = now.after(RETRY);
                None
            }
            Some(Stood::Elected(fence)) => {
                self.latest = Some((me.clone(), fence));
                (self.role, self.until, self.next) = (Role::Claimed(fence), sent.after(self.lease), now);
                None
            }
            Some(Stood::Led(Term { id, fence, remaining })) => {
                self.next = now.after((remaining + AFTER).min(LOOK));
                let known = self.latest.as_ref().is_some_and(|(_, latest)| *latest == fence);
                self.latest = Some((id.clone(), fence));
                (!known).then_some(Change::Follows(id, fence))
            }
        }
    }

    /// The proclamation of `fence`, was answered at `now`.
    pub fn proclaimed(&mut self, fence: Fence, now: Mono, answer: Proclaimed) -> Option<Change> {
        if self.role != Role::Claimed(fence) {
            return None;
        }
        match answer {
            Proclaimed::Everywhere if now < self.until => {
                self.role = Role::Leading(fence);
                self.next = now;
                Some(Change::Leads(fence))
            }
            // the next step sees that time is up
            Proclaimed::Everywhere => None,
            Proclaimed::Refused => Some(self.lose(fence, Loss::Fenced)),
            Proclaimed::Unanswered => {
                self.next = now.after(RETRY);
                None
            }
        }
    }

    /// The renewal of `fence`, sent at `sent`, was answered at `now`; `None`: it was not.
    pub fn renewed(&mut self, fence: Fence, sent: Mono, now: Mono, answer: Option<bool>) -> Option<Change> {
        if self.role != Role::Leading(fence) {
            return None;
        }
        match answer {
            Some(true) => {
                self.until = sent.after(self.lease);
                self.next = sent.after(self.lease / RENEW_PART);
                None
            }
            Some(false) => Some(self.lose(fence, Loss::NotRenewed)),
            None => {
                self.next = now.after(RETRY.min(self.lease / RENEW_PART));
                None
            }
        }
    }

    /// A write of `fence` was refused: a later term has written.
    pub fn refused(&mut self, fence: Fence) -> Option<Change> {
        match self.role {
            Role::Claimed(own) | Role::Leading(own) if own == fence => Some(self.lose(fence, Loss::Fenced)),
            _ => None,
        }
    }

    /// Gives the term up; what the store has to be told about.
    pub fn resign(&mut self) -> Option<Fence> {
        match std::mem::replace(&mut self.role, Role::Standby) {
            Role::Claimed(fence) | Role::Leading(fence) => Some(fence),
            Role::Standby => None,
        }
    }

    fn lose(&mut self, fence: Fence, loss: Loss) -> Change {
        self.role = Role::Standby;
        self.next = Mono(0);
        Change::Lost(fence, loss)
    }
}

/// What became of a proclamation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proclaimed {
    /// Every partition knows the term.
    Everywhere,
    /// A partition knows a later one.
    Refused,
    /// Some partition did not answer.
    Unanswered,
}

#[cfg(test)]
mod tests;
