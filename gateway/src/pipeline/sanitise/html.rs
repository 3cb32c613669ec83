//! HTML in fields that hold HTML: what stays is a short list, everything else goes. The parser is a browser's (html5ever,
//! through `ammonia`), so what it sees is what a browser would see.
//!
//! Idempotent by construction: a result is given out only when cleaning it again changes nothing; text for which that
//! does not hold is escaped whole. Bounded: text with more than [`TAGS`] places where a tag could begin, as it came or
//! when what it left open is closed, is escaped whole too, because the tree that a browser builds of nested markup can
//! grow with its square.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::Builder;
use portcullis_common::config::model::HtmlMode;

/// More places at which markup could begin than this are nobody's message.
pub const TAGS: usize = 256;

/// How often a result may still change before it is given up.
const ROUNDS: usize = 3;

static BASIC: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = bare();
    builder
        .tags(HashSet::from([
            "a",
            "b",
            "blockquote",
            "br",
            "code",
            "del",
            "em",
            "i",
            "li",
            "ol",
            "p",
            "pre",
            "s",
            "strong",
            "sub",
            "sup",
            "u",
            "ul",
        ]))
        .tag_attributes(HashMap::from([("a", HashSet::from(["href", "title"]))]));
    builder
});

static STRIP: LazyLock<Builder<'static>> = LazyLock::new(bare);

fn bare() -> Builder<'static> {
    let mut builder = Builder::default();
    builder
        .tags(HashSet::new())
        .clean_content_tags(HashSet::from(["script", "style"]))
        .tag_attributes(HashMap::new())
        .generic_attributes(HashSet::new())
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"));
    builder
}

/// The cleaned text; `None` where it may stay as it is.
#[must_use]
pub fn clean(mode: HtmlMode, text: &str) -> Option<String> {
    let builder = match mode {
        HtmlMode::Escape => return escape(text),
        HtmlMode::Basic => &*BASIC,
        HtmlMode::Strip => &*STRIP,
    };
    if inert(text) {
        return None;
    }
    if is_crowded(text) {
        return escape(text);
    }
    let mut out = builder.clean(text).to_string();
    for _ in 0..ROUNDS {
        if inert(&out) {
            return (out != text).then_some(out);
        }
        // what was left open is closed now, and would be too much the next time
        if is_crowded(&out) {
            break;
        }
        let again = builder.clean(&out).to_string();
        if again == out {
            return (out != text).then_some(out);
        }
        out = again;
    }
    escape(text)
}

/// Whether there are more places where markup could begin than [`TAGS`].
fn is_crowded(text: &str) -> bool {
    memchr::memchr_iter(b'<', text.as_bytes()).count() > TAGS
}

/// Whether an HTML parser finds nothing but text: no `<` that begins a tag, a comment or a declaration (HTML, 13.2.5.6).
/// One at the very end counts, since more may follow it. What an `&` begins is a character, never markup.
fn inert(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'<', bytes).all(|at| {
        bytes.get(at + 1).is_some_and(|next| !next.is_ascii_alphabetic() && !matches!(next, b'/' | b'!' | b'?'))
    })
}

