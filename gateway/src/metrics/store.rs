//! What the store's bus and control log counted, and what the log's writer dropped: read where they are counted, when
//! somebody asks for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, OnceLock, PoisonError};

use portcullis_common::store::redis::Counts;
use portcullis_common::store::watch::StoreWatch;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::counter;

/// `source` and `outcome`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fate {
    source: &'static str,
    outcome: &'static str,
}

type Sources = BTreeMap<(&'static str, &'static str), Counter>;

/// The handles.
pub struct StoreMetrics {
    records: Sources,
    pushes_lost: Counter,
    log_lines_lost: Counter,
    copies_failed: Counter,
    log_age: Gauge<f64, AtomicU64>,
    /// How many lines the log's writer dropped so far.
    dropped: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
    /// One reader at a time, or what grew meanwhile would be counted twice.
    reading: Mutex<()>,
}

impl StoreMetrics {
    pub(super) fn new(r: &mut Registry) -> Self {
        let family = Family::<Fate, Counter>::default();
        r.register("records", "Records of the bus and the control log, by what became of them", family.clone());
        let log_age = Gauge::<f64, AtomicU64>::default();
        let help = "Age of what is known of the control log; -1: nothing, or the store is in memory";
        r.register("control_log_age_seconds", help, log_age.clone());
        let handle = |source, outcome| ((source, outcome), family.get_or_create_owned(&Fate { source, outcome }));
        let outcomes = || Counts::default().entries().into_iter().map(|(outcome, _)| outcome);
        Self {
            records: ["bus", "control"]
                .into_iter()
                .flat_map(|s| outcomes().map(move |o| (s, o)))
                .map(|(s, o)| handle(s, o))
                .collect(),
            pushes_lost: counter(r, "pushes_lost", "Messages of the store that the node was too slow to take"),
            copies_failed: counter(r, "control_copies_failed", "Copies of the control log that did not reach the disk"),
            log_lines_lost: counter(r, "log_lines_lost", "Log lines dropped before a full writer"),
            log_age,
            dropped: OnceLock::new(),
            reading: Mutex::default(),
        }
    }

    /// Where dropped log lines are counted; the first word counts.
    pub fn watch_log(&self, dropped: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.dropped.set(Box::new(dropped));
    }

    /// Takes over what was counted elsewhere.
    pub fn read(&self, store: Option<&dyn StoreWatch>) {
        let _turn = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dropped) = self.dropped.get() {
            catch_up(&self.log_lines_lost, dropped());
        }
        let age = store.and_then(StoreWatch::log_age);
        self.log_age.set(age.map_or(-1.0, |age| age.as_secs_f64()));
        let Some(store) = store else { return };
        let counts = store.counts();
        catch_up(&self.pushes_lost, counts.pushes_lost);
        catch_up(&self.copies_failed, counts.copies_failed);
        for (source, counts) in [("bus", counts.bus), ("control", counts.control)] {
            for (outcome, count) in counts.entries() {
                if let Some(counter) = self.records.get(&(source, outcome)) {
                    catch_up(counter, count);
                }
            }
        }
    }
}

fn catch_up(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
