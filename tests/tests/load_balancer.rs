//! Two nodes on Redis behind HAProxy and nginx, with the configurations of `deploy/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation of a test is a failed test"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use portcullis_common::store::control::{ControlEntry, Target};
use portcullis_tests::balancer::{Balancer, Kind};
use portcullis_tests::blocking::{Knock, Raw, Refusal, dial};
use portcullis_tests::fleet::{Fleet, lives};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::raw::Wire;
use portcullis_tests::{tokens, wait};
use serde_json::{Value, json};

const ADA: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const BOB: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// The balancers connect from 127.0.0.1.
fn fleet(kind: Kind, change: impl FnOnce(Setup) -> Setup) -> Fleet {
    let announced = kind == Kind::HaproxyTcp;
    let listen = format!("[listen]\ntrusted_proxies = [\"127.0.0.1/32\"]\nproxy_protocol = {announced}\n");
    Fleet::start(|setup| change(setup.toml(&listen).set("session.max_per_user", "1000")))
}

/// A handshake from an address of this machine's.
fn knock(from: Ipv4Addr, at: SocketAddr, name: &str) -> Result<Raw, Refusal> {
    Knock::on(dial(from, at, 65_536), &tokens::good(name), None).answer_through_a_proxy()
}

/// The addresses of a node's sessions so far.
fn clients(node: &Gateway) -> Vec<String> {
    let opened = node.events().into_iter().filter(|event| event["event"] == "session_opened");
    opened.map(|event| event["client"].as_str().unwrap_or_default().to_owned()).collect()
}

fn answered_pings(fleet: &Fleet) -> f64 {
    [&fleet.a, &fleet.b].iter().map(|node| node.metric("portcullis_round_trip_seconds_count")).sum()
}

/// Limits and bans of addresses mean the clients, whatever they claim, and not the balancer.
fn addresses_are_the_clients(kind: Kind) {
    let fleet = fleet(kind, |setup| setup.set("limit.connect.rate", "1/h").set("limit.connect.burst", "2"));
    let balancer = Balancer::start(kind, &fleet, |text| text);
    let mut adas = Vec::new();
    // two nodes, two attempts on each
    let refusal = loop {
        match knock(ADA, balancer.address, "ada") {
            Ok(session) => adas.push(session),
            Err(refusal) => break refusal,
        }
        assert!(adas.len() <= 4, "nobody limits {ADA}");
    };
    assert_eq!((refusal.status, refusal.code()), (429, "rate_limited"));
    assert!(adas.len() >= 2);
    wait::until("the refusal to be logged with the client's address", || {
        let events = [fleet.a.events(), fleet.b.events()].concat();
        let refused = events.into_iter().find(|event| event["code"] == "rate_limited")?;
        (refused["client"] == ADA.to_string()).then_some(())
    });
    let forged = format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\nX-Forwarded-For: 203.0.113.1\r\n\
         X-Forwarded-For: 203.0.113.2\r\nForwarded: for=203.0.113.3\r\n\r\n",
        tokens::good("bob")
    );
    let mut bob = Wire::from(&BOB.to_string(), balancer.address).unwrap();
    bob.write(forged).unwrap();
    assert_eq!(bob.answer().unwrap().status, 101, "another client of the same balancer, with fields of its own");
    let seen = wait::until("all sessions to be logged", || {
        let seen = [clients(&fleet.a), clients(&fleet.b)].concat();
        (seen.len() == adas.len() + 1).then_some(seen)
    });
    assert_eq!(seen.iter().filter(|client| **client == BOB.to_string()).count(), 1, "{seen:?}");
    assert_eq!(seen.iter().filter(|client| **client == ADA.to_string()).count(), adas.len(), "{seen:?}");
    let network = Target::Network("127.0.0.2/32".parse().unwrap());
    fleet.operator().append(ControlEntry::Ban { target: network, until: None, reason: "test".to_owned() });
    for ada in adas {
        assert_eq!(ada.ending().code, Some(4403));
    }
    assert_eq!(knock(ADA, balancer.address, "ada").unwrap_err().code(), "banned");
}

#[test]
fn behind_haproxy_with_the_proxy_protocol_addresses_are_the_clients() {
    addresses_are_the_clients(Kind::HaproxyTcp);
}

#[test]
fn behind_haproxy_with_forwarding_fields_addresses_are_the_clients() {
    addresses_are_the_clients(Kind::HaproxyHttp);
}

#[test]
fn behind_nginx_addresses_are_the_clients() {
    addresses_are_the_clients(Kind::Nginx);
}

/// Nothing but pings for longer than the balancer keeps a silent connection.
fn pings_keep_a_silent_session_open(kind: Kind, idle: [&str; 2]) {
    let fleet = fleet(kind, |setup| setup.set("session.ping_interval", "2s").set("session.pong_timeout", "2s"));
    let balancer = Balancer::start(kind, &fleet, |text| {
        assert!(text.contains(idle[0]), "{text}");
        text.replace(idle[0], idle[1])
    });
    let mut ada = knock(ADA, balancer.address, "ada").unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| (ada.message_of("direct"), lives(&mut ada)));
        wait::until("longer than the balancer allows", || (answered_pings(&fleet) >= 3.0).then_some(()));
        let mut bob = knock(BOB, balancer.address, "bob").unwrap();
        let said = bob.ask(json!({"type": "direct", "to": {"user": "app:ada"}, "payload": {"text": "still there?"}}));
        assert_eq!(said["type"], "ack", "{said}");
        let (heard, alive) = waits.join().unwrap();
        assert_eq!(heard["payload"]["text"], "still there?");
        assert!(alive);
    });
}

