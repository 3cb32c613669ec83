//! Tokens of many people tried from few places.

use std::collections::BTreeMap;

use portcullis_common::stuffing::verdict::Why;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Outcome, by_outcome, counter};

/// `why` and `mode`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Found {
    /// `stuffing`, `scanning`, `siege`, `network`
    pub why: &'static str,
    /// `enforced` or `dry_run`
    pub mode: &'static str,
}

/// The handles.
pub struct StuffingMetrics {
    reports: [Counter; 2],
    found: BTreeMap<(Why, bool), Counter>,
    /// Not done because of the budget.
    pub withheld: Counter,
    /// Addresses that found no room between two reports.
    pub left_out: Counter,
    /// Newcomers refused at a shut door.
    pub turned_away: Counter,
}

impl StuffingMetrics {
    pub(super) fn new(r: &mut Registry) -> Self {
        let reports = by_outcome(r, "stuffing_reports", "Reports of refused logins to the fleet");
        let family = Family::<Found, Counter>::default();
        r.register("stuffing", "Addresses and networks that this node shut out without a coordinator", family.clone());
        let label = |why: Why, dry| Found { why: why.name(), mode: if dry { "dry_run" } else { "enforced" } };
        let each = Why::ALL.into_iter().flat_map(|why| [(why, false), (why, true)]);
        Self {
            reports: ["failed", "filed"].map(|name| reports.get_or_create_owned(&Outcome { outcome: name })),
            found: each.map(|key| (key, family.get_or_create_owned(&label(key.0, key.1)))).collect(),
            withheld: counter(r, "stuffing_withheld", "Addresses that were not shut out because of the budget"),
            left_out: counter(r, "stuffing_left_out", "Addresses whose refused logins found no room in a report"),
            turned_away: counter(
                r,
                "turned_away",
                "Newcomers refused at a shut door, before their credential was read",
            ),
        }
    }

    /// A report was filed, or was not.
    pub fn filed(&self, ok: bool) {
        if let Some(counter) = self.reports.get(usize::from(ok)) {
            counter.inc();
        }
    }

    /// Somebody was shut out, or would have been.
    pub fn found(&self, why: Why, dry_run: bool) {
        if let Some(counter) = self.found.get(&(why, dry_run)) {
            counter.inc();
        }
    }
}
