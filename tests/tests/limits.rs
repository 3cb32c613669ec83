//! Limits over real sockets: those that hold when nothing is configured, and that `retryAfter` is exact.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation of a test is a failed test"
)]

use std::time::Duration;

use portcullis_tests::client::{Client, Dial, Refused};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::raw::Wire;
use portcullis_tests::{tokens, wait};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

fn header<'a>(refused: &'a Refused, name: &str) -> Option<&'a str> {
    refused.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// A refusal by a limit: body and `Retry-After` say the same.
fn assert_rate_limited(refused: &Refused, longest: u64) {
    assert_eq!((refused.status, refused.code()), (429, "rate_limited"), "{refused:?}");
    let after = refused.body["payload"]["retryAfter"].as_u64().expect("retryAfter");
    assert!((1..=longest).contains(&after), "{after} ms");
    assert_eq!(header(refused, "retry-after"), Some(after.div_ceil(1000).to_string().as_str()));
    assert_eq!(refused.body["payload"]["message"], "Too many requests.");
    assert_eq!(refused.body["type"], "error");
}

async fn refusal(dial: &Dial) -> Refused {
    match dial.connect().await {
        Err(refused) => refused,
        Ok(_) => panic!("connected"),
    }
}

#[tokio::test]
async fn the_31st_connect_within_a_minute_is_refused_when_nothing_is_configured() {
    let gateway = Gateway::start(&Setup::builtin().set("session.max_per_user", "100"));
    let dial = Dial::to(&gateway).bearer(&tokens::good("ada"));
    let mut clients = Vec::new();
    let began = wait::mono();
    for n in 1..=30 {
        clients.push(dial.connect().await.unwrap_or_else(|refused| panic!("{n}: {refused:?}")));
    }
    // one more every two seconds; on a machine this slow the 31st would be one of those
    let refused = match dial.connect().await {
        Err(refused) => refused,
        Ok(_) => {
            assert!(wait::mono().since(began) >= Duration::from_secs(2), "31 connects within the burst");
            refusal(&dial).await
        }
    };
    assert_rate_limited(&refused, 2_000);
    let neighbour = dial.clone().from("127.0.0.2");
    assert!(neighbour.connect().await.is_ok(), "another address has its own limit");
    assert_eq!(gateway.metric("portcullis_handshakes_total{code=\"ok\"}"), 31.0);
    for client in &mut clients {
        client.check_alive().await;
    }
}

#[tokio::test]
async fn refused_handshakes_count_as_connects_too() {
    let gateway = Gateway::start(&Setup::builtin().set("limit.connect.rate", "1/h").set("limit.connect.burst", "3"));
    for _ in 0..3 {
        assert_eq!(refusal(&Dial::to(&gateway).bearer("x").target("/nowhere")).await.status, 404);
    }
    let refused = refusal(&Dial::to(&gateway).bearer(&tokens::good("ada"))).await;
    assert_rate_limited(&refused, 3_600_000);
}

#[tokio::test]
async fn after_ten_failed_logins_an_address_is_refused_even_with_a_good_token() {
    let gateway = Gateway::start(&Setup::builtin());
    let good = Dial::to(&gateway).bearer(&tokens::good("ada"));
    let bad = Dial::to(&gateway).bearer("no.such.token");
    let mut ada = good.connect().await.expect("a session before");
    for _ in 0..10 {
        assert_eq!(refusal(&bad).await.code(), "unauthenticated");
    }
    for dial in [&bad, &good] {
        assert_rate_limited(&refusal(dial).await, 6_000);
    }
    assert!(good.clone().from("127.0.0.2").connect().await.is_ok(), "another address is not concerned");
    ada.check_alive().await;
}

#[tokio::test]
async fn a_valid_token_is_not_refused_because_somebody_else_failed_with_that_name() {
    let gateway = Gateway::start(&Setup::builtin());
    let forged = tokens::hs(tokens::HS256, &tokens::claims("https://evil.test", "ada", &json!({})));
    for _ in 0..12 {
        let _ = refusal(&Dial::to(&gateway).from("127.0.0.7").bearer(&forged)).await;
    }
    assert_eq!(Client::open(&gateway, &tokens::good("ada")).await.user(), "app:ada");
}

#[tokio::test]
async fn a_burst_of_20_messages_passes_and_the_next_is_told_exactly_when_to_come() {
    let gateway = Gateway::start(&Setup::builtin());
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    assert_eq!(ada.welcome["payload"]["limits"]["messages"], json!({"count": 100, "period": 60_000, "burst": 20}));
    for _ in 0..20 {
        ada.send("health-check", json!({})).await;
    }
    ada.send("health-check", json!({})).await;
    let error = ada.expect_error("rate_limited").await;
    assert_eq!(error.get("id"), None, "it was not even parsed");
    let after = error["payload"]["retryAfter"].as_u64().unwrap();
    assert!((1..=600).contains(&after), "one message every 600 ms: {after}");
    assert_eq!(ada.skipped.iter().filter(|m| m["type"] == "health-check").count(), 20);
    // exactly then, and not a message sooner
    tokio::time::sleep(Duration::from_millis(after)).await;
    ada.check_alive().await;
}

