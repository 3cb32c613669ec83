//! What others say about addresses: the feeds in force, and what they lead to at the door.
//!
//! ```text
//! address ─► never_ban? ─► each feed: look-up ─┬─► score ≥ block_from: refused as `banned`
//!                                              └─► points: evidence on its network's account, once a half-life
//! ```
//! A feed speaks at the door only: who is in already is judged by what they do. What it says is evidence like any other
//! and decays like it; with the usual thresholds no feed restricts anybody alone. Configuration has the last word:
//! addresses of `penalty.never_ban` are neither refused nor charged because of a feed.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::{Config, FeedRule};
use portcullis_common::feed::file::Feed;
use portcullis_common::feed::{Edition, LARGEST, Listing, Reputation, Score};
use portcullis_common::ids::FeedName;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use serde_json::{Value, json};

use crate::events::FeedMatched;
use crate::node::Node;
use crate::reload::Problem;

/// Clocks of those who compile may be so far ahead.
const AHEAD: Duration = Duration::from_secs(300);

/// Evidence that the fleet has not heard yet.
pub mod hearsay;

/// What a feed leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The address is refused.
    Block,
    /// Its account is charged.
    Score,
}

impl Action {
    /// Its name, in metrics and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Score => "score",
        }
    }
}

/// Whether it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It is.
    Enforced,
    /// It is only counted.
    DryRun,
    /// It is not: the address is one of `penalty.never_ban`.
    Spared,
}

impl Mode {
    /// Its name, in metrics and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::DryRun => "dry_run",
            Self::Spared => "spared",
        }
    }
}

/// One feed in force.
pub struct Source {
    /// What it is called.
    pub name: FeedName,
    /// What it leads to.
    pub rule: FeedRule,
    /// Who says it.
    pub says: Arc<dyn Reputation>,
}

impl Source {
    fn action(&self, score: Score) -> Action {
        if self.rule.block_from.is_some_and(|from| score >= from) { Action::Block } else { Action::Score }
    }

    fn mode(&self, spared: bool) -> Mode {
        match (spared, self.rule.dry_run) {
            (true, _) => Mode::Spared,
            (false, true) => Mode::DryRun,
            (false, false) => Mode::Enforced,
        }
    }

    /// Points for a score.
    fn points(&self, score: Score) -> f64 {
        f64::from(self.rule.points) * f64::from(score.get()) / f64::from(Score::WORST)
    }
}

/// Every feed in force. Immutable: a reload puts others in their place.
#[derive(Default)]
pub struct Feeds {
    sources: Vec<Source>,
    /// Who is left alone.
    spared: Vec<IpNet>,
}

impl Feeds {
    /// Reads every feed of a configuration. With `before`, the feeds in force, a file is taken only when it is newer and
    /// not over yet; one that did not change stays as it is, whatever its age. Without, at a start, one that is over is
    /// taken and says nothing. Blocks: files are read, about 30 ms for 100,000 networks.
    ///
    /// # Errors
    /// Everything that is wrong, at once: key path and sentence.
    pub fn load(config: &Config, before: Option<&Self>, now: UnixMs) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut sources = Vec::new();
        for (name, rule) in &config.feed {
            let old = before.map(|feeds| feeds.sources.iter().find(|source| source.name == *name));
            match source(name, rule, old, now) {
                Ok(says) => sources.push(Source { name: name.clone(), rule: rule.clone(), says }),
                Err(problem) => problems.push((format!("feed.{name}.file"), problem)),
            }
        }
        if problems.is_empty() { Ok(Self { sources, spared: config.penalty.never_ban.clone() }) } else { Err(problems) }
    }

    /// Every one.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Whether one of them is over: it says nothing any more.
    #[must_use]
    pub fn any_over(&self, now: UnixMs) -> bool {
        self.sources.iter().any(|source| source.says.edition().expires <= now)
    }

    /// What is said about an address, by whom, and what it leads to.
    fn said(&self, ip: IpAddr, now: UnixMs) -> impl Iterator<Item = (&Source, Listing, Action, Mode)> {
        let ip = ip.to_canonical();
        let spared = self.spared.iter().any(|network| network.contains(&ip));
        self.sources.iter().filter_map(move |source| {
            let listing = source.says.look(ip, now)?;
            Some((source, listing, source.action(listing.score), source.mode(spared)))
        })
    }

    /// For `/health` and `gatectl policy show`.
    #[must_use]
    pub fn report(&self, now: UnixMs) -> Value {
        let row = |source: &Source| {
            let edition = source.says.edition();
            json!({
                "feed": source.name.as_str(),
                "version": edition.version,
                "entries": edition.entries,
                "age": now.0.saturating_sub(edition.made.0),
                "left": edition.expires.0.saturating_sub(now.0),
                "over": edition.expires <= now,
                "points": source.rule.points,
                "blockFrom": source.rule.block_from.map(Score::get),
                "dryRun": source.rule.dry_run,
            })
        };
        self.sources.iter().map(row).collect()
    }

    /// For `gatectl policy explain`: what is said about an address, and what it leads to.
    #[must_use]
    pub fn explain(&self, ip: IpAddr, now: UnixMs) -> Value {
        let row = |(source, Listing { network, score }, action, mode): (&Source, Listing, Action, Mode)| {
            json!({
                "feed": source.name.as_str(),
                "version": source.says.edition().version,
                "network": network.to_string(),
                "score": score.get(),
                "action": action.name(),
                "mode": mode.name(),
                "points": if action == Action::Score { source.points(score) } else { 0.0 },
            })
        };
        self.said(ip, now).map(row).collect()
    }
}

