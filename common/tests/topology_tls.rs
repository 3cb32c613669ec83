//! The store over TLS: who is believed, and what it says when somebody is not.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::path::Path;

use authority::{Authority, Certified};
use portcullis_common::config::secret::Secret;
use portcullis_common::store::redis::{ConnectFault, Login, RedisOptions, RedisStore};
use redis::RedisServer;
use redis::cluster::RedisCluster;

#[path = "redis/authority.rs"]
mod authority;
mod redis;
mod suite;

/// Settings of a server with this certificate. `clients`: `no`, or `yes` for those that have one too.
fn settings(authority: &Authority, own: &Certified, clients: &str, port: u16) -> Vec<String> {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let pairs = [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", text(&own.certificate)),
        ("--tls-key-file", text(&own.key)),
        ("--tls-ca-cert-file", text(&authority.file())),
        ("--tls-auth-clients", clients.to_owned()),
    ];
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

fn start(authority: &Authority, name: &str, clients: &str) -> (RedisServer, u16) {
    let port = redis::free_port();
    let settings = settings(authority, &authority.certify(name), clients, port);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    (RedisServer::start_with(&settings), port)
}

fn trusting(authority: &Authority) -> RedisOptions {
    RedisOptions { ca: Some(std::fs::read(authority.file()).unwrap()), ..suite::options("tls") }
}

/// Why it was not opened.
async fn refusal(url: &str, options: &RedisOptions) -> String {
    match RedisStore::connect(url, options).await {
        Err(fault @ ConnectFault::Unreachable(_)) => fault.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("let in"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_over_tls_keeps_its_promises() {
    let authority = Authority::new("ours");
    let (_server, port) = start(&authority, "localhost", "no");
    let url = format!("rediss://localhost:{port}");
    suite::passes(&url, &trusting(&authority), &["lease", "bus", "control"]).await;
}

#[tokio::test]
async fn a_server_that_another_authority_certified_is_refused() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (_server, port) = start(&theirs, "localhost", "no");
    let url = format!("rediss://localhost:{port}");
    let said = refusal(&url, &trusting(&ours)).await;
    assert!(said.contains("TLS failed") && said.contains("UnknownIssuer"), "{said}");
    // nor is it one of the machine's authorities
    let said = refusal(&url, &suite::options("tls")).await;
    assert!(said.contains("TLS failed") || said.contains("could not be opened"), "{said}");
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let authority = Authority::new("ours");
    let (_server, port) = start(&authority, "elsewhere.example", "no");
    let said = refusal(&format!("rediss://localhost:{port}"), &trusting(&authority)).await;
    assert!(said.contains("TLS failed") && said.contains("not valid for name"), "{said}");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_ours() {
    let authority = Authority::new("ours");
    let (_server, port) = start(&authority, "127.0.0.1", "yes");
    let url = format!("rediss://127.0.0.1:{port}");
    let nameless = RedisOptions { connect_timeout: std::time::Duration::from_secs(2), ..trusting(&authority) };
    assert!(RedisStore::connect(&url, &nameless).await.is_err());
    let own = authority.certify("gateway.example");
    let key = Secret::new(std::fs::read(own.key).unwrap());
    let named = RedisOptions {
        client_certificate: Some((std::fs::read(own.certificate).unwrap(), key)),
        ..trusting(&authority)
    };
    assert!(RedisStore::connect(&url, &named).await.is_ok());
}

#[tokio::test]
async fn a_plain_server_is_no_tls_server_and_a_password_does_not_reach_it() {
    let server = RedisServer::start();
    let login = Login { username: None, password: Some(Secret::new("hunter2")) };
    let options =
        RedisOptions { login, connect_timeout: std::time::Duration::from_secs(2), ..trusting(&Authority::new("ours")) };
    let fault = RedisStore::connect(&server.url().replace("redis:", "rediss:"), &options).await.err().unwrap();
    assert!(!format!("{fault} {fault:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_over_tls_keeps_its_promises() {
    let authority = Authority::new("ours");
    let own = authority.certify("127.0.0.1");
    // only masters that talk TLS to each other tell clients their TLS ports
    let more =
        ["--tls-cluster", "yes", "--tls-replication", "yes", "--cluster-node-timeout", "8000"].map(str::to_owned);
    let cluster = RedisCluster::start_each(|_| {
        let own = settings(&authority, &own, "no", redis::free_port());
        [own, more.to_vec()].concat()
    });
    let port = cluster.nodes.first().unwrap().cli(&["config", "get", "tls-port"]);
    let url = format!("rediss-cluster://127.0.0.1:{}", port.lines().nth(1).unwrap());
    suite::passes(&url, &trusting(&authority), &["bus"]).await;
}
