//! Tokens that are not good: one answer to all of them.

use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::tokens::{
    APP, DEVICE, HS256, PARTNER, b64, claims, ed25519, good, hs, now, p256, rsa, sign, stranger, with,
};
use serde_json::{Value, json};

use super::row::{Bad, Request, assert_nothing_leaked, refused, strict};

/// Unsigned, or signed with a key that the verifier holds for something else.
fn confusions() -> Vec<(&'static str, String)> {
    let body = b64(claims(APP, "eve", &json!({})));
    let none = |alg: &str| format!("{}.{body}", b64(format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#)));
    let partner = claims(PARTNER, "eve", &json!({}));
    let device = claims(DEVICE, "eve", &json!({}));
    let hmac =
        |key: &str, claims: &str| sign(HS256, claims, &EncodingKey::from_secret(key.as_bytes()), Algorithm::HS256);
    let mine = good("eve");
    let (signed, signature) = mine.rsplit_once('.').unwrap();
    vec![
        ("alg none, no signature", format!("{}.", none("none"))),
        ("alg none, two segments", none("none")),
        ("alg None", format!("{}.", none("None"))),
        ("alg nOnE", format!("{}.", none("nOnE"))),
        ("alg NONE with a signature", format!("{}.{signature}", none("NONE"))),
        ("alg empty", format!("{}.{signature}", none(""))),
        ("alg missing", format!("{}.{body}.{signature}", b64(r#"{"typ":"JWT"}"#))),
        ("alg null", format!("{}.{body}.{signature}", b64(r#"{"alg":null}"#))),
        ("alg an array", format!("{}.{body}.{signature}", b64(r#"{"alg":["HS256"]}"#))),
        ("alg twice", hs(r#"{"alg":"none","alg":"HS256"}"#, &claims(APP, "eve", &json!({})))),
        ("HS256 with the RSA key's PEM", hmac(&rsa().public_pem, &partner)),
        ("HS256 with the trimmed RSA PEM", hmac(rsa().public_pem.trim(), &partner)),
        ("HS256 with the Ed25519 key's PEM", hmac(&ed25519().public_pem, &device)),
        ("HS256 with an empty secret", hmac("", &claims(APP, "eve", &json!({})))),
        ("HS256 with another secret", hmac(&"x".repeat(64), &claims(APP, "eve", &json!({})))),
        (
            "app's claims by device's key",
            sign(r#"{"alg":"EdDSA"}"#, &claims(APP, "eve", &json!({})), &ed25519().signing, Algorithm::EdDSA),
        ),
        ("device's claims by app's secret", hs(HS256, &device)),
        ("device's claims by a stranger", sign(r#"{"alg":"EdDSA"}"#, &device, &stranger().signing, Algorithm::EdDSA)),
        ("RS384 where RS256 is configured", sign(r#"{"alg":"RS384"}"#, &partner, &rsa().signing, Algorithm::RS384)),
        ("ES256 where EdDSA is configured", sign(r#"{"alg":"ES256"}"#, &device, &p256().signing, Algorithm::ES256)),
        ("no signature", format!("{signed}.")),
        ("a cut signature", format!("{signed}.{}", &signature[..signature.len() - 4])),
        ("a signature of zeros", format!("{signed}.{}", b64([0u8; 32]))),
        ("padding", format!("{mine}=")),
        ("five segments", format!("{mine}.a.b")),
        ("not a token", "abc".to_owned()),
        ("dots only", "..".to_owned()),
        ("a very long token", format!("{}.{}.{}", b64("a".repeat(3000)), b64("b".repeat(3000)), b64("c"))),
    ]
}

fn headers() -> Vec<(&'static str, String)> {
    let ours = claims(APP, "eve", &json!({}));
    let header = |members: &str| hs(&format!(r#"{{"alg":"HS256",{members}}}"#), &ours);
    vec![
        ("kid a number", header(r#""kid":7"#)),
        ("kid an object", header(r#""kid":{"a":1}"#)),
        ("kid of a kilobyte", header(&format!(r#""kid":"{}""#, "k".repeat(1024)))),
        ("jwk", header(r#""jwk":{"kty":"oct","k":"AAAA"}"#)),
        ("jku", header(r#""jku":"https://evil.test/jwks""#)),
        ("x5u", header(r#""x5u":"https://evil.test/cert""#)),
        ("crit", header(r#""crit":["exp"]"#)),
        ("b64", header(r#""b64":false"#)),
        ("an ID token by typ", header(r#""typ":"id_token+jwt""#)),
        ("a logout token by typ", header(r#""typ":"logout+jwt""#)),
        ("typ a number", header(r#""typ":1"#)),
        ("a header that is an array", hs(r#"["HS256"]"#, &ours)),
        ("a header with rubbish behind", hs(r#"{"alg":"HS256"} x"#, &ours)),
    ]
}

fn contents() -> Vec<(&'static str, String)> {
    let changed = |changes: Value| with("eve", &changes);
    let whole = |text: String| hs(HS256, &text);
    vec![
        ("expired", changed(json!({"iat": now() - 100, "exp": now() - 60}))),
        ("not yet valid", changed(json!({"nbf": now() + 60}))),
        ("issued in the future", changed(json!({"iat": now() + 60}))),
        ("living longer than 24 hours", changed(json!({"exp": now() - 5 + 86_401}))),
        ("expiring before it was issued", changed(json!({"iat": now(), "exp": now() - 1}))),
        ("no exp", changed(json!({"exp": null}))),
        ("no iat", changed(json!({"iat": null}))),
        ("exp a string", changed(json!({"exp": (now() + 60).to_string()}))),
        ("exp true", changed(json!({"exp": true}))),
        ("exp an array", changed(json!({"exp": [now() + 60]}))),
        ("exp negative", changed(json!({"exp": -1}))),
        ("exp beyond all years", changed(json!({"exp": 1e300}))),
        ("nbf a string", changed(json!({"nbf": "0"}))),
        ("iat a string", changed(json!({"iat": now().to_string()}))),
        ("another audience", changed(json!({"aud": "somebody-else"}))),
        ("an audience that contains ours", changed(json!({"aud": "portcullis-admin"}))),
        ("no audience", changed(json!({"aud": null}))),
        ("an audience of numbers", changed(json!({"aud": [1]}))),
        ("another issuer", changed(json!({"iss": "https://evil.test"}))),
        ("an issuer with a slash", changed(json!({"iss": format!("{APP}/")}))),
        ("no issuer", changed(json!({"iss": null}))),
        ("no subject", changed(json!({"sub": null}))),
        ("an empty subject", changed(json!({"sub": ""}))),
        ("a subject with a line break", changed(json!({"sub": "eve\nadmin"}))),
        ("a subject that is a number", changed(json!({"sub": 7}))),
        ("an ID token by token_use", changed(json!({"token_use": "id"}))),
        ("a refresh token by token_use", changed(json!({"token_use": "refresh"}))),
        ("a refresh token by typ", changed(json!({"typ": "Refresh"}))),
        ("an ID token by typ", changed(json!({"typ": "ID"}))),
        ("an ID token by at_hash", changed(json!({"at_hash": "x"}))),
        ("roles of the wrong type", changed(json!({"roles": {"admin": true}}))),
        ("a role that is a number", changed(json!({"roles": ["member", 1]}))),
        ("claims that are a string", whole("\"claims\"".into())),
        ("a claim twice", whole(claims(APP, "eve", &json!({})).replacen('{', "{\"sub\":\"root\",", 1))),
        ("claims with rubbish behind", whole(format!("{} x", claims(APP, "eve", &json!({}))))),
    ]
}

#[test]
fn every_bad_token_gets_the_same_answer() {
    let gateway = Gateway::start(&strict());
    let rows: Vec<Bad> = confusions()
        .into_iter()
        .chain(headers())
        .chain(contents())
        .map(|(name, token)| (name, Request::good(&token), 401, "unauthenticated"))
        .collect();
    refused(&gateway, &rows);
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let count = rows.len() as f64;
    assert_eq!(gateway.metric("portcullis_handshakes_total{code=\"unauthenticated\"}"), count);
    assert_eq!(gateway.metric("portcullis_sessions"), 0.0);
    assert_nothing_leaked(&gateway, &[]);
}

#[test]
fn what_is_no_bearer_token_is_unauthenticated() {
    let gateway = Gateway::start(&strict());
    let token = good("ada");
    let with = |value: &str| Request::good("").with("Authorization", value);
    let rows: Vec<Bad> = vec![
        ("no credential", Request::good("").without("Authorization"), 401, "unauthenticated"),
        ("an empty Authorization", with(""), 401, "unauthenticated"),
        ("Basic", with("Basic YWRhOnNlY3JldA=="), 401, "unauthenticated"),
        ("a bare token", with(&token), 401, "unauthenticated"),
        ("Bearer alone", with("Bearer"), 401, "unauthenticated"),
        ("Bearer and a comma", with(&format!("Bearer {token}, Basic YWRhOg==")), 401, "unauthenticated"),
        ("Bearer with a tab", with(&format!("Bearer\t{token}")), 401, "unauthenticated"),
        ("Token", with(&format!("Token {token}")), 401, "unauthenticated"),
        ("quotes", with(&format!("Bearer \"{token}\"")), 401, "unauthenticated"),
    ];
    refused(&gateway, &rows);
    assert_nothing_leaked(&gateway, &["YWRhOnNlY3JldA"]);
}
