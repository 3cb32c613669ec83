//! What a request offers: at most one credential, made of the characters of one; a token is good only by its signature.

use std::sync::{Arc, LazyLock};

use futures_util::FutureExt as _;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use portcullis_common::clock::ManualClock;
use portcullis_common::ids::RequestId;
use portcullis_common::wire::code::Code;
use portcullis_gateway::admit::auth::Verifier;
use portcullis_gateway::admit::facts::{Facts, gather};
use portcullis_gateway::admit::network::{Link, client};

use crate::head::head;
use crate::rules::{CONFIG, NOW};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

static VERIFIER: LazyLock<Arc<Verifier>> = LazyLock::new(|| {
    Verifier::new(&CONFIG.auth, Arc::new(ManualClock::at(NOW))).unwrap_or_else(|problems| panic!("{problems:?}"))
});

/// One request behind the fields that every handshake has; and the same bytes as a token.
pub fn admission(data: &[u8]) {
    let mut head = head(data);
    let rest = [
        ("Origin", &b"https://app.example"[..]),
        ("Host", b"app.example"),
        ("Connection", b"Upgrade"),
        ("Upgrade", b"websocket"),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (name, value) in rest {
        if !head.has(name) {
            head.headers.push((name, value));
        }
    }
    let peer = Link::direct(([192, 0, 2, 9], 4711).into(), false);
    let Ok(from) = client(&head, &peer, &CONFIG.listen, CONFIG.tls.mode) else { unreachable!("a stranger") };
    match gather(&head, from, RequestId(7), &CONFIG) {
        Ok(facts) => offered(&facts),
        Err(reject) => {
            let codes = [Code::Malformed, Code::TooLarge, Code::OriginDenied, Code::Unauthenticated];
            assert!(codes.contains(&reject.code), "{reject:?}");
        }
    }
    if let Ok(token) = std::str::from_utf8(data) {
        judge(token);
    }
}

fn offered(facts: &Facts) {
    assert!(facts.bearer.is_none() || facts.ticket.is_none(), "two credentials");
    // what the request is called is ours, and may look like somebody's token
    let shown = format!("{facts:?}").replace(&format!("{:?}", facts.request_id), "");
    let bearer = facts.bearer.as_ref().map(|token| token.expose());
    for secret in [bearer, facts.ticket.as_deref(), facts.resume.as_deref()].into_iter().flatten() {
        assert!(!secret.is_empty() && secret.bytes().all(|b| b.is_ascii_graphic()));
        assert!(secret.len() < 12 || !shown.contains(secret), "a secret is shown");
    }
    if let Some(token) = bearer {
        judge(token);
    }
}

/// What is good here is good to another implementation.
fn judge(token: &str) {
    let answer = VERIFIER.verify(token).now_or_never().expect("the key is here");
    if let Ok(identity) = answer {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&["portcullis"]);
        rules.set_issuer(&["https://app.test"]);
        // the judge's clock is today's
        rules.validate_exp = false;
        let key = DecodingKey::from_secret(SECRET);
        let judged = jsonwebtoken::decode::<serde_json::Value>(token, &key, &rules).expect("good to the judge");
        assert_eq!(judged.claims["sub"], identity.user.as_str());
    }
}
