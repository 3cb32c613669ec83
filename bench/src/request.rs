//! The opening handshake (RFC 6455 §4.1), written by hand.

use memchr::memmem;

/// The key of the RFC's own example (§1.3): constant, so that the expected answer is too.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// 150 bytes, the length that browsers have: a gateway that keeps headers pays for it.
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 \
                          Safari/537.36 portcullis-bench/0.1 (load generator, one of 1k)";

/// A whole request head for `path` on `host`; `token` goes into `Authorization` and asks for `portcullis.v1.json`.
#[must_use]
pub fn head(host: &str, path: &str, token: Option<&str>) -> Vec<u8> {
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUser-Agent: {USER_AGENT}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    );
    if let Some(token) = token {
        head.push_str("Sec-WebSocket-Protocol: portcullis.v1.json\r\nAuthorization: Bearer ");
        head.push_str(token);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// What came back so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// No whole head yet.
    Partial,
    /// 101 with the right `Sec-WebSocket-Accept`; frames start after so many bytes.
    Switched(usize),
    /// Anything else; 0 when it is not HTTP, 101 when the accept value is wrong.
    Refused(u16),
}

/// Reads an answer from the front of `bytes`.
#[must_use]
pub fn answer(bytes: &[u8]) -> Answer {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Answer::Partial };
    let head = bytes.get(..end).unwrap_or_default();
    let status = head
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| rest.first_chunk::<3>())
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .unwrap_or(0);
    if status == 101 && memmem::find(head, ACCEPT).is_some() {
        Answer::Switched(end + 4)
    } else {
        Answer::Refused(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_agent_has_150_bytes_and_no_origin_is_sent() {
        assert_eq!(USER_AGENT.len(), 150);
        let head = String::from_utf8(head("127.0.0.1:1", "/ws", Some("t"))).expect("text");
        assert!(head.ends_with("Authorization: Bearer t\r\n\r\n") && !head.contains("Origin"));
    }

    #[test]
    fn only_101_with_the_right_accept_value_switches() {
        let good =
            b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nrest";
        assert_eq!(answer(good), Answer::Switched(good.len() - 4));
        assert_eq!(answer(b"HTTP/1.1 101 X\r\nsec-websocket-accept: nonsense\r\n\r\n"), Answer::Refused(101));
        assert_eq!(answer(b"HTTP/1.1 429 Too Many\r\nRetry-After: 1\r\n\r\n"), Answer::Refused(429));
        assert_eq!(answer(b"HTTP/1.1 101 Switching"), Answer::Partial);
        assert_eq!(answer(b"SSH-2.0\r\n\r\n"), Answer::Refused(0));
    }
}
