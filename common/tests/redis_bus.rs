//! The bus over Redis beyond the suite: several processes, a connection that breaks, a store that forgets, and others
//! who write into it.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{ClientId, UserId};
use portcullis_common::store::StoreFault;
use portcullis_common::store::bus::{Bus, Dedupe, NodeMail, Position};
use portcullis_common::store::redis::RedisOptions;

mod fleet;
mod redis;

use fleet::{OURS, Process, THEIRS, ask, channel, header, keep, key, now, raw, record, room, sealer, until};
use redis::RedisServer;

/// Rounds, and messages of each of two senders in one, of the test of scripts forgotten in between.
const ROUNDS: usize = 40;
const BURST: usize = 300;

fn to_ada() -> NodeMail {
    NodeMail::ToUser { user: UserId::parse("ada").expect("a user"), tenant: None, record: record("hello") }
}

async fn kill_subscribers(server: &RedisServer) {
    let _: u64 = ask(server, &[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]).await;
}

async fn publish_raw(server: &RedisServer, channel: &str, payload: &[u8]) {
    let _: u64 = ask(server, &[b"PUBLISH", channel.as_bytes(), payload]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_one_order_and_mail_goes_between_them() {
    let server = RedisServer::start();
    let (one, two) = (Process::listening(&server, "one").await, Process::listening(&server, "two").await);
    for n in 0..50 {
        let text = n.to_string();
        tokio::join!(one.say(&text, None), two.say(&text, None));
    }
    until("all at both", || one.inbox.offsets().len() == 100 && two.inbox.offsets().len() == 100).await;
    assert_eq!(one.inbox.offsets(), (1..=100).collect::<Vec<_>>());
    let bodies = |process: &Process| -> Vec<Bytes> {
        process.inbox.deliveries.lock().expect("no panic").iter().map(|d| d.record.body.clone()).collect()
    };
    assert_eq!(bodies(&one), bodies(&two));
    let mut sent = false;
    for _ in 0..200 {
        sent = one.bus.send(two.node.clone(), to_ada()).await.expect("sent");
        if sent {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(sent, "the node's mailbox is open some time after it was attached");
    until("the mail", || two.inbox.mail_count() == 1).await;
    assert_eq!((one.inbox.mail_count(), two.bus.counts().refused()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broken_connection_missed_comes_from_history_in_its_place() {
    let server = RedisServer::start();
    let (listener, speaker) = (Process::listening(&server, "one").await, Process::start(&server, "two").await);
    let mut said = 0;
    for round in 0..100 {
        if listener.bus.counts().mended > 0 {
            break;
        }
        kill_subscribers(&server).await;
        // of a single message that was missed nothing that comes later tells
        for _ in 0..if round % 2 == 0 { 1 } else { 10 } {
            said = speaker.say(&round.to_string(), keep()).await.offset;
        }
        until("everything", || listener.inbox.offsets().len() as u64 >= said).await;
    }
    assert!(listener.bus.counts().mended > 0);
    assert_eq!(listener.inbox.offsets(), (1..=said).collect::<Vec<_>>());
    assert_eq!(listener.bus.counts().refused(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_history_what_was_missed_is_a_jump_and_the_rest_goes_on() {
    let server = RedisServer::start();
    let (listener, speaker) = (Process::listening(&server, "one").await, Process::start(&server, "two").await);
    let jumped = || listener.inbox.offsets().windows(2).any(|pair| pair[1] > pair[0] + 1);
    let mut last = Position { offset: 0, epoch: 0 };
    for _ in 0..100 {
        if jumped() {
            break;
        }
        last = speaker.say("before", None).await;
        kill_subscribers(&server).await;
        for _ in 0..10 {
            last = speaker.say("missed", None).await;
        }
        for _ in 0..400 {
            if listener.inbox.places().last() == Some(&last) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            last = speaker.say("after", None).await;
        }
    }
    assert!(jumped());
    until("the last", || listener.inbox.places().last() == Some(&last)).await;
    assert!(listener.inbox.offsets().is_sorted_by(|a, b| a < b));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_is_open_again_after_its_connection_broke() {
    let server = RedisServer::start();
    let (listener, speaker) = (Process::listening(&server, "one").await, Process::start(&server, "two").await);
    kill_subscribers(&server).await;
    for _ in 0..2_000 {
        if listener.inbox.mail_count() > 0 {
            break;
        }
        let _ = speaker.bus.send(listener.node.clone(), to_ada()).await.expect("the server is there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(listener.inbox.mail_count() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_publish_is_counted_and_does_nothing() {
    let server = RedisServer::start();
    let one = Process::listening(&server, "one").await;
    let (bus, mail) = (channel(&server, "bus").await, channel(&server, "mail").await);
    let mut spy = ::redis::Client::open(server.url()).expect("a URL").get_async_pubsub().await.expect("a server");
    spy.psubscribe("*").await.expect("a pattern");
    let place = one.say("real", None).await;
    let captured = spy.on_message().next().await.expect("the message").get_payload_bytes().to_vec();
    let sealed = &captured[captured.iter().enumerate().filter(|(_, b)| **b == b':').nth(1).expect("two").0 + 1..];
    let at = |offset: u64, sealed: &[u8]| [format!("{}:{offset}:", place.epoch).as_bytes(), sealed].concat();
    let message = [&[0_u8][..], b"{}"].concat();
    let by = |keys: &str, channel: &str, at: UnixMs| sealer(keys).seal(channel.as_bytes(), &header(1, at), &message);
    let mut flipped = sealed.to_vec();
    *flipped.last_mut().expect("a byte") ^= 1;
    let bad = [
        b"".to_vec(),
        b"rubbish".to_vec(),
        at(2, b""),
        at(2, b"rubbish"),
        at(2, &flipped),
        captured.clone(),
        at(2, sealed),
        at(900, sealed),
        at(2, &by(THEIRS, &bus, now())),
        at(2, &by(OURS, &mail, now())),
        at(2, &by(OURS, &bus, UnixMs(now().0 - 31_000))),
        at(2, &by(OURS, &bus, UnixMs(now().0 + 40_000))),
        at(2, &[&[9][..], &by(OURS, &bus, now())[1..]].concat()),
        [b"0:2:", &by(OURS, &bus, now())[..]].concat(),
    ];
    for payload in &bad {
        publish_raw(&server, &bus, payload).await;
    }
    publish_raw(&server, &mail, &by(THEIRS, &mail, now())).await;
    publish_raw(&server, &mail, sealed).await;
    publish_raw(&server, &mail, &by(OURS, &mail, now())).await;
    one.say("real", None).await;
    until("the second message", || one.inbox.offsets() == [1, 2]).await;
    let counts = one.bus.counts();
    assert_eq!((counts.refused() + counts.repeated, counts.unreadable), (bad.len() as u64 + 2, 1), "{counts:?}");
    assert_eq!(
        (counts.replayed, counts.repeated, counts.old, counts.future, counts.forged),
        (2, 1, 1, 1, 5),
        "{counts:?}"
    );
    assert_eq!((one.inbox.mail_count(), counts.taken), (0, 2), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_into_the_history_is_never_recovered() {
    let server = RedisServer::start();
    let one = Process::start(&server, "one").await;
    let first = one.say("1", keep()).await;
    one.say("2", keep()).await;
    let (history, meta) = (key(&server, "history").await, key(&server, "room").await);
    let kept: Vec<fleet::Entry> = ask(&server, &[b"XRANGE", history.as_bytes(), b"-", b"+"]).await;
    let old = kept[0].1[1].1.clone();
    let add = async |id: &[u8], data: &[u8]| {
        let time = now().0.to_string();
        let _: String = ask(&server, &[b"XADD", history.as_bytes(), id, b"t", time.as_bytes(), b"d", data]).await;
    };
    add(b"3-0", b"rubbish").await;
    add(b"4-0", &old).await;
    add(b"4-7", &old).await;
    let _: u64 = ask(&server, &[b"HSET", meta.as_bytes(), b"offset", b"4"]).await;
    let start = Position { offset: 0, ..first };
    let recovery = one.bus.recover(room(), start, 100).await.expect("an answer");
    let offsets: Vec<u64> = recovery.records.iter().map(|delivery| delivery.position.offset).collect();
    assert_eq!((offsets, recovery.complete), (vec![1, 2], false));
    assert_eq!(one.bus.counts().refused(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_with_a_foreign_end_does_not_stop_the_room() {
    let server = RedisServer::start();
    let one = Process::listening(&server, "one").await;
    one.say("1", keep()).await;
    let history = key(&server, "history").await;
    let _: String = ask(&server, &[b"XADD", history.as_bytes(), b"99999-0", b"t", b"1", b"d", b"x"]).await;
    let second = one.say("2", keep()).await;
    let third = one.say("3", keep()).await;
    until("all three", || one.inbox.offsets() == [1, 2, 3]).await;
    let recovery = one.bus.recover(room(), second, 10).await.expect("an answer");
    assert!(recovery.complete && recovery.records[0].position == third);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_the_bus_writes_ends_by_itself() {
    let server = RedisServer::start();
    let one = Process::listening(&server, "one").await;
    let dedupe = Dedupe { user: UserId::parse("ada").expect("a user"), id: ClientId::parse("m1").expect("an id") };
    one.bus.publish(room(), record("x"), Some(dedupe.clone()), keep()).await.expect("taken");
    assert!(one.bus.first(dedupe, UserId::parse("bob").expect("a user")).await.expect("an answer"));
    let keys: Vec<String> = ask(&server, &[b"KEYS", b"*"]).await;
    assert_eq!(keys.len(), 4, "{keys:?}");
    for key in keys {
        let ttl: i64 = ask(&server, &[b"PTTL", key.as_bytes()]).await;
        // a room's order an eighth longer than it has to
        let most = if key.contains(":once:") { 300_000 } else { 900_000 * 9 / 8 };
        assert!(ttl > most / 2 && ttl <= most, "{key}: {ttl}");
        assert!(!key.contains("ada"), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_forgot_everything_goes_on_in_a_new_epoch() {
    let mut server = RedisServer::start();
    let (one, two) = (Process::listening(&server, "one").await, Process::start(&server, "two").await);
    let old = two.say("x", keep()).await;
    until("the first", || one.inbox.offsets() == [1]).await;
    server.restart();
    let first = two.insist("y", keep()).await;
    let second = two.insist("z", keep()).await;
    assert!(first.epoch != old.epoch && second.epoch == first.epoch);
    until("what came after", || one.inbox.places().last() == Some(&second)).await;
    assert_eq!(one.inbox.places(), [old, first, second], "what came before the subscription stood is mended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_went_back_in_time_gets_a_new_epoch_and_the_room_goes_on() {
    let server = RedisServer::start();
    let one = Process::listening(&server, "one").await;
    let mut old = Position { offset: 0, epoch: 0 };
    for _ in 0..5 {
        old = one.say("x", None).await;
    }
    until("five", || one.inbox.offsets().len() == 5).await;
    let meta = key(&server, "room").await;
    let _: u64 = ask(&server, &[b"HSET", meta.as_bytes(), b"offset", b"1"]).await;
    one.say("lost", None).await;
    until("a new epoch", || one.bus.counts().renewed == 1).await;
    let new = one.say("y", None).await;
    assert!(new.epoch != old.epoch && new.offset == 1);
    until("the new one", || one.inbox.places().last() == Some(&new)).await;
    assert_eq!(one.inbox.offsets(), [1, 2, 3, 4, 5, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_the_server_forgot_cost_no_message_and_no_order() {
    let server = RedisServer::start();
    let one = Process::listening(&server, "one").await;
    let mut waiting = Vec::new();
    for n in 0..200 {
        if n % 50 == 0 {
            let _: String = ask(&server, &[b"SCRIPT", b"FLUSH", b"SYNC"]).await;
        }
        waiting.push(one.bus.publish(room(), record(&n.to_string()), None, None));
    }
    for one in waiting {
        one.await.expect("taken");
    }
    until("all", || one.inbox.offsets().len() == 200).await;
    let bodies: Vec<Bytes> =
        one.inbox.deliveries.lock().expect("no panic").iter().map(|d| d.record.body.clone()).collect();
    assert_eq!(bodies, (0..200).map(|n: u32| record(&n.to_string()).body).collect::<Vec<_>>());
    assert_eq!(one.bus.counts().refused(), 0);
}

/// Two that teach the same server, and one that makes it forget: a batch may find the script known at its end only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_forgotten_and_taught_by_another_in_the_midst_of_a_batch_turns_no_order_round() {
    let server = RedisServer::start();
    let done = AtomicBool::new(false);
    let speak = async {
        let mut refused = 0;
        for round in 0..ROUNDS {
            // new connections: nothing was taught on them
            let name = |n: usize| format!("{}-{round}", ["one", "two"][n]);
            let (first, second) = (name(0), name(1));
            let (one, two) = (Process::listening(&server, &first).await, Process::start(&server, &second).await);
            let before = one.inbox.offsets().len();
            let burst = |process: &Process, who: usize| {
                let tell = |n: usize| {
                    let said = process.bus.publish(room(), record(&format!("{who}-{n:03}")), None, None);
                    async move { said.await.is_ok().then_some(n) }
                };
                join_all((0..BURST).map(tell))
            };
            let taken = tokio::join!(burst(&one, 0), burst(&two, 1));
            let taken = [taken.0, taken.1].map(|all| all.into_iter().flatten().collect::<Vec<usize>>());
            let stored = taken[0].len() + taken[1].len();
            refused += 2 * BURST - stored;
            until("what was taken", || one.inbox.offsets().len() - before >= stored).await;
            let bodies: Vec<Bytes> =
                one.inbox.deliveries.lock().expect("no panic").iter().map(|d| d.record.body.clone()).collect();
            for (who, taken) in taken.iter().enumerate() {
                let its = bodies.iter().filter(|body| body.starts_with(format!("{{\"t\":\"{who}-").as_bytes()));
                let sent: Vec<Bytes> = taken.iter().map(|n| record(&format!("{who}-{n:03}")).body).collect();
                assert!(its.eq(sent.iter()), "round {round}: the order of {who}, and nothing that was refused");
            }
        }
        done.store(true, Ordering::Release);
        refused
    };
    let forget = async {
        let mut redis = raw(&server).await;
        while !done.load(Ordering::Acquire) {
            let _: String =
                ::redis::cmd("SCRIPT").arg("FLUSH").arg("SYNC").query_async(&mut redis).await.expect("done");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (refused, ()) = tokio::join!(speak, forget);
    assert!(refused < ROUNDS * BURST, "most are taken: {refused} were not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_fails_calls_in_time_and_is_used_again() {
    let server = RedisServer::start();
    let options = RedisOptions { command_timeout: Duration::from_millis(300), ..RedisOptions::new([7; 32]) };
    let one = Process::start_with(&server, "one", options).await;
    one.attach();
    until_subscribed(&one).await;
    server.pause();
    let answer = one.bus.publish(room(), record("x"), None, None).await;
    assert!(matches!(answer, Err(StoreFault::Unavailable(_))), "{answer:?}");
    let answer = one.bus.subscribe(one.node.clone(), room()).await;
    assert!(matches!(answer, Err(StoreFault::Unavailable(_))), "{answer:?}");
    server.go_on();
    let last = one.insist("y", None).await;
    until("the last", || one.inbox.places().last() == Some(&last)).await;
    assert!(one.inbox.offsets().is_sorted_by(|a, b| a < b));
}

async fn until_subscribed(process: &Process) {
    for _ in 0..100 {
        if process.bus.subscribe(process.node.clone(), room()).await.is_ok() {
            return;
        }
    }
    panic!("never subscribed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_goes_away_leaves_no_room_waiting() {
    let server = RedisServer::start();
    let one = Process::start(&server, "one").await;
    one.attach();
    drop(one.bus.subscribe(one.node.clone(), room()));
    let place = one.bus.subscribe(one.node.clone(), room()).await.expect("a subscription");
    let said = one.say("x", None).await;
    assert_eq!(said.offset, place.offset + 1);
    until("the message", || one.inbox.places() == [said]).await;
}
