//! Tickets: had with a token, good for one connection.

use std::net::SocketAddr;

use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::raw::{Answer, ask};
use portcullis_tests::tokens::good;

use super::row::{Request, admitted, assert_nothing_leaked, refused, strict};

fn post(address: SocketAddr, fields: &str) -> Answer {
    ask(address, format!("POST /v1/tickets HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 0\r\n{fields}\r\n"))
}

fn buy(gateway: &Gateway) -> String {
    let answer = post(gateway.public, &format!("Authorization: Bearer {}\r\n", good("ada")));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    answer.json()["ticket"].as_str().expect("a ticket").to_owned()
}

fn with_ticket(ticket: &str) -> Request {
    Request::good("").without("Authorization").target(&format!("/ws?ticket={ticket}"))
}

#[test]
fn a_ticket_opens_one_connection_and_no_more() {
    let gateway = Gateway::start(&strict());
    let (ticket, spare) = (buy(&gateway), buy(&gateway));
    assert_ne!(ticket, spare);
    admitted(&gateway, &[("once", with_ticket(&ticket), None)]);
    refused(&gateway, &[("twice", with_ticket(&ticket), 401, "unauthenticated")]);
    refused(&gateway, &[("in capitals", with_ticket(&spare.to_uppercase()), 401, "unauthenticated")]);
    let foreign = with_ticket(&spare).with("Origin", "https://evil.test");
    refused(&gateway, &[("from a foreign page", foreign, 403, "origin_denied")]);
    admitted(&gateway, &[("which has not spent it", with_ticket(&spare), None)]);
    assert_nothing_leaked(&gateway, &[&ticket, &spare]);
}

#[test]
fn whoever_has_no_good_token_gets_no_ticket() {
    let gateway = Gateway::start(&strict());
    for fields in ["", "Authorization: Bearer rubbish\r\n", "Authorization: Basic YWRhOg==\r\n"] {
        let answer = post(gateway.public, fields);
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"), "{fields}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let token = good("ada");
    let page = |origin: &str| post(gateway.public, &format!("Authorization: Bearer {token}\r\nOrigin: {origin}\r\n"));
    assert_eq!(page("https://app.test").header("access-control-allow-origin"), Some("https://app.test"));
    let denied = page("https://evil.test");
    assert_eq!((denied.status, denied.code().as_str()), (403, "origin_denied"));
    assert_eq!(denied.header("access-control-allow-origin"), None);
    let get = ask(gateway.public, "GET /v1/tickets HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST, OPTIONS")));
    assert_nothing_leaked(&gateway, &[]);
}

#[test]
fn failed_attempts_at_tickets_count_as_failed_logins() {
    let gateway = Gateway::start(&Setup::builtin());
    for n in 0..10 {
        let fields = ["", "Authorization: Bearer rubbish\r\n", "Authorization: Basic YWRhOg==\r\n"][n % 3];
        assert_eq!(post(gateway.public, fields).status, 401, "{n}");
    }
    let answer = post(gateway.public, &format!("Authorization: Bearer {}\r\n", good("ada")));
    assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"));
    assert!(answer.header("retry-after").is_some());
}
