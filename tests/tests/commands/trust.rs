//! Whom the nodes obey, and whom not.

use bytes::Bytes;
use portcullis_common::control::ack::{Answer, Outcome};
use portcullis_common::control::command::Command;
use portcullis_common::control::sign::{Nonce, sign};
use portcullis_common::ids::UserId;
use portcullis_common::store::control::Target;
use portcullis_tests::fleet::{lives, open};
use portcullis_tests::gatectl::{Gatectl, Scribe, Who};
use portcullis_tests::wait;

use super::{Three, column, end, texts};

fn kick() -> Command {
    Command::Kick { target: Target::User(UserId::parse("app:ada").unwrap()), reason: "test".to_owned() }
}

fn refused(answers: &[(String, Answer)], why: &str) {
    let mut nodes: Vec<&str> = answers.iter().map(|(node, _)| node.as_str()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["gw-a", "gw-b", "gw-c"], "{why}");
    for (node, answer) in answers {
        assert_eq!((answer.outcome, answer.detail.as_deref()), (Outcome::Refused, Some(why)), "{node}");
    }
}

#[test]
fn commands_that_are_not_what_they_should_be_are_refused_reported_and_counted_by_every_node() {
    let three = Three::start();
    let scribe = Scribe::at(&three.fleet.redis);
    let mut adas = three.on_all("ada");
    let mut fresh = (1u8..).map(|n| Nonce([n; 16]));
    let mut try_one = |why: &str, make: &dyn Fn(Nonce) -> Bytes| {
        let nonce = fresh.next().unwrap();
        scribe.write(make(nonce));
        refused(&scribe.answers(nonce, 3), why);
    };
    try_one("unknown_key", &|nonce| scribe.sign(Who::Stranger, 0, 10_000, nonce, &kick()));
    try_one("forged", &|nonce| {
        let mut bytes = scribe.sign(Who::Stranger, 0, 10_000, nonce, &kick()).to_vec();
        // a stranger who says that it is the admin's key
        bytes[65..73].copy_from_slice(&Who::Admin.key().public().id().0);
        Bytes::from(bytes)
    });
    try_one("forged", &|nonce| {
        // the admin's, for somebody else
        let mut bytes = scribe.sign(Who::Admin, 0, 10_000, nonce, &kick()).to_vec();
        let at = bytes.windows(7).position(|w| w == b"app:ada").unwrap();
        bytes[at..at + 7].copy_from_slice(b"app:bob");
        Bytes::from(bytes)
    });
    try_one("role", &|nonce| scribe.sign(Who::Viewer, 0, 10_000, nonce, &kick()));
    try_one("role", &|nonce| {
        let drain = Command::Drain { node: portcullis_common::ids::NodeId::parse("gw-a").unwrap() };
        scribe.sign(Who::Operator, 0, 10_000, nonce, &drain)
    });
    try_one("before_start", &|nonce| scribe.sign(Who::Admin, -600_000, 10_000, nonce, &kick()));
    try_one("future", &|nonce| scribe.sign(Who::Admin, 60_000, 10_000, nonce, &kick()));
    try_one("future", &|nonce| scribe.sign(Who::Admin, 0, 30_001, nonce, &kick()));
    try_one("expired", &|nonce| {
        let bytes = scribe.sign(Who::Admin, 0, 1, nonce, &kick());
        wait::until("its time to be over", || (scribe.now().0 > at(&bytes) + 1).then_some(()));
        bytes
    });
    try_one("cluster", &|nonce| {
        let now = scribe.now();
        sign(&Who::Admin.key(), "elsewhere", (now, now.after(std::time::Duration::from_secs(9))), nonce, &kick())
    });
    // what cannot even be answered
    for noise in ["", "\u{1}", "\u{7}garbage", "\u{1}garbage"] {
        scribe.write(Bytes::copy_from_slice(noise.as_bytes()));
    }

    // what stands behind all that is obeyed
    let nonce = Nonce([0xff; 16]);
    scribe.write(scribe.sign(Who::Viewer, 0, 10_000, nonce, &Command::Nodes));
    assert!(scribe.answers(nonce, 3).iter().all(|(_, answer)| answer.outcome == Outcome::Done));
    assert!(adas.iter_mut().all(lives), "and nobody was kicked");
    for node in three.nodes() {
        let count = |outcome: &str| node.metric(&format!("portcullis_commands_total{{outcome=\"{outcome}\"}}"));
        let counts = ["unknown_key", "forged", "role", "before_start", "future", "expired", "cluster"].map(count);
        assert_eq!(counts, [1., 2., 2., 1., 2., 1., 1.]);
        assert_eq!((count("malformed"), count("version"), count("done")), (3., 1., 1.));
    }
}

