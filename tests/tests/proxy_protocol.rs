//! PROXY protocol v2 on the public port: whom a load balancer announces, and what becomes of everybody else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation of a test is a failed test"
)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use portcullis_tests::blocking::{Knock, Raw, Refusal, dial};
use portcullis_tests::fleet::lives;
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::raw::{Answer, Wire, find, parse_head};
use portcullis_tests::tokens::good;
use portcullis_tests::wait;

/// The address that the gateways of these tests take for a proxy.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn setup() -> Setup {
    Setup::default()
        .toml("[listen]\ntrusted_proxies = [\"127.0.0.9/32\", \"198.18.0.0/16\"]\nproxy_protocol = true\n")
        .set("session.max_per_user", "1000")
}

/// A header of version 2: command, family, addresses and fields.
fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// The header that announces this client, over TLS or not.
fn announce(client: &str, tls: bool) -> Vec<u8> {
    let field: &[u8] = if tls { &[0x20, 0, 5, 1, 0, 0, 0, 0] } else { &[] };
    let ports = [0x9c, 0x40, 0x01, 0xbb];
    match client.parse().unwrap() {
        IpAddr::V4(ip) => header(0x21, 0x11, &[&ip.octets()[..], &[10, 0, 0, 1], &ports, field].concat()),
        IpAddr::V6(ip) => header(0x21, 0x21, &[&ip.octets()[..], &[0; 16], &ports, field].concat()),
    }
}

fn proxy(gateway: &Gateway) -> TcpStream {
    dial(PROXY, gateway.public, 65_536)
}

/// A connection of the proxy's that begins with these bytes.
fn behind(gateway: &Gateway, first: &[u8]) -> TcpStream {
    let mut tcp = proxy(gateway);
    tcp.write_all(first).unwrap();
    tcp
}

fn knock(gateway: &Gateway, first: &[u8]) -> Result<Raw, Refusal> {
    Knock::on(behind(gateway, first), &good("ada"), None).answer()
}

/// The answer to exactly this request.
fn ask(gateway: &Gateway, first: &[u8], request: &str) -> Answer {
    let mut tcp = behind(gateway, first);
    tcp.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    tcp.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    tcp.read_to_end(&mut bytes).unwrap();
    let end = find(&bytes, b"\r\n\r\n").expect("an answer") + 4;
    let mut answer = parse_head(std::str::from_utf8(&bytes[..end]).unwrap());
    answer.body = bytes[end..].to_vec();
    answer
}

/// The addresses of the sessions so far, when there are `n`.
fn clients(gateway: &Gateway, n: usize) -> Vec<String> {
    wait::until("the sessions to be logged", || {
        let opened = gateway.events().into_iter().filter(|event| event["event"] == "session_opened");
        let clients: Vec<_> = opened.map(|event| event["client"].as_str().unwrap_or_default().to_owned()).collect();
        (clients.len() == n).then_some(clients)
    })
}

fn refused_connections(gateway: &Gateway, n: f64) {
    wait::until("the refusals to be counted", || {
        (gateway.metric("portcullis_refused_connections_total") == n).then_some(())
    });
}

#[test]
fn the_announced_client_is_who_is_limited_and_logged() {
    let gateway = Gateway::start(&setup().set("limit.connect.rate", "1/h").set("limit.connect.burst", "2"));
    let (one, other) = (announce("203.0.113.1", false), announce("203.0.113.2", true));
    let six = |last: u16| announce(&format!("2001:db8:1:2::{last}"), false);
    let mut held = vec![knock(&gateway, &one).unwrap(), knock(&gateway, &one).unwrap()];
    let refusal = knock(&gateway, &one).unwrap_err();
    assert_eq!((refusal.status, refusal.code()), (429, "rate_limited"));
    held.push(knock(&gateway, &other).unwrap());
    held.push(knock(&gateway, &six(1)).unwrap());
    held.push(knock(&gateway, &six(2)).unwrap());
    assert_eq!(knock(&gateway, &six(3)).unwrap_err().status, 429, "one limit for a /64");
    let expected = ["203.0.113.1", "203.0.113.1", "203.0.113.2", "2001:db8:1:2::1", "2001:db8:1:2::2"];
    assert_eq!(clients(&gateway, 5), expected);
    assert!(held.iter_mut().all(lives));
}

