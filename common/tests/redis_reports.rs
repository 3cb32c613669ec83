//! Reports of refused logins over Redis beyond the suite: others who write into it, and a leader that comes later.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::time::Duration;

use portcullis_common::store::redis::RedisReports;
use portcullis_common::store::report::{Page, Place, Reports};
use portcullis_common::stuffing::{Mark, Report, Seen};

mod fleet;
mod redis;

use fleet::{OURS, Process, THEIRS, ask, header, key, now, sealer, trust};
use redis::RedisServer;

fn report(n: u32) -> Report {
    let from = [192, 0, 2, 1].into();
    let seen = Seen { from, refused: n, accounts: vec![Mark(1)], families: Vec::new(), users: Vec::new() };
    Report { seen: vec![seen], left_out: 0 }
}

fn numbers(page: &Page) -> Vec<u32> {
    page.filed.iter().map(|filed| filed.report.seen[0].refused).collect()
}

async fn write(server: &RedisServer, stream: &str, place: &str, sealed: &[u8]) {
    let _: String = ask(server, &[b"XADD", stream.as_bytes(), place.as_bytes(), b"r", sealed]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_nobody_of_the_cluster_wrote_are_refused_and_a_spoiled_stream_begins_anew() {
    let server = RedisServer::start();
    let one = Process::start(&server, "one").await;
    let (node, leader, later): (RedisReports, _, _) = (
        one.store.reports(&trust("one", OURS)),
        one.store.reports(&trust("two", OURS)),
        one.store.reports(&trust("three", OURS)),
    );
    node.file(report(1), now()).await.expect("filed");
    let stream = key(&server, "reports").await;
    let body = report(100).write();
    let forged = sealer(THEIRS).seal(stream.as_bytes(), &header(1, now()), &body);
    let of_another_channel = sealer(OURS).seal(b"bus", &header(2, now()), &body);
    let ahead = sealer(OURS).seal(stream.as_bytes(), &header(3, now().after(Duration::from_secs(90))), &body);
    let no_report = sealer(OURS).seal(stream.as_bytes(), &header(4, now()), b"\x01");
    for sealed in [&forged[..], &of_another_channel, &ahead, &no_report, b"", b"noise"] {
        write(&server, &stream, "*", sealed).await;
    }
    node.file(report(2), now()).await.expect("filed");
    let entries: Vec<fleet::Entry> = ask(&server, &[b"XRANGE", stream.as_bytes(), b"-", b"+"]).await;
    write(&server, &stream, "*", &entries[0].1[0].1).await;
    let page = leader.read(Place::default()).await.expect("read");
    assert_eq!((numbers(&page), page.refused), (vec![1, 2], 7), "and what is said again");
    // a place that nothing can come behind
    write(&server, &stream, "18446744073709551615-18446744073709551615", b"noise").await;
    let spoiled = leader.read(page.last).await.expect("read");
    assert_eq!((numbers(&spoiled), spoiled.refused), (vec![], 1));
    node.file(report(3), now()).await.expect("filed");
    assert_eq!(numbers(&leader.read(spoiled.last).await.expect("read")), [3]);
    // whoever leads next reads what is there
    assert_eq!(numbers(&later.read(Place::default()).await.expect("read")), [3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_is_the_same_on_all_nodes_of_one_naming_key_and_the_store_has_no_names() {
    let server = RedisServer::start();
    let one = Process::start(&server, "one").await;
    let (a, b) = (one.store.reports(&trust("one", OURS)), one.store.reports(&trust("two", OURS)));
    assert_eq!(a.mark(&["account", "ada"]), b.mark(&["account", "ada"]));
    let options = portcullis_common::store::redis::RedisOptions::new([8; 32]);
    let other = Process::start_with(&server, "other", options).await.store.reports(&trust("one", OURS));
    assert_ne!(a.mark(&["account", "ada"]), other.mark(&["account", "ada"]));
}
