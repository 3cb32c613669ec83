//! What feeds of reputation say.

use std::net::IpAddr;

use portcullis_common::feed::Listing;
use portcullis_common::ids::FeedName;
use serde_json::json;

use crate::admit::reputation::{Action, Mode};
use crate::metrics::Metrics;

/// A newcomer's address is listed.
pub struct FeedMatched<'a> {
    /// By which feed.
    pub feed: &'a FeedName,
    /// Its version.
    pub version: u64,
    /// The address.
    pub client: IpAddr,
    /// How it is listed.
    pub listing: Listing,
    /// What that leads to.
    pub action: Action,
    /// Whether it is done.
    pub mode: Mode,
    /// For the first time in a while: further ones are only counted.
    pub first: bool,
}

impl FeedMatched<'_> {
    /// Log and metric.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { feed, version, client, listing, action, mode, first } = self;
        metrics.feeds.matched(feed, *action, *mode);
        if !first {
            return;
        }
        let (action, mode) = (action.name(), mode.name());
        tracing::info!(
            event = "feed_matched", feed = %feed, version, client = %client, network = %listing.network,
            score = listing.score.get(), action, mode,
        );
        metrics.tap.say(|| {
            let (feed, client) = (feed.as_str(), client.to_string());
            json!({"event": "feed_matched", "feed": feed, "client": client, "action": action, "mode": mode})
        });
    }
}