/// Whether a newcomer's address may go on, by what others say about it. Cost: a look-up in each feed.
///
/// # Errors
/// `banned`.
pub fn judge(node: &Node, ip: IpAddr, now: UnixMs) -> Result<(), Reject> {
    let rules = node.rules.load();
    let penalty = &rules.config.penalty;
    let mut blocked = false;
    for (source, listing, action, mode) in rules.feeds.said(ip, now) {
        let points = source.points(listing.score);
        if action == Action::Score && points <= 0.0 {
            continue;
        }
        let first = node.hearsay.is_first(&source.name, ip, node.clock.mono(), penalty.half_life);
        let version = source.says.edition().version;
        FeedMatched { feed: &source.name, version, client: ip, listing, action, mode, first }.emit(&node.metrics);
        match (action, mode) {
            (Action::Block, Mode::Enforced) => blocked = true,
            (Action::Score, Mode::Enforced) if first => hearsay::charge(node, &source.name, ip, points),
            _ => {}
        }
    }
    if blocked { Err(Reject::new(Code::Banned, "a feed of reputation lists the address")) } else { Ok(()) }
}

/// Reads one feed. `old`: the outer is `None` at a start, the inner where there was none of that name.
fn source(
    name: &FeedName,
    rule: &FeedRule,
    old: Option<Option<&Source>>,
    now: UnixMs,
) -> Result<Arc<dyn Reputation>, String> {
    let bytes = read(&rule.file)?;
    let digest = *blake3::hash(&bytes).as_bytes();
    let known = old.flatten();
    if let Some(known) = known
        && known.says.edition().digest == digest
        && known.rule.public_keys == rule.public_keys
    {
        return Ok(Arc::clone(&known.says));
    }
    let feed = Feed::read(&bytes, &rule.public_keys).map_err(|bad| format!("names a file that {bad}"))?;
    let head = feed.head();
    if head.name != *name {
        return Err(format!("names the file of another feed, `{}`", head.name));
    }
    let in_force = known.map(|known| known.says.edition());
    let is_new = in_force.is_none_or(|edition| edition.digest != digest);
    if let Some(edition) = in_force.filter(|edition| is_new && head.version <= edition.version) {
        let (new, old) = (head.version, edition.version);
        return Err(format!("names a file of version {new}, which is not newer than the one in force, {old}"));
    }
    if old.is_some() && is_new && head.expires <= now {
        return Err(format!("names a file that is over since {} s", (now.0 - head.expires.0) / 1_000));
    }
    if head.made > now.after(AHEAD) {
        return Err(format!("names a file that was made {} s in the future", (head.made.0 - now.0) / 1_000));
    }
    Ok(Arc::new(feed))
}

/// A whole file.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fault = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "names a file that does not exist".to_owned(),
        kind => format!("names a file that cannot be read: {kind}"),
    };
    let file = std::fs::File::open(path).map_err(|error| fault(&error))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| fault(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("names a file longer than {LARGEST} bytes"));
    }
    Ok(bytes)
}

/// Age of an edition and what is left of it, in seconds, for metrics; what is over has nothing left.
#[must_use]
pub fn times(edition: &Edition, now: UnixMs) -> (f64, f64) {
    let seconds = |from: UnixMs, to: UnixMs| to.0.saturating_sub(from.0) as f64 / 1e3;
    (seconds(edition.made, now), seconds(now, edition.expires))
}

#[cfg(test)]
mod tests;
