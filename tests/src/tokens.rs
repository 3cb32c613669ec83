//! Tokens, good and bad. The issuers are those of [`crate::gateway::Setup`].

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use crate::wait;

/// The shared secret of the issuer `app`.
pub const SECRET: &str = "a-shared-secret-for-tests-that-is-long-enough-for-hs512-0123456789";
/// `iss` of the issuer `app`: HS256, HS384, HS512; its users are called `app:` and `sub`.
pub const APP: &str = "https://app.test";
/// `iss` of the issuer `device`: EdDSA; its users are called `device:` and `sub`.
pub const DEVICE: &str = "https://device.test";
/// `iss` of the issuer `partner`: RS256, PS256; its users are called `partner:` and `sub`.
pub const PARTNER: &str = "https://partner.test";
/// `iss` of the issuer `edge`: ES256; its users are called `edge:` and `sub`.
pub const EDGE: &str = "https://edge.test";
/// What every issuer's tokens are for.
pub const AUDIENCE: &str = "portcullis";
/// The usual header of the issuer `app`.
pub const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// A key pair of an issuer.
pub struct Pair {
    /// For the configuration.
    pub public_pem: String,
    /// For [`sign`].
    pub signing: EncodingKey,
}

fn pair(generated: &KeyPair, signing: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>) -> Pair {
    let signing = signing(generated.serialize_pem().as_bytes()).unwrap();
    Pair { public_pem: generated.public_key_pem(), signing }
}

/// The keys of `device`; made once a process.
pub fn ed25519() -> &'static Pair {
    static KEY: OnceLock<Pair> = OnceLock::new();
    KEY.get_or_init(|| pair(&KeyPair::generate_for(&PKCS_ED25519).unwrap(), EncodingKey::from_ed_pem))
}

/// The keys of `partner`; made once a process.
pub fn rsa() -> &'static Pair {
    static KEY: OnceLock<Pair> = OnceLock::new();
    KEY.get_or_init(|| {
        pair(&KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(), EncodingKey::from_rsa_pem)
    })
}

/// The keys of `edge`; made once a process.
pub fn p256() -> &'static Pair {
    static KEY: OnceLock<Pair> = OnceLock::new();
    KEY.get_or_init(|| pair(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), EncodingKey::from_ec_pem))
}

/// Keys of nobody.
pub fn stranger() -> &'static Pair {
    static KEY: OnceLock<Pair> = OnceLock::new();
    KEY.get_or_init(|| pair(&KeyPair::generate_for(&PKCS_ED25519).unwrap(), EncodingKey::from_ed_pem))
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    wait::wall().0 / 1000
}

/// base64url without padding.
pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A compact JWS of exactly this header and these claims.
#[must_use]
pub fn sign(header: &str, claims: &str, key: &EncodingKey, alg: Algorithm) -> String {
    let signed = format!("{}.{}", b64(header), b64(claims));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), key, alg).unwrap();
    format!("{signed}.{signature}")
}

/// Good claims for an hour with `changes` made: a `null` removes the claim.
#[must_use]
pub fn claims(issuer: &str, user: &str, changes: &Value) -> String {
    let mut claims = json!({
        "iss": issuer, "aud": AUDIENCE, "sub": user, "iat": now() - 5, "exp": now() + 3600,
        "roles": ["member"], "tenant": "acme",
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

/// HS256 with the secret of `app`, any header, any claims.
#[must_use]
pub fn hs(header: &str, claims: &str) -> String {
    sign(header, claims, &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256)
}

/// A good token of `app`: role `member`, tenant `acme`, an hour.
#[must_use]
pub fn good(user: &str) -> String {
    with(user, &json!({}))
}

/// A token of `app` with some claims changed; see [`claims`].
#[must_use]
pub fn with(user: &str, changes: &Value) -> String {
    hs(HS256, &claims(APP, user, changes))
}

/// A token of `app` that expires this many seconds from now.
#[must_use]
pub fn lasting(user: &str, seconds: u64) -> String {
    with(user, &json!({"exp": now() + seconds}))
}

/// A good token of `device`.
#[must_use]
pub fn device(user: &str) -> String {
    sign(r#"{"alg":"EdDSA"}"#, &claims(DEVICE, user, &json!({})), &ed25519().signing, Algorithm::EdDSA)
}
