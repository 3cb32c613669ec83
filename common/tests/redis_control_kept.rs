//! What outlives the stream of the control log: its snapshot in the store, and its copy on disk.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use portcullis_common::ids::UserId;
use portcullis_common::store::control::{ControlEntry, ControlLog, ControlSink, Logged, Target};
use portcullis_common::store::redis::{BadCopy, ControlCopy, RedisOptions};

mod fleet;
mod redis;

use fleet::{OURS, Process, THEIRS, ask, key, trust, until};
use redis::RedisServer;

/// Who is banned, as a sink was told.
#[derive(Default)]
struct Banned(Mutex<(BTreeSet<String>, usize)>);

impl ControlSink for Banned {
    fn apply(&self, logged: &Logged) {
        let mut state = self.0.lock().expect("no panic");
        state.1 += 1;
        match &logged.entry {
            ControlEntry::Ban { target, .. } => drop(state.0.insert(format!("{target:?}"))),
            ControlEntry::Lift { target } => drop(state.0.remove(&format!("{target:?}"))),
            _ => {}
        }
    }
}

impl Banned {
    fn names(&self) -> BTreeSet<String> {
        self.0.lock().expect("no panic").0.clone()
    }

    fn told(&self) -> usize {
        self.0.lock().expect("no panic").1
    }
}

fn target(who: &str) -> Target {
    Target::User(UserId::parse(who).expect("a user"))
}

fn ban(who: &str) -> ControlEntry {
    ControlEntry::Ban { target: target(who), until: None, reason: "test".to_owned() }
}

fn lift(who: &str) -> ControlEntry {
    ControlEntry::Lift { target: target(who) }
}

fn names(who: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    who.into_iter().map(|who| format!("{:?}", target(&who))).collect()
}

fn numbered(range: std::ops::Range<usize>) -> BTreeSet<String> {
    names(range.map(|n| format!("u{n}")))
}

async fn follow(process: &Process) -> Arc<Banned> {
    let banned = Arc::new(Banned::default());
    process.control.follow(Arc::clone(&banned) as Arc<dyn ControlSink>).await.expect("followed");
    banned
}

async fn append(process: &Process, entry: ControlEntry) {
    process.control.append(entry).await.expect("appended");
}

async fn ban_all(process: &Process, range: std::ops::Range<usize>) {
    for n in range {
        append(process, ban(&format!("u{n}"))).await;
    }
}

/// The last place that the snapshot knows of.
async fn covers(server: &RedisServer) -> u64 {
    let pointer = key(server, "control-snapshot").await;
    let covers: Option<String> = ask(server, &[b"HGET", pointer.as_bytes(), b"covers"]).await;
    covers.map_or(0, |covers| covers.parse().expect("a number"))
}

