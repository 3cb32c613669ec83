//! A node's life: health, drain, command line, tokens that run out.

use portcullis_tests::client::Client;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::tokens;
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
