//! Who the client is: forged and honest forwarding fields. The connect limit tells addresses apart.

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::raw::Wire;
use portcullis_tests::tokens::good;
use portcullis_tests::wait;

use super::row::{Bad, Good, PROXY, Request, admitted, refused, strict};

fn narrow() -> Setup {
    strict().set("limit.connect.rate", "1/h").set("limit.connect.burst", "3")
}

/// From where the session number `n` came; the log is a moment behind the answer.
fn client_of_session(gateway: &Gateway, n: usize) -> String {
    wait::until("the session to be logged", || {
        let opened = gateway.events().into_iter().filter(|event| event["event"] == "session_opened").nth(n)?;
        Some(opened["client"].as_str().unwrap_or_default().to_owned())
    })
}

#[test]
fn a_peer_that_is_no_proxy_cannot_choose_its_address() {
    let gateway = Gateway::start(&narrow());
    let token = good("ada");
    for n in 0..3 {
        let forged = Request::good(&token)
            .add("X-Forwarded-For", &format!("203.0.113.{n}"))
            .add("X-Real-IP", "203.0.113.77")
            .add("Forwarded", "for=203.0.113.99");
        admitted(&gateway, &[("forged", forged, None)]);
        assert_eq!(client_of_session(&gateway, n), "127.0.0.1");
    }
    let mut wire = Wire::plain(gateway.public).unwrap();
    wire.write(Request::good(&token).add("X-Forwarded-For", "203.0.113.200").bytes()).unwrap();
    let answer = wire.answer().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"));
}

#[test]
fn behind_a_trusted_proxy_each_client_has_its_own_limit() {
    let gateway = Gateway::start(&narrow());
    let token = good("ada");
    for (n, (field, value, client)) in [
        ("X-Forwarded-For", "203.0.113.1", "203.0.113.1"),
        ("X-Forwarded-For", "10.6.6.6, 203.0.113.2", "203.0.113.2"),
        ("X-Forwarded-For", "203.0.113.3, 127.0.0.9", "203.0.113.3"),
        ("X-Forwarded-For", "unknown, 203.0.113.4:5555", "203.0.113.4"),
        ("Forwarded", "for=203.0.113.5;proto=https", "203.0.113.5"),
        ("Forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:443\"", "2001:db8::1"),
        ("Forwarded", "for=_hidden", PROXY),
        ("X-Real-IP", "203.0.113.6", PROXY),
    ]
    .into_iter()
    .enumerate()
    {
        let request = Request::good(&token).from(PROXY).add(field, value);
        admitted(&gateway, &[("behind the proxy", request, None)]);
        assert_eq!(client_of_session(&gateway, n), client, "{field}: {value}");
    }
}

#[test]
fn forwarding_fields_that_a_good_proxy_would_not_write_are_refused() {
    let gateway = Gateway::start(&strict());
    let token = good("ada");
    let from = |name: &str, value: &str| Request::good(&token).from(PROXY).add(name, value);
    let rows: Vec<Bad> = vec![
        ("both fields", from("X-Forwarded-For", "203.0.113.1").add("Forwarded", "for=203.0.113.1"), 400, "malformed"),
        ("not an address", from("X-Forwarded-For", "localhost"), 400, "malformed"),
        ("an empty hop", from("X-Forwarded-For", "203.0.113.1,"), 400, "malformed"),
        ("an open quote", from("Forwarded", "for=\"203.0.113.1"), 400, "malformed"),
        ("for twice", from("Forwarded", "for=203.0.113.1;for=203.0.113.2"), 400, "malformed"),
        ("too many hops", from("X-Forwarded-For", &vec!["127.0.0.9"; 40].join(",")), 400, "malformed"),
    ];
    refused(&gateway, &rows);
    let ignored: Vec<Good> =
        rows.into_iter().map(|(name, request, ..)| (name, request.from("127.0.0.1"), None)).collect();
    admitted(&gateway, &ignored);
}
