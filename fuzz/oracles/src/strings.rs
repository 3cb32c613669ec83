//! Characters that make text lie, and percent-encoding.

use portcullis_gateway::pipeline::percent;
use portcullis_gateway::pipeline::sanitise::text::{honest, lies_somewhere};

/// What embeds, overrides or isolates a direction (UAX #9, 3.1).
const DIRECTIONS: [char; 9] =
    ['\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}'];

/// One string.
pub fn strings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lie = |c: &char| (c.is_control() && !"\t\n\r".contains(*c)) || DIRECTIONS.contains(c);
    let expected: String = text.chars().filter(|c| !lie(c)).collect();
    assert_eq!(lies_somewhere(text), expected != text);
    assert_eq!(honest(text), (expected != text).then(|| expected.clone()));
    assert_eq!(honest(&expected), None, "a second time changes nothing");

    let narrow = percent::decode(text, false).expect("only wide escapes can be refused");
    let judged: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
    assert_eq!(narrow.is_some(), judged != text.as_bytes() || has_escape(text));
    assert_eq!(narrow.unwrap_or_else(|| text.as_bytes().to_vec()), judged);
    assert_eq!(percent::decode(text, true).map(|out| out.unwrap_or_else(|| text.as_bytes().to_vec())).ok(), wide(text));
}

fn has_escape(text: &str) -> bool {
    text.as_bytes().windows(3).any(|w| w[0] == b'%' && w[1].is_ascii_hexdigit() && w[2].is_ascii_hexdigit())
}

/// `%uXXXX` and `%XX`, as one would write it down first; `None`: half a character.
fn wide(text: &str) -> Option<Vec<u8>> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    let digits = |from: usize, count: usize| {
        let digits = bytes.get(from..from + count)?;
        let number = digits.iter().try_fold(0, |sum, b| Some(sum * 16 + char::from(*b).to_digit(16)?))?;
        Some(number)
    };
    while let Some(byte) = bytes.get(at) {
        let escaped = *byte == b'%';
        if escaped && matches!(bytes.get(at + 1), Some(b'u' | b'U')) && digits(at + 2, 4).is_some() {
            let c = char::from_u32(digits(at + 2, 4)?)?;
            out.extend_from_slice(c.to_string().as_bytes());
            at += 6;
        } else if let Some(number) = escaped.then(|| digits(at + 1, 2)).flatten() {
            out.push(u8::try_from(number).expect("two digits"));
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    Some(out)
}
