//! Feeds of reputation: which are in force, and what they led to.

use std::sync::atomic::AtomicU64;

use portcullis_common::clock::UnixMs;
use portcullis_common::feed::Edition;
use portcullis_common::ids::FeedName;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::admit::reputation::{Action, Mode, times};

/// `feed`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfFeed {
    /// As the configuration calls it.
    pub feed: String,
}

/// `feed`, `action` and `mode`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Matched {
    /// As the configuration calls it.
    pub feed: String,
    /// `block` or `score`
    pub action: &'static str,
    /// `enforced`, `dry_run` or `spared`
    pub mode: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// The handles.
pub struct FeedMetrics {
    matches: Family<Matched, Counter>,
    version: Family<OfFeed, Gauge>,
    entries: Family<OfFeed, Gauge>,
    age: Family<OfFeed, Seconds>,
    left: Family<OfFeed, Seconds>,
}

impl FeedMetrics {
    pub(super) fn new(r: &mut Registry) -> Self {
        let all = Self {
            matches: Family::default(),
            version: Family::default(),
            entries: Family::default(),
            age: Family::default(),
            left: Family::default(),
        };
        r.register("feed_matches", "Handshakes and tickets asked for from listed addresses", all.matches.clone());
        r.register("feed_version", "Version of a feed in force", all.version.clone());
        r.register("feed_entries", "Networks in a feed in force", all.entries.clone());
        r.register("feed_age_seconds", "Time since a feed in force was compiled", all.age.clone());
        r.register("feed_left_seconds", "Time until a feed in force says nothing any more", all.left.clone());
        all
    }

    /// A listed address came.
    pub fn matched(&self, feed: &FeedName, action: Action, mode: Mode) {
        let matched = Matched { feed: feed.to_string(), action: action.name(), mode: mode.name() };
        self.matches.get_or_create(&matched).inc();
    }

    /// What is in force at the moment; others are shown no more.
    pub fn show<'f>(&self, feeds: impl Iterator<Item = (&'f FeedName, Edition)>, now: UnixMs) {
        self.version.clear();
        self.entries.clear();
        self.age.clear();
        self.left.clear();
        for (name, edition) in feeds {
            let of = OfFeed { feed: name.to_string() };
            let (age, left) = times(&edition, now);
            self.version.get_or_create(&of).set(i64::try_from(edition.version).unwrap_or(i64::MAX));
            self.entries.get_or_create(&of).set(i64::try_from(edition.entries).unwrap_or(i64::MAX));
            self.age.get_or_create(&of).set(age);
            self.left.get_or_create(&of).set(left);
        }
    }
}