/// When a command was issued.
fn at(command: &[u8]) -> u64 {
    // version, signature, key id, the cluster's name with its length
    let at = 1 + 64 + 8 + 2 + "portcullis".len();
    u64::from_be_bytes(command[at..at + 8].try_into().unwrap())
}

#[test]
fn a_command_that_is_written_again_is_refused_also_by_a_node_that_came_later() {
    let three = Three::start();
    let scribe = Scribe::at(&three.fleet.redis);
    let adas = three.on_all("ada");
    let nonce = Nonce([1; 16]);
    let command = scribe.sign(Who::Operator, 0, 25_000, nonce, &kick());
    scribe.write(command.clone());
    let answers = scribe.answers(nonce, 3);
    assert!(answers.iter().all(|(_, answer)| answer.outcome == Outcome::Done), "{answers:?}");
    assert_eq!(adas.map(end), [(); 3].map(|()| ("session_terminated".to_owned(), Some(4409))));

    let mut adas = three.on_all("ada");
    let late = three.fleet.node("gw-d");
    let mut on_late = open(&late, "ada");
    scribe.write(command);
    let mut again: Vec<_> = scribe.answers(nonce, 7).split_off(3);
    again.sort_by(|(a, _), (b, _)| a.cmp(b));
    let why: Vec<_> = again.iter().map(|(node, answer)| (node.as_str(), answer.detail.as_deref().unwrap())).collect();
    let expected = [("gw-a", "replayed"), ("gw-b", "replayed"), ("gw-c", "replayed"), ("gw-d", "before_start")];
    assert_eq!(why, expected);
    assert!(adas.iter_mut().all(lives) && lives(&mut on_late));
}

#[test]
fn a_viewer_reads_and_changes_nothing() {
    let three = Three::start();
    let viewer = Gatectl::of(Who::Viewer, &three.fleet.redis);
    let mut adas = three.on_all("ada");
    for words in [&["nodes"][..], &["sessions", "list"], &["sessions", "show", adas[0].session()], &["ban", "list"]] {
        assert_eq!(viewer.json(words).0, 0, "{words:?}");
    }
    for words in [
        &["kick", "user", "app:ada"][..],
        &["kick", "session", adas[0].session()],
        &["ban", "add", "user", "app:ada"],
        &["ban", "remove", "user", "app:ada"],
        &["broadcast", "note", "1"],
    ] {
        let (code, rows) = viewer.json(words);
        assert_eq!((code, texts(&rows, "outcome"), texts(&rows, "detail")), (4, vec!["refused"; 3], vec!["role"; 3]));
    }
    assert_eq!(viewer.json(&["drain", "gw-a"]).0, 4);
    let operator = Gatectl::of(Who::Operator, &three.fleet.redis);
    assert_eq!(operator.json(&["drain", "gw-a"]).0, 4, "nodes are an admin's");
    assert_eq!(Gatectl::of(Who::Stranger, &three.fleet.redis).json(&["nodes"]).0, 4);
    assert!(adas.iter_mut().all(lives));
    assert_eq!(column(&viewer.json(&["nodes"]).1, "state"), ["ready"; 3]);
    assert!(viewer.json(&["ban", "list"]).1.is_empty());
}

#[test]
fn an_entry_at_the_end_of_all_places_does_not_silence_the_operators() {
    let three = Three::start();
    let redis = &three.fleet.redis;
    let gatectl = Gatectl::of(Who::Viewer, redis);
    assert_eq!(gatectl.json(&["nodes"]).0, 0);
    let keys = redis.cli(&["--scan", "--pattern", "*:commands"]);
    redis.cli(&["XADD", keys.trim(), "18446744073709551615-18446744073709551615", "c", "the last word"]);
    wait::until("commands to work again", || (gatectl.run(&["nodes", "--timeout", "2s"]).code == 0).then_some(()));
}