#[tokio::test]
async fn bytes_are_limited_besides_messages() {
    let gateway = Gateway::start(&Setup::default().set("limit.bytes.rate", "1MiB/h").set("limit.bytes.burst", "64KiB"));
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    ada.join("lobby").await;
    let big = json!({"text": "x".repeat(30_000)});
    assert_eq!(ada.publish("chat", "lobby", big.clone()).await["type"], "ack");
    assert_eq!(ada.publish("chat", "lobby", big.clone()).await["type"], "ack");
    ada.send("chat", json!({"to": {"room": "lobby"}, "payload": big})).await;
    let refused = ada.expect_error("rate_limited").await;
    assert!(refused["payload"]["retryAfter"].as_u64().unwrap() > 1_000, "{refused}");
    ada.check_alive().await;
}

#[tokio::test]
async fn a_type_has_a_limit_of_its_own() {
    let rule = "[message.rare]\nroles = [\"member\"]\nroute = \"room\"\nrate = \"1/h\"\nburst = 2\n";
    let gateway = Gateway::start(&Setup::default().toml(rule));
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    ada.join("lobby").await;
    for _ in 0..2 {
        assert_eq!(ada.publish("rare", "lobby", json!(1)).await["type"], "ack");
    }
    assert_eq!(ada.publish("rare", "lobby", json!(1)).await["payload"]["code"], "rate_limited");
    assert_eq!(ada.publish("chat", "lobby", json!(1)).await["type"], "ack");
}

#[tokio::test]
async fn a_flood_of_refused_messages_ends_the_connection() {
    let gateway = Gateway::start(&Setup::builtin());
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    for _ in 0..120 {
        ada.send("health-check", json!({})).await;
    }
    assert_eq!(ada.closed().await, 4429);
    let mut bob = Client::open(&gateway, &tokens::good("bob")).await;
    bob.check_alive().await;
}

#[tokio::test]
async fn a_flood_of_pings_ends_the_connection() {
    let gateway = Gateway::start(&Setup::builtin());
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    for _ in 0..40 {
        ada.send_frame(Message::Ping("p".into())).await;
    }
    assert_eq!(ada.closed().await, 4429);
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_connection_with_1009() {
    let gateway = Gateway::start(&Setup::default().set("size.message", "4KiB"));
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    assert_eq!(ada.welcome["payload"]["limits"]["messageBytes"], 4096);
    let padding = |total: usize| {
        let text = json!({"type": "health-check", "payload": ""}).to_string();
        text.replace("\"\"", &format!("\"{}\"", "x".repeat(total - text.len())))
    };
    ada.send_text(&padding(4096)).await;
    ada.expect("health-check").await;
    ada.send_text(&padding(4097)).await;
    assert_eq!(ada.closed().await, 1009);
}

#[tokio::test]
async fn an_evicted_session_is_closed_with_4409_and_a_rejected_one_hears_429() {
    let gateway = Gateway::start(&Setup::default().set("session.max_per_user", "2"));
    let token = tokens::good("ada");
    let (mut first, _second) = (Client::open(&gateway, &token).await, Client::open(&gateway, &token).await);
    let refused = Client::connect(&gateway, &token).await.err().expect("a third");
    assert_eq!((refused.status, refused.code()), (429, "session_limit"));
    assert!(header(&refused, "retry-after").is_some());
    first.check_alive().await;
    let gateway =
        Gateway::start(&Setup::default().set("session.max_per_user", "2").set("session.on_limit", "evict_oldest"));
    let (mut first, mut second) = (Client::open(&gateway, &token).await, Client::open(&gateway, &token).await);
    let mut third = Client::open(&gateway, &token).await;
    assert_eq!(first.closed().await, 4409);
    second.check_alive().await;
    third.check_alive().await;
}

#[test]
fn connections_are_capped_by_address_and_in_total() {
    let setup = Setup::default().set("listen.max_connections", "5").set("listen.max_connections_per_ip", "3");
    let gateway = Gateway::start(&setup);
    let mut count = 0.0;
    let mut open = |from: &str| {
        let wire = Wire::from(from, gateway.public).unwrap();
        count += 1.0;
        wait::until("the connection to be counted", || {
            (gateway.metric("portcullis_connections") == count).then_some(())
        });
        wire
    };
    let refused = |from: &str, status: u16| {
        let mut wire = Wire::from(from, gateway.public).unwrap();
        let answer = wire.answer().expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (status, "rate_limited"), "{from}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(wire.ends());
    };
    let mut held: Vec<Wire> = ["127.0.0.2"; 3].map(&mut open).into();
    refused("127.0.0.2", 429);
    held.extend(["127.0.0.3"; 2].map(&mut open));
    for from in ["127.0.0.3", "127.0.0.4"] {
        // the node is full: nothing that this address did
        refused(from, 503);
    }
    assert!(gateway.metric("portcullis_refused_connections_total") >= 3.0);
    assert_eq!(gateway.health()["connections"], 5);
    held.clear();
    wait::until("the places to be given back", || {
        let mut wire = Wire::from("127.0.0.4", gateway.public).ok()?;
        wire.write("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
        (wire.answer()?.status == 404).then_some(())
    });
}

#[test]
fn a_head_that_does_not_come_in_time_is_answered_408_and_closed() {
    let gateway = Gateway::start(&Setup::default().set("listen.header_timeout", "1s"));
    let mut silent = Wire::plain(gateway.public).unwrap();
    let mut slow = Wire::plain(gateway.public).unwrap();
    slow.write("GET /ws HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
    for wire in [&mut slow, &mut silent] {
        if let Some(answer) = wire.answer() {
            assert_eq!((answer.status, answer.code().as_str()), (408, "malformed"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
        assert!(wire.ends());
    }
}
