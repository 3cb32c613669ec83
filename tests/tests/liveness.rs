//! Pings, frames, slow readers and ends: what holds a connection, and how it is let go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::net::Ipv4Addr;

use portcullis_common::store::control::{ControlEntry, Target};
use portcullis_tests::blocking::{BINARY, CLOSE, Frame, Knock, PING, PONG, Raw, TEXT, dial};
use portcullis_tests::inside::{Inside, until};
use portcullis_tests::tokens;
use serde_json::{Value, json};

/// Frames of a message in pieces: the first, one between, the last.
const FIRST: u8 = 0x01;
const BETWEEN: u8 = 0x00;
const LAST: u8 = 0x80;

/// What is wrong, the frames, and the codes that may answer them.
type Case = (&'static str, Vec<(u8, Vec<u8>)>, &'static [u16]);

fn open(inside: &Inside, user: &str) -> Raw {
    Raw::open(inside.public, &tokens::good(user))
}

fn lives(raw: &mut Raw) -> bool {
    raw.ask(json!({"type": "health-check"}))["type"] == "health-check"
}

#[test]
fn a_ping_is_answered_with_what_it_held_also_between_fragments() {
    let inside = Inside::start(&[]);
    let mut raw = open(&inside, "ann");
    for payload in [&b""[..], b"hello", &[0xff; 125]] {
        raw.send(PING, payload);
        assert_eq!(raw.frame().unwrap(), Frame { first: PONG, payload: payload.to_vec() });
    }
    let message = json!({"type": "health-check", "id": "in-pieces", "payload": "ü€𝄞"}).to_string();
    let bytes = message.as_bytes();
    // cut inside of characters too
    let cut = bytes.len() - 6;
    raw.send(FIRST, &bytes[..7]);
    raw.send(PING, b"between");
    raw.send(BETWEEN, b"");
    raw.send(BETWEEN, &bytes[7..cut]);
    raw.send(LAST, &bytes[cut..]);
    assert_eq!(raw.frame().unwrap(), Frame { first: PONG, payload: b"between".to_vec() });
    assert_eq!(raw.message()["id"], "in-pieces");
}

#[test]
fn who_answers_no_ping_is_closed_with_4408_and_who_does_stays() {
    let times = [("session.ping_interval", "800ms"), ("session.pong_timeout", "800ms")];
    let inside = Inside::start(&times);
    let (mut deaf, mut well) = (open(&inside, "deaf"), open(&inside, "well"));
    for _ in 0..2 {
        let ping = well.frame().unwrap();
        assert_eq!(ping.first, PING);
        well.send(PONG, &ping.payload);
    }
    deaf.answers_pings = false;
    let end = deaf.ending();
    assert_eq!((end.messages.len(), end.code), (0, Some(4408)), "{end:?}");
    assert!(lives(&mut well));
    until("one session is left", || inside.counts(1));
    assert!(inside.metric("portcullis_round_trip_seconds_count") >= 2.0);
}

#[test]
fn a_csrf_token_is_good_until_the_one_after_the_next() {
    let inside = Inside::start(&[("csrf.rotate", "2s"), ("csrf.grace", "2s")]);
    let mut raw = open(&inside, "ann");
    raw.join("plain.a");
    let message = |token: &str| json!({"type": "quiet", "to": {"room": "plain.a"}, "csrfToken": token});
    let first = raw.csrf.clone();
    let mut next = || {
        let message = raw.message_of("csrf");
        message["payload"]["token"].as_str().unwrap().to_owned()
    };
    let (second, third) = (next(), next());
    assert_eq!(raw.refused(message(&first)), "csrf_invalid");
    assert_eq!(raw.ask(message(&second))["type"], "ack", "messages under way are not lost");
    assert_eq!(raw.ask(message(&third))["type"], "ack");
}

