//! The control log over Redis beyond the suite: several processes, a connection that breaks, a store that forgets, and
//! others who write into it.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::sync::{Arc, Mutex};

use portcullis_common::ids::UserId;
use portcullis_common::store::control::{ControlEntry, ControlLog, ControlSink, Logged, Target};

mod fleet;
mod redis;

use fleet::{Process, THEIRS, ask, header, key, now, sealer, until};
use redis::RedisServer;

#[derive(Default)]
struct Told(Mutex<Vec<ControlEntry>>);

impl ControlSink for Told {
    fn apply(&self, logged: &Logged) {
        self.0.lock().expect("no panic").push(logged.entry.clone());
    }
}

impl Told {
    fn entries(&self) -> Vec<ControlEntry> {
        self.0.lock().expect("no panic").clone()
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

fn kick(who: &str) -> ControlEntry {
    ControlEntry::Kick { target: target(who), reason: "test".to_owned() }
}

async fn follow(process: &Process) -> Arc<Told> {
    let told = Arc::new(Told::default());
    process.control.follow(Arc::clone(&told) as Arc<dyn ControlSink>).await.expect("followed");
    told
}

async fn append(process: &Process, entry: ControlEntry) {
    process.control.append(entry).await.expect("appended");
}

async fn sealed_entries(server: &RedisServer, stream: &str) -> Vec<Vec<u8>> {
    let entries: Vec<fleet::Entry> = ask(server, &[b"XRANGE", stream.as_bytes(), b"-", b"+"]).await;
    entries.into_iter().map(|(_, fields)| fields[0].1.clone()).collect()
}

async fn write_raw(server: &RedisServer, stream: &str, sealed: &[u8]) {
    let _: String = ask(server, &[b"XADD", stream.as_bytes(), b"*", b"d", sealed]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_is_told_in_one_order_also_after_its_connection_broke() {
    let server = RedisServer::start();
    let (one, two) = (Process::start(&server, "one").await, Process::start(&server, "two").await);
    let (first, second) = (follow(&one).await, follow(&two).await);
    for round in 0..5 {
        let _: u64 = ask(&server, &[b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes"]).await;
        for process in [&one, &two] {
            let who = format!("u{round}");
            // a connection that was just killed fails one call
            while process.control.append(kick(&who)).await.is_err() {}
        }
    }
    until("all", || first.entries().len() >= 10 && second.entries().len() == first.entries().len()).await;
    assert_eq!(first.entries(), second.entries());
    assert!(one.control.staleness().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_is_counted_and_does_nothing() {
    let server = RedisServer::start();
    let one = Process::start(&server, "one").await;
    let told = follow(&one).await;
    append(&one, ban("ada")).await;
    append(&one, kick("eve")).await;
    append(&one, lift("ada")).await;
    let stream = key(&server, "control").await;
    let entries = sealed_entries(&server, &stream).await;
    let body = b"{\"entry\":{\"entry\":\"lift\",\"target\":{\"user\":\"mallory\"}}}";
    write_raw(&server, &stream, b"rubbish").await;
    write_raw(&server, &stream, &sealer(THEIRS).seal(stream.as_bytes(), &header(1, now()), body)).await;
    let _: String = ask(&server, &[b"XADD", stream.as_bytes(), b"*", b"x", b"y"]).await;
    for sealed in &entries {
        write_raw(&server, &stream, sealed).await;
    }
    until("six counted", || one.control.counts().refused() >= 6).await;
    append(&one, ban("bob")).await;
    until("the next", || told.entries().contains(&ban("bob"))).await;
    assert_eq!(told.entries(), [ban("ada"), kick("eve"), lift("ada"), ban("bob")]);
    let late = Process::start(&server, "late").await;
    let in_force = follow(&late).await.entries();
    assert!(!in_force.contains(&ban("ada")) && in_force.contains(&lift("ada")), "{in_force:?}");
    assert_eq!(one.control.counts().refused(), 6, "{:?}", one.control.counts());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_forgot_the_log_gets_back_what_is_in_force_and_nobody_is_told_twice() {
    let server = RedisServer::start();
    let (one, two) = (Process::start(&server, "one").await, Process::start(&server, "two").await);
    let (first, second) = (follow(&one).await, follow(&two).await);
    append(&one, ban("ada")).await;
    append(&two, ban("bob")).await;
    append(&one, lift("bob")).await;
    until("three at both", || first.entries().len() == 3 && second.entries().len() == 3).await;
    let _: String = ask(&server, &[b"FLUSHALL"]).await;
    until("begun anew", || one.control.counts().renewed > 0 && two.control.counts().renewed > 0).await;
    append(&two, ban("eve")).await;
    let late = Process::start(&server, "late").await;
    let told = follow(&late).await;
    until("all in force", || told.entries().len() >= 3).await;
    let mut entries = told.entries();
    entries.sort_by_key(|entry| format!("{entry:?}"));
    assert_eq!(entries, [ban("ada"), ban("eve"), lift("bob")]);
    until("the new one", || first.entries().len() == 4 && second.entries().len() == 4).await;
    assert_eq!(first.entries(), [ban("ada"), ban("bob"), lift("bob"), ban("eve")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_grew_past_the_lost_one_unseen_is_read_from_its_beginning() {
    let server = RedisServer::start();
    let (one, two) = (Process::start(&server, "one").await, Process::start(&server, "two").await);
    let first = follow(&one).await;
    append(&one, ban("ada")).await;
    until("one", || first.entries().len() == 1).await;
    // in one transaction, so that nobody sees the log while it is short
    let stream = key(&server, "control").await;
    let life = key(&server, "control-life").await;
    for who in ["u1", "u2", "u3"] {
        append(&two, ban(who)).await;
    }
    let entries = sealed_entries(&server, &stream).await;
    until("four", || first.entries().len() == 4).await;
    let mut lost = ::redis::pipe();
    lost.atomic().cmd("DEL").arg(&stream).arg(&life).ignore().cmd("SET").arg(&life).arg("another").ignore();
    for (id, sealed) in [(1, &entries[3]), (2, &entries[2]), (9, &entries[1])] {
        lost.cmd("XADD").arg(&stream).arg(format!("{id}-0")).arg("d").arg(sealed).ignore();
    }
    let _: () = lost.query_async(&mut fleet::raw(&server).await).await.expect("done");
    until("begun anew", || one.control.counts().renewed > 0).await;
    append(&one, ban("eve")).await;
    until("the next", || first.entries().len() >= 5).await;
    let late = Process::start(&server, "late").await;
    let in_force = follow(&late).await;
    until("all", || in_force.entries().len() == 5).await;
    assert_eq!(first.entries().len(), 5, "nothing twice: {:?}", first.entries());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_entry_at_the_end_of_all_numbers_does_not_stop_the_log() {
    let server = RedisServer::start();
    let one = Process::start(&server, "one").await;
    let told = follow(&one).await;
    append(&one, ban("ada")).await;
    let stream = key(&server, "control").await;
    let _: String = ask(&server, &[b"XADD", stream.as_bytes(), b"18446744073709551615-0", b"d", b"x"]).await;
    append(&one, ban("bob")).await;
    until("both", || told.entries().len() == 2).await;
    let late = Process::start(&server, "late").await;
    let in_force = follow(&late).await;
    until("both", || in_force.entries().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_merged_away_leaves_the_stream() {
    let server = RedisServer::start();
    let one = Process::start(&server, "one").await;
    for _ in 0..300 {
        append(&one, ban("ada")).await;
    }
    let stream = key(&server, "control").await;
    for _ in 0..400 {
        let length: u64 = ask(&server, &[b"XLEN", stream.as_bytes()]).await;
        if length <= 65 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the stream was never trimmed");
}
