//! `[limit.NAME]`: the built-in limits and what replaces their values.

use config::Value;

use super::super::model::{Limit, Limits, Rate};
use super::super::read::Section;
use super::super::unit::{byte_rate, rate, size};
use super::super::value::{integer, text};
use super::secs;

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
    }
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
