//! `gatectl feed`: lists of others compiled into the signed files that nodes read, and what is in such a file. Needs no
//! store and no node.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use portcullis_common::clock::{Clock as _, SystemClock, UnixMs};
use portcullis_common::control::key::{OperatorKey, PublicKey};
use portcullis_common::feed::file::{Feed, Head, write};
use portcullis_common::feed::gate::{Gates, Tally, pass};
use portcullis_common::feed::list::{Format, List, read};
use portcullis_common::feed::{LARGEST, Reputation as _, Score};
use portcullis_common::ids::FeedName;
use serde_json::{Value, json};

use super::arguments::{Common, duration};
use super::show::{age, cell, complain, left, line, table};
use super::{End, Trouble, keys, show};

/// Bytes of one list, at most.
const LONGEST: u64 = 256 << 20;

/// The longest that a feed may be good for.
const LIFE: Duration = Duration::from_hours(90 * 24);

#[derive(Subcommand)]
pub enum FeedVerb {
    /// Make a signed feed of lists, if they pass every gate; else nothing is written
    Compile(Compile),
    /// What is in a compiled feed
    Show(Show),
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Written {
    /// An address or network a line, `#` or `;` begins a comment: FireHOL netsets, DROP as text
    Text,
    /// A JSON object with `cidr` a line: DROP as JSON
    Json,
    /// Fields between commas, one of them a score
    Csv,
}

#[derive(Args)]
pub struct Compile {
    /// The lists; `-`: standard input
    #[arg(required = true, value_name = "LIST")]
    pub lists: Vec<PathBuf>,
    /// What the nodes' configuration calls the feed: [feed.NAME]
    #[arg(long, value_parser = name)]
    pub name: FeedName,
    /// Where it goes. What is there is the version before: it is compared with, and replaced in one step
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// How the lists are written
    #[arg(long, value_enum, default_value = "text")]
    pub format: Written,
    /// CSV: which field is the address, counted from 1
    #[arg(long, default_value_t = 1, value_parser = field, value_name = "N")]
    pub csv_address: usize,
    /// CSV: which field is the score, 0 to 100
    #[arg(long, default_value_t = 2, value_parser = field, value_name = "N")]
    pub csv_score: usize,
    /// The score of every network, 1 to 100, where the format has none
    #[arg(long, default_value = "50", value_parser = score)]
    pub score: Score,
    /// How long the feed is good; after that nodes ignore it
    #[arg(long = "for", default_value = "7d", value_parser = duration, value_name = "TIME")]
    pub during: Duration,
    /// Lines that may be wrong, in per cent
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    pub max_errors: u8,
    /// By how much it may grow or shrink against the version before, in per cent
    #[arg(long, default_value_t = 50, value_name = "PERCENT")]
    pub max_change: u16,
    /// The shortest IPv4 prefix that a list may name
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=32), value_name = "LENGTH")]
    pub widest_v4: u8,
    /// The shortest IPv6 prefix that a list may name
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(0..=128), value_name = "LENGTH")]
    pub widest_v6: u8,
    /// Compare with no version before: the first one, another key, or a change that is meant
    #[arg(long)]
    pub fresh: bool,
}

#[derive(Args)]
pub struct Show {
    /// The compiled file
    pub file: PathBuf,
    /// Check the signature with this public key, in base 64; may be given several times
    #[arg(long, value_parser = public_key, value_name = "KEY")]
    pub signed_by: Vec<PublicKey>,
    /// What it says about this address
    #[arg(long, conflicts_with = "networks")]
    pub address: Option<IpAddr>,
    /// Every network in it, with its score
    #[arg(long)]
    pub networks: bool,
}

fn name(text: &str) -> Result<FeedName, String> {
    FeedName::parse(text).map_err(|bad| bad.to_string())
}

fn score(text: &str) -> Result<Score, String> {
    text.parse().ok().and_then(Score::new).ok_or_else(|| "is not a whole number from 1 to 100".to_owned())
}

fn field(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=1_000).contains(n)).ok_or_else(|| "is not a field: 1, 2, 3 …".to_owned())
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).ok_or_else(|| "is not an Ed25519 public key, 32 bytes in base 64".to_owned())
}

