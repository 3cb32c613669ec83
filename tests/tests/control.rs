//! Orders of operators, as the control log brings them: each ends what it names, refuses it afterwards, and leaves
//! everybody else alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::net::Ipv4Addr;

use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{SessionId, UserId};
use portcullis_common::store::control::{ControlEntry, Target};
use portcullis_tests::blocking::{Knock, Raw, dial};
use portcullis_tests::inside::{Inside, until};
use portcullis_tests::{tokens, wait};
use serde_json::json;

const BUFFER: u32 = 1 << 16;

fn user(name: &str) -> Target {
    Target::User(UserId::parse(name).unwrap())
}

fn kick(target: Target) -> ControlEntry {
    ControlEntry::Kick { target, reason: "test".to_owned() }
}

fn ban(target: Target) -> ControlEntry {
    ControlEntry::Ban { target, until: None, reason: "test".to_owned() }
}

fn lives(raw: &mut Raw) -> bool {
    raw.ask(json!({"type": "health-check"}))["type"] == "health-check"
}

/// The error and the close code with which a session ends.
fn end(raw: Raw) -> (String, Option<u16>) {
    let end = raw.ending();
    (end.errors().join(" "), end.code)
}

/// Status and error code of a handshake that is refused.
fn refused(inside: &Inside, token: &str) -> (u16, String) {
    let refusal = Knock::at(inside.public, token, None).answer().expect_err("refused");
    (refusal.status, refusal.code().to_owned())
}

fn terminated() -> (String, Option<u16>) {
    ("session_terminated".to_owned(), Some(4409))
}

fn banned() -> (String, Option<u16>) {
    ("banned".to_owned(), Some(4403))
}

fn disbelieved() -> (String, Option<u16>) {
    ("unauthenticated".to_owned(), Some(4401))
}

#[test]
fn a_kick_ends_exactly_the_sessions_that_it_names_and_refuses_nobody() {
    let inside = Inside::start(&[]);
    let with_id = |name: &str, id: &str| Raw::open(inside.public, &tokens::with(name, &json!({"jti": id})));
    let (one, mut two) = (with_id("ann", "t-1"), with_id("ann", "t-2"));
    let (bob, twin, mut other) = (with_id("bob", "t-3"), with_id("bob", "t-4"), with_id("eve", "t-5"));

    inside.control(kick(Target::Session(SessionId::parse(one.session()).unwrap())));
    assert_eq!(end(one), terminated());
    inside.control(kick(user("bob")));
    assert_eq!((end(bob), end(twin)), (terminated(), terminated()));
    assert!(lives(&mut two) && lives(&mut other));
    inside.control(kick(Target::Token("t-2".to_owned())));
    assert_eq!(end(two), terminated());
    assert!(lives(&mut other), "a token's kick is about that token");
    inside.control(kick(Target::Token("t-9".to_owned())));
    assert!(lives(&mut other));

    until("one session is left", || inside.counts(1));
    assert_eq!((inside.slots("ann"), inside.slots("bob"), inside.slots("eve")), (0, 0, 1));
    assert!(lives(&mut with_id("ann", "t-2")), "a kick refuses nobody");
}

#[test]
fn a_ban_of_a_user_ends_and_refuses_until_it_is_lifted_or_over() {
    let inside = Inside::start(&[]);
    let (ann, mut bob) =
        (Raw::open(inside.public, &tokens::good("ann")), Raw::open(inside.public, &tokens::good("bob")));
    inside.control(ban(user("ann")));
    // the entry was appended: from now on no handshake succeeds
    assert_eq!(refused(&inside, &tokens::good("ann")), (403, "banned".to_owned()));
    assert_eq!(end(ann), banned());
    assert!(lives(&mut bob));
    inside.control(ControlEntry::Lift { target: user("ann") });
    let mut ann = Raw::open(inside.public, &tokens::good("ann"));
    let past =
        ControlEntry::Ban { target: user("ann"), until: Some(UnixMs(wait::wall().0 - 1)), reason: String::new() };
    inside.control(past);
    assert!(lives(&mut ann), "a ban that is over");

    let session = SessionId::parse(ann.session()).unwrap();
    inside.control(ban(Target::Session(session)));
    assert_eq!(end(ann), banned());
    assert!(lives(&mut Raw::open(inside.public, &tokens::good("ann"))), "the session was banned, not the user");
}

