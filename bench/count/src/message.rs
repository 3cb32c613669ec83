//! A chat message of 300 bytes: the frame, the bare decode, each stage, the whole.

use std::cell::RefCell;
use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_common::clock::{Mono, UnixMs};
use portcullis_common::config::model::Config;
use portcullis_common::ids::{RoomName, SessionId, UserId};
use portcullis_common::wire::envelope;
use portcullis_common::wire::msgpack;
use portcullis_common::wire::reply::{Published, Reply};
use portcullis_common::wire::scan::{Bounds, Scratch as ScanScratch, scan};
use portcullis_gateway::frame::{Decoder, Limits, Opcode, encode};
use portcullis_gateway::pipeline::buckets::Buckets;
use portcullis_gateway::pipeline::{ConnState, Frame, Now, Policy, Scratch, Verdict, Who, check};
use portcullis_gateway::route::rooms::Subject;
use rand::SeedableRng;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::case::Case;

const RULES: &str = include_str!("../rules.toml");

/// Message types with one stage more at work each; the last is what an application would have.
pub const LADDER: [&str; 7] = ["bare", "token", "role", "rate", "schema", "signatures", "chat"];

const NOW: Now = Now { mono_ns: 1_000_000_000_000, wall: UnixMs(1_700_000_000_000) };

/// One connection and the rules it is held against.
pub struct Bench {
    policy: &'static Policy,
    state: ConnState,
    scratch: Scratch,
    roles: [Arc<str>; 1],
    user: UserId,
    elapsed: u64,
    /// The session's CSRF token.
    pub token: String,
}

impl Bench {
    /// A connection that has sent nothing yet.
    pub fn new() -> Self {
        let base = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = Config::parse(Some(RULES), std::iter::empty(), base).expect("legal");
        let policy = Policy::compile(&config, Arc::new(Buckets::default()), 1).expect("compiles");
        // as in a gateway, it outlives every message
        let policy: &'static Policy = Box::leak(Box::new(policy));
        let mut state = ConnState::default();
        let token = state.csrf.rotate(policy.csrf(), &mut rand::rngs::StdRng::seed_from_u64(1), NOW);
        let user = UserId::parse("ada").expect("legal");
        Self { policy, state, scratch: Scratch::default(), roles: ["member".into()], user, elapsed: 0, token }
    }

    /// The rules.
    pub fn policy(&self) -> &'static Policy {
        self.policy
    }

    /// Another connection, that has sent nothing yet and has no token.
    pub fn reconnect(&mut self) {
        self.state = ConnState::default();
    }

    /// One message through every stage; whether it passed.
    pub fn check(&mut self, frame: Frame<'_>) -> bool {
        self.elapsed += 10_000;
        let now = Now { mono_ns: NOW.mono_ns + self.elapsed, ..NOW };
        let subject = Subject { user: &self.user, tenant: None, roles: &self.roles, claims: r#"{"teams":["red"]}"# };
        let who = Who { subject, issuer: 0, address: [127, 0, 0, 1].into(), limits: None };
        let checked = check(self.policy, &mut self.state, &who, frame, now, &mut self.scratch);
        matches!(checked.verdict, Verdict::Pass(_))
    }
}

