//! The judge of the cleaner: another parser (`html5gum`, a tokenizer of its own after the WHATWG's text) reads what the
//! cleaner gives out, and must find nothing in it that runs, loads or leads away.

use html5gum::{Token, Tokenizer};
use proptest::prelude::*;

use super::*;

/// What `basic` lets through: the cleaner's own list, written down twice on purpose.
const TAGS: &str = "a b blockquote br code del em i li ol p pre s strong sub sup u ul";

fn listed(tag: &str) -> bool {
    TAGS.split(' ').any(|one| one == tag)
}

/// Payloads that mutate when they are parsed and written again, and others that cleaners have missed.
const KNOWN: &[&str] = &[
    "<svg></p><style><a id=\"</style><img src=1 onerror=alert(1)>\">",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "<form><math><mtext></form><form><mglyph><svg><mtext><style><path id=\"</style><img onerror=alert(1) src>\">",
    "<template><style></template><img src=x onerror=alert(1)></style>",
    "<xmp><p title=\"</xmp><img src=x onerror=alert(1)>\">",
    "<a href=\"&#106;avascript&colon;alert(1)\">x</a>",
    "<a href=\"java&Tab;script&NewLine;:alert(1)\">x</a>",
    "<a href=\" \u{1}javascript:alert(1)\">x</a>",
    "<a href=\"https:alert(1)//\u{0}javascript:\">x</a>",
    "<a href='data:text/html;base64,PHNjcmlwdD4='>x</a>",
    "<a href=//evil.example>x</a>",
    "<a href=\"http://a\" href=\"javascript:x\" onclick=x style=x>x</a>",
    "<b/onmouseover=alert(1)/x>x</b>",
    "<p title='\"><script>alert(1)</script>'>x",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<!--!><script>x</script>",
    "<?xml <img src=x onerror=alert(1)>?>",
    "</p><img src=x onerror=alert(1)//",
    "<img src=x onerror=alert(1)",
    "<select><noembed></select><script x='a@b'a></noembed><script>alert(1)</script>",
    "<table><td background=javascript:alert(1)><a\u{c}href=javascript:x>",
    "<plaintext><script>alert(1)</script>",
    "<title><a href=\"</title><svg/onload=alert(1)>\">",
];

/// What is wrong with a text in a page, as the other parser reads it.
fn found(mode: HtmlMode, text: &str) -> Option<String> {
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Tokenizer::new(text).flatten().find_map(|token| match token {
        Token::StartTag(tag) => {
            let called = name(&tag.name);
            if mode != HtmlMode::Basic || !listed(&called) {
                return Some(format!("a tag {called}"));
            }
            tag.attributes.iter().find_map(|(key, value)| {
                let legal = called == "a" && ["href", "title", "rel"].contains(&name(key).as_str());
                let leads = name(key) == "href" && !leads_nowhere_bad(&name(value));
                (!legal || leads).then(|| format!("{called} {}={}", name(key), name(value)))
            })
        }
        Token::EndTag(tag) if mode != HtmlMode::Basic || !listed(&name(&tag.name)) => {
            Some(format!("an end of {}", name(&tag.name)))
        }
        Token::Comment(_) => Some("a comment".to_owned()),
        Token::Doctype(_) => Some("a doctype".to_owned()),
        Token::EndTag(_) | Token::String(_) | Token::Error(_) => None,
    })
}

/// Whether a browser would take the address for one of the schemes that are allowed: it drops tabs and line ends, and
/// controls and spaces in front (WHATWG URL, 4.4).
fn leads_nowhere_bad(href: &str) -> bool {
    let href: String = href.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let href = href.trim_start_matches(|c: char| c <= ' ').to_ascii_lowercase();
    ["http:", "https:", "mailto:"].iter().any(|scheme| href.starts_with(scheme))
}

fn judged(text: &str) -> Result<(), TestCaseError> {
    for mode in [HtmlMode::Basic, HtmlMode::Strip, HtmlMode::Escape] {
        let once = clean(mode, text).unwrap_or_else(|| text.to_owned());
        prop_assert_eq!(found(mode, &once), None, "{:?} of {:?} is {:?}", mode, text, once);
        prop_assert_eq!(clean(mode, &once), None, "{:?} of {:?} twice", mode, text);
    }
    Ok(())
}

#[test]
fn what_other_cleaners_have_missed_is_harmless_here() {
    for text in KNOWN {
        judged(text).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn the_judge_finds_what_it_is_asked_for() {
    for text in [
        "<script>x</script>",
        "<b onclick=x>",
        "<a href=javascript:x>",
        "<a href='&#106;avascript:x'>",
        "<a href=\"java\tscript:x\">",
        "<a href=/x>",
        "<!-- x -->",
        "<!doctype html>",
        "</script>",
        "<svg/onload=x>",
    ] {
        assert!(found(HtmlMode::Basic, text).is_some(), "{text}");
    }
    assert_eq!(found(HtmlMode::Basic, "<a href='https://x' title=y rel=z><b>x</b></a> 1 < 2"), None);
    assert!(found(HtmlMode::Strip, "<b>").is_some());
}

/// Tags, allowed and not.
const NAMES: &[&str] = &[
    "script",
    "style",
    "b",
    "a",
    "p",
    "svg",
    "math",
    "mtext",
    "mglyph",
    "noscript",
    "template",
    "table",
    "td",
    "select",
    "form",
    "title",
    "textarea",
    "xmp",
    "iframe",
    "br",
    "li",
    "annotation-xml",
    "foreignobject",
    "plaintext",
];

/// Pieces of the above, and of what is around them.
fn pieces() -> impl Strategy<Value = String> {
    let whole = proptest::sample::select(KNOWN).prop_map(str::to_owned);
    let cut = (proptest::sample::select(KNOWN), 0usize..90, 0usize..90)
        .prop_map(|(text, from, to)| text.chars().skip(from.min(to)).take(from.abs_diff(to)).collect::<String>());
    let tag = (
        proptest::sample::select(NAMES),
        proptest::sample::select(
            &[
                "<{}>",
                "</{}>",
                "<{}/>",
                "<{} href=\"javascript:x\">",
                "<{} href='http://a.b/'>",
                "<{} onclick=x title=\"",
                "<{}\t",
            ][..],
        ),
    );
    let tag = tag.prop_map(|(tag, form)| form.replace("{}", tag));
    let noise = prop_oneof![
        "\\PC{0,6}",
        "[<>&\"'=/! -]{1,6}",
        "(&[a-z#0-9]{1,6};?){1,3}",
        "(<!--|-->|<!\\[CDATA\\[|\\]\\]>|--!>|<!)"
    ];
    proptest::collection::vec(prop_oneof![1 => whole, 2 => cut, 5 => tag, 3 => noise], 1..10)
        .prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn another_parser_finds_nothing_that_runs_loads_or_leads_away(text in pieces()) {
        judged(&text)?;
    }
}
