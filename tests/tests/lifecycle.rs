//! A node's life: health, drain, tokens that run out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation of a test is a failed test"
)]

use std::net::TcpStream;
use std::time::Duration;

use portcullis_tests::client::{Client, Dial};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::{raw, tokens, wait};
use serde_json::json;

#[tokio::test]
async fn a_session_talks_to_a_room() {
    let gateway = Gateway::start_default();
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    let mut bob = Client::open(&gateway, &tokens::device("bob")).await;
    assert_eq!(bob.user(), "device:bob");
    ada.join("lobby").await;
    bob.join("lobby").await;
    assert_eq!(ada.publish("chat", "lobby", json!({"text": "hi"})).await["type"], "ack");
    let heard = bob.expect("chat").await;
    assert_eq!(heard["payload"]["text"], "hi");
    assert_eq!(heard["from"]["user"], "app:ada");
    assert_eq!(ada.close().await, 1000);
}

#[tokio::test]
async fn the_private_port_tells_operators_and_only_them() {
    let gateway = Gateway::start(&Setup::default().set("node.id", "gw-7"));
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    assert_eq!(ada.welcome["payload"]["node"], "gw-7");
    ada.check_alive().await;
    let get = |path| raw::get(gateway.private, path);
    assert_eq!((get("/health/live").status, get("/health/live").json()["status"].clone()), (200, json!("live")));
    assert_eq!((get("/health/ready").status, get("/health/ready").json()["status"].clone()), (200, json!("ready")));
    let health = gateway.health();
    assert_eq!((&health["status"], &health["node"], &health["sessions"]), (&json!("ready"), &json!("gw-7"), &json!(1)));
    assert_eq!(health["connections"], 1);
    let answer = get("/metrics");
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(gateway.metrics_text().ends_with("# EOF\n"));
    for (name, value) in [
        ("portcullis_sessions", 1.0),
        ("portcullis_connections", 1.0),
        ("portcullis_handshakes_total{code=\"ok\"}", 1.0),
        ("portcullis_handshakes_total{code=\"unauthenticated\"}", 0.0),
        ("portcullis_messages_total{direction=\"in\"}", 1.0),
        ("portcullis_draining", 0.0),
    ] {
        assert_eq!(gateway.metrics().get(name), Some(&value), "{name}");
    }
    assert_eq!(get("/ws").status, 404);
    assert_eq!(raw::get(gateway.public, "/health").status, 404);
    assert_eq!(raw::get(gateway.public, "/metrics").status, 404);
    let log = gateway.log();
    assert!(!log.contains(&ada.csrf) && !log.contains("eyJ") && !gateway.metrics_text().contains(&ada.csrf));
    ada.close().await;
    wait::until("the session to be gone", || (gateway.metric("portcullis_sessions") == 0.0).then_some(()));
}

#[tokio::test]
async fn a_drain_sends_each_client_away_at_a_time_of_its_own() {
    let setup = Setup::default().set("node.drain_spread", "2s").set("node.drain_deadline", "8s");
    let mut gateway = Gateway::start(&setup.set("session.max_per_user", "50"));
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::open(&gateway, &tokens::good("ada")).await);
    }
    gateway.signal("TERM");
    wait::until("connects to be refused", || TcpStream::connect(gateway.public).is_err().then_some(()));
    let answer = raw::get(gateway.private, "/health/ready");
    assert_eq!((answer.status, answer.json()["reasons"].clone()), (503, json!(["draining"])));
    assert_eq!(raw::get(gateway.private, "/health/live").status, 200, "it is still alive");
    assert_eq!(gateway.metric("portcullis_draining"), 1.0);
    let mut told = Vec::new();
    for client in &mut clients {
        told.push(client.expect("reconnect").await["payload"]["after"].as_u64().expect("after"));
    }
    assert!(told.iter().all(|after| *after <= 2_000), "{told:?}");
    told.sort_unstable();
    told.dedup();
    assert!(told.len() > 10, "each has its own time: {told:?}");
    for client in &mut clients {
        assert_eq!(client.closed().await, 1012);
    }
    let status = gateway.wait_exit(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    let stopped =
        gateway.events().into_iter().any(|event| event["event"] == "node_state" && event["state"] == "stopped");
    assert!(stopped, "the last word in the log");
}

