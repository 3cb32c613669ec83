//! New rules for a gateway that runs: in force with the next message, nobody dropped, all or nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation of a test is a failed test"
)]

use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis_tests::client::{Client, Dial};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::tokens;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

const SCHEMA: &str = r#"{"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}"#;

/// Sessions that talk while the rules change.
const CROWD: usize = 100;

fn setup(chat: &str) -> Setup {
    Setup::default().replace("[message.chat]\nroles = [\"member\"]\nroute = \"room\"\n", chat).file("chat.json", SCHEMA)
}

const PLAIN: &str = "[message.chat]\nroles = [\"member\"]\nroute = \"room\"\n";

async fn said(client: &mut Client, text: &Value) -> Value {
    client.publish("chat", "lobby", text.clone()).await
}

fn problems(rules: &Value) -> String {
    rules["lastReload"]["problems"].to_string()
}

#[tokio::test]
async fn new_limits_and_schemas_hold_on_the_next_message_and_nobody_is_dropped() {
    let gateway = Gateway::start(&setup(PLAIN));
    let mut crowd = Vec::new();
    for n in 0..CROWD {
        let mut client = Client::open(&gateway, &tokens::good(&format!("u{n}"))).await;
        client.join("quiet.1").await;
        crowd.push(client);
    }
    let free = json!({"anything": [1, 2]});
    let talker = &mut crowd[0];
    talker.join("lobby").await;
    assert_eq!(said(talker, &free).await["type"], "ack");
    let strict = format!("{PLAIN}schema = \"chat.json\"\n[limit.few]\nrate = \"1/h\"\nburst = 2\nper = \"user\"\n");
    gateway.rewrite(&setup(&strict));
    let rules = gateway.reload();
    assert_eq!((&rules["version"], &rules["schemas"], &rules["limits"]), (&json!(2), &json!(1), &json!(1)), "{rules}");
    assert_eq!(rules["lastReload"]["ok"], true);
    let refused = said(talker, &free).await;
    assert_eq!(refused["payload"]["code"], "schema_invalid", "{refused}");
    assert_eq!(said(talker, &json!({"text": "one of two; the refused one was counted"})).await["type"], "ack");
    let refused = said(talker, &json!({"text": "over the limit"})).await;
    assert_eq!(refused["payload"]["code"], "rate_limited", "{refused}");
    for client in &mut crowd {
        client.check_alive().await;
    }
    gateway.rewrite(&setup(PLAIN));
    assert_eq!(gateway.reload()["version"], 3);
    assert_eq!(said(&mut crowd[0], &free).await["type"], "ack");
    assert_eq!(gateway.health()["sessions"], CROWD);
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_says_why() {
    let gateway = Gateway::start(&setup(&format!("{PLAIN}schema = \"chat.json\"\n")));
    let mut client = Client::open(&gateway, &tokens::good("ada")).await;
    client.join("lobby").await;
    let cases = [
        (setup(&format!("{PLAIN}schema = \"none.json\"\n")), "message.chat.schema"),
        (setup(PLAIN).file("chat.json", "{}").replace("[message.direct]", "[message.direct"), "line"),
        (setup(&format!("{PLAIN}schema = \"chat.json\"\n")).file("chat.json", r#"{"pattern": "("}"#), "chat.json"),
        (setup(&format!("{PLAIN}where = \"claims.\"\n")), "message.chat.where"),
        (setup(PLAIN).replace("workers = 2", "workers = 3"), "node.workers"),
        (setup(PLAIN).replace("name = \"app\"", "name = \"other\""), "auth.issuer[0].name"),
        (setup(PLAIN).file("app.secret", "short"), "auth.issuer[0].secret"),
    ];
    for (n, (broken, why)) in cases.iter().enumerate() {
        gateway.rewrite(broken);
        let rules = gateway.reload();
        assert_eq!((&rules["version"], &rules["lastReload"]["ok"]), (&json!(1), &json!(false)), "{n}: {rules}");
        assert!(problems(&rules).contains(why), "{n}: {rules}");
        let refused = said(&mut client, &json!({"nope": 1})).await;
        assert_eq!(refused["payload"]["code"], "schema_invalid", "{n}: the old rules hold");
    }
    assert!(gateway.events().iter().any(|e| e["event"] == "reload_refused" && e["path"] == "node.workers"));
    assert!(!gateway.log().contains("\"short\""), "no value is logged");
    gateway.rewrite(&setup(PLAIN).file("app.secret", tokens::SECRET));
    assert_eq!(gateway.reload()["version"], 2);
    assert_eq!(said(&mut client, &json!({"nope": 1})).await["type"], "ack");
}

#[tokio::test]
async fn who_is_banned_by_file_goes_and_who_is_not_any_more_comes_back() {
    let with = |bans: &str| setup(PLAIN).toml("[bans]\nfile = \"bans.txt\"\n").file("bans.txt", bans);
    let gateway = Gateway::start(&with("# nobody\n"));
    let mut eve = Client::open(&gateway, &tokens::good("eve")).await;
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    gateway.rewrite(&with("user app:eve\n203.0.113.0/24\n"));
    assert_eq!(gateway.reload()["bans"], 2);
    assert_eq!(eve.expect_error("banned").await["payload"]["code"], "banned");
    assert_eq!(eve.closed().await, 4403);
    let refused = Client::connect(&gateway, &tokens::good("eve")).await.err().expect("banned");
    assert_eq!((refused.status, refused.code()), (403, "banned"));
    ada.check_alive().await;
    gateway.rewrite(&with(""));
    gateway.reload();
    assert!(Client::connect(&gateway, &tokens::good("eve")).await.is_ok());
}

#[tokio::test]
async fn origins_and_keys_are_those_of_the_new_file_and_sessions_stay() {
    let gateway = Gateway::start(&setup(PLAIN));
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    let page = |origin: &str, token: &str| Dial::to(&gateway).header("Origin", origin).bearer(token);
    assert_eq!(page("https://new.test", &tokens::good("bob")).connect().await.err().unwrap().code(), "origin_denied");
    let secret = "another secret that is certainly as long as the longest of the hashes, 64 bytes";
    let claims = tokens::claims("https://app.test", "bob", &json!({}));
    let key = EncodingKey::from_secret(secret.as_bytes());
    let token = tokens::sign(r#"{"alg":"HS256","typ":"JWT"}"#, &claims, &key, Algorithm::HS256);
    assert_eq!(page("https://app.test", &token).connect().await.err().unwrap().code(), "unauthenticated");
    gateway.rewrite(&setup(PLAIN).replace("https://*.sub.test", "https://new.test").file("app.secret", secret));
    assert_eq!(gateway.reload()["version"], 2);
    assert!(page("https://new.test", &token).connect().await.is_ok());
    assert_eq!(page("https://a.sub.test", &token).connect().await.err().unwrap().code(), "origin_denied");
    assert_eq!(page("https://app.test", &tokens::good("cy")).connect().await.err().unwrap().code(), "unauthenticated");
    ada.check_alive().await;
}

#[tokio::test]
async fn a_room_that_is_closed_to_somebody_is_left_on_a_reload() {
    let gateway = Gateway::start(&setup(PLAIN));
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    ada.join("quiet.1").await;
    ada.join("lobby").await;
    let closed = "[[room]]\npattern = \"quiet.*\"\njoin = [\"admin\"]\npublish = [\"admin\"]";
    let open = "[[room]]\npattern = \"quiet.*\"\njoin = [\"member\"]\npublish = [\"member\"]";
    gateway.rewrite(&setup(PLAIN).replace(open, closed));
    gateway.reload();
    let refused = ada.ask("leave", json!({"to": {"room": "quiet.1"}})).await;
    assert_eq!(refused["payload"]["code"], "not_member", "{refused}");
    assert_eq!(said(&mut ada, &json!("hi")).await["type"], "ack");
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_who_comes_and_nobody_has_to_go() {
    let made = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (old, new) = (made(), made());
    let with = |cert: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        setup(PLAIN)
            .replace("mode = \"off\"", "mode = \"required\"\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"")
            .file("cert.pem", &cert.cert.pem())
            .file("key.pem", &cert.signing_key.serialize_pem())
    };
    let trusting = |cert: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        let mut roots = RootCertStore::empty();
        roots.add(cert.cert.der().clone()).unwrap();
        Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    };
    let gateway = Gateway::start(&with(&old));
    let dial = |cert| Dial::to(&gateway).tls(trusting(cert)).bearer(&tokens::good("ada"));
    let mut first = dial(&old).connect().await.unwrap_or_else(|refused| panic!("{refused:?}"));
    gateway.rewrite(&with(&new).file("key.pem", "no key"));
    assert!(problems(&gateway.reload()).contains("tls.key_file"), "a pair that does not fit is refused");
    assert!(dial(&old).connect().await.is_ok());
    gateway.rewrite(&with(&new));
    assert_eq!(gateway.reload()["version"], 2);
    assert!(dial(&new).connect().await.is_ok());
    first.check_alive().await;
}
