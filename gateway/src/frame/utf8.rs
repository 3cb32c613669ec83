//! UTF-8 that arrives in pieces: each byte is judged when it arrives, so a wrong one fails at once (§8.1), and each is
//! judged once.

use portcullis_common::wire::code::Close;

use super::Violation;

/// What is left over of a character that was cut by the end of a piece: at most three bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Carry {
    bytes: [u8; 4],
    len: u8,
}

/// The one answer to text that is not UTF-8.
pub const INVALID: Violation = Violation::new(Close::InvalidData, "text is not UTF-8");

impl Carry {
    /// The whole characters of what was carried and of `piece`, handed to `take` in order; the rest is carried.
    ///
    /// One pass of the standard library's validator; a piece that ends inside a character costs a second one.
    ///
    /// # Errors
    /// [`INVALID`] as soon as no continuation could make the bytes UTF-8: over-long forms, surrogates and values past
    /// U+10FFFF fail at the byte that makes them so (RFC 3629 §4).
    pub fn push(&mut self, piece: &[u8], mut take: impl FnMut(&str)) -> Result<(), Violation> {
        let rest = self.complete(piece, &mut take)?;
        match std::str::from_utf8(rest) {
            Ok(text) => take(text),
            Err(error) if error.error_len().is_some() => return Err(INVALID),
            Err(error) => {
                let (whole, cut) = rest.split_at_checked(error.valid_up_to()).ok_or(INVALID)?;
                take(std::str::from_utf8(whole).map_err(|_| INVALID)?);
                for byte in cut {
                    self.keep(*byte)?;
                }
            }
        }
        Ok(())
    }

    /// Bytes carried: at most three.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether nothing is carried.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the text may end here.
    ///
    /// # Errors
    /// [`INVALID`] inside a character.
    pub const fn end(&self) -> Result<(), Violation> {
        if self.len == 0 { Ok(()) } else { Err(INVALID) }
    }

    /// Feeds `piece` to the carried character until it is whole; answers what is left of the piece.
    fn complete<'a>(&mut self, mut piece: &'a [u8], take: &mut impl FnMut(&str)) -> Result<&'a [u8], Violation> {
        while self.len > 0 {
            let Some((&byte, rest)) = piece.split_first() else { break };
            piece = rest;
            self.keep(byte)?;
            match std::str::from_utf8(self.bytes.get(..usize::from(self.len)).unwrap_or_default()) {
                Ok(text) => {
                    take(text);
                    self.len = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(INVALID),
                Err(_) => {}
            }
        }
        Ok(piece)
    }

    fn keep(&mut self, byte: u8) -> Result<(), Violation> {
        *self.bytes.get_mut(usize::from(self.len)).ok_or(INVALID)? = byte;
        self.len += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text of the pieces, and after how many bytes it failed if it did.
    fn by_bytes(bytes: &[u8]) -> (String, Option<usize>) {
        let (mut carry, mut text) = (Carry::default(), String::new());
        for (i, byte) in bytes.iter().enumerate() {
            if carry.push(&[*byte], |s| text.push_str(s)).is_err() {
                return (text, Some(i));
            }
        }
        let end = carry.end().err().map(|_| bytes.len());
        (text, end)
    }

    #[test]
    fn a_wrong_byte_fails_when_it_arrives_and_not_later() {
        let cases: [(&[u8], usize); 8] = [
            (b"ab\xFF", 2),
            (b"\x80", 0),
            (b"\xC0\x80", 0),
            (b"\xE0\x9F\x80", 1),
            (b"\xED\xA0\x80", 1),
            (b"\xF4\x90\x80\x80", 1),
            (b"\xF0\x8F\x80\x80", 1),
            (b"\xE2\x82A", 2),
        ];
        for (bytes, at) in cases {
            assert_eq!(by_bytes(bytes).1, Some(at), "{bytes:x?}");
        }
    }

    #[test]
    fn text_that_ends_inside_a_character_fails_at_its_end() {
        for cut in 1..4 {
            assert_eq!(by_bytes(&"𤭢".as_bytes()[..cut]), (String::new(), Some(cut)));
        }
    }

    proptest! {
        #[test]
        fn any_cut_of_any_text_is_accepted_and_kept(text: String, cut: prop::sample::Index) {
            let (head, tail) = text.as_bytes().split_at(cut.index(text.len() + 1));
            let (mut carry, mut kept) = (Carry::default(), String::new());
            carry.push(head, |s| kept.push_str(s)).unwrap();
            carry.push(tail, |s| kept.push_str(s)).unwrap();
            prop_assert!(carry.end().is_ok());
            prop_assert_eq!(kept, text);
        }

        #[test]
        fn bytes_are_accepted_exactly_where_the_standard_library_accepts_them(bytes: Vec<u8>) {
            prop_assert_eq!(by_bytes(&bytes).1.is_none(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
