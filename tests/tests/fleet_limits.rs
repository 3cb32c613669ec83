//! Limits that three nodes over one Redis count together: never more than the bound in any window, nearly all of it usable,
//! for few calls; nobody quiet waits; a node that is cut off has its share; and a token may carry a limit of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a failed expectation is a failed test"
)]

use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{Fleet, open};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::wire_cut::Wire;
use portcullis_tests::{tokens, wait};
use serde_json::{Value, json};

fn limited(limit: &'static str) -> impl FnOnce(Setup) -> Setup {
    move |setup| {
        setup
            .toml(&format!("[limit.heavy]\n{limit}\ntypes = [\"whisper\"]\n"))
            .set("session.max_per_user", "20")
            .replace(
                "tenant_claim = \"tenant\"\nuser_prefix = \"app:\"",
                "limits_claim = \"limits\"\nuser_prefix = \"app:\"",
            )
    }
}

/// What one message came to. Times are of the client.
struct Tried {
    sent: Mono,
    answered: Mono,
    /// `None`: let in; else `retryAfter`.
    retry: Option<Duration>,
}

/// Says something that the limit counts, in a room of its own.
fn whisper(raw: &mut Raw, room: &str) -> Tried {
    let sent = wait::mono();
    let answer = raw.ask(json!({"type": "whisper", "to": {"room": room}, "payload": {"text": "x"}}));
    let retry = (answer["payload"]["code"] == "rate_limited").then(|| {
        assert_eq!(answer["type"], "error");
        Duration::from_millis(answer["payload"]["retryAfter"].as_u64().expect("when"))
    });
    assert!(retry.is_some() || answer["type"] == "ack", "{answer}");
    Tried { sent, answered: wait::mono(), retry }
}

fn member(node: &Gateway, name: &str, room: &str) -> Raw {
    let mut raw = open(node, name);
    raw.join(room);
    raw
}

/// One connection that wants as much as it can get for so long, two messages in a row. A refusal is waited out in part
/// only, and as far as to have less than fifty in a minute, which would end the connection.
fn press(node: &Gateway, room: &str, long: Duration) -> Vec<Tried> {
    let mut raw = member(node, "heavy", room);
    let began = wait::mono();
    let mut all = Vec::new();
    while wait::mono().since(began) < long {
        let pair = [whisper(&mut raw, room), whisper(&mut raw, room)];
        if let Some(retry) = pair.iter().filter_map(|tried| tried.retry).max() {
            std::thread::sleep(retry.min(Duration::from_millis(200)));
        }
        all.extend(pair);
    }
    all
}

fn sum(nodes: &[&Gateway], metric: &str) -> f64 {
    nodes.iter().map(|node| node.metric(metric)).sum()
}

const CALLS: &str = "portcullis_limit_calls_total{outcome=\"answered\"}";

#[test]
fn one_user_on_three_nodes_gets_what_the_limit_allows_and_no_more_for_few_calls() {
    const RATE: f64 = 100.0;
    const BURST: f64 = 200.0;
    // N·b, with b = B / 2N
    const SLACK: f64 = 3.0 * 33.0;
    let fleet = Fleet::start(limited("rate = \"100/s\"\nburst = 200\nper = \"user\""));
    let third = fleet.node("gw-c");
    let nodes = [&fleet.a, &fleet.b, &third];
    // every node knows the others
    wait::until("a view of three", || nodes.iter().all(|node| sees(node) == 3).then_some(()));

    let long = Duration::from_secs(4);
    let all: Vec<Tried> = std::thread::scope(|scope| {
        let pressing: Vec<_> =
            (0..12).map(|n| scope.spawn(move || press(nodes[n % 3], &format!("quiet.{n}"), long))).collect();
        pressing.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });

    let passed: Vec<&Tried> = all.iter().filter(|tried| tried.retry.is_none()).collect();
    // whatever was sent after the window began and answered before it ended was let in within it
    let mut ends: Vec<(u64, u64)> = passed.iter().map(|tried| (tried.sent.0, tried.answered.0)).collect();
    ends.sort_unstable();
    for (n, (begin, _)) in ends.iter().enumerate() {
        let mut answered: Vec<u64> = ends[n..].iter().map(|(_, answered)| *answered).collect();
        answered.sort_unstable();
        for (count, end) in answered.iter().enumerate() {
            // both ends are rounded down to a millisecond
            let seconds = (end - begin + 1) as f64 / 1_000.0;
            let bound = RATE * seconds + BURST + SLACK;
            assert!((count + 1) as f64 <= bound, "{} in {seconds} s", count + 1);
        }
    }

    let seconds = (ends.iter().map(|(_, end)| *end).max().unwrap() - ends[0].0) as f64 / 1_000.0;
    let (calls, alone) = (sum(&nodes, CALLS), sum(&nodes, "portcullis_limit_alone_total"));
    println!("{} messages, {} let in, in {seconds} s; {calls} calls, {alone} alone", all.len(), passed.len());
    // nothing of the rate is lost; how much of the burst is left in the end, clients decide
    assert!(passed.len() as f64 >= 0.9 * RATE * seconds + BURST / 4.0, "{} in {seconds} s", passed.len());
    assert!(passed.len() < all.len(), "it pressed");
    assert!(calls <= 0.05 * all.len() as f64, "{calls} calls for {} messages", all.len());
    // a key over its limit: one call a node in 1/R
    assert!(calls <= 3.0 * RATE * seconds);
}

