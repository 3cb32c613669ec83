//! Every metric of a coordinator, by handle. Names and labels are documented in docs/METRICS.md, which a test compares
//! with what `/metrics` prints.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use portcullis_common::membership::Standing;
use portcullis_common::stuffing::verdict::Why;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

/// `state`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct State {
    /// `joined`, `suspect`, `gone`
    pub state: &'static str,
}

/// `kind`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// `slots`, `memberships`, `lives`
    pub kind: &'static str,
}

/// `outcome`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// `answered`, `unanswered`
    pub outcome: &'static str,
}

/// `part`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Part {
    /// `lookout`, `campaign`, `threat`
    pub part: &'static str,
}

/// `why` and `mode`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Found {
    /// `stuffing`, `scanning`, `siege`, `network`
    pub why: &'static str,
    /// `enforced` or `dry_run`
    pub mode: &'static str,
}

/// The handles.
pub struct Metrics {
    registry: Registry,
    /// 1 while this coordinator leads.
    pub leading: Gauge,
    /// The number of the latest term that is known.
    pub term: Gauge,
    /// Terms that began, whoever's, as far as this coordinator saw them.
    pub leader_changes: Counter,
    /// Own writes that were refused because of a later term.
    pub fenced: Counter,
    members: [(Standing, Gauge); 3],
    /// Slots freed.
    pub reaped_slots: Counter,
    /// Room memberships freed.
    pub reaped_memberships: Counter,
    /// Lives of which nothing is left.
    pub reaped_lives: Counter,
    /// Polls of the leases that were answered.
    pub polls_answered: Counter,
    /// Polls that were not.
    pub polls_unanswered: Counter,
    /// Store calls that failed.
    pub store_faults: Counter,
    /// Reports of refused logins that were taken.
    pub reports: Counter,
    /// Records among them that no node wrote.
    pub reports_refused: Counter,
    stuffing: BTreeMap<(Why, bool), Counter>,
    /// Addresses that were not shut out because of the budget.
    pub stuffing_withheld: Counter,
    /// The same because they never are.
    pub stuffing_spared: Counter,
    /// Addresses with refused logins that are known.
    pub stuffing_known: Gauge,
    /// How late the last round of each loop began, in seconds.
    pub lag: Family<Part, Gauge<f64, AtomicU64>>,
}

/// What a standing is called in metrics, health and logs.
#[must_use]
pub fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Joined => "joined",
        Standing::Suspect => "suspect",
        Standing::Gone => "gone",
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut r = Registry::with_prefix("portcullis_coordinator");
        let members: Family<State, Gauge> = add(&mut r, "members", "Lives of nodes by what is known of them");
        let reaped: Family<Kind, Counter> = add(&mut r, "reaped", "What lives that are gone left behind, freed");
        let polls: Family<Outcome, Counter> = add(&mut r, "polls", "Polls of the leases by outcome");
        let member = |standing| (standing, members.get_or_create_owned(&State { state: name(standing) }));
        let kind = |kind| reaped.get_or_create_owned(&Kind { kind });
        let outcome = |outcome| polls.get_or_create_owned(&Outcome { outcome });
        let lag: Family<Part, Gauge<f64, AtomicU64>> =
            add(&mut r, "loop_lag_seconds", "How late the last round of a loop began");
        for part in ["campaign", "lookout", "threat"] {
            drop(lag.get_or_create_owned(&Part { part }));
        }
        Self {
            leading: add(&mut r, "leading", "1 while this coordinator leads"),
            term: add(&mut r, "term", "The number of the latest term that is known"),
            leader_changes: add(&mut r, "leader_changes", "Terms that began, whoever's"),
            fenced: add(&mut r, "fenced", "Own writes that were refused because of a later term"),
            members: [member(Standing::Joined), member(Standing::Suspect), member(Standing::Gone)],
            reaped_slots: kind("slots"),
            reaped_memberships: kind("memberships"),
            reaped_lives: kind("lives"),
            polls_answered: outcome("answered"),
            polls_unanswered: outcome("unanswered"),
            reports: add(&mut r, "reports", "Reports of refused logins that were taken"),
            reports_refused: add(&mut r, "reports_refused", "Records among the reports that no node wrote"),
            stuffing: by_finding(&mut r),
            stuffing_withheld: add(&mut r, "stuffing_withheld", "Addresses not shut out because of the budget"),
            stuffing_spared: add(&mut r, "stuffing_spared", "Addresses not shut out because they never are"),
            stuffing_known: add(&mut r, "stuffing_known", "Addresses with refused logins that are known"),
            store_faults: add(&mut r, "store_faults", "Store calls that failed"),
            lag,
            registry: r,
        }
    }
}

fn add<T: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> T {
    let metric = T::default();
    registry.register(name, help, metric.clone());
    metric
}

fn by_finding(registry: &mut Registry) -> BTreeMap<(Why, bool), Counter> {
    let family: Family<Found, Counter> = add(registry, "stuffing", "Addresses and networks that were shut out");
    let label = |why: Why, dry| Found { why: why.name(), mode: if dry { "dry_run" } else { "enforced" } };
    let each = Why::ALL.into_iter().flat_map(|why| [(why, false), (why, true)]);
    each.map(|key| (key, family.get_or_create_owned(&label(key.0, key.1)))).collect()
}

impl Metrics {
    /// Somebody was shut out, or would have been.
    pub fn stuffing(&self, why: Why, dry_run: bool) {
        if let Some(counter) = self.stuffing.get(&(why, dry_run)) {
            counter.inc();
        }
    }

    /// How many lives are in each standing.
    pub fn count_members(&self, standings: impl Iterator<Item = Standing>) {
        let mut counts = [0; 3];
        for standing in standings {
            for ((of, _), count) in self.members.iter().zip(&mut counts) {
                *count += i64::from(*of == standing);
            }
        }
        for ((_, gauge), count) in self.members.iter().zip(counts) {
            gauge.set(count);
        }
    }

    /// The text of `/metrics` (OpenMetrics 1.0).
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(4 << 10);
        // writing to a String cannot fail
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