fn about(path: &Path, problem: impl std::fmt::Display) -> String {
    format!("{}: {problem}", path.display())
}

/// A whole file, or standard input.
fn bytes(path: &Path, most: u64) -> Result<Vec<u8>, Trouble> {
    let mut all = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(most + 1).read_to_end(&mut all)
    } else {
        File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut all))
    };
    read.map_err(|error| Trouble::Usage(about(path, error)))?;
    if all.len() as u64 > most {
        return Err(Trouble::Data(about(path, format!("is larger than {} MiB", most >> 20))));
    }
    Ok(all)
}

/// `gatectl feed compile`.
pub fn compile(common: &Common, what: &Compile) -> Result<End, Trouble> {
    if what.during > LIFE {
        return Err(Trouble::Usage(
            "--for: is longer than 90 days; who listed an address then is long gone".to_owned(),
        ));
    }
    let key = keys::read(&keys::path(common))?;
    let before = if what.fresh { None } else { before(what, &key)? };
    let format = match what.format {
        Written::Text => Format::Text,
        Written::Json => Format::Json,
        Written::Csv => Format::Csv { address: what.csv_address, score: what.csv_score },
    };
    let list = |path: &PathBuf| Ok((path.display().to_string(), read(&bytes(path, LONGEST)?, format, what.score)));
    let lists = what.lists.iter().map(list).collect::<Result<Vec<(String, List)>, Trouble>>()?;
    let gates = Gates {
        errors: what.max_errors,
        change: what.max_change,
        widest_v4: what.widest_v4,
        widest_v6: what.widest_v6,
    };
    let (tally, networks) = pass(&lists, &gates, before.as_ref().map(|feed| feed.edition().entries));
    let networks = networks.map_err(|stopped| {
        let why = stopped.iter().map(|why| format!("\n  {why}")).collect::<String>();
        Trouble::Data(format!("{} is as it was:{why}", what.out.display()))
    })?;
    for (list, (line, wrong)) in lists.iter().flat_map(|(name, list)| list.wrong.iter().map(move |w| (name, w))) {
        complain(&format!("{list} line {line} {wrong}: left out"));
    }
    let now = SystemClock::default().wall();
    // by the clock, so that whoever begins anew is newer all the same; never back, whatever the clock
    let version = before.as_ref().map_or(0, |feed| feed.head().version.saturating_add(1)).max(now.0);
    let head = Head { name: what.name.clone(), version, made: now, expires: now.after(what.during) };
    let compiled = write(&head, &networks, &key);
    if compiled.len() as u64 > LARGEST {
        return Err(Trouble::Data(format!("the feed is larger than {} MiB", LARGEST >> 20)));
    }
    replace(&what.out, &compiled).map_err(|error| Trouble::Usage(about(&what.out, error)))?;
    told(what, &head, &tally, before.as_ref(), compiled.len(), common.json);
    Ok(End::All)
}

/// The version that is there; this key has to have signed it, or whoever put it there decides what is a jump.
fn before(what: &Compile, key: &OperatorKey) -> Result<Option<Feed>, Trouble> {
    if !what.out.try_exists().map_err(|error| Trouble::Usage(about(&what.out, error)))? {
        return Ok(None);
    }
    let usage = |problem: String| {
        let hint = "it is no version before of this feed under this key (--fresh replaces it all the same)";
        Trouble::Usage(about(&what.out, format!("{problem}: {hint}")))
    };
    let feed = Feed::read(&bytes(&what.out, LARGEST)?, &[key.public()]).map_err(|bad| usage(bad.to_string()))?;
    if feed.head().name == what.name { Ok(Some(feed)) } else { Err(usage("is another feed".to_owned())) }
}

/// Whoever reads the file finds the old one or the new one, whole.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&beside);
    let written = written.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    let replaced = written.and_then(|()| fs::rename(&beside, path));
    if replaced.is_err() {
        // what is left of it is nobody's
        let _ = fs::remove_file(&beside);
    }
    replaced
}

