//! HTTP answers on the public port: one body for every refusal, the same security fields on everything.

use std::fmt::Write as _;
use std::time::Duration;

use actix_http::StatusCode;
use bytes::Bytes;
use portcullis_common::clock::UnixMs;
use portcullis_common::ids::RequestId;
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::reply::{ErrorReply, Reply};

/// Fields of every answer. `Cache-Control` too: no answer of this port is worth keeping.
pub const SECURITY_FIELDS: &[(&str, &str)] = &[
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
];

/// The status of a refusal: its own, or its code's.
#[must_use]
pub fn status(reject: &Reject) -> u16 {
    reject.status.or(reject.code.info().http).unwrap_or(500)
}

/// `Retry-After`: whole seconds, rounded up, at least one.
#[must_use]
pub fn retry_after(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0 || after.as_secs() == 0)
}

/// The body of a refusal.
#[must_use]
pub fn body(reject: &Reject, request: RequestId, now: UnixMs) -> Bytes {
    ErrorReply { code: reject.code, request, retry_after: reject.retry_after, id: None, now }.to_bytes()
}

/// A whole refusal as HTTP/1.1 bytes; the connection ends with it. `hsts`: seconds, where TLS is ours.
#[must_use]
pub fn refusal(
    reject: &Reject,
    request: RequestId,
    now: UnixMs,
    fields: &[(&str, &str)],
    hsts: Option<Duration>,
) -> Vec<u8> {
    let status = status(reject);
    let body = body(reject, request, now);
    let reason = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error");
    let mut head = String::with_capacity(512);
    let _ = write!(
        head,
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in SECURITY_FIELDS.iter().chain(fields) {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if let Some(after) = reject.retry_after {
        let _ = write!(head, "Retry-After: {}\r\n", retry_after(after));
    }
    if let Some(max_age) = hsts {
        let _ = write!(head, "Strict-Transport-Security: max-age={}\r\n", max_age.as_secs());
    }
    // who sends Upgrade has to name it in Connection too (RFC 9110 §7.8)
    let upgrade = fields.iter().any(|(name, _)| *name == "Upgrade");
    head.push_str(if upgrade { "Connection: close, upgrade\r\n\r\n" } else { "Connection: close\r\n\r\n" });
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

/// The answer that turns HTTP into WebSocket (RFC 6455 §4.2.2). `protocol`: only where the client offered some.
#[must_use]
pub fn switching(accept: &str, protocol: Option<&str>, hsts: Option<Duration>) -> Vec<u8> {
    let mut head = String::with_capacity(256);
    let _ = write!(
        head,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    );
    if let Some(protocol) = protocol {
        let _ = write!(head, "Sec-WebSocket-Protocol: {protocol}\r\n");
    }
    if let Some(max_age) = hsts {
        let _ = write!(head, "Strict-Transport-Security: max-age={}\r\n", max_age.as_secs());
    }
    head.push_str("X-Content-Type-Options: nosniff\r\n\r\n");
    head.into_bytes()
}

#[cfg(test)]
mod tests {
    use portcullis_common::wire::code::Code;

    use super::*;

    #[test]
    fn retry_after_is_never_too_early_and_never_zero() {
        for (ms, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (59_999, 60)] {
            assert_eq!(retry_after(Duration::from_millis(ms)), seconds, "{ms} ms");
        }
    }

    #[test]
    fn a_refusal_is_complete_http_and_says_nothing_of_the_server() {
        let reject = Reject::new(Code::RateLimited, "detail for the log").retry(Duration::from_millis(1_500));
        let bytes = refusal(&reject, RequestId(7), UnixMs(9), &[], None);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"));
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(head.contains("\r\nRetry-After: 2\r\n"));
        assert!(head.contains("\r\nX-Content-Type-Options: nosniff\r\n"));
        assert!(!head.to_ascii_lowercase().contains("\r\nserver:"));
        assert!(!text.contains("detail for the log"));
        assert!(body.contains("\"retryAfter\":1500"));
    }
}