#[test]
fn forwarding_fields_of_an_announced_client_are_its_own_invention() {
    let gateway = Gateway::start(&setup().set("limit.connect.rate", "1/h").set("limit.connect.burst", "1"));
    let ticket = |client: &str, claim: &str| {
        let request = format!(
            "POST /v1/tickets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nX-Forwarded-For: {claim}\r\n\
             Connection: close\r\nContent-Length: 0\r\n\r\n",
            good("ada")
        );
        ask(&gateway, &announce(client, false), &request).status
    };
    assert_eq!(ticket("203.0.113.1", "192.0.2.1"), 200);
    assert_eq!(ticket("203.0.113.1", "192.0.2.2"), 429, "the address it claims is not looked at");
    // a trusted proxy in front of the one that announces it is believed
    assert_eq!(ticket("198.18.0.1", "203.0.113.1"), 429);
    assert_eq!(ticket("198.18.0.1", "192.0.2.3"), 200);
}

#[test]
fn only_a_trusted_proxy_may_announce_anybody() {
    let gateway = Gateway::start(&setup());
    let good = announce("203.0.113.1", false);
    for first in [&good[..], b"GET /ws HTTP/1.1\r\n", b""] {
        let mut stranger = Wire::from("127.0.0.1", gateway.public).unwrap();
        // it may be gone already
        let _ = stranger.write(first);
        assert!(stranger.ends(), "not one byte for {}", first.escape_ascii());
    }
    refused_connections(&gateway, 3.0);
    assert!(knock(&gateway, &good).is_ok());
}

#[test]
fn what_does_not_begin_with_a_legal_header_is_cut_off_without_a_word() {
    let gateway = Gateway::start(&setup().set("listen.header_timeout", "1s"));
    let whole = announce("203.0.113.1", true);
    let mut fields = announce("203.0.113.1", false);
    fields.extend([4, 0, 9]);
    fields[15] += 3;
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("no header", b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("version 1", b"PROXY TCP4 203.0.113.1 10.0.0.1 40000 443\r\nGET / HTTP/1.1\r\n".to_vec()),
        ("an unknown version", header(0x31, 0x11, &[0; 12])),
        ("an unknown command", header(0x22, 0x11, &[0; 12])),
        ("an unknown family", header(0x21, 0x51, &[0; 12])),
        ("half an address", header(0x21, 0x21, &[0; 20])),
        ("64 KiB of nothing", header(0x20, 0x00, &vec![0; 0xffff])),
        ("a field that goes on behind it", fields),
        ("two headers", [&whole[..], &whole].concat()),
        ("nothing at all, for ever", Vec::new()),
        ("half a header, for ever", whole[..20].to_vec()),
        ("all but one byte, for ever", whole[..whole.len() - 1].to_vec()),
    ];
    for (name, bytes) in &rows {
        let mut wire = Wire::from("127.0.0.9", gateway.public).unwrap();
        let _ = wire.write(bytes);
        if *name == "two headers" {
            // the first is legal: the second is a request, and not one of HTTP
            assert_eq!(wire.answer().map(|answer| answer.status), Some(400), "{name}");
        }
        assert!(wire.ends(), "{name}");
    }
    refused_connections(&gateway, 12.0);
    wait::until("no connection to be left", || (gateway.metric("portcullis_connections") == 0.0).then_some(()));
    assert!(knock(&gateway, &whole).is_ok());
    assert!(!gateway.log().contains("panic"));
}