async fn snapshot_of(server: &RedisServer, least: u64) {
    for _ in 0..2_000 {
        if !ask::<Vec<String>>(server, &[b"KEYS", b"*:control-snapshot"]).await.is_empty()
            && covers(server).await >= least
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("no snapshot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_is_trimmed_behind_a_snapshot_and_who_comes_later_knows_everything() {
    let server = RedisServer::start();
    let (one, two) = (Process::start(&server, "one").await, Process::start(&server, "two").await);
    let (first, second) = (follow(&one).await, follow(&two).await);
    ban_all(&one, 0..600).await;
    append(&two, lift("u7")).await;
    snapshot_of(&server, 256).await;
    let stream = key(&server, "control").await;
    until("everybody", || second.told() == 601 && first.told() == 601).await;
    let length: u64 = ask(&server, &[b"XLEN", stream.as_bytes()]).await;
    assert_eq!(length, 601 - covers(&server).await, "the tail and nothing else");
    let mut expected = numbered(0..600);
    expected.remove(&format!("{:?}", target("u7")));
    let late = follow(&Process::start(&server, "late").await).await;
    assert_eq!(late.names(), expected);
    assert_eq!((first.names(), second.names()), (expected.clone(), expected));
    assert_eq!(one.control.counts().refused() + two.control.counts().refused(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_while_snapshots_are_written_misses_nothing() {
    let server = RedisServer::start();
    let one = Process::start(&server, "one").await;
    let _first = follow(&one).await;
    let mut comers = Vec::new();
    for round in 0..6 {
        ban_all(&one, round * 200..(round + 1) * 200).await;
        let comer = Process::start(&server, &format!("n{round}")).await;
        let banned = follow(&comer).await;
        comers.push((comer, banned));
    }
    for (_, banned) in &comers {
        until("everything", || banned.names().len() == 1_200).await;
        assert_eq!(banned.told(), 1_200, "nothing twice");
    }
    assert!(covers(&server).await >= 512);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_forgot_its_snapshot_gets_everything_back_and_what_was_lifted_stays_lifted() {
    let server = RedisServer::start();
    let (one, two) = (Process::start(&server, "one").await, Process::start(&server, "two").await);
    let (first, second) = (follow(&one).await, follow(&two).await);
    ban_all(&one, 0..300).await;
    snapshot_of(&server, 256).await;
    append(&one, lift("u3")).await;
    until("the lift", || second.told() == 301 && first.told() == 301).await;
    let mut expected = numbered(0..300);
    expected.remove(&format!("{:?}", target("u3")));
    let before = (one.control.counts().renewed, two.control.counts().renewed);
    let _: String = ask(&server, &[b"FLUSHALL"]).await;
    until("noticed", || one.control.counts().renewed > before.0 && two.control.counts().renewed > before.1).await;
    let late = Process::start(&server, "late").await;
    let banned = follow(&late).await;
    until("all in force", || banned.names() == expected).await;
    assert_eq!((first.names(), second.names()), (expected.clone(), expected));
    assert_eq!((first.told(), second.told()), (301, 301), "nobody is told twice");
}

/// Waits until the copy in a file bans those and nobody else.
async fn copied(file: &Path, names: &BTreeSet<String>) {
    let reader = trust("reader", OURS);
    until("the copy", || {
        let (copy, _) = ControlCopy::open(file.to_owned(), &RedisOptions::new([7; 32]), &reader);
        let told = Banned::default();
        copy.tell(&reader, &told);
        told.names() == *names
    })
    .await;
}

/// Somebody who may write to the store, and knows no key, puts a snapshot of theirs there.
async fn make_up_a_snapshot(server: &RedisServer) -> &'static str {
    let pointer = key(server, "control-snapshot").await;
    let made_up = "0123456789abcdef0123456789abcdef";
    let sealed = fleet::sealer(THEIRS).seal(pointer.as_bytes(), &fleet::header(500, fleet::now()), b"nobody is banned");
    let words: Vec<&[u8]> =
        vec![b"HSET", pointer.as_bytes(), b"id", made_up.as_bytes(), b"covers", b"500", b"meta", &sealed];
    let _: u64 = ask(server, &words).await;
    made_up
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_somebody_made_up_is_refused_and_replaced_by_those_who_know() {
    let server = RedisServer::start();
    let one = Process::start(&server, "one").await;
    let first = follow(&one).await;
    ban_all(&one, 0..300).await;
    snapshot_of(&server, 256).await;
    let made_up = make_up_a_snapshot(&server).await;
    // one that comes now must not believe that there are no bans, and does not have to wait for long
    let late = Process::start(&server, "late").await;
    let banned = follow(&late).await;
    assert_eq!(banned.names(), numbered(0..300));
    assert_eq!(first.names(), numbered(0..300));
    assert!(one.control.counts().forged > 0, "{:?}", one.control.counts());
    let pointer = key(&server, "control-snapshot").await;
    let id: String = ask(&server, &[b"HGET", pointer.as_bytes(), b"id"]).await;
    assert_ne!(id, made_up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_a_wrong_key_trims_nothing() {
    let server = RedisServer::start();
    let one = Process::start(&server, "one").await;
    ban_all(&one, 0..100).await;
    drop(one);
    let wrong = Process::start_as(&server, "wrong", THEIRS, None).await;
    let stream = key(&server, "control").await;
    let _ = wrong.control.follow(Arc::<Banned>::default()).await;
    until("all of it refused", || wrong.control.counts().forged >= 100).await;
    // its own are more than enough for a snapshot
    ban_all(&wrong, 1_000..1_300).await;
    let right = Process::start(&server, "right").await;
    let banned = follow(&right).await;
    assert!(banned.names().is_superset(&numbered(0..100)), "{}", banned.names().len());
    let length: u64 = ask(&server, &[b"XLEN", stream.as_bytes()]).await;
    assert_eq!(length, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_on_disk_brings_bans_back_when_the_store_and_everybody_else_forgot_them() {
    let mut server = RedisServer::start();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("one.control");
    let one = Process::start_as(&server, "one", OURS, Some(&file)).await;
    let _told = follow(&one).await;
    for who in ["ada", "bob", "eve"] {
        append(&one, ban(who)).await;
    }
    append(&one, lift("bob")).await;
    copied(&file, &names(["ada".to_owned(), "eve".to_owned()])).await;
    drop(one);
    server.restart();
    let again = Process::start_as(&server, "one", OURS, Some(&file)).await;
    let banned = follow(&again).await;
    assert_eq!(banned.names(), names(["ada".to_owned(), "eve".to_owned()]), "known when it follows, not later");
    let other = Process::start(&server, "other").await;
    let banned = follow(&other).await;
    until("the store has them again", || banned.names() == names(["ada".to_owned(), "eve".to_owned()])).await;
    // pardoned while a third one, with an old copy, was away: its copy bans nobody anew
    let old = dir.path().join("old.control");
    std::fs::copy(&file, &old).expect("copied");
    append(&other, lift("ada")).await;
    drop(again);
    drop(other);
    let third = Process::start_as(&server, "third", OURS, Some(&old)).await;
    let banned = follow(&third).await;
    append(&third, ban("zoe")).await;
    until("the next", || banned.names().contains(&format!("{:?}", target("zoe")))).await;
    assert!(!banned.names().contains(&format!("{:?}", target("ada"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_log_whose_snapshot_somebody_replaced_brings_bans_back_once_that_log_is_deleted() {
    let server = RedisServer::start();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("one.control");
    let one = Process::start_as(&server, "one", OURS, Some(&file)).await;
    ban_all(&one, 0..300).await;
    snapshot_of(&server, 256).await;
    copied(&file, &numbered(0..300)).await;
    drop(one);
    make_up_a_snapshot(&server).await;
    // nobody is there who knows the whole log: who comes now refuses the snapshot, and believes nothing
    let again = Process::start_as(&server, "one", OURS, Some(&file)).await;
    until("the snapshot is refused", || again.control.counts().forged > 0).await;
    assert!(again.control.staleness().is_none());
    // what OPERATIONS says to do about it
    let _: String = ask(&server, &[b"FLUSHALL"]).await;
    let late = Process::start(&server, "late").await;
    let banned = follow(&late).await;
    until("all are banned again", || banned.names() == numbered(0..300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_changed_or_is_another_clusters_is_refused() {
    let server = RedisServer::start();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("one.control");
    let one = Process::start_as(&server, "one", OURS, Some(&file)).await;
    let _told = follow(&one).await;
    append(&one, ban("ada")).await;
    until("the copy", || std::fs::read(&file).is_ok_and(|bytes| bytes.len() > 200)).await;
    let bytes = std::fs::read(&file).expect("read");
    let options = RedisOptions::new([7; 32]);
    let refused = |bytes: &[u8], keys: &str| {
        let changed = dir.path().join("changed");
        std::fs::write(&changed, bytes).expect("written");
        matches!(ControlCopy::open(changed, &options, &trust("x", keys)), (_, Some(BadCopy::Refused(_))))
    };
    assert!(!refused(&bytes, OURS), "as it is it is good");
    assert!(refused(&bytes, THEIRS));
    assert!(refused(&bytes[..bytes.len() - 1], OURS) && refused(b"", OURS));
    for at in [0, 20, 40, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(refused(&changed, OURS), "byte {at}");
    }
    assert!(
        ControlCopy::open(dir.path().join("none"), &options, &trust("x", OURS)).1.is_none(),
        "none is an empty one"
    );
}
