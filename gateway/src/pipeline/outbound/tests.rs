//! Beside the rows of the table: dry runs, bounds, what is not touched.

use std::path::Path;
use std::sync::Arc;

use portcullis_common::config::model::Config;
use proptest::prelude::*;

use super::*;
use crate::pipeline::buckets::Buckets;

const BASE: &str = r#"
[tls]
mode = "off"
[origin]
missing = "allow"
[[auth.issuer]]
name = "app"
issuer = "https://app.test"
audience = "portcullis"
algorithms = ["HS256"]
secret = "0123456789abcdef0123456789abcdef"
[message.free]
roles = ["*"]
route = "room"
[message.note]
roles = ["*"]
route = "room"
html = ["text"]
outbound = ["size", "sanitise"]
leaks = "mask"
max_size = 5000
"#;

fn policy(more: &str) -> Policy {
    let config = Config::parse(Some(&format!("{BASE}{more}")), std::iter::empty(), Path::new("."));
    Policy::compile(&config.unwrap_or_else(|e| panic!("{e}")), Arc::new(Buckets::default()), 1).unwrap()
}

fn checked(policy: &Policy, body: &str) -> Option<Checked> {
    check(policy, body.as_bytes(), &mut Scratch::default())
}

#[test]
fn a_type_that_configures_nothing_is_not_even_scanned() {
    let policy = policy("");
    assert!(checked(&policy, r#"{"type":"free","payload":this is no JSON"#).is_none());
    assert!(checked(&policy, r#"{"type":"unheard.of","payload":this is no JSON"#).is_none());
    assert!(checked(&policy, r#"{"type":"presence","payload":this is no JSON"#).is_none());
    let mut scratch = Scratch::default();
    assert!(check(&policy, br#"{"type":"free","payload":"4111111111111111"}"#, &mut scratch).is_none());
}

#[test]
fn in_a_dry_run_all_is_reported_and_nothing_done() {
    let policy = policy("dry_run = [\"outbound\"]");
    let body = r#"{"type":"note","payload":{"text":"<script>x</script> 4111111111111111"}}"#;
    let seen = checked(&policy, body).unwrap();
    assert_eq!(seen.outcome, Outcome::Same);
    let details: Vec<&str> = seen.report.refused.iter().map(|reject| &*reject.detail).collect();
    assert_eq!(details, ["sanitise: would be changed", "leaks: card.number"]);
    assert!(seen.report.dry && seen.report.masked == 0);
    let long = format!(r#"{{"type":"note","payload":"{}"}}"#, "x".repeat(5_000));
    assert_eq!(checked(&policy, &long).unwrap().outcome, Outcome::Same);
}

#[test]
fn a_report_says_what_was_found_and_nothing_of_the_payload() {
    let policy = policy("");
    let seen = checked(
        &policy,
        r#"{"type":"note","payload":["4111111111111111 <b>AKIAIOSFODNN7EXAMPLE", "378282246310005"]}"#,
    );
    let Report { kind, masked, leaks, refused, .. } = seen.unwrap().report;
    assert_eq!((kind.unwrap().as_str(), masked), ("note", 3));
    assert_eq!(leaks.join(" "), "card.number aws.key-id");
    assert!(refused.is_empty());
    let seen = checked(&policy, r#"{"type":"note","payload":{"AKIAIOSFODNN7EXAMPLE":1}}"#).unwrap();
    assert!(!format!("{:?}", seen.report).contains("IOSFODNN"), "{seen:?}");
}

#[test]
fn more_places_than_anybody_means_are_not_delivered() {
    let policy = policy("[leaks]\ndefault = \"mask\"");
    for between in [" ", "\",\""] {
        let many = |n| format!(r#"{{"type":"other","payload":["{}"]}}"#, vec!["AKIAIOSFODNN7EXAMPLE"; n].join(between));
        let Outcome::Changed(body) = checked(&policy, &many(PLACES)).unwrap().outcome else { panic!() };
        assert!(!String::from_utf8(body).unwrap().contains("AKIA"));
        assert_eq!(checked(&policy, &many(PLACES + 1)).unwrap().outcome, Outcome::Blocked);
    }
}

#[test]
fn leaks_that_nothing_looks_for_are_a_mistake() {
    let text = format!("{BASE}[leaks]\nbuiltin = false\n");
    let config = Config::parse(Some(&text), std::iter::empty(), Path::new(".")).unwrap();
    let problems = Policy::compile(&config, Arc::new(Buckets::default()), 1).unwrap_err();
    assert_eq!(problems[0].0, "leaks.builtin");
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,12}".prop_map(serde_json::Value::from),
        Just("4111111111111111".into()),
        Just("a AKIAIOSFODNN7EXAMPLE \u{1f600}\n4111-1111-1111-1111".into()),
        Just(4_111_111_111_111_111_u64.into()),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::hash_map("[a-z]{1,3}", inner, 0..4)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_goes_out_is_json_without_leaks_and_else_the_same(payload in value()) {
        let policy = policy("[leaks]\ndefault = \"mask\"");
        let body = format!(r#"{{"type":"unheard.of","payload":{payload},"timestamp":17}}"#);
        let out = match checked(&policy, &body).map(|seen| seen.outcome) {
            Some(Outcome::Changed(out)) => String::from_utf8(out).unwrap(),
            None => body.clone(),
            other => panic!("{other:?}"),
        };
        prop_assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{}", out);
        prop_assert!(out.len() <= body.len());
        for leak in ["4111111111111111", "AKIAIOSFODNN7EXAMPLE", "4111-1111-1111-1111"] {
            prop_assert!(!out.contains(leak), "{}", out);
        }
        if out.len() == body.len() {
            for (new, old) in out.bytes().zip(body.bytes()) {
                prop_assert!(new == old || new == b'*' || new == b'0');
            }
        }
        prop_assert!(checked(&policy, &out).is_none(), "masked twice");
    }
}
