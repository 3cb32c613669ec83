//! The overload ladder of a gateway that is a process of its own: each step is taken, seen from outside, and taken back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use portcullis_tests::blocking::{Knock, Raw};
use portcullis_tests::fleet::{lives, says_when};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::{raw, tokens, wait};
use serde_json::{Value, json};

fn setup(overload: &str) -> Setup {
    let low = "[message.chat]\nroles = [\"member\"]\nroute = \"room\"\npriority = \"low\"\n";
    Setup::default().replace("[message.chat]\nroles = [\"member\"]\nroute = \"room\"\n", low).toml(overload)
}

fn step(gateway: &Gateway) -> u64 {
    raw::get(gateway.private, "/health").json()["overload"]["step"].as_u64().unwrap()
}

fn say(raw: &mut Raw, kind: &str) -> Value {
    raw.ask(json!({"type": kind, "to": {"room": "quiet.1"}, "payload": "hi"}))
}

#[test]
fn each_step_is_taken_and_taken_back_and_who_is_in_goes_on() {
    let gateway = Gateway::start(&setup(""));
    let mut ada = Raw::open(gateway.public, &tokens::good("ada"));
    ada.join("quiet.1");
    assert_eq!((say(&mut ada, "chat")["type"].clone(), step(&gateway)), (json!("ack"), 0));
    // no process is as small as that
    gateway.rewrite(&setup("[overload]\nmemory = \"1MiB\"\n"));
    assert_eq!(gateway.reload()["lastReload"]["ok"], true);
    wait::until("the ladder to be climbed", || (step(&gateway) == 3).then_some(()));
    let refusal = Knock::at(gateway.public, &tokens::good("bob"), None).answer().expect_err("refused");
    assert_eq!(
        (refusal.status, refusal.code(), says_when(&refusal)),
        (503, "store_unavailable", true),
        "{}",
        refusal.head
    );
    let shed = say(&mut ada, "chat");
    assert!(shed["payload"]["code"] == "store_unavailable" && shed["payload"]["retryAfter"].is_u64(), "{shed}");
    assert_eq!(say(&mut ada, "whisper")["type"], "ack", "what is of normal priority is carried");
    assert!(lives(&mut ada));
    let health = raw::get(gateway.private, "/health").json();
    assert_eq!(health["status"], "ready", "{health}");
    assert!(health["degraded"].to_string().contains("overload") && health["overload"]["memory"].as_f64() > Some(1.0));
    assert!(
        gateway.metric("portcullis_overload_step") > 2.5 && gateway.metric("portcullis_overload_steps_total") > 2.5
    );
    gateway.rewrite(&setup(""));
    assert_eq!(gateway.reload()["lastReload"]["ok"], true);
    wait::until("the ladder to be left", || (step(&gateway) == 0).then_some(()));
    assert_eq!(say(&mut ada, "chat")["type"], "ack");
    assert!(lives(&mut Raw::open(gateway.public, &tokens::good("bob"))));
}

#[test]
fn a_dry_run_says_which_steps_it_would_take_and_takes_none() {
    let rules = |dry| format!("[overload]\nmemory = \"1MiB\"\ndry_run = {dry}\n");
    let gateway = Gateway::start(&setup(&rules(true)));
    wait::until("the ladder to be climbed", || (step(&gateway) == 3).then_some(()));
    let mut ada = Raw::open(gateway.public, &tokens::good("ada"));
    ada.join("quiet.1");
    assert_eq!(say(&mut ada, "chat")["type"], "ack");
    let health = raw::get(gateway.private, "/health").json();
    assert!(health["overload"]["dryRun"] == true && !health["degraded"].to_string().contains("overload"), "{health}");
    let steps = ["step", "dry_run_step"].map(|name| gateway.metric(&format!("portcullis_overload_{name}")));
    assert!(steps[0] < 0.5 && steps[1] > 2.5, "{steps:?}");
    assert!(gateway.events().iter().any(|event| event["event"] == "overload_step" && event["dry_run"] == true));
    gateway.rewrite(&setup(&rules(false)));
    assert_eq!(gateway.reload()["lastReload"]["ok"], true);
    wait::until("it to be meant", || (say(&mut ada, "chat")["payload"]["code"] == "store_unavailable").then_some(()));
}

#[test]
fn the_largest_queues_are_closed_and_small_ones_stay() {
    let limits = "[limit.message]\nrate = \"100000/min\"\nburst = 100000\n[limit.bytes]\nrate = \"60MiB/s\"\nburst = \"60MiB\"\n";
    let setup = setup(&format!("{limits}[overload]\nqueues = \"1MiB\"\n[size]\noutbox = \"16MiB\"\n"));
    let gateway = Gateway::start(&setup);
    let slow = Knock::on(
        portcullis_tests::blocking::dial([127, 0, 0, 1].into(), gateway.public, 4_096),
        &tokens::good("slow"),
        None,
    );
    let (mut slow, mut ada) = (slow.answer().unwrap(), Raw::open(gateway.public, &tokens::good("ada")));
    slow.join("quiet.1");
    ada.join("quiet.1");
    let text = "x".repeat(30_000);
    // it does not read; everybody else does
    let closed = wait::until("the queue to be closed", || {
        let closed = gateway.metric("portcullis_overload_closed_total");
        if gateway.metric("portcullis_outbox_bytes") > 1_500_000.0 {
            // more would overflow its outbox, which is another reason
            return (closed > 0.0).then_some(closed);
        }
        let answer = ada.ask(json!({"type": "whisper", "to": {"room": "quiet.1"}, "payload": text}));
        assert_eq!(answer["type"], "ack", "{answer}");
        (closed > 0.0).then_some(closed)
    });
    assert!((closed - 1.0).abs() < f64::EPSILON && lives(&mut ada), "{closed}");
    wait::until("the ladder to be left", || (step(&gateway) == 0).then_some(()));
}