fn told(what: &Compile, head: &Head, tally: &Tally, before: Option<&Feed>, size: usize, json: bool) {
    let row = json!({
        "file": what.out.display().to_string(),
        "feed": head.name.as_str(),
        "version": head.version,
        "made": head.made.0,
        "expires": head.expires.0,
        "bytes": size,
        "networks": tally.entries,
        "before": before.map(|feed| feed.edition().entries),
        "lines": tally.lines,
        "wrong": tally.bad,
        "clean": tally.clean,
        "reserved": tally.reserved,
        "duplicates": tally.duplicates,
    });
    if json {
        return show::json(&[row]);
    }
    let named = |name| cell(&row, name);
    line(&format!(
        "{}: feed {}, version {}, {} networks ({} before), {} bytes, good for {}\nof {} lines {} were wrong, {} had the \
         score 0, {} were in reserved ranges, {} were there twice or in a wider one",
        named("file"),
        named("feed"),
        named("version"),
        named("networks"),
        named("before"),
        named("bytes"),
        left(&row, "expires", head.made),
        named("lines"),
        named("wrong"),
        named("clean"),
        named("reserved"),
        named("duplicates"),
    ));
}

/// `gatectl feed show`.
pub fn show(what: &Show, json: bool) -> Result<End, Trouble> {
    let bytes = bytes(&what.file, LARGEST)?;
    let checked = !what.signed_by.is_empty();
    let feed = if checked { Feed::read(&bytes, &what.signed_by) } else { Feed::read_unverified(&bytes) };
    let feed = feed.map_err(|bad| Trouble::Data(about(&what.file, bad)))?;
    let now = SystemClock::default().wall();
    let row = described(&feed, checked, now);
    let mut listed = Vec::new();
    let mut see = |listing: portcullis_common::feed::Listing| {
        listed.push(json!({"network": listing.network.to_string(), "score": listing.score.get()}));
    };
    if what.networks {
        feed.each(&mut see);
    }
    if let Some(ip) = what.address {
        feed.look(ip.to_canonical(), now).into_iter().for_each(&mut see);
    }
    let asked = what.networks || what.address.is_some();
    if json {
        let mut row = row;
        if let Some(row) = row.as_object_mut().filter(|_| asked) {
            row.insert("listed".to_owned(), Value::Array(listed));
        }
        show::json(&[row]);
        return Ok(End::All);
    }
    let signed = if checked { "the signature is good" } else { "the signature was not checked (--signed-by)" };
    line(&format!(
        "feed {}, version {}, {} networks ({} IPv4, {} IPv6), scores {} to {}\ncompiled {} ago, good for {}; key {}; {signed}",
        cell(&row, "feed"),
        cell(&row, "version"),
        cell(&row, "networks"),
        cell(&row, "ipv4"),
        cell(&row, "ipv6"),
        cell(&row, "lowest"),
        cell(&row, "highest"),
        age(&row, "made", now),
        left(&row, "expires", now),
        cell(&row, "key_id"),
    ));
    if asked && listed.is_empty() {
        line("nothing is listed, or the feed is over");
    }
    let cells = listed.iter().map(|row| vec![cell(row, "network"), cell(row, "score")]);
    table(&["NETWORK", "SCORE"], &cells.collect::<Vec<_>>());
    Ok(End::All)
}

fn described(feed: &Feed, checked: bool, now: UnixMs) -> Value {
    let (mut v4, mut lowest, mut highest) = (0_usize, None, None);
    feed.each(|listing| {
        let score = listing.score.get();
        v4 += usize::from(listing.network.addr().is_ipv4());
        lowest = Some(lowest.map_or(score, |lowest: u8| lowest.min(score)));
        highest = Some(highest.map_or(score, |highest: u8| highest.max(score)));
    });
    let (head, entries) = (feed.head(), feed.edition().entries);
    json!({
        "feed": head.name.as_str(),
        "version": head.version,
        "made": head.made.0,
        "expires": head.expires.0,
        "over": head.expires <= now,
        "networks": entries,
        "ipv4": v4,
        "ipv6": entries - v4,
        "lowest": lowest,
        "highest": highest,
        "key_id": feed.key().to_string(),
        "signature": if checked { "good" } else { "not checked" },
    })
}
