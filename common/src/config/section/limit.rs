//! `[limit.NAME]`: the built-in limits and what replaces their values; limits with names of the operator's.

use std::collections::BTreeMap;

use config::Value;

use super::super::model::{Limit, Limits, NamedLimit, Per, Rate};
use super::super::read::Section;
use super::super::unit::{byte_rate, rate, size};
use super::super::value::{boolean, choice, integer, line, text, type_name};
use super::{roles, secs};

/// What a limit is counted by; the same for a name whatever is configured.
pub(in super::super) const SCOPES: &[(&str, &str)] = &[
    ("message", "connection"),
    ("bytes", "connection"),
    ("control", "connection"),
    ("connect", "ip"),
    ("login", "ip"),
];

/// The limits that hold when nothing is configured.
fn built_in() -> Limits {
    let a_minute = |count, burst| Limit { rate: Rate { count, period: secs(60) }, burst };
    Limits {
        message: a_minute(100, 20),
        bytes: a_minute(1 << 20, 256 << 10),
        control: a_minute(60, 30),
        connect: a_minute(30, 30),
        login: a_minute(10, 10),
        named: BTreeMap::new(),
    }
}

pub(super) fn limits(mut s: Section<'_>) -> Limits {
    let given = built_in();
    Limits {
        message: limit(s.child("message"), given.message, "connection"),
        bytes: bytes(s.child("bytes"), given.bytes),
        control: limit(s.child("control"), given.control, "connection"),
        connect: limit(s.child("connect"), given.connect, "ip"),
        login: limit(s.child("login"), given.login, "ip"),
        named: named(&mut s),
    }
}

/// What a limit may be counted by.
pub(in super::super) const PER: &[(&str, Per)] = &[
    ("connection", Per::Connection),
    ("user", Per::User),
    ("ip", Per::Ip),
    ("tenant", Per::Tenant),
    ("type", Per::Type),
    ("node", Per::Node),
];

/// Every table that is not one of [`SCOPES`].
fn named(s: &mut Section<'_>) -> BTreeMap<String, NamedLimit> {
    let built_in: Vec<&'static str> = SCOPES.iter().map(|(name, _)| *name).collect();
    let mut limits = BTreeMap::new();
    for (name, mut s) in s.others(&built_in) {
        if type_name(name).is_err() {
            let problem = "is not a name for a limit: letters, digits, `.`, `-` and `_`, a letter first";
            s.report().refuse(s.path(), problem);
        }
        let counts = s.required("rate", "say how many, as in \"10/s\"", rate);
        let burst = s.optional("burst", integer(1..=1_000_000));
        let legal = "say what it is counted by: \"connection\", \"user\", \"ip\", \"tenant\", \"type\" or \"node\"";
        let per = s.required("per", legal, choice(PER));
        let claim_max = s.optional("claim_max", rate);
        if claim_max.is_some() && per.is_some_and(|per| matches!(per, Per::Ip | Per::Type | Per::Node)) {
            let problem = "is for limits by connection, user or tenant: no token speaks for others";
            s.report().refuse(s.key("claim_max"), problem);
        }
        let types = s.list("types", |v| type_name(text(v)?)).unwrap_or_default();
        let rooms = s.list("rooms", line(512)).unwrap_or_default();
        let roles = roles(&mut s, "roles");
        let issuers = s.list("issuers", line(256)).unwrap_or_default();
        let dry_run = s.or("dry_run", false, boolean);
        if let (Some(rate), Some(per)) = (counts, per) {
            let limit = Limit { rate, burst: burst.unwrap_or(rate.count) };
            let claim_max = claim_max.map(|rate| most(rate, limit));
            let named = NamedLimit { limit, claim_max, per, types, rooms, roles, issuers, dry_run };
            limits.insert(name.to_owned(), named);
        }
    }
    limits
}

/// The most that a token may carry: its burst in proportion to that of the limit, at least as large.
fn most(rate: Rate, limit: Limit) -> Limit {
    let (up, down) =
        (u128::from(rate.count) * limit.rate.period.as_nanos(), u128::from(limit.rate.count) * rate.period.as_nanos());
    let scaled = u128::from(limit.burst) * up / down.max(1);
    Limit { rate, burst: u32::try_from(scaled.min(1_000_000)).unwrap_or(limit.burst).max(limit.burst) }
}

fn limit(mut s: Section<'_>, given: Limit, scope: &'static str) -> Limit {
    per(&mut s, scope);
    Limit { rate: s.or("rate", given.rate, rate), burst: s.or("burst", given.burst, integer(1..=1_000_000)) }
}

fn bytes(mut s: Section<'_>, given: Limit) -> Limit {
    per(&mut s, "connection");
    let burst = |v: &Value| u32::try_from(size(1..=1 << 30)(v)?).map_err(|_| "is too large".to_owned());
    Limit { rate: s.or("rate", given.rate, byte_rate), burst: s.or("burst", given.burst, burst) }
}

/// `per` may say what is so anyway, and nothing else.
fn per(s: &mut Section<'_>, scope: &'static str) {
    s.optional("per", |v| {
        if text(v)? == scope {
            Ok(())
        } else {
            Err(format!("must be \"{scope}\": this version counts this limit by nothing else"))
        }
    });
}
