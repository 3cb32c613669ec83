//! JWK sets (RFC 7517): which of the published keys may check an issuer's tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_common::config::model::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::header::{MAX_KID, algorithm};
use super::keys::{Key, KeySet, Kind};

/// The largest set that is read, in bytes.
pub const MAX_SET: usize = 256 * 1024;
/// The most keys that one issuer's set may have for the configured algorithms.
pub const MAX_KEYS: usize = 64;

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    // private members, RFC 7518 §6: their presence is all that matters
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

/// Reads a set and keeps the keys that can check one of `algorithms`.
///
/// Skipped: keys for encryption, keys with a private member, secrets (`oct`), unsupported kinds, keys for another
/// algorithm, weak keys, and entries that are no JWK (RFC 7517 §5 asks for that). Members that mean nothing here are
/// ignored.
///
/// # Errors
/// A sentence when the text is no set, no key is left, more than [`MAX_KEYS`] are, or two have one `kid`.
pub(super) fn read_set(text: &[u8], algorithms: &[Algorithm]) -> Result<KeySet, &'static str> {
    if text.len() > MAX_SET {
        return Err("the JWK set is larger than 256 KiB");
    }
    const NO_SET: &str = "the text is not a JWK set";
    if !is_object(text) {
        return Err(NO_SET);
    }
    let set: Set<'_> = serde_json::from_slice(text).map_err(|_| NO_SET)?;
    let mut keys: Vec<Key> = Vec::new();
    for raw in set.keys {
        let jwk = is_object(raw.get().as_bytes()).then(|| serde_json::from_str(raw.get()).ok()).flatten();
        let Some(key) = jwk.and_then(|jwk| usable(jwk, algorithms)) else { continue };
        if key.kid.is_some() && keys.iter().any(|known| known.kid == key.kid) {
            return Err("the JWK set has two keys with one id");
        }
        if keys.len() == MAX_KEYS {
            return Err("the JWK set has too many keys");
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return Err("the JWK set has no key for the configured algorithms");
    }
    Ok(KeySet::named(keys))
}

/// Whether JSON text is an object: a derived `Deserialize` would take an array of the members' values too.
fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'{')
}

fn usable(jwk: Jwk, algorithms: &[Algorithm]) -> Option<Key> {
    let private = [&jwk.d, &jwk.p, &jwk.q, &jwk.dp, &jwk.dq, &jwk.qi, &jwk.oth, &jwk.k];
    if private.iter().any(|member| member.is_some()) {
        return None;
    }
    if jwk.r#use.as_deref().is_some_and(|used_for| used_for != "sig") {
        return None;
    }
    if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return None;
    }
    if jwk.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
        return None;
    }
    let mut key = material(&jwk)?;
    if let Some(name) = jwk.alg.as_deref() {
        key.alg = Some(algorithm(name)?);
    }
    let wanted = |alg: &&Algorithm| Kind::of(**alg) == key.kind && key.alg.is_none_or(|only| only == **alg);
    algorithms.iter().find(wanted)?;
    key.kid = jwk.kid.map(String::into_boxed_str);
    Some(key)
}

/// RFC 7518 §6.2, §6.3; RFC 8037 §2.
fn material(jwk: &Jwk) -> Option<Key> {
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Key::rsa(&bytes(jwk.n.as_deref())?, &bytes(jwk.e.as_deref())?).ok(),
        ("EC", Some("P-256")) => Key::ec(Kind::P256, &point(jwk, 32)?).ok(),
        ("EC", Some("P-384")) => Key::ec(Kind::P384, &point(jwk, 48)?).ok(),
        ("OKP", Some("Ed25519")) => Key::ed25519(&bytes(jwk.x.as_deref())?).ok(),
        _ => None,
    }
}

fn point(jwk: &Jwk, length: usize) -> Option<Vec<u8>> {
    let (x, y) = (bytes(jwk.x.as_deref())?, bytes(jwk.y.as_deref())?);
    (x.len() == length && y.len() == length).then(|| [&[4], x.as_slice(), y.as_slice()].concat())
}

fn bytes(member: Option<&str>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(member?).ok()
}