#[tokio::test]
async fn a_node_that_leaves_says_so_and_lets_newcomers_in_until_the_notice_is_over() {
    let setup = Setup::default().set("node.drain_notice", "3s").set("node.drain_spread", "0s");
    let mut gateway = Gateway::start(&setup);
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    gateway.signal("TERM");
    wait::until("it to be not ready", || (raw::get(gateway.private, "/health/ready").status == 503).then_some(()));
    assert_eq!(gateway.metric("portcullis_draining"), 1.0);
    let mut bob = Client::open(&gateway, &tokens::good("bob")).await;
    bob.join("lobby").await;
    ada.check_alive().await;
    for client in [&mut ada, &mut bob] {
        client.expect("reconnect").await;
        assert_eq!(client.closed().await, 1012);
    }
    assert_eq!(gateway.wait_exit(Duration::from_secs(10)).code(), Some(0));
    let states = gateway.events().into_iter().filter(|event| event["event"] == "node_state");
    let states: Vec<_> = states.map(|event| event["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["started", "leaving", "draining", "stopped"]);
}

#[tokio::test]
async fn a_session_works_until_its_time_to_leave_has_come() {
    let setup = Setup::default().set("node.drain_spread", "30s").set("node.drain_deadline", "30s");
    let mut gateway = Gateway::start(&setup);
    let mut all = Vec::new();
    for name in ["ada", "bob", "eve"] {
        all.push(Client::open(&gateway, &tokens::good(name)).await);
    }
    gateway.signal("TERM");
    let mut latest = None;
    for mut client in all {
        let after = client.expect("reconnect").await["payload"]["after"].as_u64().unwrap();
        if latest.as_ref().is_none_or(|(longest, _)| after > *longest) {
            latest = Some((after, client));
        }
    }
    let (after, mut client) = latest.unwrap();
    // three draws of up to 30 s, all below one second: less than once in 27,000 runs
    assert!(after > 1_000);
    client.check_alive().await;
    // the others have been dropped; when the last has gone the node need not wait any longer
    assert_eq!(client.close().await, 1000);
    assert_eq!(gateway.wait_exit(Duration::from_secs(10)).code(), Some(0));
}

#[tokio::test]
async fn a_node_with_nobody_on_it_ends_at_once() {
    let mut gateway = Gateway::start_default();
    let asked = wait::mono();
    assert_eq!(gateway.terminate().code(), Some(0));
    assert!(wait::mono().since(asked) < Duration::from_secs(20), "less than the drain deadline");
}

#[tokio::test]
async fn a_client_that_ignores_the_drain_cannot_hold_it_up() {
    let setup = Setup::default()
        .set("node.drain_spread", "0s")
        .set("node.drain_deadline", "1s")
        .set("session.close_timeout", "1s");
    let mut gateway = Gateway::start(&setup);
    // never reads again, so never answers the close
    let ada = Client::open(&gateway, &tokens::good("ada")).await;
    let idle = TcpStream::connect(gateway.public).unwrap();
    assert_eq!(gateway.terminate().code(), Some(0));
    drop((ada, idle));
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let setup = Setup::default().set("node.drain_spread", "30s").set("node.drain_deadline", "30s");
    let mut gateway = Gateway::start(&setup);
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    gateway.signal("TERM");
    ada.expect("reconnect").await;
    gateway.signal("INT");
    assert_eq!(gateway.wait_exit(Duration::from_secs(10)).code(), Some(70));
}

#[tokio::test]
async fn a_token_that_runs_out_ends_the_session_after_a_warning() {
    let gateway = Gateway::start(&Setup::default().set("session.expiry_warning", "1s"));
    let token = tokens::lasting("ada", 4);
    let mut ada = Client::open(&gateway, &token).await;
    let expires = ada.welcome["payload"]["expiresAt"].as_u64().unwrap();
    let warning = ada.expect("token_expiring").await;
    assert_eq!(warning["payload"]["expiresAt"], expires);
    assert!(wait::wall().0 < expires, "before, not after");
    ada.check_alive().await;
    ada.expect_error("token_expired").await;
    assert!(wait::wall().0 + 5 >= expires);
    assert_eq!(ada.closed().await, 4401);
    wait::until("it to be counted", || {
        (gateway.metric("portcullis_closes_total{code=\"unauthenticated\"}") == 1.0).then_some(())
    });
}

#[tokio::test]
async fn a_refreshed_token_carries_the_session_on() {
    let gateway = Gateway::start(&Setup::default().set("session.expiry_warning", "1s"));
    let mut ada = Client::open(&gateway, &tokens::lasting("ada", 3)).await;
    ada.expect("token_expiring").await;
    let later = tokens::lasting("ada", 600);
    // exempt from CSRF: it proves itself
    let ack = ada.ask("token_refresh", json!({"payload": {"token": later}, "csrfToken": null})).await;
    assert_eq!(ack["type"], "ack", "{ack}");
    let expires = ack["payload"]["expiresAt"].as_u64().unwrap();
    assert!(expires > wait::wall().0 + 500_000);
    let first = ada.welcome["payload"]["expiresAt"].as_u64().unwrap();
    wait::until("the first token's end", || (wait::wall().0 > first + 1_000).then_some(()));
    ada.check_alive().await;
    assert!(!gateway.log().contains("eyJ"), "no token in the log");
}

#[tokio::test]
async fn a_refresh_with_a_token_that_does_not_fit_changes_nothing() {
    let gateway = Gateway::start_default();
    let mut ada = Client::open(&gateway, &tokens::lasting("ada", 600)).await;
    let mut refresh = async |token: String| {
        let answer = ada.ask("token_refresh", json!({"payload": {"token": token}})).await;
        assert_eq!(answer["type"], "error", "{answer}");
        answer["payload"]["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(refresh(tokens::lasting("bob", 900)).await, "unauthenticated");
    assert_eq!(refresh(tokens::device("ada")).await, "unauthenticated", "the same name of another issuer");
    assert_eq!(refresh(tokens::with("ada", &json!({"tenant": "other"}))).await, "unauthenticated");
    assert_eq!(refresh(tokens::lasting("ada", 300)).await, "conflict", "not later");
    assert_eq!(refresh("rubbish".to_owned()).await, "unauthenticated");
    ada.check_alive().await;
    // what it may do is still what the first token says
    ada.join("lobby").await;
}

#[tokio::test]
async fn a_refresh_takes_new_roles_and_gives_up_rooms_that_they_do_not_allow() {
    let gateway = Gateway::start_default();
    let mut ada = Client::open(&gateway, &tokens::lasting("ada", 600)).await;
    ada.join("lobby").await;
    let guest = tokens::with("ada", &json!({"roles": ["guest"], "exp": tokens::now() + 900}));
    assert_eq!(ada.ask("token_refresh", json!({"payload": {"token": guest}})).await["type"], "ack");
    let refused = ada.publish("chat", "lobby", json!("still here?")).await;
    assert_eq!(refused["type"], "error", "{refused}");
    let mut bob = Client::open(&gateway, &tokens::good("bob")).await;
    assert_eq!(bob.join("lobby").await["members"], 1, "only bob");
}

#[tokio::test]
async fn a_silent_peer_is_pinged_and_closed_when_it_does_not_answer() {
    let setup = Setup::default().set("session.ping_interval", "1s").set("session.pong_timeout", "1s");
    let gateway = Gateway::start(&setup);
    let ada = Client::open(&gateway, &tokens::good("ada")).await;
    let mut bob = Client::open(&gateway, &tokens::good("bob")).await;
    // bob answers pings while he waits for something; ada reads nothing
    wait::until_async("ada to be closed", async || {
        bob.check_alive().await;
        (gateway.metric("portcullis_closes_total{code=\"timeout\"}") == 1.0).then_some(())
    })
    .await;
    assert!(Dial::to(&gateway).bearer(&tokens::good("eve")).connect().await.is_ok());
    drop(ada);
}

#[tokio::test]
async fn sessions_end_when_they_are_idle_or_too_old() {
    let gateway = Gateway::start(&Setup::default().set("session.idle_timeout", "1s"));
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    assert_eq!(ada.closed().await, 4408);
    let gateway = Gateway::start(&Setup::default().set("session.absolute_timeout", "1s"));
    let mut ada = Client::open(&gateway, &tokens::good("ada")).await;
    let limit = ada.welcome["payload"]["expiresAt"].as_u64().unwrap();
    assert_eq!(ada.closed().await, 4408);
    assert!(limit <= wait::wall().0 + 60_000, "`expiresAt` never lies beyond the absolute limit");
}
