//! Tokens good and hostile, keys, key sets, fetching.

mod bad_tokens;

mod bad_times;

mod good_tokens;

mod key_sets;

mod refresh;

mod over_http;

mod configuration;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use jsonwebtoken::{Algorithm as Jwa, EncodingKey};
use portcullis_common::clock::{ManualClock, UnixMs};
use portcullis_common::config::model::{Algorithm, Auth, Issuer, KeySource};
use portcullis_common::config::secret::Secret;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use super::{AuthError, BadToken, Identity, Verifier};

/// What the clock shows, in seconds.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A key pair and how to sign with it.
pub(super) struct Pair {
    pub(super) pair: KeyPair,
    pub(super) signing: EncodingKey,
}

fn pair(generated: KeyPair, signing: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>) -> Pair {
    let signing = signing(generated.serialize_pem().as_bytes()).unwrap();
    Pair { pair: generated, signing }
}

pub(super) fn rsa() -> &'static Pair {
    static KEY: OnceLock<Pair> = OnceLock::new();
    KEY.get_or_init(|| {
        pair(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(), EncodingKey::from_rsa_pem)
    })
}

pub(super) fn p256() -> &'static Pair {
    static KEY: OnceLock<Pair> = OnceLock::new();
    KEY.get_or_init(|| pair(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), EncodingKey::from_ec_pem))
}

/// A second one, of whoever the issuer is not.
pub(super) fn other_p256() -> &'static Pair {
    static KEY: OnceLock<Pair> = OnceLock::new();
    KEY.get_or_init(|| pair(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), EncodingKey::from_ec_pem))
}

pub(super) fn p384() -> &'static Pair {
    static KEY: OnceLock<Pair> = OnceLock::new();
    KEY.get_or_init(|| pair(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), EncodingKey::from_ec_pem))
}

pub(super) fn ed25519() -> &'static Pair {
    static KEY: OnceLock<Pair> = OnceLock::new();
    KEY.get_or_init(|| pair(KeyPair::generate_for(&PKCS_ED25519).unwrap(), EncodingKey::from_ed_pem))
}

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The public key as a JWK.
pub(super) fn jwk(pair: &Pair, kid: &str) -> Value {
    let raw = pair.pair.public_key_raw();
    let mut jwk = match raw.len() {
        32 => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}),
        65 => json!({"kty": "EC", "crv": "P-256", "x": b64(&raw[1..33]), "y": b64(&raw[33..])}),
        97 => json!({"kty": "EC", "crv": "P-384", "x": b64(&raw[1..49]), "y": b64(&raw[49..])}),
        // RSAPublicKey of 2048 bits: nine bytes of headers, the modulus, INTEGER 65537
        270 => json!({"kty": "RSA", "n": b64(&raw[9..265]), "e": "AQAB"}),
        other => panic!("no such key: {other} bytes"),
    };
    jwk["kid"] = json!(kid);
    jwk
}

pub(super) fn sign(header: &str, claims: &str, key: &EncodingKey, alg: Jwa) -> String {
    let signed = format!("{}.{}", b64(header), b64(claims));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), key, alg).unwrap();
    format!("{signed}.{signature}")
}

/// Signed with the shared secret of `https://hs.example`, HS256.
pub(super) fn hs(header: &str, claims: &str) -> String {
    sign(header, claims, &EncodingKey::from_secret(SECRET), Jwa::HS256)
}

pub(super) const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Good claims of `issuer`, with `changes` made: a `null` removes the claim.
pub(super) fn claims_of(issuer: &str, changes: &Value) -> String {
    let mut claims = json!({
        "iss": issuer, "aud": "portcullis", "sub": "ada", "iat": NOW - 10, "exp": NOW + 300,
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims.to_string()
}

pub(super) fn hs_claims(changes: &Value) -> String {
    claims_of("https://hs.example", changes)
}

pub(super) fn issuer(host: &str, algorithms: &[Algorithm], keys: KeySource) -> Issuer {
    Issuer {
        name: host.to_owned(),
        issuer: format!("https://{host}.example"),
        audience: "portcullis".to_owned(),
        algorithms: algorithms.to_vec(),
        keys,
        roles_claim: "roles".to_owned(),
        tenant_claim: Some("tenant".to_owned()),
        limits_claim: Some("limits".to_owned()),
        user_prefix: String::new(),
        cookie: None,
    }
}

pub(super) fn hs_issuer() -> Issuer {
    use Algorithm::{HS256, HS384, HS512};
    issuer("hs", &[HS256, HS384, HS512], KeySource::Secret(Secret::new(SECRET)))
}

pub(super) fn pem_issuer(host: &str, algorithms: &[Algorithm], pair: &Pair) -> Issuer {
    issuer(host, algorithms, KeySource::Pem(pair.pair.public_key_pem()))
}

pub(super) fn auth(issuer: Vec<Issuer>) -> Auth {
    Auth { issuer, leeway: Duration::from_secs(10), max_token_life: Duration::from_secs(24 * 3600) }
}

pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(UnixMs(NOW * 1000)))
}

pub(super) fn verifier(issuers: Vec<Issuer>) -> Arc<Verifier> {
    Verifier::new(&auth(issuers), clock()).unwrap()
}

/// One issuer for each way to sign.
pub(super) fn everybody() -> Arc<Verifier> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("set.json");
    let set = json!({"keys": [jwk(p256(), "one"), jwk(other_p256(), "two"), jwk(p384(), "three")]});
    std::fs::write(&path, set.to_string()).unwrap();
    verifier(vec![
        hs_issuer(),
        pem_issuer("rs", &[RS256, RS384, RS512, PS256, PS384, PS512], rsa()),
        pem_issuer("es", &[ES256], p256()),
        pem_issuer("es384", &[ES384], p384()),
        pem_issuer("ed", &[EdDSA], ed25519()),
        issuer("set", &[ES256, ES384], KeySource::JwksFile(path)),
    ])
}

/// Verifies where nothing is to be waited for, and makes sure that nothing was.
pub(super) fn verify(verifier: &Verifier, token: &str) -> Result<Identity, AuthError> {
    verifier.verify(token).now_or_never().expect("no await where the key is known")
}

pub(super) fn bad(why: &'static str) -> AuthError {
    AuthError::Bad(BadToken(why))
}
