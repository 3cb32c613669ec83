//! `[feed.NAME]`: what others say about addresses, from compiled files.

use std::collections::BTreeMap;

use super::super::file::Files;
use super::super::model::{FeedRule, Penalty};
use super::super::read::Section;
use super::super::value::{boolean, integer, text};
use super::once;
use crate::control::key::PublicKey;
use crate::feed::Score;
use crate::ids::FeedName;

/// More would be a sign of feeds that nobody looks after.
const MOST: usize = 16;

pub(super) fn feeds(root: &mut Section<'_>, files: Files<'_>, penalty: &Penalty) -> BTreeMap<FeedName, FeedRule> {
    let report = root.report();
    let mut feeds = BTreeMap::new();
    for (name, section) in root.named("feed") {
        let path = section.path().to_owned();
        let rule = feed(section, files, penalty);
        match FeedName::parse(name) {
            Ok(name) => feeds.extend(rule.map(|rule| (name, rule))),
            Err(_) => report.refuse(path, "is not a name for a feed: up to 64 letters, digits, `.`, `-` and `_`"),
        }
    }
    if feeds.len() > MOST {
        report.refuse("feed", format!("has more than {MOST} entries"));
    }
    feeds
}

fn feed(mut s: Section<'_>, files: Files<'_>, penalty: &Penalty) -> Option<FeedRule> {
    let file = s.required("file", "`gatectl feed compile` makes one", |v| files.path(v));
    let has_keys = s.has("public_keys");
    let keys = s.list("public_keys", |v| {
        let what = "must be an Ed25519 public key, 32 bytes in base 64, as `gatectl keygen` prints it";
        PublicKey::parse(text(v)?).ok_or_else(|| what.to_owned())
    });
    if !has_keys || keys.as_ref().is_some_and(Vec::is_empty) {
        let problem = "is missing: whose signature is believed; `gatectl keygen` makes a key";
        s.report().refuse_together(&[], &s.key("public_keys"), problem);
    }
    once(keys.as_deref().unwrap_or_default(), &s.key("public_keys"), s.report());
    let points = s.or("points", 200, integer(0..=1_000_000));
    let block_from = s.optional("block_from", |v| integer(1..=100)(v).map(Score::new)).flatten();
    let dry_run = s.or("dry_run", false, boolean);
    if points == 0 && block_from.is_none() {
        s.report().refuse(s.key("points"), "is 0 and nothing is blocked, so the feed would do nothing");
    }
    if points > 0 && !penalty.enabled && !dry_run {
        let problem = "does nothing while penalty.enabled is false: switch penalties on, say points = 0 and what is \
                       blocked, or dry_run = true";
        s.report().refuse_together(&["penalty.enabled"], &s.key("points"), problem);
    }
    Some(FeedRule { file: file?, public_keys: keys?, points, block_from, dry_run })
}
