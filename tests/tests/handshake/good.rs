//! Handshakes that have to work, however unusual they look.

use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::tokens::{self, APP, DEVICE, EDGE, PARTNER, SECRET, claims, ed25519, good, now, p256, rsa, sign};
use serde_json::json;

use super::row::{Good, Request, admitted, assert_nothing_leaked, strict};

fn algorithms() -> Vec<Good> {
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let none = json!({});
    [
        ("HS256", APP, &secret, Algorithm::HS256),
        ("HS384", APP, &secret, Algorithm::HS384),
        ("HS512", APP, &secret, Algorithm::HS512),
        ("EdDSA", DEVICE, &ed25519().signing, Algorithm::EdDSA),
        ("RS256", PARTNER, &rsa().signing, Algorithm::RS256),
        ("PS256", PARTNER, &rsa().signing, Algorithm::PS256),
        ("ES256", EDGE, &p256().signing, Algorithm::ES256),
    ]
    .map(|(name, issuer, key, alg)| {
        let token = sign(&format!(r#"{{"alg":"{name}"}}"#), &claims(issuer, "ada", &none), key, alg);
        (name, Request::good(&token), None)
    })
    .to_vec()
}

fn contents() -> Vec<Good> {
    [
        ("an audience among others", json!({"aud": ["other", "portcullis"]})),
        ("exp with a fraction", json!({"exp": 0.5 + f64::from(u32::try_from(now()).unwrap()) + 60.0})),
        ("24 hours", json!({"iat": now() - 5, "exp": now() - 5 + 86_400})),
        ("just expired, within the leeway", json!({"iat": now() - 60, "exp": now() - 3})),
        ("roles as one string", json!({"roles": "member admin"})),
        ("no roles", json!({"roles": null})),
        ("token_use access", json!({"token_use": "access"})),
        ("an unknown claim", json!({"https://app.test/x": {"deep": [1, 2, 3]}})),
        ("a subject in another script", json!({"sub": "žluťoučký"})),
    ]
    .map(|(name, changes)| (name, Request::good(&tokens::with("ada", &changes)), None))
    .to_vec()
}

#[test]
fn every_algorithm_and_every_legal_token_is_taken() {
    let gateway = Gateway::start(&strict());
    let ours = claims(APP, "ada", &json!({}));
    let mut rows = algorithms();
    rows.extend(contents());
    for header in [
        r#"{"alg":"HS256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","typ":"application/at+jwt"}"#,
        r#"{"alg":"HS256","kid":"whatever"}"#,
    ] {
        rows.push((header, Request::good(&tokens::hs(header, &ours)), None));
    }
    admitted(&gateway, &rows);
    assert_nothing_leaked(&gateway, &[]);
}

#[test]
fn credentials_and_subprotocols_are_found_in_every_legal_place() {
    let gateway = Gateway::start(&strict());
    let token = good("ada");
    let header = || Request::good(&token);
    let bare = || Request::good("").without("Authorization");
    let json = Some("portcullis.v1.json");
    let pack = Some("portcullis.v1.msgpack");
    let protocol = "Sec-WebSocket-Protocol";
    let rows: Vec<Good> = vec![
        ("a header", header(), None),
        ("bearer in lower case", bare().add("authorization", &format!("bearer {token}")), None),
        ("BEARER and blanks", bare().add("AUTHORIZATION", &format!("BEARER   {token}  ")), None),
        ("a header and JSON", header().add(protocol, "portcullis.v1.json"), json),
        ("a header and MessagePack", header().add(protocol, "portcullis.v1.msgpack"), pack),
        ("the first that is spoken", header().add(protocol, "mqtt, portcullis.v1.msgpack, portcullis.v1.json"), pack),
        ("a bearer entry first", bare().add(protocol, &format!("bearer.{token}, portcullis.v1.json")), json),
        ("a bearer entry last", bare().add(protocol, &format!("portcullis.v1.msgpack, bearer.{token}")), pack),
        (
            "several protocol fields",
            bare().add(protocol, &format!("bearer.{token}")).add("sec-websocket-protocol", "portcullis.v1.json"),
            json,
        ),
        ("no blanks in the list", bare().add(protocol, &format!("portcullis.v1.json,bearer.{token}")), json),
        (
            "a resume token of long ago",
            bare().add(protocol, &format!("portcullis.v1.json, bearer.{token}, resume.stale")),
            json,
        ),
        ("a cookie", bare().add("Cookie", &format!("theme=dark; __Host-token={token}; x=y")), None),
        ("a cookie that does not count", header().add("Cookie", "__Host-token=rubbish"), None),
    ];
    admitted(&gateway, &rows);
    assert_nothing_leaked(&gateway, &["rubbish"]);
}

#[test]
fn heads_may_vary_where_http_allows_it() {
    let gateway = Gateway::start(&strict());
    let token = good("ada");
    let good = || Request::good(&token);
    let rows: Vec<Good> = vec![
        ("Upgrade in mixed case", good().with("Upgrade", "WebSocket"), None),
        ("Connection as browsers send it", good().with("Connection", "keep-alive, Upgrade"), None),
        ("Connection in upper case", good().with("CONNECTION", "UPGRADE"), None),
        ("Connection on two lines", good().with("Connection", "keep-alive").add("Connection", "upgrade"), None),
        ("names in lower case", good().with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), None),
        ("extensions that are not spoken", good().add("Sec-WebSocket-Extensions", "permessage-deflate"), None),
        ("an empty query", good().target("/ws?"), None),
        ("a query of the application's", good().target("/ws?v=2&lang=en"), None),
        ("an explicit empty body", good().add("Content-Length", "0"), None),
        ("a Host with a port", good().with("Host", "gateway.test:8080"), None),
        ("an IPv6 Host", good().with("Host", "[::1]:8080"), None),
        ("a user agent", good().add("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"), None),
        ("a large head below the limit", good().add("X-Large", &"a".repeat(14_000)), None),
        ("many fields below the limit", (0..50).fold(good(), |r, n| r.add(&format!("X-{n}"), "v")), None),
    ];
    admitted(&gateway, &rows);
}

#[test]
fn a_head_may_come_in_pieces() {
    let gateway = Gateway::start(&strict());
    let bytes = Request::good(&good("ada")).bytes();
    let mut wire = portcullis_tests::raw::Wire::plain(gateway.public).unwrap();
    for piece in bytes.chunks(37) {
        wire.write(piece).unwrap();
    }
    assert_eq!(wire.answer().unwrap().status, 101);
}
