//! What the documents say about the code is true: the README's configuration loads, every test that SECURITY.md names
//! exists, METRICS.md is what `/metrics` prints, and links lead somewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::Config;
use portcullis_common::feed::{Edition, Listing, Score};
use portcullis_common::ids::FeedName;
use portcullis_gateway::admit::reputation::{Action, Mode};
use portcullis_gateway::events::FeedMatched;
use portcullis_gateway::metrics::Metrics;
use portcullis_gateway::node;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The cells of a table's rows that have `width` cells, without heads and rules.
fn rows(text: &str, width: usize) -> Vec<Vec<&str>> {
    text.lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("| ---"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>())
        .filter(|cells| cells.len() == width)
        .collect()
}

/// Every file of the tree with one of these endings, what is built or fetched left out.
fn sources(endings: &[&str]) -> Vec<PathBuf> {
    fn walk(dir: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if entry.file_type().unwrap().is_dir() {
                if !matches!(&*name, "target" | "node_modules" | "out") && !name.starts_with('.') {
                    walk(&path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), endings, &mut found);
    found
}

#[test]
fn the_configuration_in_the_readme_loads_and_its_rules_compile() {
    let readme = document("README.md");
    let blocks: Vec<&str> = readme.split("```toml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 1, "the README has one configuration");
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tls")).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(dir.path().join("tls/cert.pem"), made.cert.pem()).unwrap();
    fs::write(dir.path().join("tls/key.pem"), made.signing_key.serialize_pem()).unwrap();
    let config = Config::parse(Some(blocks[0]), std::iter::empty(), dir.path()).unwrap_or_else(|e| panic!("{e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { node::check(&config) }).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn every_test_that_the_security_document_names_exists() {
    let security = document("SECURITY.md");
    let code: String = sources(&[".rs"]).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let names: BTreeSet<&str> = rows(&security, 3)
        .iter()
        .flat_map(|cells| quoted(cells[2]))
        .inspect(|name| assert!(name.contains('_'), "not the name of a test: {name}"))
        .collect();
    assert!(names.len() > 80, "the table was not read: {} names", names.len());
    let missing: Vec<_> = names.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "SECURITY.md names tests that do not exist: {missing:#?}");
}

#[test]
fn every_file_that_the_documents_name_exists() {
    let mut missing = Vec::new();
    for path in sources(&[".md"]) {
        let text = fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") && !path.parent().unwrap().join(file).exists() {
                missing.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "links that lead nowhere: {missing:#?}");
}

fn listing() -> Listing {
    Listing { network: "5.5.5.5/32".parse().unwrap(), score: Score::new(50).unwrap() }
}

/// What the gateway prints, and the coordinator.
fn printed() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let metrics = Metrics::new(1);
    portcullis_gateway::events::PanicCaught { part: "hub" }.emit(&metrics);
    // what is counted by a name of the configuration's
    let (feed, listing) = (FeedName::parse("drop").unwrap(), listing());
    let (action, mode) = (Action::Score, Mode::Enforced);
    let client = listing.network.addr();
    FeedMatched { feed: &feed, version: 1, client, listing, action, mode, first: true }.emit(&metrics);
    let edition = Edition { version: 1, made: UnixMs(1), expires: UnixMs(2), entries: 1, digest: [0; 32] };
    metrics.feeds.show(std::iter::once((&feed, edition)), UnixMs(1));
    let coordinator = portcullis_coordinator::metrics::Metrics::default();
    let mut found = families(&metrics.render());
    found.extend(families(&coordinator.render()));
    found
}

/// Name → type and labels, as printed. A family without a sample has no labels yet.
fn families(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((sample, labels)) = line.split_once('{') else { continue };
        let name = ["_total", "_bucket"].iter().find_map(|end| sample.strip_suffix(end)).unwrap_or(sample);
        let labels = labels.split('}').next().unwrap().split(',').map(|label| label.split('=').next().unwrap());
        let known = &mut found.get_mut(name).unwrap_or_else(|| panic!("no type: {name}")).1;
        known.extend(labels.filter(|label| *label != "le").map(str::to_owned));
    }
    found
}

#[test]
fn the_metrics_document_lists_what_is_printed_and_nothing_else() {
    let text = document("docs/METRICS.md");
    let documented: BTreeMap<String, (String, BTreeSet<String>)> = rows(&text, 4)
        .iter()
        .filter(|cells| cells[0].starts_with("`portcullis_"))
        .map(|cells| {
            let name = quoted(cells[0]).next().unwrap().to_owned();
            (name, (cells[1].to_owned(), quoted(cells[2]).map(str::to_owned).collect()))
        })
        .collect();
    assert_eq!(documented, printed());
}

/// What a package of the lock file is built from, however deep.
fn built_from(lock: &str, package: &str) -> BTreeSet<String> {
    let block = |name: &str| {
        let blocks = lock.split("[[package]]\n");
        blocks.filter(|block| block.starts_with(&format!("name = \"{name}\"\n"))).collect::<String>()
    };
    let mut found = BTreeSet::new();
    let mut next = vec![package.to_owned()];
    while let Some(name) = next.pop() {
        let block = block(&name);
        let lines = block.lines().filter_map(|line| line.trim().strip_prefix('"'));
        let names = lines.filter_map(|line| line.split(['"', ' ']).next()).map(str::to_owned);
        next.extend(names.filter(|name| found.insert(name.clone())));
    }
    found
}

#[test]
fn gateway_and_coordinator_do_not_depend_on_each_other() {
    let lock = document("Cargo.lock");
    for (one, other) in
        [("portcullis-gateway", "portcullis-coordinator"), ("portcullis-coordinator", "portcullis-gateway")]
    {
        let from = built_from(&lock, one);
        assert!(from.contains("portcullis-common") && from.contains("tokio"), "the lock file was not read: {from:?}");
        assert!(!from.contains(other), "{one} is built from {other}");
    }
}