/// With no character left that could begin markup or end an attribute; `None` where there is none. An `&` stays: what it
/// may begin is a character, never markup, and so a second time changes nothing.
fn escape(text: &str) -> Option<String> {
    if !text.bytes().any(|b| matches!(b, b'<' | b'>' | b'"' | b'\'')) {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cleaned(mode: HtmlMode, text: &str) -> String {
        clean(mode, text).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn what_runs_goes_and_what_is_said_stays() {
        for (text, basic, strip) in [
            ("<script>alert(1)</script>hi", "hi", "hi"),
            ("<b>bold</b>", "<b>bold</b>", "bold"),
            ("<img src=x onerror=alert(1)>", "", ""),
            ("<b onclick=alert(1)>x</b>", "<b>x</b>", "x"),
            ("<svg/onload=alert(1)>", "", ""),
            ("<style>*{}</style>x", "x", "x"),
            ("<iframe src=//evil>x</iframe>", "x", "x"),
            ("<!--<script>-->x", "x", "x"),
            ("x<", "x&lt;", "x&lt;"),
        ] {
            assert_eq!(cleaned(HtmlMode::Basic, text), basic, "{text}");
            assert_eq!(cleaned(HtmlMode::Strip, text), strip, "{text}");
        }
        let link = cleaned(HtmlMode::Basic, "<a href=\"https://x.example/\" onclick=x>x</a>");
        assert!(
            link.contains("https://x.example/") && link.contains("noopener") && !link.contains("onclick"),
            "{link}"
        );
        for bad in ["javascript:alert(1)", " java\tscript:alert(1)", "data:text/html,x", "vbscript:x", "//evil", "/x"] {
            let link = cleaned(HtmlMode::Basic, &format!("<a href=\"{bad}\">x</a>"));
            assert!(!link.contains("href"), "{bad}: {link}");
        }
    }

    #[test]
    fn text_that_is_no_markup_is_not_touched() {
        for text in [
            "",
            "hello",
            "a < b && c > d",
            "1<2",
            "x <= y",
            "AT&T? R & D",
            "a?b=c&d=e&lt",
            "&lt;b&gt;",
            "<3",
            "if (a<1) {}",
            "->",
            "\"quoted\"",
        ] {
            assert_eq!(clean(HtmlMode::Basic, text), None, "{text}");
        }
    }

    #[test]
    fn escaping_leaves_nothing_that_begins_markup() {
        assert_eq!(cleaned(HtmlMode::Escape, "<b a='1'>\"&amp;"), "&lt;b a=&#39;1&#39;&gt;&quot;&amp;");
        assert_eq!(clean(HtmlMode::Escape, "plain & simple"), None);
    }

    #[test]
    fn what_is_too_much_markup_once_its_tags_are_closed_is_escaped_at_once() {
        let open = |count| "<li>x".repeat(count);
        let (few, many) = (cleaned(HtmlMode::Basic, &open(TAGS / 2)), cleaned(HtmlMode::Basic, &open(TAGS / 2 + 1)));
        assert!(few.starts_with("<li>x</li>") && many.starts_with("&lt;li&gt;x&lt;li"), "{few} {many}");
        assert_eq!((clean(HtmlMode::Basic, &few), clean(HtmlMode::Basic, &many)), (None, None));
    }

    #[test]
    fn depth_is_no_way_in() {
        for piece in ["<b>", "<div>", "<a><p>", "<table><tr>", "<svg><math>", "<!--", "<"] {
            let text = format!("{}<script>alert(1)</script>", piece.repeat(20_000 / piece.len()));
            for mode in [HtmlMode::Basic, HtmlMode::Strip, HtmlMode::Escape] {
                assert!(!cleaned(mode, &text).contains("<script"), "{piece} {mode:?}");
            }
        }
    }

    fn markup() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("<script>".to_owned()),
            Just("</script>".to_owned()),
            Just("<b>".to_owned()),
            Just("</b>".to_owned()),
            Just("<a href='javascript:x'>".to_owned()),
            Just("<a href=http://a.b>".to_owned()),
            Just("</a>".to_owned()),
            Just("<svg><style>".to_owned()),
            Just("<math><mtext>".to_owned()),
            Just("<p>".to_owned()),
            Just("<!--".to_owned()),
            Just("-->".to_owned()),
            Just("<noscript>".to_owned()),
            Just("<template>".to_owned()),
            Just("&lt;".to_owned()),
            Just("<img onerror=x ".to_owned()),
            Just("'\"><".to_owned()),
            Just("<table><b>".to_owned()),
            "\\PC{0,4}",
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing_and_nothing_that_runs_is_left(text in markup()) {
            for mode in [HtmlMode::Basic, HtmlMode::Strip, HtmlMode::Escape] {
                let once = cleaned(mode, &text);
                prop_assert_eq!(clean(mode, &once), None, "{:?} {}", mode, once);
                let lower = once.to_ascii_lowercase();
                for bad in ["<script", "<svg", "<img", "<style", "<math", "<template", "<noscript", "<!--", "href=\"javascript"] {
                    prop_assert!(!lower.contains(bad), "{:?}: {}", mode, once);
                }
            }
        }
    }
}
