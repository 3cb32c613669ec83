//! Stuffing and scanning over the fleet: reads what nodes report of refused logins, judges it, and has the doors shut.
//!
//! Only whoever leads does; what it writes carries its term. Whoever takes over reads the same reports from their
//! beginning, and learns from the control log which doors are shut already.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use portcullis_common::clock::UnixMs;
use portcullis_common::store::control::{ControlEntry, ControlSink, Logged, Target};
use portcullis_common::store::leader::Fence;
use portcullis_common::store::report::{Page, Place};
use portcullis_common::store::{Judging, StoreFault};
use portcullis_common::stuffing::detector::Detector;
use portcullis_common::stuffing::verdict::Judgement;

use crate::events::{ReportsRefused, StuffingFound, StuffingWithheld};
use crate::metrics::Part;
use crate::node::Node;

/// From one judgement to the next.
const PERIOD: Duration = Duration::from_millis(500);
/// Pages that are read before what they say is judged.
const PAGES: usize = 16;
/// Words of the control log that wait; more are not needed, because what is decided twice says the same.
const WORDS: usize = 65_536;
/// Until the control log is followed.
const AGAIN: Duration = Duration::from_secs(1);

/// What the control log says of doors.
enum Word {
    Shut { network: IpNet, since: UnixMs, until: UnixMs },
    Lifted(IpNet),
}

/// Hears what the control log says of doors.
#[derive(Default)]
struct Ear(Mutex<Vec<Word>>);

impl Ear {
    fn take(&self) -> Vec<Word> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ControlSink for Ear {
    fn apply(&self, logged: &Logged) {
        let word = match &logged.entry {
            ControlEntry::Shut { network, until, .. } => {
                Word::Shut { network: *network, since: logged.at, until: *until }
            }
            ControlEntry::Lift { target: Target::Network(network) } => Word::Lifted(*network),
            _ => return,
        };
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() < WORDS {
            words.push(word);
        }
    }
}

/// Judges for ever, where it is wanted.
pub async fn run(node: Arc<Node>, stores: Judging) {
    let lag = node.metrics.lag.get_or_create_owned(&Part { part: "threat" });
    let ear = Arc::new(Ear::default());
    while let Err(fault) = stores.control.follow(Arc::<Ear>::clone(&ear) as _).await {
        node.threat.now(node.clock.mono());
        node.failed("control.follow", None, &fault);
        tokio::time::sleep(AGAIN).await;
    }
    let mut round = Round { stores, detector: Detector::new(node.stuffing.clone()), place: Place::default() };
    let mut due = node.clock.mono();
    loop {
        let now = node.clock.mono();
        node.threat.now(now);
        lag.set(now.since(due).as_secs_f64());
        for word in ear.take() {
            round.hear(word);
        }
        if let Some(term) = node.fence()
            && let Err((call, fault)) = round.judge(&node, term).await
        {
            node.failed(call, Some(term), &fault);
        }
        due = due.after(PERIOD).max(node.clock.mono());
        tokio::time::sleep(due.since(node.clock.mono())).await;
    }
}

struct Round {
    stores: Judging,
    detector: Detector,
    place: Place,
}

impl Round {
    fn hear(&mut self, word: Word) {
        match word {
            Word::Shut { network, since, until } => self.detector.is_shut(network, since, until),
            Word::Lifted(network) => self.detector.pardon(network),
        }
    }

    async fn judge(&mut self, node: &Node, term: Fence) -> Result<(), (&'static str, StoreFault)> {
        let mut now = UnixMs(0);
        for _ in 0..PAGES {
            let read = self.stores.reports.read(self.place).await;
            let Page { now: at, filed, last, more, refused } = read.map_err(|fault| ("reports.read", fault))?;
            node.metrics.reports.inc_by(filed.len() as u64);
            if refused > 0 {
                ReportsRefused { records: refused }.emit(&node.metrics);
            }
            filed.iter().for_each(|filed| self.detector.take(&filed.report, filed.at));
            (now, self.place) = (at, last);
            if !more {
                break;
            }
        }
        let Judgement { decisions, withheld, spared } = self.detector.judge(now);
        node.metrics.stuffing_known.set(i64::try_from(self.detector.known()).unwrap_or(i64::MAX));
        node.metrics.stuffing_spared.inc_by(u64::from(spared));
        if withheld > 0 {
            StuffingWithheld { addresses: withheld }.emit(&node.metrics);
        }
        let dry_run = node.stuffing.dry_run;
        decisions.iter().for_each(|decision| StuffingFound { decision, term, dry_run }.emit(&node.metrics));
        if dry_run || decisions.is_empty() {
            return Ok(());
        }
        let entries = decisions.iter().map(|decision| decision.entry()).collect();
        // what does not arrive is found again: the refused logins go on
        self.stores.control.append_by(term, entries).await.map(|_| ()).map_err(|fault| ("control.append", fault))
    }
}
