//! New rules for a node that runs: all or nothing, no connection dropped, in force with each session's next message.
//!
//! What a reload may change is what [`Rules`] hold: keys, origins, limits, message types with their schemas, rooms, bans
//! by file, feeds of reputation, certificates, operators. Whatever else differs in the file is refused with the rest of it,
//! because half of a file in force is a configuration that nobody wrote.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::{Config, KeySource};

use crate::admit::reputation::Feeds;
use crate::events::Reloaded;
use crate::node::Node;
use crate::rules::Rules;
use crate::session::manager::tell;
use crate::session::talk::Stop;

/// How long new issuers' keys may take to be fetched.
const KEYS: Duration = Duration::from_secs(10);

/// Sections that are tied to sockets, threads, the store or the process.
const FIXED: &[&str] = &["node", "listen", "store", "session", "log", "coordinator"];

/// Keys of other sections that are.
const FIXED_KEYS: &[&str] = &[
    "tls.mode",
    "tls.insecure",
    "tls.hsts_max_age",
    "size.fragments",
    "size.assembly_timeout",
    "size.outbox",
    "size.request_head",
    "size.request_headers",
    "auth.leeway",
    "auth.max_token_life",
];

/// Key path and sentence.
pub type Problem = (String, String);

/// Puts the rules of `config` in force. One at a time; the next waits.
///
/// # Errors
/// Everything that is wrong with it; nothing was changed then. The event is emitted here.
pub async fn reload(node: &Arc<Node>, config: Config) -> Result<u64, Vec<Problem>> {
    let _one = node.reloading.lock().await;
    let answer = replace(node, config).await;
    report(node, &answer);
    answer
}

/// Where the configuration is read again.
pub type Source = Box<dyn Fn() -> Result<Config, Vec<Problem>> + Send + Sync>;

/// Reads the configuration again and puts its rules in force.
///
/// # Errors
/// As [`reload`], and where there is nothing to read or it cannot be read.
pub async fn from_source(node: &Arc<Node>) -> Result<u64, Vec<Problem>> {
    let Some(source) = node.source.get() else {
        return Err(vec![("config".to_owned(), "this node was started without a file".to_owned())]);
    };
    match source() {
        Ok(config) => reload(node, config).await,
        Err(problems) => {
            report(node, &Err(problems.clone()));
            Err(problems)
        }
    }
}

fn report(node: &Node, answer: &Result<u64, Vec<Problem>>) {
    let problems = answer.as_ref().err().map_or(&[][..], Vec::as_slice);
    // first what whoever sees the counter grow will ask for
    node.last_reload.store(Some(Arc::new(LastReload { at: node.clock.wall(), problems: problems.to_vec() })));
    Reloaded { version: node.rules.load().version, problems }.emit(&node.metrics);
}

/// How the last reload went; for `/health`.
#[derive(Debug, Clone)]
pub struct LastReload {
    /// When.
    pub at: UnixMs,
    /// Why it changed nothing; empty when it did.
    pub problems: Vec<Problem>,
}

async fn replace(node: &Arc<Node>, config: Config) -> Result<u64, Vec<Problem>> {
    let old = node.rules.load_full();
    let mut problems = fixed(&old.config, &config);
    problems.extend(issuers_keep_their_places(&old.config, &config));
    if !problems.is_empty() {
        return Err(problems);
    }
    let version = old.version + 1;
    let config = Arc::new(config);
    let feeds = feeds(&old, &config, node.clock.wall()).await;
    let mut new = Rules::compile(config, &node.clock, Arc::clone(&node.allowance), version, feeds)?;
    if same_keys(&old.config, &new.config) {
        // fetched keys stay, and a key server that is down does not stand in the way
        new.verifier = Arc::clone(&old.verifier);
    } else {
        new.verifier.start();
        keys(&new).await?;
    }
    node.addresses.set_limits(&new.config.limit);
    node.rules.store(Arc::new(new));
    // whoever is banned now, or in a room that is closed to them now, is told so
    tell(&node.registry.select(usize::MAX, |_| true), &Stop::Recheck);
    Ok(version)
}

/// Reads the feeds on a thread of its own: the node renews its lease meanwhile.
async fn feeds(old: &Arc<Rules>, config: &Arc<Config>, now: UnixMs) -> Result<Feeds, Vec<Problem>> {
    let (old, config) = (Arc::clone(old), Arc::clone(config));
    let read = actix_rt::task::spawn_blocking(move || Feeds::load(&config, Some(&old.feeds), now)).await;
    read.unwrap_or_else(|_| {
        Err(vec![("feed".to_owned(), "the feeds could not be read: the node goes away".to_owned())])
    })
}

/// Waits for the keys of new issuers.
async fn keys(new: &Rules) -> Result<(), Vec<Problem>> {
    let fetched = async {
        while !new.verifier.ready() {
            actix_rt::time::sleep(Duration::from_millis(50)).await;
        }
    };
    actix_rt::time::timeout(KEYS, fetched).await.map_err(|_| {
        vec![(
            "auth.issuer".to_owned(),
            format!("the keys of some issuer could not be fetched in {} s", KEYS.as_secs()),
        )]
    })
}

/// Whether the old keys are the new ones. Keys in a file of their own may have changed without the configuration's.
fn same_keys(old: &Config, new: &Config) -> bool {
    let by_file = |config: &Config| config.auth.issuer.iter().any(|i| matches!(i.keys, KeySource::JwksFile(_)));
    old.auth == new.auth && !by_file(new)
}

/// Live sessions remember their issuer by its place.
fn issuers_keep_their_places(old: &Config, new: &Config) -> Vec<Problem> {
    let wrong = |n: usize| {
        let problem = "was at another place: while sessions live, issuers keep theirs, and new ones come behind them";
        (format!("auth.issuer[{n}].name"), problem.to_owned())
    };
    let pairs = old.auth.issuer.iter().enumerate();
    pairs
        .filter(|(n, issuer)| new.auth.issuer.get(*n).is_none_or(|i| i.name != issuer.name))
        .map(|(n, _)| wrong(n))
        .collect()
}

/// What differs that a reload cannot change.
fn fixed(old: &Config, new: &Config) -> Vec<Problem> {
    let (old_keys, new_keys) = (keys_of(old), keys_of(new));
    let mut differ: Vec<String> = Vec::new();
    for path in old_keys.keys().chain(new_keys.keys()) {
        let section = path.split(['.', '[']).next().unwrap_or_default();
        let is_fixed = FIXED.contains(&section) || FIXED_KEYS.contains(&path.as_str());
        if is_fixed && old_keys.get(path) != new_keys.get(path) && !differ.contains(path) {
            differ.push(path.clone());
        }
    }
    // what is not printed
    if old.store.url != new.store.url && !differ.iter().any(|path| path == "store.url") {
        differ.push("store.url".to_owned());
    }
    let sentence = "cannot be changed by a reload: restart the node, or put the old value back";
    differ.into_iter().map(|path| (path, sentence.to_owned())).collect()
}

/// Every printed key and its value.
fn keys_of(config: &Config) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    let mut section = String::new();
    let mut blocks = 0;
    for line in config.to_toml().lines() {
        if let Some(head) = line.strip_prefix("[[").and_then(|l| l.strip_suffix("]]")) {
            blocks += 1;
            section = format!("{head}[{blocks}]");
        } else if let Some(head) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = head.to_owned();
        } else if let Some((key, value)) = line.split_once(" = ") {
            keys.insert(format!("{section}.{key}"), value.to_owned());
        }
    }
    keys
}
