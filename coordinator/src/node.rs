//! What the parts of a coordinator share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_common::clock::{Clock, Mono};
use portcullis_common::config::model::{Coordinator as Settings, Stuffing};
use portcullis_common::membership::Membership;
use portcullis_common::store::leader::{Candidate, Fence};
use portcullis_common::store::{Custody, Judging, StoreFault};

use crate::election::{Change, Election, Role};
use crate::events::{LeaderSeen, LeadershipLost, LeadershipTaken, StoreFailed, WriteFenced};
use crate::metrics::Metrics;

/// A loop that has not begun a round for this long counts as dead.
const LOOP_SILENCE: Duration = Duration::from_secs(10);
/// A store that has not answered a poll for this long is worth a word in `/health`.
const STORE_SILENCE: Duration = Duration::from_secs(2);

/// When a loop began its last round; 0 before the first.
#[derive(Default)]
pub struct Beat(AtomicU64);

impl Beat {
    /// A round begins.
    pub fn now(&self, now: Mono) {
        self.0.store(now.0.max(1), Ordering::Relaxed);
    }

    fn is_dead(&self, now: Mono) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        last != 0 && now.since(Mono(last)) > LOOP_SILENCE
    }
}

/// A coordinator. Locks are short and never held over a store call.
pub struct Node {
    /// `[coordinator]`
    pub settings: Settings,
    /// `[stuffing]`
    pub stuffing: Stuffing,
    /// As which it stands for election.
    pub candidate: Candidate,
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// The store.
    pub custody: Custody,
    /// The same for refused logins, where they are judged.
    pub judging: Option<Judging>,
    /// Counters.
    pub metrics: Metrics,
    /// The campaign's pulse.
    pub campaign: Beat,
    /// The look-out's pulse.
    pub lookout: Beat,
    /// The judgement's pulse.
    pub threat: Beat,
    election: Mutex<Election>,
    membership: Mutex<Membership>,
    stopping: AtomicBool,
}

impl Node {
    /// A standby that has seen nothing yet.
    #[must_use]
    pub fn new(
        settings: Settings,
        stuffing: Stuffing,
        candidate: Candidate,
        clock: Arc<dyn Clock>,
        (custody, judging): (Custody, Option<Judging>),
    ) -> Self {
        Self {
            election: Mutex::new(Election::new(settings.lease)),
            membership: Mutex::default(),
            metrics: Metrics::default(),
            campaign: Beat::default(),
            lookout: Beat::default(),
            threat: Beat::default(),
            stopping: AtomicBool::new(false),
            settings,
            stuffing,
            candidate,
            clock,
            custody,
            judging,
        }
    }

    /// The election, locked.
    pub fn election(&self) -> MutexGuard<'_, Election> {
        self.election.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view of the fleet, locked.
    pub fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number that goes with a write now; `None`: this coordinator does not lead.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        self.election().fence(self.clock.mono())
    }

    /// `leader` or `standby`, for people.
    #[must_use]
    pub fn role(&self) -> &'static str {
        match self.election().role() {
            Role::Leading(_) => "leader",
            Role::Standby | Role::Claimed(_) => "standby",
        }
    }

    /// From now on this coordinator is on its way out.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Tells people what became of the election.
    pub fn tell(&self, change: Option<Change>) {
        match change {
            None => {}
            Some(Change::Leads(term)) => LeadershipTaken { term }.emit(&self.metrics),
            Some(Change::Lost(term, loss)) => LeadershipLost { term, loss }.emit(&self.metrics),
            Some(Change::Follows(leader, term)) => LeaderSeen { leader: &leader, term }.emit(&self.metrics),
        }
    }

    /// A call that this coordinator made as leader, or to lead, failed.
    pub fn failed(&self, call: &'static str, term: Option<Fence>, fault: &StoreFault) {
        match (fault, term) {
            (StoreFault::Fenced, Some(term)) => {
                WriteFenced { call, term }.emit(&self.metrics);
                let change = self.election().refused(term);
                self.tell(change);
            }
            _ => StoreFailed { call, fault }.emit(&self.metrics),
        }
    }

    /// What does not work at the moment although the process is well.
    #[must_use]
    pub fn degraded(&self) -> Vec<&'static str> {
        let now = self.clock.mono();
        let silent = self.membership().last_answer().is_some_and(|last| now.since(last) > STORE_SILENCE);
        silent.then_some("the store does not answer").into_iter().collect()
    }

    /// Why this coordinator cannot do its part; empty when it can.
    #[must_use]
    pub fn not_ready(&self) -> Vec<&'static str> {
        let now = self.clock.mono();
        let reasons = [
            (self.stopping.load(Ordering::Acquire), "stopping"),
            (self.membership().last_answer().is_none(), "the store has not answered yet"),
            (self.campaign.is_dead(now), "the campaign does not run"),
            (self.lookout.is_dead(now), "the look-out does not run"),
            (self.threat.is_dead(now), "the judgement of refused logins does not run"),
        ];
        reasons.into_iter().filter_map(|(so, reason)| so.then_some(reason)).collect()
    }
}
