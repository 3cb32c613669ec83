//! Fields that name files: relative, in one notation, and leading nowhere but down, on every system that may read them.

use crate::pipeline::percent;

/// How often a name may be percent-encoded before it is refused for that alone.
const ROUNDS: usize = 3;

/// Device names of Windows, which stay devices with any extension.
const DEVICES: [&str; 7] = ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"];

/// Whether a text may name a file.
///
/// # Errors
/// What is wrong with it; never the name itself.
pub fn check(text: &str) -> Result<(), &'static str> {
    let mut text = unify(text);
    for _ in 0..ROUNDS {
        plain(&text)?;
        match decoded(&text)? {
            None => return Ok(()),
            Some(next) => text = unify(&next),
        }
    }
    Err("path: encoded over and over")
}

/// Other characters that some systems read as dots and separators.
fn unify(text: &str) -> String {
    let one = |c| match c {
        '\u{ff0f}' | '\u{2044}' | '\u{2215}' | '\u{29f8}' => '/',
        '\u{ff3c}' | '\u{2216}' | '\u{29f5}' | '\u{fe68}' => '\\',
        '\u{ff0e}' | '\u{2024}' | '\u{fe52}' => '.',
        '\u{2025}' => '\u{2025}',
        '\u{ff1a}' | '\u{2236}' | '\u{fe55}' => ':',
        '\u{ff05}' | '\u{fe6a}' => '%',
        c => c,
    };
    text.chars().map(one).collect::<String>().replace('\u{2025}', "..").replace('\u{2026}', "...")
}

fn plain(text: &str) -> Result<(), &'static str> {
    if text.chars().any(char::is_control) {
        return Err("path: a control character");
    }
    // who trims a name before it is used reads it from here
    let begun = text.trim_start_matches(blank);
    if begun.starts_with(['/', '\\']) {
        return Err("path: absolute");
    }
    if begun.starts_with('~') {
        return Err("path: a home directory");
    }
    let mut start = begun.chars();
    if start.next().is_some_and(|c| c.is_ascii_alphabetic()) && start.next() == Some(':') {
        return Err("path: a drive");
    }
    if text.contains("://") || text.contains("::") || text.contains(":$") {
        return Err("path: a scheme or a stream");
    }
    if text.contains('/') && text.contains('\\') {
        return Err("path: mixed separators");
    }
    text.split(['/', '\\']).try_for_each(segment)
}

fn segment(segment: &str) -> Result<(), &'static str> {
    // Windows ignores dots and spaces at the end; whoever trims names ignores other blanks too
    let bare = segment.trim_end_matches(|c| c == '.' || blank(c));
    if bare.trim_start_matches(blank).is_empty() && segment.matches('.').count() > 1 {
        return Err("path: leads upwards");
    }
    let stem = bare.split(['.', ':']).next().unwrap_or_default().trim_matches(blank).to_lowercase();
    let port = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    let numbered =
        port.is_some_and(|n| matches!(n, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"));
    if numbered || DEVICES.contains(&stem.as_str()) {
        return Err("path: a device");
    }
    Ok(())
}

/// What trimming takes off: Unicode's white space, and the byte order mark, which JavaScript counts in.
fn blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

/// Percent-decoded once, `%uXXXX` too; `None` where there is nothing to decode.
fn decoded(text: &str) -> Result<Option<String>, &'static str> {
    let bytes = percent::decode(text, true).map_err(|_| "path: half a character")?;
    // an overlong dot (C0 AE) is not UTF-8, and a decoder that takes it all the same must not see it
    bytes.map(|bytes| String::from_utf8(bytes).map_err(|_| "path: encoded as what is not UTF-8")).transpose()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_files_pass() {
        for name in [
            "a.txt",
            "dir/file.tar.gz",
            "dir\\file.txt",
            "./here",
            "..gitignore",
            "...and more.txt",
            "50% off.pdf",
            "100%.txt",
            "my%20file.txt",
            "naïve résumé.pdf",
            "写真.jpg",
            "a b/c d.txt",
            ".config",
            "console.log",
            "command.com",
            "nullable.rs",
            "com10.txt",
            "10:30.txt",
            "",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn whatever_leads_elsewhere_is_refused() {
        for name in [
            "..",
            "../etc/passwd",
            "a/../../b",
            "a/..",
            "..\\windows",
            "/etc/passwd",
            "\\\\host\\share",
            "//host/share",
            "C:\\x",
            "c:x",
            "a/b\\c",
            "~root",
            "~/.ssh/id",
            "file:///etc/passwd",
            "x::$DATA",
            "a:$i30",
            "%2e%2e/x",
            "%2e%2e%2fx",
            "..%2fx",
            "..%5cx",
            "%252e%252e%252fx",
            "%25252e%25252e%25252fx",
            "%c0%ae%c0%ae/x",
            "%u002e%u002e/x",
            "%2fetc",
            "a%00.txt",
            "a\0.txt",
            "x\n",
            "CON",
            "con.txt",
            "dir/NUL",
            "aux.",
            "COM1",
            "lpt9.log",
            "prn .txt",
            ". . /x",
            ".. /x",
            "…/x",
            "．．/x",
            "a／..／b",
            "‥/x",
            "a/.. . ./b",
            "％2e％2e/x",
            "conin$",
            "‥\u{2000}",
            "a/..\u{3000}/b",
            "\u{feff}../x",
            " /etc/passwd",
            "\u{a0}~/x",
            "\u{2003}c:x",
            "con\u{2000}.txt",
        ] {
            assert!(check(name).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_encoded_no_segment_leads_upwards(
            pieces in proptest::collection::vec(prop_oneof![
                Just("."), Just("%2e"), Just("%252E"), Just("/"), Just("%2f"), Just("%5C"), Just("\\"), Just("．"), Just("a"), Just(" "), Just("%u002e"), Just("%c0%ae"),
            ], 0..10),
        ) {
            let name = pieces.concat();
            if check(&name).is_ok() {
                let mut text = name.clone();
                while let Ok(Some(next)) = decoded(&text) {
                    text = next;
                }
                prop_assert!(!unify(&text).split(['/', '\\']).any(|s| s.trim() == ".."), "{name}");
            }
        }
    }
}