#[test]
fn a_frame_that_breaks_a_rule_ends_the_connection_with_that_rules_code() {
    let inside = Inside::start(&[("size.message", "1024"), ("size.fragments", "4"), ("size.outbox", "64KiB")]);
    let pieces = |n: usize| {
        let mut frames = vec![(FIRST, b"{".to_vec())];
        frames.extend((1..n).map(|_| (BETWEEN, b" ".to_vec())));
        frames
    };
    let cases: Vec<Case> = vec![
        ("a reserved bit", vec![(TEXT | 0x40, b"{}".to_vec())], &[1002]),
        ("an opcode that nobody knows", vec![(0x83, vec![])], &[1002]),
        ("a continuation of nothing", vec![(LAST, vec![])], &[1002]),
        ("a message inside of a message", vec![(FIRST, vec![]), (TEXT, b"{}".to_vec())], &[1002]),
        ("a ping in pieces", vec![(0x09, vec![])], &[1002]),
        ("a long ping", vec![(PING, vec![0; 126])], &[1002]),
        ("a close frame of one byte", vec![(CLOSE, vec![3])], &[1002]),
        ("a close code that may not be sent", vec![(CLOSE, 1005_u16.to_be_bytes().to_vec())], &[1002]),
        ("text that is not UTF-8", vec![(TEXT, b"\xff\xfe".to_vec())], &[1007]),
        ("a message that is too large", vec![(TEXT, vec![b' '; 1025])], &[1009]),
        ("pieces that are too large", vec![(FIRST, vec![b' '; 1000]), (LAST, vec![b' '; 25])], &[1009]),
        ("too many pieces", pieces(6), &[1008, 1009]),
        ("binary to a session of JSON", vec![(BINARY, vec![0x80])], &[1003]),
    ];
    let mut bystander = open(&inside, "bystander");
    for (what, frames, codes) in cases {
        let mut raw = open(&inside, "ann");
        for (first, payload) in frames {
            raw.send(first, &payload);
        }
        let end = raw.ending();
        assert!(end.code.is_some_and(|code| codes.contains(&code)), "{what}: {end:?}");
    }
    assert!(lives(&mut bystander));
    until("they are all gone", || inside.counts(1) && inside.slots("ann") == 0);
}

#[test]
fn whoever_begins_the_close_the_other_answers_and_the_socket_ends() {
    let inside = Inside::start(&[("session.close_timeout", "500ms")]);
    assert_eq!(open(&inside, "ann").close(1000), Some(1000));
    assert_eq!(open(&inside, "ann").close(4999), Some(4999), "the client's own code comes back");
    let mut raw = open(&inside, "ann");
    raw.send(CLOSE, b"");
    assert_eq!(raw.frame().unwrap(), Frame { first: CLOSE, payload: vec![] });
    assert_eq!(raw.frame(), None);
    // what was asked before the close is answered before it
    let mut raw = open(&inside, "ann");
    raw.send(TEXT, br#"{"type":"health-check","id":"last"}"#);
    raw.send(CLOSE, &1001_u16.to_be_bytes());
    let end = raw.ending();
    assert_eq!((end.said("health-check"), end.code), (true, Some(1001)));

    let kick = |raw: &Raw| ControlEntry::Kick {
        target: Target::Session(inside.entry(raw.session()).unwrap().holder.sid),
        reason: "test".to_owned(),
    };
    let polite = open(&inside, "ann");
    inside.control(kick(&polite));
    assert_eq!(polite.ending().code, Some(4409));
    // a peer that does not answer the close frame does not keep the socket
    let mut rude = open(&inside, "ann");
    inside.control(kick(&rude));
    while let Some(frame) = rude.frame() {
        assert!(matches!(frame.first, TEXT | CLOSE), "{frame:?}");
    }
    until("no connection is left", || inside.node.caps.total() == 0 && inside.counts(0));
}

#[test]
fn a_slow_reader_is_closed_with_4508_and_its_room_does_not_notice() {
    const LIMIT: i64 = 64 << 10;
    let inside = Inside::start(&[("size.outbox", "65536"), ("session.resume_window", "0s")]);
    let (mut ann, mut bob) = (open(&inside, "ann"), open(&inside, "bob"));
    let stream = dial(Ipv4Addr::LOCALHOST, inside.public, 4_096);
    let mut slow = Knock::on(stream, &tokens::good("slow"), None).answer().unwrap();
    for raw in [&mut ann, &mut bob, &mut slow] {
        raw.join("plain.a");
    }
    let text = "x".repeat(16 << 10);
    let mut sent = 0;
    while inside.entry(slow.session()).is_some() {
        sent += 1;
        assert!(sent < 10_000, "the slow reader is never closed");
        ann.ask(json!({"type": "quiet", "to": {"room": "plain.a"}, "payload": {"n": sent, "text": text}}));
        assert_eq!(bob.message()["payload"]["n"], sent, "no message is late or lost for the other");
        assert!(inside.node.metrics.outbox_bytes.get() <= 3 * LIMIT);
    }
    let end = slow.ending();
    assert_eq!(end.code, Some(4508));
    let got: Vec<&Value> = end.messages.iter().map(|m| &m["payload"]["n"]).collect();
    assert!(got.len() < sent, "it has missed some");
    assert_eq!(got, (1..=got.len()).map(|n| json!(n)).collect::<Vec<_>>().iter().collect::<Vec<_>>(), "and no hole");
    assert!(lives(&mut ann) && lives(&mut bob));
    until("its slot is free", || inside.counts(2) && inside.slots("slow") == 0);
    until("nothing waits", || inside.node.metrics.outbox_bytes.get() == 0);
}
