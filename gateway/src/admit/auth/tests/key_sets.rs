//! JWK sets: what is used, what is skipped, what is an error.

use super::super::jwk::{MAX_KEYS, MAX_SET, read_set};
use super::super::keys::KeySet;
use super::*;

use Algorithm::{ES256, ES384, EdDSA, HS256, RS256};

const NO_KEY: &str = "the JWK set has no key for the configured algorithms";

fn set(keys: Vec<Value>, algorithms: &[Algorithm]) -> Result<KeySet, &'static str> {
    read_set(json!({"keys": keys}).to_string().as_bytes(), algorithms)
}

fn changed(mut jwk: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

#[test]
fn keys_of_every_supported_kind_are_read() {
    for (key, alg) in [(rsa(), RS256), (p256(), ES256), (p384(), ES384), (ed25519(), EdDSA)] {
        assert!(set(vec![jwk(key, "a")], &[alg]).is_ok(), "{alg:?}");
        assert_eq!(set(vec![jwk(key, "a")], &[HS256]).err(), Some(NO_KEY), "{alg:?}");
    }
}

#[test]
fn keys_that_are_not_for_us_are_skipped() {
    let key = || jwk(p256(), "a");
    let raw = b64(SECRET);
    for (name, unfit) in [
        ("encryption", changed(key(), json!({"use": "enc"}))),
        ("unknown use", changed(key(), json!({"use": "SIG"}))),
        ("operations", changed(key(), json!({"key_ops": ["sign"]}))),
        ("algorithm of another kind", changed(key(), json!({"alg": "RS256"}))),
        ("unknown algorithm", changed(key(), json!({"alg": "none"}))),
        ("private", changed(key(), json!({"d": raw}))),
        ("private, oddly", changed(key(), json!({"d": {}}))),
        ("secret", json!({"kty": "oct", "k": raw, "kid": "a"})),
        ("secret in a public key", changed(key(), json!({"k": raw}))),
        ("other curve", changed(key(), json!({"crv": "secp256k1"}))),
        ("no curve", changed(key(), json!({"crv": null}))),
        ("wrong length", changed(key(), json!({"x": "AAAA"}))),
        ("padded", changed(key(), json!({"x": format!("{}=", key()["x"].as_str().unwrap())}))),
        ("missing half", changed(key(), json!({"y": null}))),
        ("kid no string", changed(key(), json!({"kid": 1}))),
        ("kid too long", changed(key(), json!({"kid": "k".repeat(257)}))),
        ("no object", json!("key")),
        ("unknown kind", json!({"kty": "AKP", "kid": "a"})),
    ] {
        assert_eq!(set(vec![unfit.clone()], &[ES256]).err(), Some(NO_KEY), "{name}");
        assert!(set(vec![unfit, key()], &[ES256]).is_ok(), "{name}: the others still count");
    }
    for fit in [json!({"use": "sig"}), json!({"key_ops": ["verify"]}), json!({"alg": "ES256"}), json!({"x5t": "?"})] {
        assert!(set(vec![changed(key(), fit.clone())], &[ES256]).is_ok(), "{fit}");
    }
}

#[test]
fn weak_rsa_keys_are_skipped() {
    let with = |n: Vec<u8>, e: &str| set(vec![json!({"kty": "RSA", "n": b64(n), "e": e})], &[RS256]);
    let modulus = |bytes: usize, first: u8, last: u8| {
        let mut n = vec![0xa5; bytes];
        n[0] = first;
        n[bytes - 1] = last;
        n
    };
    assert!(with(modulus(256, 0x80, 1), "AQAB").is_ok(), "2048 bits");
    assert!(with(modulus(257, 0, 1), "AQAB").is_ok(), "a zero before counts for nothing");
    assert_eq!(with(modulus(256, 0, 1), "AQAB").err(), Some(NO_KEY), "2040 bits and a zero before");
    assert_eq!(with(modulus(256, 0x7f, 1), "AQAB").err(), Some(NO_KEY), "2047 bits");
    assert_eq!(with(modulus(128, 0x80, 1), "AQAB").err(), Some(NO_KEY), "1024 bits");
    assert_eq!(with(modulus(1025, 0x80, 1), "AQAB").err(), Some(NO_KEY), "more than 8192 bits");
    assert_eq!(with(modulus(256, 0x80, 2), "AQAB").err(), Some(NO_KEY), "even");
    assert_eq!(with(Vec::new(), "AQAB").err(), Some(NO_KEY), "empty");
    for e in ["AQ", "AA", "", "Ag", "AQAAAAE"] {
        assert_eq!(with(modulus(256, 0x80, 1), e).err(), Some(NO_KEY), "exponent {e:?}");
    }
}

#[test]
fn two_keys_with_one_name_are_an_error() {
    let twice = Some("the JWK set has two keys with one id");
    assert_eq!(set(vec![jwk(p256(), "a"), jwk(other_p256(), "a")], &[ES256]).err(), twice);
    assert_eq!(set(vec![jwk(p256(), "a"), jwk(p384(), "a")], &[ES256, ES384]).err(), twice);
    assert!(set(vec![jwk(p256(), "a"), jwk(p384(), "a")], &[ES256]).is_ok(), "the other one is not used");
}

#[test]
fn sets_are_bounded() {
    let many = |n: usize| (0..n).map(|i| jwk(p256(), &i.to_string())).collect::<Vec<_>>();
    assert!(set(many(MAX_KEYS), &[ES256]).is_ok());
    assert_eq!(set(many(MAX_KEYS + 1), &[ES256]).err(), Some("the JWK set has too many keys"));
    let mut text = json!({"keys": many(1)}).to_string().into_bytes();
    text.resize(MAX_SET, b' ');
    assert!(read_set(&text, &[ES256]).is_ok());
    text.push(b' ');
    assert_eq!(read_set(&text, &[ES256]).err(), Some("the JWK set is larger than 256 KiB"));
}

#[test]
fn what_is_no_set_is_an_error() {
    for text in ["", "null", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "<html>", r#"{"keys":[}"#] {
        assert_eq!(read_set(text.as_bytes(), &[ES256]).err(), Some("the text is not a JWK set"), "{text}");
    }
    assert_eq!(set(vec![], &[ES256]).err(), Some(NO_KEY));
    let listed = json!([[jwk(p256(), "a")]]).to_string();
    assert_eq!(read_set(listed.as_bytes(), &[ES256]).err(), Some("the text is not a JWK set"));
}
