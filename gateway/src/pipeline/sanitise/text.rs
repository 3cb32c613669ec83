//! Characters that nobody types and that make text lie: controls, and overrides of the reading direction.

/// Whether a text must not hold this character: C0 and C1 controls except tab and line ends, and everything that
/// embeds, overrides or isolates a direction (UAX #9: U+202A–U+202E, U+2066–U+2069). Marks (U+200E, U+200F) and joiners
/// (U+200D), which names and emoji need, are let be.
#[must_use]
pub fn lies(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether there is such a character. Cost: a look at every byte; characters are decoded only where a byte raises doubt.
#[must_use]
pub fn lies_somewhere(text: &str) -> bool {
    let doubt = |b: u8| b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r') || matches!(b, 0x7f | 0xc2 | 0xe2);
    text.bytes().any(doubt) && text.chars().any(lies)
}

/// Whether JSON spells out nothing but ASCII, as it is meant: then there is nothing to find in its strings, and it is in
/// every normal form.
#[must_use]
pub fn is_plain(json: &str) -> bool {
    // branch-free over a whole block: some bytes a cycle
    json.as_bytes().chunks(64).all(|block| block.iter().fold(true, |plain, b| plain & (*b < 0x7f) & (*b != b'\\')))
}

/// The text without them; `None` where there are none.
#[must_use]
pub fn honest(text: &str) -> Option<String> {
    lies_somewhere(text).then(|| text.chars().filter(|c| !lies(*c)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn controls_and_overrides_go_and_everything_that_people_write_stays() {
        for (text, clean) in [
            ("a\0b", "ab"),
            ("\u{1b}[31mred", "[31mred"),
            ("x\u{7f}\u{85}\u{9f}y", "xy"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("\u{2066}a\u{2069}\u{202a}b\u{202c}", "ab"),
        ] {
            assert_eq!(honest(text).as_deref(), Some(clean), "{text:?}");
        }
        for text in ["", "two\r\nlines\tand a tab", "👩‍👩‍👧 ❤️", "مرحبا \u{200f}!", "naïve – “quoted” €", "日本語", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
        {
            assert_eq!(honest(text), None, "{text:?}");
        }
    }

    #[test]
    fn plain_json_holds_nothing_that_lies() {
        assert!(is_plain(r#"{"a":["b c",1,null], "d":"<&>'~"}"#) && is_plain(""));
        for json in ["\"é\"", "\"\\u0000\"", "\"\u{7f}\"", "\"\u{202e}\""] {
            assert!(!is_plain(json) && !is_plain(&format!("{}{json}", " ".repeat(100))), "{json}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_is_honest_and_is_left_alone(text in "\\PC{0,8}[\\x00-\\x1f\u{202a}-\u{202e}a-z]{0,8}\\PC{0,8}") {
            let clean = honest(&text).unwrap_or_else(|| text.clone());
            prop_assert!(!clean.chars().any(lies));
            prop_assert_eq!(honest(&clean), None);
        }
    }
}
