//! What the node knows of its own standing in the fleet: its lease, the store, the control log, the bus; and what it may
//! therefore do. Live sessions go on through most of it; newcomers are refused first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_common::clock::Clock;
use portcullis_common::fence::{Fence, Standing};
use portcullis_common::store::watch::{Probe, StoreWatch};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use serde_json::{Value, json};

/// New sessions are refused when what is known of bans and revocations is older.
pub const STALE_FOR_SESSIONS: Duration = Duration::from_secs(10);
/// Tokens of live sessions are not refreshed when it is older.
pub const STALE_FOR_REFRESHES: Duration = Duration::from_secs(60);
/// When it is worth another try.
const RETRY: Duration = Duration::from_secs(1);

/// One a node.
pub struct Vitals {
    /// How long the node may act in the name of its lease.
    pub fence: Arc<Fence>,
    /// `None`: the store is this process's own, and always well.
    store: Option<Arc<dyn StoreWatch>>,
    clock: Arc<dyn Clock>,
    /// The lease was taken and the control log read once.
    joined: AtomicBool,
}

impl Vitals {
    /// Of a node that has not joined its fleet yet.
    #[must_use]
    pub fn new(fence: Fence, store: Option<Arc<dyn StoreWatch>>, clock: Arc<dyn Clock>) -> Self {
        Self { fence: Arc::new(fence), store, clock, joined: AtomicBool::new(false) }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Option<&dyn StoreWatch> {
        self.store.as_deref()
    }

    /// The same, to keep.
    #[must_use]
    pub fn watch(&self) -> Option<Arc<dyn StoreWatch>> {
        self.store.clone()
    }

    /// The lease is taken, bans are known, mail can come.
    pub fn joined(&self) {
        self.joined.store(true, Ordering::Release);
    }

    fn has_joined(&self) -> bool {
        self.joined.load(Ordering::Acquire)
    }

    fn standing(&self) -> Standing {
        self.fence.standing(self.clock.mono())
    }

    fn log_is_older_than(&self, bound: Duration) -> bool {
        self.store().is_some_and(|store| store.log_age().is_none_or(|age| age > bound))
    }

    /// Whether somebody new may be let in, or given a ticket.
    ///
    /// # Errors
    /// `store_unavailable` with a time after which to try again.
    pub fn may_admit(&self) -> Result<(), Reject> {
        if !self.has_joined() {
            Err(lost("the node has not joined its fleet yet"))
        } else if self.standing() != Standing::Held {
            Err(lost("the lease was not renewed in time"))
        } else if self.log_is_older_than(STALE_FOR_SESSIONS) {
            Err(lost("bans are not known well enough for a new session"))
        } else {
            Ok(())
        }
    }

    /// Whether a live session's token may be replaced.
    ///
    /// # Errors
    /// As [`Vitals::may_admit`].
    pub fn may_refresh(&self) -> Result<(), Reject> {
        if self.log_is_older_than(STALE_FOR_REFRESHES) {
            return Err(lost("revocations are not known well enough for a refresh"));
        }
        Ok(())
    }

    /// What does not work although the node is ready.
    #[must_use]
    pub fn degraded(&self) -> Vec<&'static str> {
        let down = self.store().is_some_and(|store| !store.answers());
        let evicts = self.store().is_some_and(StoreWatch::evicts);
        let all = [
            (down, "the store does not answer"),
            (evicts, "a server of the store drops keys when memory is short (maxmemory-policy)"),
            (self.standing() != Standing::Held, "the lease was not renewed in time"),
            (self.log_is_older_than(STALE_FOR_SESSIONS), "the control log was not read lately"),
        ];
        all.into_iter().filter_map(|(is_so, what)| is_so.then_some(what)).collect()
    }