/// How many nodes the limits of this one are shared by.
fn sees(node: &Gateway) -> u64 {
    node.health()["limits"]["nodes"].as_u64().unwrap_or_default()
}

#[test]
fn nobody_quiet_waits_for_the_store_and_a_message_costs_at_most_a_call() {
    let fleet = Fleet::start(limited("rate = \"100/min\"\nburst = 20\nper = \"user\""));
    // what a former life of the node let in on credit is paid for by then
    wait::until("three seconds of life", || (fleet.a.health()["uptimeMs"].as_u64()? > 3_500).then_some(()));
    let mut users: Vec<Raw> = (0..20).map(|n| member(&fleet.a, &format!("quiet-{n}"), &format!("quiet.{n}"))).collect();
    for (n, raw) in users.iter_mut().enumerate() {
        assert_eq!(whisper(raw, &format!("quiet.{n}")).retry, None);
    }
    assert_eq!(fleet.a.metric("portcullis_parked_total"), 0.0);
    wait::until("every call is answered", || (fleet.a.metric(CALLS) >= 20.0).then_some(()));
    assert_eq!(fleet.a.metric(CALLS), 20.0);
}

#[test]
fn a_limit_near_its_end_is_exact_whichever_node_somebody_is_on() {
    // so slow that nothing comes back while the test runs, and small enough for one token a call
    let fleet = Fleet::start(limited("rate = \"6/h\"\nburst = 5\nper = \"user\""));
    let nodes = [&fleet.a, &fleet.b];
    let mut raws = nodes.map(|node| member(node, "ann", "quiet.x"));
    let passed = (0..12).filter(|n| whisper(&mut raws[n % 2], "quiet.x").retry.is_none()).count();
    assert_eq!(passed, 5);
    let retry = whisper(&mut raws[0], "quiet.x").retry.expect("refused");
    assert!(retry > Duration::from_secs(500) && retry <= Duration::from_secs(600), "{retry:?}");
    let mut other = member(&fleet.a, "bob", "quiet.x");
    assert_eq!(whisper(&mut other, "quiet.x").retry, None, "another user has another count");
    assert!(sum(&nodes, CALLS) <= 14.0, "a refusal is remembered");
}

#[test]
fn a_token_may_carry_a_limit_of_its_own_up_to_what_the_operator_allows() {
    let fleet = Fleet::start(limited("rate = \"6/h\"\nburst = 6\nper = \"user\"\nclaim_max = \"12/h\""));
    let count = |name: &str, limits: Value| {
        let token = tokens::with(name, &json!({"limits": limits}));
        let mut raws = [&fleet.a, &fleet.b].map(|node| {
            let mut raw = Raw::open(node.public, &token);
            raw.join("quiet.x");
            raw
        });
        (0..20).filter(|n| whisper(&mut raws[n % 2], "quiet.x").retry.is_none()).count()
    };
    assert_eq!(count("less", json!({"heavy": "3/h"})), 3);
    assert_eq!(count("more", json!({"heavy": {"rate": "10/h", "burst": 10}})), 10);
    assert_eq!(count("greedy", json!({"heavy": "100/s"})), 12, "cut down to claim_max");
    assert_eq!(count("other", json!({"unknown": "1/h"})), 6);
}

#[test]
fn a_node_that_the_store_does_not_answer_enforces_its_share_and_says_so() {
    let fleet = Fleet::start(limited("rate = \"6/h\"\nburst = 9\nper = \"user\""));
    let wire = Wire::to(fleet.store_address());
    let far = fleet.node_over(&wire, "gw-c");
    wait::until("a view of three", || (sees(&far) == 3).then_some(()));
    let mut raw = member(&far, "ann", "quiet.x");
    wire.cut();
    let mut passed = 0;
    for n in 0..12 {
        assert!(raw.say(json!({
            "type": "whisper", "id": format!("w{n}"), "to": {"room": "quiet.x"}, "payload": {"text": "x"},
        })));
    }
    for _ in 0..12 {
        passed += u32::from(raw.message()["payload"]["code"] != "rate_limited");
    }
    assert_eq!(passed, 3, "a third of the burst");
    assert!(far.metric("portcullis_limit_alone_total") >= 12.0);
    assert_eq!(far.metric("portcullis_limits_alone"), 1.0);
    let degraded = far.health()["degraded"].to_string();
    assert!(degraded.contains("limits are decided by this node's share"), "{degraded}");
    assert!(far.events().iter().any(|event| event["event"] == "limits_alone"), "{}", far.log());
    wire.mend();
    wait::until("the store answers", || {
        (far.health()["degraded"].as_array()?.is_empty() && far.metric("portcullis_limits_alone") == 0.0).then_some(())
    });
    let mut other = member(&far, "bob", "quiet.y");
    let before = far.metric(CALLS);
    assert_eq!(whisper(&mut other, "quiet.y").retry, None);
    assert_eq!(far.metric(CALLS), before + 1.0, "the fleet decides again");
    assert_eq!(far.metric("portcullis_limits_alone"), 0.0);
}
