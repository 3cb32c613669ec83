//! What one message costs: the scan and decoding alone, and the whole pipeline, on a 300-byte chat message; and how much
//! more the worst 64 KiB cost than ordinary ones.

#![allow(clippy::expect_used, reason = "a benchmark's own input is legal or the benchmark is wrong")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::Config;
use portcullis_common::ids::UserId;
use portcullis_common::wire::envelope;
use portcullis_common::wire::msgpack;
use portcullis_common::wire::scan::{Bounds, Scratch as ScanScratch, scan};
use portcullis_gateway::pipeline::buckets::Buckets;
use portcullis_gateway::pipeline::{ConnState, Frame, Now, Policy, Scratch, Verdict, Who, check};
use portcullis_gateway::route::rooms::Subject;
use rand::SeedableRng;

/// What a chat of a real application is held against: roles, a room with a condition, limits, a schema.
const RULES: &str = include_str!("../src/pipeline/tests/data/chat.toml");

fn policy() -> Policy {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline/tests/data");
    let config = Config::parse(Some(RULES), std::iter::empty(), &base).expect("legal");
    Policy::compile(&config, Arc::new(Buckets::default()), 1).expect("compiles")
}

fn chat(token: &str) -> String {
    let head = format!(
        r#"{{"type":"chat","id":"m-000001","to":{{"room":"team.red"}},"csrfToken":"{token}","timestamp":1700000000000,"payload":{{"text":""#
    );
    let tail = r#"","lang":"en","reply":false,"tags":["a","b"]}}"#;
    let text = "the quick brown fox jumps over the lazy dog ".repeat(8);
    let room = 300 - head.len() - tail.len();
    format!("{head}{}{tail}", &text[..room])
}

fn message(c: &mut Criterion) {
    let policy = policy();
    let mut state = ConnState::default();
    let now = Now { mono_ns: 1_000_000_000_000, wall: UnixMs(1_700_000_000_000) };
    let token = state.csrf.rotate(policy.csrf(), &mut rand::rngs::StdRng::seed_from_u64(1), now);
    let text = chat(&token);
    assert_eq!(text.len(), 300);
    let mut packed = Vec::new();
    msgpack::from_json(&text, Bounds::default(), &mut packed).expect("legal");
    let (roles, user) = (["member".into()], UserId::parse("ada").expect("legal"));
    let subject = Subject { user: &user, tenant: None, roles: &roles, claims: r#"{"teams":["red"]}"# };
    let who = Who { subject, issuer: 0, address: [127, 0, 0, 1].into(), limits: None };

    let mut group = c.benchmark_group("message_300_bytes");
    let mut scratch = ScanScratch::default();
    group.bench_function("scan", |b| b.iter(|| scan(black_box(&text), Bounds::default(), &mut scratch).is_ok()));
    group.bench_function("scan_and_decode", |b| {
        b.iter(|| envelope::decode(black_box(&text), Bounds::default(), &mut scratch).is_ok());
    });
    let mut scratch = Scratch::default();
    let mut elapsed = 0; // one clock for both: it never goes back
    for (name, frame) in [("check_json", Frame::Text(&text)), ("check_msgpack", Frame::Binary(&packed))] {
        group.bench_function(name, |b| {
            b.iter(|| {
                elapsed += 10_000;
                let now = Now { mono_ns: now.mono_ns + elapsed, ..now };
                let checked = check(&policy, &mut state, &who, black_box(frame), now, &mut scratch);
                assert!(matches!(checked.verdict, Verdict::Pass(_)));
            });
        });
    }
    group.finish();
}

/// Fills 64 KiB with members made by `member`, as one object or inside an array.
fn filled(open: &str, close: &str, member: impl Fn(usize) -> String) -> String {
    let mut out = open.to_owned();
    for i in 0..4_095 {
        let next = member(i);
        if out.len() + next.len() + close.len() + 1 > 65_536 {
            break;
        }
        if i > 0 {
            out.push(',');
        }
        out.push_str(&next);
    }
    out + close
}

fn hostile(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan_64_KiB");
    group.throughput(Throughput::Bytes(65_536));
    let cases = [
        (
            "benign_records",
            filled("[", "]", |i| {
                format!(
                    r#"{{"id":{i},"name":"a name of some length","text":"and a line of text, as people write it"}}"#
                )
            }),
        ),
        ("benign_one_string", format!("\"{}\"", "x".repeat(65_000))),
        ("hostile_keys", filled("{", "}", |i| format!(r#""k{i:08}":1"#))),
        (
            "hostile_long_prefixes",
            filled("[", "]", |i| {
                let p = "p".repeat(200);
                let keys: Vec<String> = (0..8).map(|k| format!(r#""{p}{k}":{}"#, i % 10)).collect();
                format!("{{{}}}", keys.join(","))
            }),
        ),
        (
            "hostile_escaped_keys",
            filled("{", "}", |i| {
                let digits: String = format!("{i:04}").chars().map(|d| format!("\\u{:04x}", d as u32)).collect();
                format!(r#""{digits}":1"#)
            }),
        ),
        ("hostile_escapes", format!("\"{}\"", "\\u0041".repeat(10_900))),
        ("hostile_exponents", filled("[", "]", |i| format!("1.234567890{i}e-30"))),
    ];
    let mut scratch = ScanScratch::default();
    for (name, text) in &cases {
        assert!(scan(text, Bounds::default(), &mut scratch).is_ok(), "{name}");
        group.bench_function(*name, |b| b.iter(|| scan(black_box(text), Bounds::default(), &mut scratch).is_ok()));
    }
    group.finish();
}

criterion_group!(benches, message, hostile);
criterion_main!(benches);
