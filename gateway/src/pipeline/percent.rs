//! Percent-encoding in strings of payloads (RFC 3986, 2.1), for stages that have to look behind it.

/// Half of a surrogate pair, which means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfCharacter;

/// Decodes once: `%XX`, and with `wide` also `%uXXXX`, which some servers take. What only looks like an escape stays.
/// `None` where there is nothing to decode.
///
/// # Errors
/// A wide escape that is no character; never without `wide`.
pub fn decode(text: &str, wide: bool) -> Result<Option<Vec<u8>>, HalfCharacter> {
    if !text.contains('%') {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(text.len());
    let (mut rest, mut changed) = (text, false);
    while let Some(at) = rest.find('%') {
        let (before, tail) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        let wide = wide && tail.get(1..2).is_some_and(|u| u.eq_ignore_ascii_case("u"));
        let length = if let Some(code) = wide.then(|| hex(tail.get(2..6))).flatten() {
            let c = char::from_u32(code).ok_or(HalfCharacter)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            6
        } else if let Some(byte) = hex(tail.get(1..3)).and_then(|byte| u8::try_from(byte).ok()) {
            out.push(byte);
            3
        } else {
            out.push(b'%');
            rest = tail.get(1..).unwrap_or_default();
            continue;
        };
        changed = true;
        rest = tail.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(changed.then_some(out))
}

fn hex(digits: Option<&str>) -> Option<u32> {
    let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once_and_what_is_none_stays() {
        for (text, wide, decoded) in [
            ("a%20b", false, Some(&b"a b"[..])),
            ("%252e", false, Some(b"%2e")),
            ("%c0%ae", false, Some(b"\xc0\xae")),
            ("%u002e", true, Some(b".")),
            ("%u002e", false, None),
            ("%+f%zz%", true, None),
            ("%2", true, None),
            ("100% of %41", true, Some(b"100% of A")),
            ("plain", true, None),
        ] {
            assert_eq!(decode(text, wide).unwrap().as_deref(), decoded, "{text}");
        }
        assert_eq!(decode("%ud800", true), Err(HalfCharacter));
    }
}
