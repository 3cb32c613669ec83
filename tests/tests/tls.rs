//! TLS ended here, TLS ended by a proxy, and plaintext where it must not be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation of a test is a failed test"
)]

use std::sync::Arc;

use portcullis_tests::client::{Client, Dial};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::raw::{Wire, ask};
use portcullis_tests::{tokens, wait};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use serde_json::json;

const HSTS: &str = "max-age=31536000";

struct Identity {
    certificate: CertificateDer<'static>,
    pem: String,
    key: String,
}

fn identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    Identity { certificate: made.cert.der().clone(), pem: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

impl Identity {
    fn setup(&self) -> Setup {
        Setup::default()
            .replace("mode = \"off\"", "mode = \"required\"\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"")
            .file("cert.pem", &self.pem)
            .file("key.pem", &self.key)
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

const V12: &SupportedProtocolVersion = &rustls::version::TLS12;
const V13: &SupportedProtocolVersion = &rustls::version::TLS13;

#[tokio::test]
async fn sessions_run_over_tls_1_3_and_1_2() {
    let identity = identity();
    let gateway = Gateway::start(&identity.setup());
    let dial = |versions| Dial::to(&gateway).bearer(&tokens::good("ada")).tls(identity.client(versions, &["http/1.1"]));
    let mut old = dial(&[V12]).connect().await.expect("TLS 1.2");
    let mut new = dial(&[V13]).connect().await.expect("TLS 1.3");
    for client in [&mut old, &mut new] {
        assert_eq!(client.answer.header("strict-transport-security"), Some(HSTS));
        client.join("lobby").await;
    }
    old.publish("chat", "lobby", json!("over TLS")).await;
    assert_eq!(new.expect("chat").await["payload"], "over TLS");
    assert_eq!(new.close().await, 1000);
    let refused = Dial::to(&gateway).bearer("bad").tls(identity.client(&[V13], &[])).connect().await.err().unwrap();
    assert_eq!(refused.status, 401);
    assert!(refused.headers.contains(&("Strict-Transport-Security".to_owned(), HSTS.to_owned())), "{refused:?}");
}

#[test]
fn the_newest_version_and_http_1_1_are_settled_on() {
    let identity = identity();
    let gateway = Gateway::start(&identity.setup());
    for (versions, alpn, version, settled) in [
        (&[V12, V13][..], &["h2", "http/1.1"][..], ProtocolVersion::TLSv1_3, Some("http/1.1")),
        (&[V12], &["http/1.1"], ProtocolVersion::TLSv1_2, Some("http/1.1")),
        (&[V13], &[], ProtocolVersion::TLSv1_3, None),
    ] {
        let (mut wire, facts) = Wire::tls(gateway.public, identity.client(versions, alpn)).unwrap();
        assert_eq!(facts.version, Some(version));
        assert_eq!(facts.alpn.as_deref(), settled);
        wire.write("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let answer = wire.answer().unwrap();
        assert_eq!((answer.status, answer.header("strict-transport-security")), (404, Some(HSTS)));
    }
    assert!(Wire::tls(gateway.public, identity.client(&[V13], &["h2"])).is_err(), "only HTTP/1.1 is spoken");
    let (mut wire, _) = Wire::tls(gateway.public, identity.client(&[V13], &[])).unwrap();
    wire.write("GET /ws HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").unwrap();
    let answer = wire.answer().unwrap();
    assert_eq!((answer.status, answer.header("strict-transport-security")), (400, Some(HSTS)));
}

#[test]
fn a_minimum_of_1_3_refuses_1_2() {
    let identity = identity();
    let gateway = Gateway::start(&identity.setup().set("tls.min_version", "1.3"));
    assert!(Wire::tls(gateway.public, identity.client(&[V12], &[])).is_err());
    assert!(Wire::tls(gateway.public, identity.client(&[V13], &[])).is_ok());
}

#[test]
fn plaintext_on_the_tls_port_is_answered_426() {
    let identity = identity();
    let gateway = Gateway::start(&identity.setup());
    let mut wire = Wire::plain(gateway.public).unwrap();
    wire.write("GET /ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret-of-mine\r\n\r\n").unwrap();
    let answer = wire.answer().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (426, "forbidden"));
    assert!(answer.header("upgrade").is_some_and(|value| value.starts_with("TLS/")), "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close, upgrade"));
    assert_eq!(answer.header("strict-transport-security"), None, "never over plaintext (RFC 6797 §7.2)");
    assert!(wire.ends());
    assert!(!gateway.log().contains("secret-of-mine"));
}

#[test]
fn a_handshake_that_never_ends_is_cut_off() {
    let identity = identity();
    let gateway = Gateway::start(&identity.setup().set("listen.header_timeout", "1s"));
    for beginning in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut wire = Wire::plain(gateway.public).unwrap();
        wire.write(beginning).unwrap();
        assert!(wire.ends(), "{beginning:?}");
    }
    wait::until("no connection to be left", || (gateway.metric("portcullis_connections") == 0.0).then_some(()));
}

#[tokio::test]
async fn a_proxy_that_ends_tls_has_to_say_so_and_has_to_be_trusted() {
    let setup = Setup::default()
        .replace("mode = \"off\"", "mode = \"upstream\"")
        .toml("[listen]\ntrusted_proxies = [\"127.0.0.9/32\"]\n");
    let gateway = Gateway::start(&setup);
    let dial = Dial::to(&gateway).bearer(&tokens::good("ada"));
    let proxy = dial.clone().from("127.0.0.9");
    for (name, value) in [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Proto", "wss"),
        ("X-Forwarded-Proto", "http, https"),
        ("Forwarded", "for=203.0.113.1;proto=https"),
    ] {
        let client = proxy.clone().header(name, value).connect().await.unwrap_or_else(|r| panic!("{name}: {r:?}"));
        assert_eq!(client.answer.header("strict-transport-security"), Some(HSTS));
        client.close().await;
    }
    for (name, value) in [
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Proto", "https, http"),
        ("X-Forwarded-For", "203.0.113.1"),
        ("Forwarded", "for=203.0.113.1;proto=http"),
    ] {
        let refused = proxy.clone().header(name, value).connect().await.err().unwrap();
        assert_eq!((refused.status, refused.code()), (426, "forbidden"), "{name}: {value}");
    }
    let refused = dial.clone().header("X-Forwarded-Proto", "https").connect().await.err().unwrap();
    assert_eq!((refused.status, refused.code()), (403, "forbidden"), "a peer that is not trusted");
}

#[tokio::test]
async fn without_tls_nothing_promises_it() {
    let gateway = Gateway::start_default();
    let client = Client::open(&gateway, &tokens::good("ada")).await;
    assert_eq!(client.answer.header("strict-transport-security"), None);
    let answer = ask(gateway.public, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.header("strict-transport-security"), None);
}