#[test]
fn behind_haproxy_as_a_tunnel_pings_keep_a_silent_session_open() {
    pings_keep_a_silent_session_open(Kind::HaproxyHttp, ["timeout tunnel 65s", "timeout tunnel 4500ms"]);
}

#[test]
fn behind_haproxy_as_tcp_pings_keep_a_silent_session_open() {
    pings_keep_a_silent_session_open(Kind::HaproxyTcp, ["65s", "4500ms"]);
}

#[test]
fn behind_nginx_pings_keep_a_silent_session_open() {
    pings_keep_a_silent_session_open(Kind::Nginx, ["65s", "4500ms"]);
}

#[test]
fn a_balancer_whose_time_is_shorter_than_the_pings_cuts_a_silent_session() {
    let fleet = fleet(Kind::HaproxyHttp, |setup| setup);
    let shorten = |text: String| text.replace("timeout tunnel 65s", "timeout tunnel 1s");
    let balancer = Balancer::start(Kind::HaproxyHttp, &fleet, shorten);
    let ada = knock(ADA, balancer.address, "ada").unwrap();
    assert_eq!(ada.ending().code, None, "what the other tests are about");
}

/// Opens and closes sessions until it is told to stop; counts them by node, and keeps what failed.
fn connect_without_pause(at: SocketAddr, stop: &AtomicBool, opened: &[AtomicUsize; 2], failed: &Mutex<Vec<Value>>) {
    while !stop.load(Ordering::Relaxed) {
        // a broken connection is a panic in there
        match std::panic::catch_unwind(|| knock(ADA, at, "crowd")) {
            Ok(Ok(session)) => {
                let node = usize::from(session.welcome["payload"]["node"] == "gw-b");
                opened[node].fetch_add(1, Ordering::Relaxed);
                session.close(1000);
            }
            Ok(Err(refusal)) => failed.lock().unwrap().push(json!([refusal.head, refusal.body])),
            Err(_) => failed.lock().unwrap().push(json!("the connection broke")),
        }
    }
}

/// Whether a node refused this because the store was slow, as it is on a busy machine: nothing to do with a drain.
fn is_the_stores(fleet: &Fleet, failure: &Value) -> bool {
    let request = &failure[1]["payload"]["requestId"];
    let causes = ["the ledger did not answer", "admission took too long", "the lease was not renewed in time"];
    let events = [fleet.a.events(), fleet.b.events()].concat();
    let refusal = events.iter().find(|event| event["event"] == "handshake_refused" && event["request"] == *request);
    refusal.is_some_and(|event| causes.iter().any(|cause| event["detail"] == *cause))
}

/// A node leaves while clients connect without a pause: none of them fails, and who was on it comes back elsewhere.
fn a_drain_fails_no_handshake(kind: Kind, change: impl FnOnce(String) -> String) {
    // long enough for two checks of the balancer on a busy machine
    let mut fleet = fleet(kind, |setup| setup.set("node.drain_notice", "3s").set("node.drain_deadline", "10s"));
    let balancer = Balancer::start(kind, &fleet, change);
    let at = balancer.address;
    let (stop, opened, failed) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)], Mutex::default());
    let mut held: Vec<Raw> = (0..8).map(|_| knock(BOB, at, "held").unwrap()).collect();
    let count = |node: usize| opened[node].load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| connect_without_pause(at, &stop, &opened, &failed));
        }
        wait::until("both nodes to serve", || (count(0) > 20 && count(1) > 20).then_some(()));
        fleet.a.signal("TERM");
        let status = fleet.a.wait_exit(wait::PATIENCE);
        let (gone, before) = (count(0), count(1));
        wait::until("the other node to serve on", || (count(1) > before + 20).then_some(()));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(status.code(), Some(0));
        assert_eq!(count(0), gone, "nobody was sent to a node that is gone");
    });
    let mut failed = failed.into_inner().unwrap();
    failed.retain(|failure| !is_the_stores(&fleet, failure));
    assert_eq!(failed, Vec::<Value>::new());
    let (leaving, mut staying): (Vec<Raw>, Vec<Raw>) =
        held.drain(..).partition(|session| session.welcome["payload"]["node"] == "gw-a");
    assert!(!leaving.is_empty() && !staying.is_empty(), "the balancer spreads");
    for session in leaving {
        let end = session.ending();
        assert!(end.said("reconnect"), "{end:?}");
        assert_eq!(end.code, Some(1012));
        staying.push(knock(BOB, at, "held").unwrap());
    }
    assert!(staying.iter_mut().all(lives));
}

#[test]
fn a_drain_behind_haproxy_with_the_proxy_protocol_fails_no_handshake() {
    a_drain_fails_no_handshake(Kind::HaproxyTcp, |text| {
        assert!(text.contains("retries 3") && text.contains("option redispatch 1"));
        // by the notice alone: a connect that is refused would be a failed handshake
        text.replace("retries 3", "retries 0").replace("option redispatch 1", "")
    });
}

#[test]
fn a_drain_behind_haproxy_with_forwarding_fields_fails_no_handshake() {
    a_drain_fails_no_handshake(Kind::HaproxyHttp, |text| text);
}

#[test]
fn a_drain_behind_nginx_fails_no_handshake() {
    a_drain_fails_no_handshake(Kind::Nginx, |text| text);
}
