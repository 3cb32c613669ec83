//! The rules of the opening handshake: RFC 6455 §4.2.1 on top of RFC 9110 and RFC 9112, without the tolerance that makes
//! two parsers on the way disagree.
//!
//! Order: size · version · method · target · fields · host · body · upgrade · version 13 · key. A request that is not an
//! upgrade at all is answered 426, one that tries and is wrong 400.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_common::config::model::Size;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use super::facts::{Head, is_token_byte, malformed, trim};
use super::{authority, query};

/// The one path of the protocol.
pub const PATH: &str = "/ws";

/// The only version of the WebSocket protocol (RFC 6455 §4.1).
const VERSION: &str = "13";

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Options in `Connection` that are looked at.
const CONNECTION_OPTIONS: usize = 16;

/// What is left of the head when the rules are satisfied.
#[derive(Clone)]
pub struct Opening {
    /// The path, without the query.
    pub path: String,
    /// `Sec-WebSocket-Accept`.
    pub key_accept: String,
    /// `?ticket=`. A secret.
    pub ticket: Option<String>,
}

/// Judges everything about the head that does not depend on who the client is. Costs a few passes over the fields and
/// one SHA-1.
///
/// # Errors
/// `malformed` (400, or 404, 405, 426 by [`Reject::status`]) or `too_large` (431).
pub fn check(head: &Head<'_>, size: &Size) -> Result<Opening, Reject> {
    check_at(head, size, PATH)
}

/// The same at another path.
///
/// # Errors
/// As [`check`].
pub fn check_at(head: &Head<'_>, size: &Size, path: &str) -> Result<Opening, Reject> {
    size_of_head(head, size)?;
    if head.version != (1, 1) {
        return Err(malformed("not HTTP/1.1"));
    }
    if head.method != "GET" {
        return Err(malformed("the method is not GET").status(405));
    }
    let (path, query) = target(&head.target, path)?;
    fields(head)?;
    host(head)?;
    body(head)?;
    upgrade(head)?;
    version(head)?;
    let key_accept = key(head)?;
    let ticket = query::ticket(query)?;
    Ok(Opening { path: path.to_owned(), key_accept, ticket })
}

/// The fields that have to go with a refusal's answer, besides those of every answer: which protocol would be spoken
/// (426; RFC 9110 §15.5.22, RFC 6455 §4.4), which method is allowed (405), how to authenticate (401).
#[must_use]
pub fn refusal_fields(reject: &Reject) -> &'static [(&'static str, &'static str)] {
    match (reject.status.or(reject.code.info().http), reject.code) {
        (Some(426), Code::Malformed) => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION)],
        (Some(426), _) => &[("Upgrade", "TLS/1.2, HTTP/1.1")],
        (Some(405), _) => &[("Allow", "GET")],
        (Some(401), _) => &[("WWW-Authenticate", "Bearer")],
        _ => &[],
    }
}

fn size_of_head(head: &Head<'_>, size: &Size) -> Result<(), Reject> {
    let line = head.method.len() + head.target.len() + " HTTP/1.1 \r\n".len();
    let fields: usize = head.headers.iter().map(|(name, value)| name.len() + value.len() + ": \r\n".len()).sum();
    if head.headers.len() > size.request_headers {
        return Err(Reject::new(Code::TooLarge, "more header fields than allowed").status(431));
    }
    if line + fields + "\r\n".len() > size.request_head {
        return Err(Reject::new(Code::TooLarge, "the request head is larger than allowed").status(431));
    }
    Ok(())
}

/// Splits an origin-form target (RFC 9112 §3.2.1) into path and query.
fn target<'t>(target: &'t str, wanted: &str) -> Result<(&'t str, Option<&'t str>), Reject> {
    if !target.starts_with('/') || !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(malformed("the request target is not in origin-form"));
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    if path == wanted { Ok((path, query)) } else { Err(malformed("no such path").status(404)) }
}

/// Field names are tokens; values hold no control character but the tab (RFC 9110 §5.5), so neither a folded line nor a
/// forged one.
fn fields(head: &Head<'_>) -> Result<(), Reject> {
    for (name, value) in &head.headers {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(malformed("a field name is not a token"));
        }
        if value.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            return Err(malformed("a field value has a control character"));
        }
    }
    Ok(())
}

/// Exactly one `Host`, well formed (RFC 9112 §3.2).
///
/// # Errors
/// `malformed`.
pub fn host(head: &Head<'_>) -> Result<(), Reject> {
    let value = head.single("host")?.ok_or_else(|| malformed("no Host"))?;
    std::str::from_utf8(value)
        .ok()
        .and_then(authority::parse)
        .map(|_| ())
        .ok_or_else(|| malformed("Host is not well formed"))
}

/// An opening handshake has no content; anything that announces some is refused, because bytes after the head would be
/// read as frames by one side and as content by the other.
fn body(head: &Head<'_>) -> Result<(), Reject> {
    if head.has("transfer-encoding") {
        return Err(malformed("an opening handshake has no body (Transfer-Encoding)"));
    }
    if head.single("content-length")?.is_some_and(|length| length != b"0") {
        return Err(malformed("an opening handshake has no body (Content-Length)"));
    }
    if head.has("expect") {
        return Err(malformed("an opening handshake has no body (Expect)"));
    }
    Ok(())
}

fn upgrade(head: &Head<'_>) -> Result<(), Reject> {
    let protocol = head.single("upgrade")?.ok_or_else(|| malformed("not an upgrade").status(426))?;
    if !protocol.eq_ignore_ascii_case(b"websocket") {
        return Err(malformed("Upgrade is not the one token websocket"));
    }
    let mut found = false;
    let mut count = 0_usize;
    for option in head.all("connection").flat_map(|line| line.split(|b| *b == b',')).map(trim) {
        count += 1;
        if count > CONNECTION_OPTIONS || option.is_empty() || !option.iter().copied().all(is_token_byte) {
            return Err(malformed("Connection is not a short list of tokens"));
        }
        found |= option.eq_ignore_ascii_case(b"upgrade");
    }
    if found { Ok(()) } else { Err(malformed("Connection does not say upgrade")) }
}

fn version(head: &Head<'_>) -> Result<(), Reject> {
    match head.single("sec-websocket-version")? {
        Some(version) if version == VERSION.as_bytes() => Ok(()),
        _ => Err(malformed("not version 13 of the WebSocket protocol").status(426)),
    }
}

/// The answer to a well formed key: 16 bytes in canonical base64 (RFC 6455 §4.2.2).
fn key(head: &Head<'_>) -> Result<String, Reject> {
    let bad = || malformed("Sec-WebSocket-Key is not 16 bytes in base64");
    let key = head.single("sec-websocket-key")?.ok_or_else(bad)?;
    // 24 characters decode to at most 18 bytes, and the engine takes canonical padding only
    if key.len() != 24 || STANDARD.decode(key).map_err(|_| bad())?.len() != 16 {
        return Err(bad());
    }
    let mut sha1 = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(key);
    sha1.update(GUID);
    Ok(STANDARD.encode(sha1.finish()))
}

#[cfg(test)]
mod tests;
