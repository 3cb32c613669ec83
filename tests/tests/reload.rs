//! New rules for a gateway that runs: in force with the next message, nobody dropped, all or nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation of a test is a failed test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis_tests::client::{Client, Dial};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::length::length;
use portcullis_tests::{tokens, wait};
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

/// What all talkers do and see: the part of the test that is on, and who has said something in it from start to end.
#[derive(Default)]
struct Stage {
    part: AtomicUsize,
    heard: AtomicUsize,
}

/// While the crowd gathers and while a reload goes on, when either rule may answer; before the first.
const CHANGING: usize = 0;
const OLD: usize = 1;
/// The strict rules; while broken files are tried; after that.
const NEW: usize = 2;
const BROKEN: usize = 3;
const STILL: usize = 4;
const BACK: usize = 5;
const END: usize = 6;

impl Stage {
    /// The next part; everybody has spoken in it when this returns.
    async fn go_on(&self, part: usize, crowd: usize) {
        self.heard.store(0, Ordering::SeqCst);
        self.part.store(part, Ordering::SeqCst);
        let all = async || (self.heard.load(Ordering::SeqCst) >= crowd).then_some(());
        wait::until_async("everybody to be heard", all).await;
    }
}

/// One of the crowd: says what the new schema refuses, and what the new limit does, and holds every answer against the
/// rules in force. Answers how much it said.
async fn talk(mut client: Client, stage: Arc<Stage>) -> (Client, usize) {
    let (free, mut said, mut done) = (json!({"anything": [1, 2]}), 0, usize::MAX);
    let room = format!("quiet.{}", client.user().replace(':', "-"));
    client.join(&room).await;
    loop {
        let part = stage.part.load(Ordering::SeqCst);
        if part == END {
            return (client, said);
        }
        let chat = client.publish("chat", &room, free.clone()).await;
        let whisper = client.publish("whisper", &room, json!("psst")).await;
        said += 2;
        if stage.part.load(Ordering::SeqCst) == part {
            match part {
                OLD | BACK => assert_eq!((&chat["type"], &whisper["type"]), (&json!("ack"), &json!("ack")), "{part}"),
                NEW | BROKEN | STILL => {
                    assert_eq!(chat["payload"]["code"], "schema_invalid", "{part}: {chat}");
                    // one an hour: the first one under the new rule may still pass
                    let limited = whisper["payload"]["code"] == "rate_limited";
                    assert!(limited || (part == NEW && done != NEW), "{part}: {whisper}");
                }
                _ => {}
            }
            if done != part {
                done = part;
                stage.heard.fetch_add(1, Ordering::SeqCst);
            }
        }
        // more than 50 refusals a minute would end the connection
        tokio::time::sleep(Duration::from_secs(length(1, 3))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_talking_crowd_is_under_the_new_rules_with_its_next_message_and_nobody_is_dropped() {
    let crowd = length(60, 2_000);
    let wide = |setup: Setup| setup.set("listen.max_connections_per_ip", "4000");
    let gateway = Gateway::start(&wide(setup(PLAIN)));
    let stage = Arc::new(Stage::default());
    let mut talkers = tokio::task::JoinSet::new();
    for n in 0..crowd {
        let client = Client::open(&gateway, &tokens::good(&format!("u{n}"))).await;
        talkers.spawn(talk(client, Arc::clone(&stage)));
    }
    let reload = |setup: &Setup| {
        gateway.rewrite(setup);
        tokio::task::block_in_place(|| gateway.reload())
    };
    stage.go_on(OLD, crowd).await;
    stage.part.store(CHANGING, Ordering::SeqCst);
    let limit = "[limit.whispers]\nrate = \"1/h\"\nburst = 1\nper = \"connection\"\ntypes = [\"whisper\"]\n";
    let strict = format!("{PLAIN}schema = \"chat.json\"\n{limit}");
    assert_eq!(reload(&wide(setup(&strict)))["version"], 2);
    stage.go_on(NEW, crowd).await;
    stage.go_on(BROKEN, crowd).await;
    for (broken, why) in [
        (setup(&strict).file("chat.json", r#"{"properties": {"text": {"type": "strnig"}}}"#), "message.chat.schema"),
        (setup(&strict).replace("[message.direct]", "[message.direct"), "line"),
        (setup(&strict.replace("1/h", "often")), "limit.whispers.rate"),
    ] {
        let rules = reload(&wide(broken));
        assert_eq!((&rules["version"], &rules["lastReload"]["ok"]), (&json!(2), &json!(false)), "{rules}");
        assert!(problems(&rules).contains(why), "{rules}");
    }
    stage.go_on(STILL, crowd).await;
    stage.part.store(CHANGING, Ordering::SeqCst);
    assert_eq!(reload(&wide(setup(PLAIN)))["version"], 3);
    stage.go_on(BACK, crowd).await;
    assert_eq!(gateway.health()["sessions"], crowd);
    stage.part.store(END, Ordering::SeqCst);
    let (mut said, mut there) = (0, Vec::new());
    while let Some(talker) = talkers.join_next().await {
        let (mut client, count) = talker.expect("nobody was dropped, and every answer was right");
        client.check_alive().await;
        there.push(client);
        said += count;
    }
    assert!(gateway.events().iter().all(|event| event["event"] != "session_closed"));
    eprintln!("{said} messages of {crowd} sessions over five reloads, nobody dropped");
}
