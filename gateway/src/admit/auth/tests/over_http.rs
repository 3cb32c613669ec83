//! Fetching from real sockets on loopback: sizes, redirects, silence.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::fetch::{Fetch, FetchFailed, Fetched, HttpFetch, check_url};
use super::super::jwk::MAX_SET;
use super::*;

/// Answers one request with these bytes, holds the connection open if asked to, and says what was requested.
async fn server(answer: Vec<u8>, hold: bool) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        // a client that has seen enough may hang up
        let _sent = socket.write_all(&answer).await.is_ok();
        if hold {
            // until the client gives up
            let _closed = socket.read_u8().await.is_ok();
        }
        String::from_utf8(head).unwrap()
    });
    (url, task)
}

async fn fetch(answer: Vec<u8>, hold: bool) -> (Result<Fetched, FetchFailed>, String) {
    let (url, task) = server(answer, hold).await;
    let patience = if hold { Duration::from_millis(50) } else { Duration::from_secs(10) };
    let got = HttpFetch::for_url(&url, patience).unwrap().fetch(&url).await;
    (got, task.await.unwrap())
}

fn response(head: &str, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), b"\r\nconnection: close\r\n\r\n", body].concat()
}

#[tokio::test]
async fn a_set_is_fetched_with_how_long_it_keeps() {
    let head = "HTTP/1.1 200 OK\r\ncache-control: public, Max-Age=300\r\ncontent-length: 11";
    let (got, request) = fetch(response(head, b"{\"keys\":[]}"), false).await;
    let max_age = Some(Duration::from_secs(300));
    assert_eq!(got.unwrap(), Fetched { body: b"{\"keys\":[]}".to_vec(), max_age });
    assert!(request.starts_with("GET /jwks HTTP/1.1\r\n"), "{request}");
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
    let full = vec![b' '; MAX_SET];
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {MAX_SET}");
    assert_eq!(fetch(response(&head, &full), false).await.0.unwrap().body.len(), MAX_SET);
    let huge = Err(FetchFailed("the body is larger than 256 KiB"));
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}", MAX_SET + 1);
    assert_eq!(fetch(response(&head, &[full.as_slice(), b" "].concat()), false).await.0, huge);
    let unannounced = vec![b' '; MAX_SET * 4];
    assert_eq!(fetch(response("HTTP/1.1 200 OK", &unannounced), false).await.0, huge, "no length said");
}

#[tokio::test]
async fn redirects_and_errors_are_not_followed() {
    for status in ["301 Moved", "302 Found", "307 Temporary", "404 Not Found", "500 Oops", "204 No Content"] {
        let (elsewhere, asked) = server(response("HTTP/1.1 200 OK\r\ncontent-length: 2", b"{}"), false).await;
        let head = format!("HTTP/1.1 {status}\r\nlocation: {elsewhere}\r\ncontent-length: 0");
        let (got, _) = fetch(response(&head, b""), false).await;
        assert_eq!(got, Err(FetchFailed("the server's answer is not 200")), "{status}");
        assert!(!asked.is_finished(), "{status}");
        asked.abort();
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let (got, _) = fetch(Vec::new(), true).await;
    assert_eq!(got, Err(FetchFailed("the server took too long")));
    let (got, _) = fetch(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec(), true).await;
    assert_eq!(got, Err(FetchFailed("the body broke off")));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let got = HttpFetch::for_url(&url, Duration::from_secs(10)).unwrap().fetch(&url).await;
    assert_eq!(got, Err(FetchFailed("the server cannot be reached")));
}

#[test]
fn only_https_or_loopback_may_be_fetched_from() {
    for good in ["https://id.example/jwks", "http://127.0.0.1:8080/", "http://[::1]/jwks", "http://localhost/jwks"] {
        assert!(check_url(good).is_ok(), "{good}");
    }
    for bad in [
        "http://id.example/jwks",
        "http://127.0.0.1.example/",
        "http://localhost.example/",
        "http://10.0.0.1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "data:application/json,{}",
        "https://user@id.example/",
        "https://user:word@id.example/",
        "https://id.example/#keys",
        "/jwks",
        "id.example",
        "",
    ] {
        assert!(check_url(bad).is_err(), "{bad}");
    }
}