/// A message of `kind` of 300 bytes.
pub fn chat(kind: &str, token: &str) -> String {
    let room = if kind == "bare" || kind == "token" { "lobby.red" } else { "team.red" };
    let token = if kind == "bare" { String::new() } else { format!(r#""csrfToken":"{token}","#) };
    let head = format!(
        r#"{{"type":"{kind}","id":"m-000001","to":{{"room":"{room}"}},{token}"timestamp":1700000000000,"payload":{{"text":""#
    );
    let tail = r#"","lang":"en","reply":false,"tags":["a","b"]}}"#;
    let text = "the quick brown fox jumps over the lazy dog ".repeat(8);
    format!("{head}{}{tail}", text.get(..300 - head.len() - tail.len()).expect("it is longer"))
}

/// The envelope as one would type it with serde alone, and the payload too: no policy, no bound.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Typed<'a> {
    r#type: &'a str,
    id: Option<&'a str>,
    #[serde(borrow)]
    to: To<'a>,
    csrf_token: Option<&'a str>,
    timestamp: Option<u64>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct To<'a> {
    room: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chat<'a> {
    #[serde(borrow)]
    text: std::borrow::Cow<'a, str>,
    lang: &'a str,
    reply: bool,
    #[serde(borrow)]
    tags: Vec<&'a str>,
}

/// Envelope and payload, typed.
pub fn typed(text: &str) -> usize {
    let message: Typed<'_> = serde_json::from_str(text).expect("legal");
    let payload: Chat<'_> = serde_json::from_str(message.payload.get()).expect("legal");
    let envelope = message.r#type.len() + message.id.map_or(0, str::len) + message.to.room.len();
    let rest = message.csrf_token.map_or(0, str::len) + usize::from(message.timestamp.is_some());
    envelope + rest + payload.text.len() + payload.lang.len() + usize::from(payload.reply) + payload.tags.len()
}

/// The rows of a message.
pub fn cases() -> Vec<Case> {
    let bench = Rc::new(RefCell::new(Bench::new()));
    let text = chat("chat", &bench.borrow().token);
    let mut packed = Vec::new();
    msgpack::from_json(&text, Bounds::default(), &mut packed).expect("legal");
    let mut scratch = ScanScratch::default();
    let (one, two, three) = (text.clone(), text.clone(), text.clone());
    let mut cases = vec![
        Case::one("frame decode", frame(&text)),
        Case::one("typed decode by serde", move || _ = black_box(typed(black_box(&one)))),
        Case::one("scan", move || assert!(scan(black_box(&two), Bounds::default(), &mut scratch).is_ok())),
    ];
    let mut scratch = ScanScratch::default();
    cases.push(Case::one("scan and envelope", move || {
        assert!(envelope::decode(black_box(&three), Bounds::default(), &mut scratch).is_ok());
    }));
    for kind in LADDER {
        let (bench, text) = (Rc::clone(&bench), chat(kind, &bench.borrow().token));
        let name = if kind == "chat" { "pipeline, json".to_owned() } else { format!("pipeline up to {kind}") };
        cases.push(Case::one(name, move || assert!(bench.borrow_mut().check(Frame::Text(black_box(&text))))));
    }
    cases.push(Case::one("pipeline, msgpack", move || {
        assert!(bench.borrow_mut().check(Frame::Binary(black_box(&packed))));
    }));
    cases.push(Case::one("message to the bus", publish(&text)));
    cases
}

/// A masked frame, taken apart. Decoding spoils the bytes, so each run has its own copy, which stands for the kernel's.
fn frame(text: &str) -> impl FnMut() + use<> {
    let mut wire = Vec::new();
    encode::append_masked(&mut wire, Opcode::Text, true, text.as_bytes(), [0x37, 0xFA, 0x21, 0x3D]);
    let (mut buffer, mut decoder, limits) = (wire.clone(), Decoder::new(), Limits::default());
    move || {
        buffer.copy_from_slice(&wire);
        let mut rest = &mut buffer[..];
        assert!(matches!(decoder.next(&mut rest, &limits, Mono(0)), Ok(Some(_))));
    }
}

/// The body that a room's members will get.
fn publish(text: &str) -> impl FnMut() + use<> {
    let text = text.to_owned();
    let mut scratch = ScanScratch::default();
    let (user, room) = (UserId::parse("ada").expect("legal"), RoomName::parse("team.red").expect("legal"));
    move || {
        let message = envelope::decode(&text, Bounds::default(), &mut scratch).expect("legal");
        let published = Published {
            kind: &message.kind,
            payload: message.payload,
            user: &user,
            session: SessionId(7),
            room: Some(&room),
            now: NOW.wall,
        };
        let mut out = Vec::with_capacity(published.estimate());
        published.write(&mut out);
        black_box(&out);
    }
}
