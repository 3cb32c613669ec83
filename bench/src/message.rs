//! The few messages of `portcullis.v1.json` that a generator says and hears. Hearing is a substring search: a parser
//! would cost more than the read it follows.

use memchr::memmem;

use crate::{Outcome, frame};

/// A masked `join` of `room`, answered by an `ack` with `id` 1.
#[must_use]
pub fn join(room: &str, csrf: &str) -> Vec<u8> {
    frame::encode(
        frame::TEXT,
        format!(r#"{{"type":"join","id":"1","to":{{"room":"{room}"}},"csrfToken":"{csrf}"}}"#).as_bytes(),
    )
}

/// A masked `health-check`, answered by another.
#[must_use]
pub fn health_check() -> Vec<u8> {
    frame::encode(frame::TEXT, br#"{"type":"health-check"}"#)
}

/// The JSON text of a `chat` to `room`, exactly `bytes` long, without an `id` (so: no ack).
///
/// # Errors
/// `bytes` is less than the message without any text takes.
pub fn chat_of(room: &str, csrf: &str, bytes: usize) -> Outcome<Vec<u8>> {
    let text = |fill: &str| {
        format!(r#"{{"type":"chat","to":{{"room":"{room}"}},"csrfToken":"{csrf}","payload":{{"text":"{fill}"}}}}"#)
    };
    let bare = text("").len();
    let fill = bytes.checked_sub(bare).ok_or_else(|| format!("a chat message takes at least {bare} bytes"))?;
    Ok(text(&"x".repeat(fill)).into_bytes())
}

/// A JSON object exactly `bytes` long that carries `seq`.
///
/// # Errors
/// `bytes` is less than 40.
pub fn numbered_payload(seq: u64, bytes: usize) -> Outcome<String> {
    let fill = bytes.checked_sub(40).ok_or("a numbered payload takes at least 40 bytes")? + 40;
    let bare = format!(r#"{{"seq":{seq},"text":""}}"#);
    Ok(format!(r#"{{"seq":{seq},"text":"{}"}}"#, "x".repeat(fill.saturating_sub(bare.len()))))
}

/// A masked `chat` to `room` whose `payload` member is exactly `bytes` long and carries `seq`.
///
/// # Errors
/// `bytes` is less than 40.
pub fn numbered_chat(room: &str, csrf: &str, seq: u64, bytes: usize) -> Outcome<Vec<u8>> {
    let payload = numbered_payload(seq, bytes)?;
    let text = format!(r#"{{"type":"chat","to":{{"room":"{room}"}},"csrfToken":"{csrf}","payload":{payload}}}"#);
    Ok(frame::encode(frame::TEXT, text.as_bytes()))
}

/// The same of type `direct` to one user.
///
/// # Errors
/// `bytes` is less than 40.
pub fn numbered_direct(user: &str, csrf: &str, seq: u64, bytes: usize) -> Outcome<Vec<u8>> {
    let payload = numbered_payload(seq, bytes)?;
    let text = format!(r#"{{"type":"direct","to":{{"user":"{user}"}},"csrfToken":"{csrf}","payload":{payload}}}"#);
    Ok(frame::encode(frame::TEXT, text.as_bytes()))
}

/// A masked `join` or `leave` of `room` that is answered by an `ack` with `id` `seq`.
#[must_use]
pub fn numbered_move(kind: &str, room: &str, csrf: &str, seq: u64) -> Vec<u8> {
    let text = format!(r#"{{"type":"{kind}","id":"n{seq}","to":{{"room":"{room}"}},"csrfToken":"{csrf}"}}"#);
    frame::encode(frame::TEXT, text.as_bytes())
}

/// What a server message is, as far as a generator cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `welcome`
    Welcome,
    /// `ack`
    Ack,
    /// `error`
    Error,
    /// `chat`
    Chat,
    /// `direct`
    Direct,
    /// `health-check`
    HealthCheck,
    /// Anything else.
    Other,
}

/// The type of a server message. Payloads of the generator hold no `"type":"`, so the first one is the envelope's.
#[must_use]
pub fn kind(text: &[u8]) -> Kind {
    match string_after(text, br#""type":""#) {
        Some(b"welcome") => Kind::Welcome,
        Some(b"ack") => Kind::Ack,
        Some(b"error") => Kind::Error,
        Some(b"chat") => Kind::Chat,
        Some(b"direct") => Kind::Direct,
        Some(b"health-check") => Kind::HealthCheck,
        _ => Kind::Other,
    }
}

/// `payload.csrfToken` of a `welcome`.
#[must_use]
pub fn csrf_token(text: &[u8]) -> Option<String> {
    string_after(text, br#""csrfToken":""#).and_then(|token| String::from_utf8(token.to_vec()).ok())
}

const SEQ: &[u8] = br#""seq":"#;

/// The `seq` of a numbered chat.
#[must_use]
pub fn sequence(text: &[u8]) -> Option<u64> {
    number(text.get(memmem::find(text, SEQ)? + SEQ.len()..)?)
}

/// The `seq` of every numbered chat in a frame: NATS puts several into one.
pub fn sequences(text: &[u8]) -> impl Iterator<Item = u64> {
    memmem::find_iter(text, SEQ).filter_map(|at| number(text.get(at + SEQ.len()..)?))
}

/// The number in the `id` of the `ack` to a [`numbered_move`].
#[must_use]
pub fn moved(text: &[u8]) -> Option<u64> {
    number(string_after(text, br#""id":""#)?.strip_prefix(b"n")?)
}

/// The `code` of an `error`.
#[must_use]
pub fn code(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(string_after(text, br#""code":""#)?).ok()
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.clone().next()?;
    Some(digits.fold(0u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))))
}

fn string_after<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let rest = text.get(memmem::find(text, mark)? + mark.len()..)?;
    rest.get(..memchr::memchr(b'"', rest)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_has_exactly_the_bytes_that_were_asked_for() {
        let text = chat_of("room.1", "c5rf", 300).expect("fits");
        assert_eq!(text.len(), 300);
        assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
        assert!(chat_of("room.1", "c5rf", 20).is_err());
    }

    #[test]
    fn a_numbered_payload_has_exactly_the_bytes_that_were_asked_for_at_any_number() {
        for seq in [0, 9, 1_234_567] {
            let masked = numbered_chat("room.1", "c", seq, 128).expect("fits");
            let (key, data) = masked[4..].split_at(4);
            let text: Vec<u8> = data.iter().zip(key.iter().cycle()).map(|(d, k)| d ^ k).collect();
            let raw: std::collections::HashMap<String, Box<serde_json::value::RawValue>> =
                serde_json::from_slice(&text).expect("JSON");
            assert_eq!(raw["payload"].get().len(), 128);
            assert_eq!(sequence(&text), Some(seq));
        }
    }

    #[test]
    fn a_message_is_known_by_its_type_wherever_that_stands() {
        let welcome = br#"{"payload":{"sessionId":"s","csrfToken":"tok"},"type":"welcome","timestamp":1}"#;
        assert_eq!((kind(welcome), csrf_token(welcome).as_deref()), (Kind::Welcome, Some("tok")));
        assert_eq!(kind(br#"{"type":"health-check","payload":{}}"#), Kind::HealthCheck);
        assert_eq!(kind(br#"{"type":"presence"}"#), Kind::Other);
        assert_eq!(sequences(br#"a{"seq":7} b{"seq":x} c{"seq":12}"#).collect::<Vec<_>>(), [7, 12]);
        assert_eq!((moved(br#"{"type":"ack","id":"n42"}"#), moved(br#"{"id":"1"}"#)), (Some(42), None));
        assert_eq!((kind(b"\x00\xff"), csrf_token(b"{}"), sequence(br#""seq":x"#)), (Kind::Other, None, None));
    }
}
