//! What a token whose signature is good has to say (RFC 7519 §4), and who its bearer is then.

use std::sync::Arc;

use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{TenantId, UserId};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Identity;
use super::carried::CarriedLimits;
use super::failures::BadToken;
use super::json;

/// The most roles that one token may carry.
pub const MAX_ROLES: usize = 64;
/// The longest role, in bytes.
pub const MAX_ROLE: usize = 128;
/// The longest `jti`, in bytes.
pub const MAX_TOKEN_ID: usize = 256;
/// 9999-12-31T23:59:59Z: later moments are a mistake of the issuer's.
const MAX_SECONDS: u64 = 253_402_300_799;

/// What one issuer's claims are measured against.
pub(super) struct Rules {
    /// Its place in `auth.issuer`.
    pub(super) index: usize,
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) roles_claim: String,
    pub(super) tenant_claim: Option<String>,
    pub(super) limits_claim: Option<String>,
    pub(super) user_prefix: String,
    pub(super) leeway_ms: u64,
    pub(super) max_life_ms: u64,
}

/// Reads verified claims. `payload` is what was signed, decoded; `now` is wall time.
///
/// `exp`, `nbf` and `iat` are JSON numbers of seconds, not negative, at most the year 9999. A fraction is allowed, as
/// RFC 7519 §2 has it, and counts in whole milliseconds, rounded down. Leeway widens each of the three comparisons:
/// a token is good while `now < exp + leeway`, from `nbf − leeway` on, and from `iat − leeway` on.
pub(super) fn read(payload: &[u8], rules: &Rules, now: UnixMs) -> Result<Identity, BadToken> {
    let claims = json::object(payload).ok_or(BadToken("the claims are not a strict JSON object"))?;
    if text(&claims, "iss")? != Some(rules.issuer.as_str()) {
        return Err(BadToken("the issuer is missing or another"));
    }
    check_audience(&claims, &rules.audience)?;
    check_purpose(&claims)?;
    let (issued, expires) = times(&claims, rules, now)?;
    Ok(Identity {
        user: user(&claims, &rules.user_prefix)?,
        tenant: tenant(&claims, rules.tenant_claim.as_deref())?,
        roles: roles(&claims, &rules.roles_claim)?,
        claims: raw(payload)?,
        expires,
        issued,
        token_id: token_id(&claims)?,
        limits: limits(&claims, rules.limits_claim.as_deref())?,
        issuer: rules.index,
    })
}

/// A claim that has to be a string where it is present.
fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, BadToken> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(BadToken("a claim that must be a string is not")),
    }
}

/// RFC 7519 §4.1.3: one string, or an array of strings; ours has to be among them, byte for byte.
fn check_audience(claims: &Map<String, Value>, audience: &str) -> Result<(), BadToken> {
    let found = match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(all)) => {
            let mut found = false;
            for item in all {
                let one = item.as_str().ok_or(BadToken("the audience is not made of strings"))?;
                found |= one == audience;
            }
            found
        }
        _ => return Err(BadToken("the audience is missing or of the wrong type")),
    };
    if found { Ok(()) } else { Err(BadToken("the token is for another audience")) }
}

/// Only access tokens are credentials here: an ID token proves a login to a client, a refresh token is for the issuer,
/// a logout token or any other security event (RFC 8417) is a message.
fn check_purpose(claims: &Map<String, Value>) -> Result<(), BadToken> {
    if text(claims, "token_use")?.is_some_and(|used_as| used_as != "access") {
        return Err(BadToken("the token is for another use"));
    }
    if let Some(kind) = text(claims, "typ")? {
        let kind = kind.to_ascii_lowercase();
        if !matches!(kind.as_str(), "bearer" | "access" | "access_token" | "jwt" | "at+jwt" | "application/at+jwt") {
            return Err(BadToken("the claims say it is another kind of token"));
        }
    }
    for mark in ["at_hash", "c_hash", "s_hash", "events"] {
        if claims.contains_key(mark) {
            return Err(BadToken("the token is an ID token or an event"));
        }
    }
    Ok(())
}

fn times(claims: &Map<String, Value>, rules: &Rules, now: UnixMs) -> Result<(UnixMs, UnixMs), BadToken> {
    let issued = moment(claims, "iat")?.ok_or(BadToken("the token does not say when it was issued"))?;
    let expires = moment(claims, "exp")?.ok_or(BadToken("the token does not expire"))?;
    let not_before = moment(claims, "nbf")?.unwrap_or(0);
    let latest = now.0.saturating_add(rules.leeway_ms);
    if now.0 >= expires.saturating_add(rules.leeway_ms) {
        return Err(BadToken("the token has expired"));
    }
    if not_before > latest {
        return Err(BadToken("the token is not valid yet"));
    }
    if issued > latest {
        return Err(BadToken("the token was issued in the future"));
    }
    match expires.checked_sub(issued) {
        None | Some(0) => Err(BadToken("the token expires before it was issued")),
        Some(life) if life > rules.max_life_ms => Err(BadToken("the token lives too long")),
        Some(_) => Ok((UnixMs(issued), UnixMs(expires))),
    }
}