    /// Why no new connection should be sent here.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.standing() == Standing::Fenced {
            reasons.push("fenced: the lease was not renewed in time".to_owned());
        }
        if !self.has_joined() {
            reasons.push("no control log yet".to_owned());
        }
        let Some(store) = self.store() else { return reasons };
        // a store that does not answer takes no endpoint away: else it would take all of them
        if store.answers() && self.has_joined() && !store.log_current() {
            reasons.push("the control log of the store's present era is not read yet".to_owned());
        }
        match store.probe() {
            Probe::Returns => {}
            Probe::Pending => reasons.push("the bus has brought nothing back yet".to_owned()),
            Probe::Silent(time) => {
                reasons.push(format!("the bus brings back nothing of what this node says, for {} s", time.as_secs()))
            }
        }
        reasons
    }

    /// For `/health`; `null` where the store is the process's own.
    #[must_use]
    pub fn report(&self) -> Value {
        let Some(store) = self.store() else { return Value::Null };
        let since = self.fence.since_renewal(self.clock.mono());
        json!({
            "answers": store.answers(),
            "lease": match self.standing() {
                Standing::Held => "held",
                Standing::Lapsed => "lapsed",
                Standing::Fenced => "fenced",
            },
            "leaseAgeMs": self.has_joined().then(|| portcullis_common::clock::millis(since)),
            "controlLogAgeMs": store.log_age().map(portcullis_common::clock::millis),
            "bus": match store.probe() {
                Probe::Pending => "pending",
                Probe::Returns => "returns",
                Probe::Silent(_) => "silent",
            },
        })
    }
}

fn lost(detail: &'static str) -> Reject {
    Reject::new(Code::StoreUnavailable, detail).retry(RETRY)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use portcullis_common::clock::{ManualClock, UnixMs};
    use portcullis_common::store::watch::StoreCounts;

    use super::*;

    struct Store(Mutex<(bool, Option<Duration>, bool, Probe)>);

    impl StoreWatch for Store {
        fn answers(&self) -> bool {
            self.0.lock().unwrap().0
        }
        fn log_age(&self) -> Option<Duration> {
            self.0.lock().unwrap().1
        }
        fn log_current(&self) -> bool {
            self.0.lock().unwrap().2
        }
        fn probe(&self) -> Probe {
            self.0.lock().unwrap().3
        }
        fn evicts(&self) -> bool {
            false
        }
        fn counts(&self) -> StoreCounts {
            StoreCounts::default()
        }
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    fn vitals(answers: bool, age: Option<Duration>, current: bool, probe: Probe) -> Vitals {
        let store: Arc<dyn StoreWatch> = Arc::new(Store(Mutex::new((answers, age, current, probe))));
        let vitals = Vitals::new(Fence::open(), Some(store), Arc::new(ManualClock::at(UnixMs(5))));
        vitals.joined();
        vitals
    }

    #[test]
    fn a_stale_control_log_stops_newcomers_at_ten_seconds_and_refreshes_at_sixty() {
        for (age, admits, refreshes) in [
            (seconds(0), true, true),
            (seconds(10), true, true),
            (Some(Duration::from_millis(10_001)), false, true),
            (seconds(60), false, true),
            (Some(Duration::from_millis(60_001)), false, false),
            (None, false, false),
        ] {
            let vitals = vitals(false, age, true, Probe::Returns);
            assert_eq!((vitals.may_admit().is_ok(), vitals.may_refresh().is_ok()), (admits, refreshes), "{age:?}");
            assert_eq!(vitals.degraded().iter().any(|what| what.contains("control log")), !admits);
            assert_eq!(vitals.not_ready(), Vec::<String>::new(), "its sessions are worth keeping");
        }
    }

    #[test]
    fn a_bus_that_brings_nothing_back_makes_a_node_unready_and_a_log_that_is_read_anew_too() {
        for (current, probe, ready) in [
            (true, Probe::Returns, true),
            (false, Probe::Returns, false),
            (true, Probe::Pending, false),
            (true, Probe::Silent(Duration::from_secs(7)), false),
        ] {
            let vitals = vitals(true, seconds(1), current, probe);
            assert_eq!(vitals.not_ready().is_empty(), ready, "{probe:?} {:?}", vitals.not_ready());
        }
        assert!(vitals(false, seconds(1), false, Probe::Returns).not_ready().is_empty(), "the store is away");
    }

    #[test]
    fn who_has_not_joined_admits_nobody() {
        let vitals = Vitals::new(Fence::open(), None, Arc::new(ManualClock::at(UnixMs(5))));
        assert!(vitals.may_admit().is_err());
        assert_eq!(vitals.not_ready(), ["no control log yet"]);
        vitals.joined();
        assert!(vitals.may_admit().is_ok() && vitals.may_refresh().is_ok() && vitals.not_ready().is_empty());
        assert!(vitals.degraded().is_empty());
    }
}
