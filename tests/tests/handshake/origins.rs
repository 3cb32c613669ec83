//! Origins: the allow-list over real requests.

use portcullis_tests::gateway::Gateway;
use portcullis_tests::tokens::good;

use super::row::{Bad, Good, Request, admitted, assert_nothing_leaked, refused, strict};

#[test]
fn origins_that_look_alike_are_denied() {
    let gateway = Gateway::start(&strict());
    let token = good("ada");
    let from = |origin: &str| Request::good(&token).with("Origin", origin);
    let mut rows: Vec<Bad> = vec![
        ("no Origin where it is required", Request::good(&token).without("Origin"), 403, "origin_denied"),
        ("Origin twice", Request::good(&token).add("Origin", "https://app.test"), 400, "malformed"),
    ];
    rows.extend(
        [
            "",
            "null",
            "*",
            "http://app.test",
            "https://app.test:8443",
            "https://app.test/",
            "https://app.test.",
            "https://app.test.evil.test",
            "https://evilapp.test",
            "https://sub.app.test",
            "https://app.test@evil.test",
            "https://evil.test/https://app.test",
            "https://app.test, https://app.test",
            "HTTPS://app.test",
            "https://sub.test",
            "https://evilsub.test",
            "https://a.sub.test.evil.test",
            "https://a.sub.test:444",
            "http://localhost",
            "https://localhost:3000",
            "http://127.0.0.1:3000",
            "http://localhost:3000.evil.test",
            "chrome-extension://abcdefgh",
            "file://",
        ]
        .map(|origin| (origin, from(origin), 403, "origin_denied")),
    );
    refused(&gateway, &rows);
    let unicode = Request::good(&token).without("Origin").add_bytes("Origin", "https://аpp.test".as_bytes());
    refused(&gateway, &[("a Cyrillic letter", unicode, 403, "origin_denied")]);
    assert_nothing_leaked(&gateway, &[]);
}

#[test]
fn listed_origins_connect() {
    let gateway = Gateway::start(&strict());
    let token = good("ada");
    let rows: Vec<Good> = [
        "https://app.test",
        "https://app.test:443",
        "https://APP.test",
        "https://a.sub.test",
        "https://a.b.sub.test",
        "http://localhost:3000",
    ]
    .map(|origin| (origin, Request::good(&token).with("Origin", origin), None))
    .to_vec();
    admitted(&gateway, &rows);
}

#[test]
fn a_foreign_page_with_a_cookie_is_denied() {
    let gateway = Gateway::start(&strict());
    let cookie = format!("__Host-token={}", good("ada"));
    let request = Request::good("").without("Authorization").add("Cookie", &cookie);
    admitted(&gateway, &[("our page", request.clone(), None)]);
    let foreign = request.clone().with("Origin", "https://evil.test");
    refused(&gateway, &[("another page", foreign, 403, "origin_denied")]);
    refused(&gateway, &[("no page", request.without("Origin"), 403, "origin_denied")]);
    assert_nothing_leaked(&gateway, &[]);
}
