//! Requests whose form is wrong: HTTP, the upgrade, the key, the query, the subprotocols.

use portcullis_tests::gateway::Gateway;
use portcullis_tests::raw::{Wire, ask};
use portcullis_tests::tokens;

use super::row::{Bad, QUERY_MARK, Request, admitted, assert_nothing_leaked, refused, strict};

#[test]
fn requests_that_are_not_good_http_are_refused_in_full_form() {
    let gateway = Gateway::start(&strict());
    let token = tokens::good("ada");
    let good = || Request::good(&token);
    let many = (0..70).fold(good(), |request, n| request.add(&format!("X-Field-{n}"), "v"));
    let rows: Vec<Bad> = vec![
        ("HTTP/1.0", good().version("HTTP/1.0"), 400, "malformed"),
        ("POST", good().method("POST"), 405, "malformed"),
        ("PUT", good().method("PUT"), 405, "malformed"),
        ("DELETE", good().method("DELETE"), 405, "malformed"),
        ("OPTIONS", good().method("OPTIONS"), 405, "malformed"),
        ("HEAD", good().method("HEAD"), 405, "malformed"),
        ("TRACE", good().method("TRACE"), 405, "malformed"),
        ("an invented method", good().method("FETCH"), 405, "malformed"),
        ("a method in lower case", good().method("get"), 405, "malformed"),
        ("CONNECT", good().method("CONNECT").target("gateway.test:80"), 405, "malformed"),
        ("absolute-form", good().target("http://gateway.test/ws"), 400, "malformed"),
        ("asterisk-form", good().target("*").method("OPTIONS"), 405, "malformed"),
        ("no Host", good().without("Host"), 400, "malformed"),
        ("two Hosts", good().add("Host", "gateway.test"), 400, "malformed"),
        ("two different Hosts", good().add("Host", "evil.test"), 400, "malformed"),
        ("an empty Host", good().with("Host", ""), 400, "malformed"),
        ("a Host with a path", good().with("Host", "gateway.test/x"), 400, "malformed"),
        ("a Host with user information", good().with("Host", "user@gateway.test"), 400, "malformed"),
        ("a Host with a bad port", good().with("Host", "gateway.test:99999"), 400, "malformed"),
        ("a Host list", good().with("Host", "gateway.test, evil.test"), 400, "malformed"),
        ("a Host with a blank", good().with("Host", "gate way.test"), 400, "malformed"),
        ("a body announced", good().add("Content-Length", "4").tail(b"body"), 400, "malformed"),
        ("a chunked body", good().add("Transfer-Encoding", "chunked").tail(b"0\r\n\r\n"), 400, "malformed"),
        ("Expect", good().add("Expect", "100-continue"), 400, "malformed"),
        ("bytes behind the head", good().tail(&[0x81, 0x80, 1, 2, 3, 4]), 400, "malformed"),
        ("a second request behind the head", good().tail(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400, "malformed"),
        ("more fields than allowed", many, 431, "too_large"),
        ("a head larger than allowed", good().add("X-Large", &"a".repeat(17_000)), 431, "too_large"),
    ];
    refused(&gateway, &rows);
    assert_nothing_leaked(&gateway, &[]);
}

#[test]
fn upgrades_that_are_not_exactly_a_websocket_of_version_13_are_refused() {
    let gateway = Gateway::start(&strict());
    let token = tokens::good("ada");
    let good = || Request::good(&token);
    let rows: Vec<Bad> = vec![
        ("no upgrade at all", good().without("Upgrade").without("Connection"), 426, "malformed"),
        ("Connection without Upgrade", good().without("Upgrade"), 426, "malformed"),
        ("Upgrade without Connection", good().without("Connection"), 400, "malformed"),
        ("Connection: keep-alive", good().with("Connection", "keep-alive"), 400, "malformed"),
        ("websocketx", good().with("Upgrade", "websocketx"), 400, "malformed"),
        ("websocket and another", good().with("Upgrade", "websocket, h2c"), 400, "malformed"),
        ("another and websocket", good().with("Upgrade", "h2c, websocket"), 400, "malformed"),
        ("h2c", good().with("Upgrade", "h2c"), 400, "malformed"),
        ("websocket/13", good().with("Upgrade", "websocket/13"), 400, "malformed"),
        ("Upgrade twice", good().add("Upgrade", "websocket"), 400, "malformed"),
        ("an empty option in Connection", good().with("Connection", "Upgrade,,"), 400, "malformed"),
        ("no version", good().without("Sec-WebSocket-Version"), 426, "malformed"),
        ("version 8", good().with("Sec-WebSocket-Version", "8"), 426, "malformed"),
        ("version 013", good().with("Sec-WebSocket-Version", "013"), 426, "malformed"),
        ("versions 13, 8", good().with("Sec-WebSocket-Version", "13, 8"), 426, "malformed"),
        ("version twice", good().add("Sec-WebSocket-Version", "13"), 400, "malformed"),
        ("no key", good().without("Sec-WebSocket-Key"), 400, "malformed"),
        ("an empty key", good().with("Sec-WebSocket-Key", ""), 400, "malformed"),
        ("a key of 15 bytes", good().with("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA"), 400, "malformed"),
        ("a key of 17 bytes", good().with("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAA="), 400, "malformed"),
        ("a key without padding", good().with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"), 400, "malformed"),
        ("a key with bits to spare", good().with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZR=="), 400, "malformed"),
        ("key twice", good().add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), 400, "malformed"),
        ("/", good().target("/"), 404, "malformed"),
        ("an unknown path", good().target("/wss"), 404, "malformed"),
        ("a slash too many", good().target("/ws/"), 404, "malformed"),
        ("a path in upper case", good().target("/WS"), 404, "malformed"),
        ("a path that would normalise", good().target("/x/../ws"), 404, "malformed"),
        ("an escaped path", good().target("/%77s"), 404, "malformed"),
    ];
    refused(&gateway, &rows);
    assert_nothing_leaked(&gateway, &[]);
}

#[test]
fn credentials_in_the_wrong_place_and_subprotocols_nobody_speaks_are_refused() {
    let gateway = Gateway::start(&strict());
    let token = tokens::good("ada");
    let good = || Request::good(&token);
    let browser = |list: &str| Request::good("").without("Authorization").add("Sec-WebSocket-Protocol", list);
    let rows: Vec<Bad> = vec![
        ("a JWT in the query", good().target(&format!("/ws?token={token}")), 400, "malformed"),
        ("the same under a harmless name", good().target(&format!("/ws?x={token}")), 400, "malformed"),
        ("access_token", good().target(&format!("/ws?access_token={QUERY_MARK}")), 400, "malformed"),
        ("a JWT as a ticket", good().without("Authorization").target(&format!("/ws?ticket={token}")), 400, "malformed"),
        ("a ticket and a token", good().target(&format!("/ws?ticket={QUERY_MARK}")), 400, "malformed"),
        (
            "a ticket that was never given",
            good().without("Authorization").target(&format!("/ws?ticket={QUERY_MARK}")),
            401,
            "unauthenticated",
        ),
        ("two Authorization fields", good().add("Authorization", &format!("Bearer {token}")), 400, "malformed"),
        (
            "a token here and there",
            good().add("Sec-WebSocket-Protocol", &format!("portcullis.v1.json, bearer.{token}")),
            400,
            "malformed",
        ),
        (
            "bearer twice",
            browser(&format!("portcullis.v1.json, bearer.{token}, bearer.{}", tokens::good("eve"))),
            400,
            "malformed",
        ),
        ("an empty bearer", browser("portcullis.v1.json, bearer."), 400, "malformed"),
        ("bearer without a protocol", browser(&format!("bearer.{token}")), 400, "malformed"),
        ("an unknown protocol", good().add("Sec-WebSocket-Protocol", "mqtt"), 400, "malformed"),
        ("a version to come", good().add("Sec-WebSocket-Protocol", "portcullis.v2.json"), 400, "malformed"),
        ("a protocol in upper case", good().add("Sec-WebSocket-Protocol", "PORTCULLIS.V1.JSON"), 400, "malformed"),
        (
            "a protocol twice",
            good().add("Sec-WebSocket-Protocol", "portcullis.v1.json, portcullis.v1.json"),
            400,
            "malformed",
        ),
        ("an empty protocol", good().add("Sec-WebSocket-Protocol", "portcullis.v1.json,,"), 400, "malformed"),
        ("a protocol that is no token", good().add("Sec-WebSocket-Protocol", "portcullis.v1.json;x"), 400, "malformed"),
        (
            "two resume entries",
            browser(&format!("portcullis.v1.json, bearer.{token}, resume.a, resume.b")),
            400,
            "malformed",
        ),
        (
            "a cookie twice",
            good().without("Authorization").add("Cookie", &format!("__Host-token={token}; __Host-token={token}")),
            400,
            "malformed",
        ),
        (
            "a cookie of another issuer's token",
            good().without("Authorization").add("Cookie", &format!("__Host-token={}", tokens::device("eve"))),
            401,
            "unauthenticated",
        ),
    ];
    refused(&gateway, &rows);
    assert_nothing_leaked(&gateway, &[]);
}

/// The framework's parser refuses these before any code of ours sees a request; the answer has the same form.
#[test]
fn heads_that_do_not_parse_are_refused_like_all_others() {
    let gateway = Gateway::start(&strict());
    let token = tokens::good("ada");
    let good = || Request::good(&token);
    let raw = |text: &str| Request::raw(text.as_bytes());
    let many = (0..120).fold(good(), |request, n| request.add(&format!("X-{n}"), "v"));
    let two_lengths = good().add("Content-Length", "4").add("Content-Length", "5");
    let both_lengths = good().add("Content-Length", "4").add("Transfer-Encoding", "chunked");
    let rows: Vec<Bad> = vec![
        ("a TLS handshake", Request::raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), 400, "malformed"),
        ("a field name with a blank", good().add("Bad Name", "v"), 400, "malformed"),
        ("a field without a colon", raw("GET /ws HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"), 400, "malformed"),
        ("a folded field", raw("GET /ws HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n"), 400, "malformed"),
        ("a blank before the colon", raw("GET /ws HTTP/1.1\r\nHost : a\r\n\r\n"), 400, "malformed"),
        ("a NUL in a value", good().add_bytes("X-A", b"a\0b"), 400, "malformed"),
        ("a bare CR in a value", good().add_bytes("X-A", b"a\rb"), 400, "malformed"),
        ("a length that is no number", good().add("Content-Length", "ten"), 400, "malformed"),
        ("a negative length", good().add("Content-Length", "-1"), 400, "malformed"),
        ("a signed length", good().add("Content-Length", "+4"), 400, "malformed"),
        ("two lengths", two_lengths, 400, "malformed"),
        ("both kinds of length", both_lengths, 400, "malformed"),
        ("an unknown transfer coding", good().add("Transfer-Encoding", "rot13"), 400, "malformed"),
        ("a version that is none", good().version("HTTP/3.9"), 400, "malformed"),
        ("a blank in the target", good().target("/ws /x"), 400, "malformed"),
        ("more fields than the parser holds", many, 431, "too_large"),
    ];
    refused(&gateway, &rows);
    assert_nothing_leaked(&gateway, &[]);
}

#[test]
fn a_head_far_beyond_the_limit_is_cut_off() {
    let gateway = Gateway::start(&strict());
    let good = Request::good(&tokens::good("ada"));
    let mut wire = Wire::plain(gateway.public).unwrap();
    // the gateway may close while this is being written
    let _ = wire.write(good.clone().add("X-Large", &"a".repeat(200_000)).bytes());
    assert!(wire.answer().is_none());
    admitted(&gateway, &[("afterwards", good, None)]);
    assert_nothing_leaked(&gateway, &[]);
}

#[test]
fn nothing_is_served_at_other_paths() {
    let gateway = Gateway::start(&strict());
    for path in ["/", "/health", "/metrics", "/index.html", "/v1/ticket", "/diagnostics/echo", "/../etc/passwd"] {
        let answer = ask(gateway.public, format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n"));
        assert_eq!((answer.status, answer.code().as_str()), (404, "malformed"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("server"), None, "{path}");
    }
}