#[test]
fn a_ban_of_a_network_is_about_addresses_however_they_are_written() {
    let inside = Inside::start(&[]);
    let from = |last: u8, name: &str| {
        Knock::on(dial(Ipv4Addr::new(127, 0, 7, last), inside.public, BUFFER), &tokens::good(name), None)
    };
    let (near, next, mut far) = (from(1, "ann"), from(9, "bob"), from(130, "cem").answer().unwrap());
    let (near, next) = (near.answer().unwrap(), next.answer().unwrap());
    inside.control(ban(Target::Network("127.0.7.0/29".parse().unwrap())));
    assert_eq!(end(near), banned());
    let refusal = from(2, "ann").answer().expect_err("banned");
    assert_eq!((refusal.status, refusal.code()), (403, "banned"));
    let mut next = next;
    assert!(lives(&mut next) && lives(&mut far));

    // the same /25 as IPv4-mapped IPv6
    inside.control(ban(Target::Network("::ffff:127.0.7.0/121".parse().unwrap())));
    assert_eq!(end(next), banned());
    assert!(lives(&mut far));
    for network in ["127.0.7.0/29", "127.0.7.0/25"] {
        inside.control(ControlEntry::Lift { target: Target::Network(network.parse().unwrap()) });
    }
    let (mut near, next) = (from(1, "ann").answer().unwrap(), from(9, "bob").answer().unwrap());
    inside.control(kick(Target::Network("::ffff:127.0.7.8/125".parse().unwrap())));
    assert_eq!(end(next), terminated());
    assert!(lives(&mut near) && lives(&mut far));
}

#[test]
fn a_banned_token_is_no_credential_and_its_user_comes_back_with_another() {
    let inside = Inside::start(&[]);
    let (bad, good) = (tokens::with("ann", &json!({"jti": "bad"})), tokens::with("ann", &json!({"jti": "good"})));
    let (one, mut two) = (Raw::open(inside.public, &bad), Raw::open(inside.public, &good));
    inside.control(ban(Target::Token("bad".to_owned())));
    assert_eq!(end(one), disbelieved());
    assert_eq!(refused(&inside, &bad), (401, "unauthenticated".to_owned()));
    assert!(lives(&mut two));
    let later = tokens::with("ann", &json!({"jti": "bad", "exp": tokens::now() + 4_000}));
    let refresh = json!({"type": "token_refresh", "payload": {"token": later}});
    assert_eq!(two.refused(refresh), "unauthenticated");
}

#[test]
fn a_revocation_is_about_tokens_of_the_past() {
    let inside = Inside::start(&[]);
    let now = tokens::now();
    let old = tokens::with("ann", &json!({"iat": now - 100}));
    let young = tokens::with("ann", &json!({"iat": now - 10, "exp": now + 3_700}));
    let (first, mut second) = (Raw::open(inside.public, &old), Raw::open(inside.public, &young));
    let mut other = Raw::open(inside.public, &tokens::with("bob", &json!({"iat": now - 100})));
    let revoke = |seconds: u64| ControlEntry::Revoke {
        user: UserId::parse("ann").unwrap(),
        issued_until: UnixMs(seconds * 1_000),
    };
    inside.control(revoke(now - 100));
    assert_eq!(end(first), disbelieved());
    assert_eq!(refused(&inside, &old), (401, "unauthenticated".to_owned()));
    assert!(lives(&mut second) && lives(&mut other));
    assert!(lives(&mut Raw::open(inside.public, &young)));
    // a later entry that says an earlier time takes nothing back
    inside.control(revoke(now - 500));
    assert_eq!(refused(&inside, &old).0, 401);
    inside.control(revoke(now));
    assert_eq!(end(second), disbelieved());
    assert!(lives(&mut other));
}

#[test]
fn a_drain_of_this_node_tells_every_client_when_to_come_back_and_closes_with_1012() {
    let inside = Inside::start(&[("node.drain_spread", "300ms"), ("session.close_timeout", "1s")]);
    let clients: Vec<Raw> = (0..10).map(|n| Raw::open(inside.public, &tokens::good(&format!("u{n}")))).collect();
    inside.control(ControlEntry::Drain { node: portcullis_common::ids::NodeId::parse("somebody-else").unwrap() });
    assert!(!inside.node.is_draining());
    inside.control(ControlEntry::Drain { node: inside.node.config.node.id.clone() });
    for client in clients {
        let end = client.ending();
        assert!(end.said("reconnect") && end.code == Some(1012), "{end:?}");
        assert!(end.messages[0]["payload"]["after"].as_u64().is_some_and(|after| after <= 300));
    }
    until("nobody listens", || std::net::TcpStream::connect(inside.public).is_err());
    assert_eq!(inside.node.registry.count(), 0);
}
