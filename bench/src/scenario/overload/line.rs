//! A message that is made once and sent many times: only its number changes, in place.

use crate::{Outcome, frame};

/// Digits of the number.
const DIGITS: usize = 10;
/// Bytes of a masked frame before its payload, where that has 126 to 65,535 bytes.
const HEAD: usize = 8;
/// What the text is made of: ordinary HTML, and some work for whoever cleans it.
const TEXT: &str = "<p>Good morning, <b>everybody</b>: the <a href='https://example.org/minutes'>minutes</a> of <i>Monday</i> \
                    are &quot;ready&quot; &amp; signed.</p>";

/// A masked frame with a number in it.
pub(super) struct Line {
    bytes: Vec<u8>,
    /// Where the number stands.
    at: usize,
    /// Its digits, all zero, masked.
    zeros: [u8; DIGITS],
}

impl Line {
    /// A message of `kind` to `room` with so many bytes of text, answered by an `ack` or an `error` with its number.
    ///
    /// # Errors
    /// The message has less than 126 bytes, or more than 65,535.
    pub(super) fn new(kind: &str, room: &str, csrf: &str, bytes: usize) -> Outcome<Self> {
        let mut body = TEXT.repeat(bytes / TEXT.len());
        body.push_str(&"x".repeat(bytes - body.len()));
        let front = format!(r#"{{"type":"{kind}","id":"n"#);
        let zeros = "0".repeat(DIGITS);
        let text =
            format!(r#"{front}{zeros}","to":{{"room":"{room}"}},"csrfToken":"{csrf}","payload":{{"text":"{body}"}}}}"#);
        if !(126..=65_535).contains(&text.len()) {
            return Err(format!("a message of {} bytes has another kind of frame", text.len()).into());
        }
        let (bytes, at) = (frame::encode(frame::TEXT, text.as_bytes()), HEAD + front.len());
        let mut zeros = [0; DIGITS];
        zeros.copy_from_slice(bytes.get(at..at + DIGITS).ok_or("no number in the frame")?);
        Ok(Self { bytes, at, zeros })
    }

    /// The frame with this number.
    pub(super) fn numbered(&mut self, mut number: u64) -> &[u8] {
        if let Some(digits) = self.bytes.get_mut(self.at..self.at + DIGITS) {
            for (digit, zero) in digits.iter_mut().zip(self.zeros).rev() {
                *digit = zero ^ b'0' ^ (b'0' + (number % 10) as u8);
                number /= 10;
            }
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message;

    #[test]
    fn a_line_carries_whatever_number_it_is_given_and_is_json() {
        let mut line = Line::new("work", "room.over-3", "c5rf", 4_000).expect("fits");
        for number in [0, 7, 1_234_567_890, 42] {
            let (key, data) = line.numbered(number)[4..].split_at(4);
            let text: Vec<u8> = data.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            assert_eq!(message::moved(&text), Some(number));
            let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            assert_eq!(
                (value["type"].as_str(), value["payload"]["text"].as_str().map(str::len)),
                (Some("work"), Some(4_000))
            );
        }
        assert!(Line::new("work", "r", "c", 70_000).is_err());
    }
}