/// A NumericDate in milliseconds.
fn moment(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, BadToken> {
    let number = match claims.get(name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(BadToken("a time is not a number")),
    };
    if let Some(seconds) = number.as_u64() {
        if seconds <= MAX_SECONDS {
            return Ok(Some(seconds * 1000));
        }
    } else if let Some(seconds) = number.as_f64() {
        #[allow(clippy::cast_precision_loss, reason = "the bound is below 2^53")]
        let limit = MAX_SECONDS as f64;
        if seconds.is_finite() && seconds.is_sign_positive() && seconds <= limit {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked on the line above")]
            return Ok(Some((seconds * 1000.0) as u64));
        }
    }
    Err(BadToken("a time is out of range"))
}

fn user(claims: &Map<String, Value>, prefix: &str) -> Result<UserId, BadToken> {
    let subject = text(claims, "sub")?.ok_or(BadToken("the token has no subject"))?;
    if subject.is_empty() {
        return Err(BadToken("the subject is empty"));
    }
    let parsed = if prefix.is_empty() { UserId::parse(subject) } else { UserId::parse(&format!("{prefix}{subject}")) };
    parsed.map_err(|_| BadToken("the subject is no legal user id"))
}

fn tenant(claims: &Map<String, Value>, path: Option<&str>) -> Result<Option<TenantId>, BadToken> {
    let Some(path) = path else { return Ok(None) };
    match find(claims, path)? {
        None => Ok(None),
        Some(Value::String(name)) => {
            TenantId::parse(name).map(Some).map_err(|_| BadToken("the tenant is no legal name"))
        }
        Some(_) => Err(BadToken("the tenant is not a string")),
    }
}

fn limits(claims: &Map<String, Value>, path: Option<&str>) -> Result<Option<Arc<CarriedLimits>>, BadToken> {
    let Some(path) = path else { return Ok(None) };
    find(claims, path)?.map(|claim| CarriedLimits::read(claim).map(Arc::new)).transpose()
}

/// An array of strings, or one string with spaces between (RFC 8693 §4.2); a role that comes twice counts once.
fn roles(claims: &Map<String, Value>, path: &str) -> Result<Arc<[Arc<str>]>, BadToken> {
    let mut roles: Vec<Arc<str>> = Vec::new();
    match find(claims, path)? {
        None => {}
        Some(Value::String(all)) => {
            for role in all.split(' ').filter(|role| !role.is_empty()) {
                add_role(&mut roles, role)?;
            }
        }
        Some(Value::Array(all)) => {
            for item in all {
                add_role(&mut roles, item.as_str().ok_or(BadToken("a role is not a string"))?)?;
            }
        }
        Some(_) => return Err(BadToken("the roles are of the wrong type")),
    }
    Ok(Arc::from(roles))
}

fn add_role(roles: &mut Vec<Arc<str>>, role: &str) -> Result<(), BadToken> {
    let legal =
        !role.is_empty() && role.len() <= MAX_ROLE && !role.chars().any(|c| c.is_control() || c.is_whitespace());
    if !legal {
        return Err(BadToken("a role is empty, too long or not printable"));
    }
    if roles.iter().any(|known| &**known == role) {
        return Ok(());
    }
    if roles.len() == MAX_ROLES {
        return Err(BadToken("the token has too many roles"));
    }
    roles.push(Arc::from(role));
    Ok(())
}

fn token_id(claims: &Map<String, Value>) -> Result<Option<Arc<str>>, BadToken> {
    match text(claims, "jti")? {
        None => Ok(None),
        Some(id) if !id.is_empty() && id.len() <= MAX_TOKEN_ID && !id.chars().any(char::is_control) => {
            Ok(Some(Arc::from(id)))
        }
        Some(_) => Err(BadToken("the token's id is empty, too long or not printable")),
    }
}

/// The claim of that very name, or, when there is none, the one at the end of the dotted path.
fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Result<Option<&'a Value>, BadToken> {
    if let Some(value) = claims.get(path) {
        return Ok(Some(value));
    }
    let Some((first, rest)) = path.split_once('.') else { return Ok(None) };
    let Some(mut value) = claims.get(first) else { return Ok(None) };
    for step in rest.split('.') {
        let Value::Object(members) = value else {
            return Err(BadToken("a claim on the way to another is not an object"));
        };
        match members.get(step) {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

fn raw(payload: &[u8]) -> Result<Arc<RawValue>, BadToken> {
    let broken = BadToken("the claims are not a strict JSON object");
    let text = std::str::from_utf8(payload).map_err(|_| broken)?;
    let value = RawValue::from_string(json::compact(text).into_owned()).map_err(|_| broken)?;
    Ok(Arc::from(value))
}
