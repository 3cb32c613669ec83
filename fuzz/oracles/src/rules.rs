//! The rules of `data/`, compiled once, and one message put through them on a connection that has done nothing yet.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::Config;
use portcullis_common::ids::UserId;
use portcullis_gateway::pipeline::buckets::Buckets;
use portcullis_gateway::pipeline::{Checked, ConnState, Frame, Now, Policy, Scratch, Who, check};
use portcullis_gateway::route::rooms::Subject;

pub const RULES: &str = include_str!("../data/rules.toml");

/// The wall clock of every target.
pub const NOW: UnixMs = UnixMs(1_800_000_000_000);

pub static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    Config::parse(Some(RULES), std::iter::empty(), &base).unwrap_or_else(|errors| panic!("{errors}"))
});

static POLICY: LazyLock<Policy> =
    LazyLock::new(|| Policy::compile(&CONFIG, Arc::new(Buckets::default()), 1).unwrap_or_else(|e| panic!("{e:?}")));

/// What the pipeline says, to `look`.
pub fn put<R>(frame: Frame<'_>, look: impl FnOnce(Checked<'_>) -> R) -> R {
    static USER: LazyLock<UserId> = LazyLock::new(|| UserId::parse("ada").expect("legal"));
    let (mut state, mut scratch) = (ConnState::default(), Scratch::default());
    let subject = Subject { user: &USER, tenant: None, roles: &[], claims: "{}" };
    let who = Who { subject, issuer: 0, address: [192, 0, 2, 1].into(), limits: None };
    let now = Now { mono_ns: 1_000_000_000_000, wall: NOW };
    look(check(&POLICY, &mut state, &who, frame, now, &mut scratch))
}
