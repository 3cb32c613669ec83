//! Close frames: two bytes of code and a reason, or nothing (§5.5.1, §7.4).

use super::{Violation, utf8};

/// The longest reason: a control frame less two bytes of code.
pub const MAX_REASON: usize = 123;

/// Whether a code may stand in a close frame: 1000–1003 and 1007–1011 by §7.4.1, 1012–1014 by the IANA registry,
/// 3000–4999 by §7.4.2. The codes 1004, 1005, 1006 and 1015 are reserved and never sent.
#[must_use]
pub const fn legal(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Code and reason of a close frame's payload.
///
/// # Errors
/// 1002 for a payload of one byte and for a code that may not be sent; 1007 for a reason that is not UTF-8.
pub fn parse(payload: &[u8]) -> Result<(Option<u16>, &str), Violation> {
    if payload.is_empty() {
        return Ok((None, ""));
    }
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return Err(Violation::protocol("close frame of one byte"));
    };
    let code = u16::from_be_bytes(*code);
    if !legal(code) {
        return Err(Violation::protocol("close code that may not be sent"));
    }
    let reason =
        std::str::from_utf8(reason).map_err(|_| Violation { detail: "close reason is not UTF-8", ..utf8::INVALID })?;
    Ok((Some(code), reason))
}

/// The longest beginning of `reason` that fits into a close frame, cut between characters.
#[must_use]
pub fn fitting(reason: &str) -> &str {
    let end = (0..=reason.len().min(MAX_REASON)).rev().find(|i| reason.is_char_boundary(*i)).unwrap_or(0);
    reason.get(..end).unwrap_or_default()
}