#[test]
fn a_header_may_come_in_any_pieces_and_a_request_right_behind_it() {
    let gateway = Gateway::start(&setup());
    let mut slow = proxy(&gateway);
    slow.set_nodelay(true).unwrap();
    for byte in announce("2001:db8::1", true) {
        slow.write_all(&[byte]).unwrap();
    }
    let mut slow = Knock::on(slow, &good("ada"), None).answer().unwrap();
    assert!(lives(&mut slow));
    let answer =
        ask(&gateway, &announce("203.0.113.1", false), "GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status, 404);
    let longest = [&[203, 0, 113, 1, 10, 0, 0, 1, 1, 1, 1, 1][..], &[4, 0x0f, 0xe1], &[0; 0x0fe1]].concat();
    assert!(knock(&gateway, &header(0x21, 0x11, &longest)).is_ok(), "4,096 bytes");
}

#[test]
fn an_address_holds_as_many_connections_as_it_may_and_the_proxy_as_many_as_there_are() {
    let gateway = Gateway::start(&setup().set("listen.max_connections_per_ip", "2"));
    let one = announce("203.0.113.1", false);
    let first = knock(&gateway, &one).unwrap();
    let _second = knock(&gateway, &one).unwrap();
    let refusal = knock(&gateway, &one).unwrap_err();
    assert_eq!((refusal.status, refusal.code()), (429, "rate_limited"));
    let others: Vec<Raw> =
        (2..8).map(|n| knock(&gateway, &announce(&format!("203.0.113.{n}"), false)).unwrap()).collect();
    assert_eq!(others.len(), 6, "all of them are connections of one proxy");
    drop(first);
    wait::until("the place to be free again", || knock(&gateway, &one).ok());
}

#[test]
fn a_client_behind_forwarding_fields_holds_as_many_connections_as_it_may() {
    let trusting = Setup::default().toml("[listen]\ntrusted_proxies = [\"127.0.0.9/32\"]\n");
    let gateway = Gateway::start(&trusting.set("listen.max_connections_per_ip", "2"));
    let open = |client: &str| {
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\nX-Forwarded-For: {client}\r\n\r\n",
            good(&format!("u{}", client.replace('.', "-")))
        );
        let mut wire = Wire::from("127.0.0.9", gateway.public).unwrap();
        wire.write(request).unwrap();
        (wire.answer().unwrap().status, wire)
    };
    let held: Vec<_> = ["203.0.113.1", "203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.3"].map(open).into();
    assert!(held.iter().all(|(status, _)| *status == 101), "five connections of one proxy");
    assert_eq!(open("203.0.113.1").0, 429);
    assert_eq!(open("203.0.113.2").0, 101);
}

#[test]
fn the_proxys_own_connections_and_clients_without_an_address_stand_for_the_proxy() {
    let gateway = Gateway::start(&setup());
    let local = header(0x20, 0x00, &[]);
    let answer = ask(&gateway, &local, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status, 404, "a health check of the proxy's is answered");
    let unix = header(0x21, 0x31, &[0; 216]);
    let mut held: Vec<Raw> =
        [&local, &header(0x21, 0x00, &[]), &unix].iter().map(|first| knock(&gateway, first).unwrap()).collect();
    assert_eq!(clients(&gateway, 3), ["127.0.0.9"; 3]);
    assert!(held.iter_mut().all(lives));
}

#[test]
fn a_proxy_that_ends_tls_says_so_in_its_header() {
    let gateway = Gateway::start(&setup().replace("mode = \"off\"", "mode = \"upstream\""));
    assert!(knock(&gateway, &announce("203.0.113.1", true)).is_ok());
    let refusal = knock(&gateway, &announce("203.0.113.1", false)).unwrap_err();
    assert_eq!((refusal.status, refusal.code()), (426, "forbidden"));
}

#[test]
fn tls_begins_behind_the_header() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let gateway = Gateway::start(
        &setup()
            .replace("mode = \"off\"", "mode = \"required\"\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"")
            .file("cert.pem", &made.cert.pem())
            .file("key.pem", &made.signing_key.serialize_pem()),
    );
    let tcp = behind(&gateway, &announce("203.0.113.7", false));
    let (mut wire, _) = Wire::tls_on(tcp, Arc::clone(&config)).unwrap();
    wire.write(format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
        good("ada")
    ))
    .unwrap();
    assert_eq!(wire.answer().unwrap().status, 101);
    assert_eq!(clients(&gateway, 1), ["203.0.113.7"]);
    assert!(Wire::tls_on(proxy(&gateway), config).is_err(), "TLS without a header");
    let mut plain = Wire::from("127.0.0.9", gateway.public).unwrap();
    plain.write([&announce("203.0.113.7", false)[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).unwrap();
    assert_eq!(plain.answer().map(|answer| answer.status), Some(426), "plaintext behind the header");
}

#[test]
fn without_the_option_a_header_is_no_request() {
    let gateway = Gateway::start_default();
    let to: SocketAddr = gateway.public;
    let mut wire = Wire::plain(to).unwrap();
    wire.write([&announce("203.0.113.1", false)[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).unwrap();
    assert_eq!(wire.answer().map(|answer| answer.status), Some(400));
}
