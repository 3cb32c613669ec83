//! The pipeline as a session uses it: one connection, one clock that tests turn by hand.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_common::config::model::Config;
use portcullis_common::ids::{TenantId, UserId};
use portcullis_common::stage::Stages;
use portcullis_common::wire::code::{Close, Code};
use portcullis_common::wire::scan::Bounds;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::buckets::Buckets;
use super::*;

/// The simplest messages.
mod basics;

/// Signatures, sanitising, the score.
mod inspection;

/// Hostile and benign messages, row by row.
mod table;

/// Limits with names of the operator's, conditions, schemas, dry runs.
mod rules;

const START: u64 = 1_000_000_000_000;
const WALL: u64 = 1_700_000_000_000;

/// Rooms, types and limits that most tests can live with.
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
tenant_claim = "tenant"
[csrf]
exempt = ["open"]
[[room]]
pattern = "*"
join = ["*"]
publish = ["*"]
[[room]]
pattern = "team.{t}"
where = "t in claims.teams"
join = ["member"]
publish = ["writer"]
[message.chat]
roles = ["member"]
route = "room"
[message.typing]
roles = ["*"]
route = "room"
rate = "2/s"
burst = 1
[message.small]
roles = ["member"]
route = "room"
max_size = 150
[message.direct]
roles = ["member"]
route = "user"
users = "any"
[message.open]
roles = ["member"]
route = "room"
"#;

/// The base with more tables behind it, compiled; `data/` is where its files are.
fn compile(more: &str, serial: u64, allowance: Arc<dyn rate::Allowance>) -> Result<Policy, Vec<(String, String)>> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline/tests/data");
    let config = Config::parse(Some(&format!("{BASE}{more}")), std::iter::empty(), &base);
    Policy::compile(&config.unwrap_or_else(|e| panic!("{e}")), allowance, serial)
}

struct Bench {
    policy: Policy,
    state: ConnState,
    token: String,
    now: Now,
    /// The node is overloaded.
    sheds: Sheds,
    scratch: Scratch,
    user: UserId,
    tenant: Option<TenantId>,
    roles: Vec<Arc<str>>,
    claims: String,
    allowance: Arc<dyn rate::Allowance>,
}

impl Bench {
    fn new() -> Self {
        Self::with("")
    }

    fn with(more: &str) -> Self {
        Self::on(more, Arc::new(Buckets::default()))
    }

    fn on(more: &str, allowance: Arc<dyn rate::Allowance>) -> Self {
        let policy = compile(more, 1, Arc::clone(&allowance)).unwrap_or_else(|e| panic!("{e:?}"));
        let mut state = ConnState::default();
        let now = Now { mono_ns: START, wall: UnixMs(WALL) };
        let token = state.csrf.rotate(policy.csrf(), &mut StdRng::seed_from_u64(1), now);
        Self {
            policy,
            state,
            token,
            now,
            sheds: Sheds::Nothing,
            scratch: Scratch::default(),
            user: UserId::parse("ada").unwrap(),
            tenant: None,
            roles: vec!["member".into()],
            claims: r#"{"teams":["red"],"level":3}"#.to_owned(),
            allowance,
        }
    }

    /// Other rules for the same connection, as after a reload.
    fn reload(&mut self, more: &str) {
        let serial = self.policy.serial + 1;
        self.policy = compile(more, serial, Arc::clone(&self.allowance)).unwrap_or_else(|e| panic!("{e:?}"));
    }

    fn check<'m>(&'m mut self, frame: Frame<'m>) -> Checked<'m> {
        let subject =
            Subject { user: &self.user, tenant: self.tenant.as_ref(), roles: &self.roles, claims: &self.claims };
        let who = Who { subject, issuer: 0, address: [192, 0, 2, 1].into(), limits: None };
        let arrival = Arrival { sheds: self.sheds, ..self.now.into() };
        check_on(&self.policy, &mut self.state, &who, frame, arrival, &mut self.scratch)
    }

    fn send(&mut self, frame: Frame<'_>) -> Result<String, Reject> {
        match self.check(frame).verdict {
            Verdict::Pass(passed) => Ok(format!("{:?}", passed.action)),
            Verdict::Reject { reject, .. } => Err(reject),
            Verdict::Park(key) => panic!("{key:?}"),
            Verdict::Shed { id } => panic!("{id:?}"),
        }
    }

    fn text(&mut self, text: &str) -> Result<String, Reject> {
        let text = text.replace("TOKEN", &self.token);
        self.send(Frame::Text(&text))
    }

    fn code(&mut self, text: &str) -> Code {
        self.text(text).expect_err(text).code
    }

    fn wait(&mut self, d: Duration) {
        self.now.mono_ns += u64::try_from(d.as_nanos()).unwrap();
    }
}
