//! How often one message asks for memory: counted, because a clock here would not notice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::Config;
use portcullis_common::ids::UserId;
use portcullis_gateway::pipeline::buckets::Buckets;
use portcullis_gateway::pipeline::{ConnState, Frame, Now, Policy, Scratch, Verdict, Who, check};
use portcullis_gateway::route::rooms::Subject;
use rand::SeedableRng;

/// The rules of the benchmark of the pipeline.
const RULES: &str = include_str!("../src/pipeline/tests/data/chat.toml");

/// Types with one stage more at work each, and the most that a message of each may ask for.
const LADDER: &str = include_str!("../../bench/count/rules.toml");
const STAGES: [(&str, u64); 7] =
    [("bare", 2), ("token", 2), ("role", 2), ("rate", 2), ("schema", 8), ("signatures", 8), ("chat", 8)];

/// A message of 300 bytes with `text` where people write.
fn chat(kind: &str, token: &str, room: &str) -> String {
    let head = format!(
        r#"{{"type":"{kind}","id":"m-000001","to":{{"room":"{room}"}},"csrfToken":"{token}","timestamp":1700000000000,"payload":{{"text":""#
    );
    let tail = r#"","lang":"en","reply":false,"tags":["a","b"]}}"#;
    format!("{head}{}{tail}", "x".repeat(300 - head.len() - tail.len()))
}

/// What the second message of its kind on a connection asks for: the first fills memories that stay.
fn second(rules: &str, kind: &str, room: &str) -> AllocationInfo {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let base = base.join(if rules == LADDER { "../bench/count" } else { "src/pipeline/tests/data" });
    let config = Config::parse(Some(rules), std::iter::empty(), &base).unwrap();
    let policy = Policy::compile(&config, Arc::new(Buckets::default()), 1).unwrap();
    let (mut state, mut scratch) = (ConnState::default(), Scratch::default());
    let now = Now { mono_ns: 1_000_000_000_000, wall: UnixMs(1_700_000_000_000) };
    let token = state.csrf.rotate(policy.csrf(), &mut rand::rngs::StdRng::seed_from_u64(1), now);
    let text = chat(kind, &token, room);
    assert_eq!(text.len(), 300);
    let (roles, user) = (["member".into()], UserId::parse("ada").unwrap());
    let subject = Subject { user: &user, tenant: None, roles: &roles, claims: r#"{"teams":["red"]}"# };
    let who = Who { subject, issuer: 0, address: [127, 0, 0, 1].into(), limits: None };
    let mut send = || {
        let checked = check(&policy, &mut state, &who, Frame::Text(&text), now, &mut scratch);
        assert!(matches!(checked.verdict, Verdict::Pass(_)), "{checked:?}");
    };
    send();
    measure(send)
}

#[test]
fn a_chat_of_300_bytes_asks_for_no_more_memory_than_the_names_that_leave_the_pipeline() {
    let free = second(RULES, "free", "team.red");
    assert!(free.count_total <= 2, "without a schema: {free:?}");
    let chat = second(RULES, "chat", "team.red");
    assert!(chat.count_total <= 8 && chat.bytes_total <= 2_048, "with one: {chat:?}");
    assert_eq!((chat.count_current, free.count_current), (0, 0), "and keeps nothing");
}

#[test]
fn only_the_schema_asks_for_more_memory_than_the_message_itself() {
    for (kind, most) in STAGES {
        let room = if matches!(kind, "bare" | "token") { "lobby.red" } else { "team.red" };
        let asked = second(LADDER, kind, room);
        assert!(asked.count_total <= most, "up to {kind}: {asked:?}");
        assert_eq!(asked.count_current, 0, "{kind} keeps something");
    }
}
