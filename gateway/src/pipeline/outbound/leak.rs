//! What must not leave: patterns, compiled, and what is found of them made unreadable.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use portcullis_common::config::model::Leaks;
use regex::{Regex, RegexSet, RegexSetBuilder};
use serde::Deserialize;

use super::card;
use crate::pipeline::examples::{self, Sources};

/// The product's own.
const BUILTIN: &str = include_str!("builtin.toml");

/// Patterns at most, both files together.
pub const MOST: usize = 256;

/// What the set of all patterns may take, in bytes, compiled and while it runs.
const SET: usize = 16 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    leak: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    pattern: Option<String>,
    check: Option<Check>,
    #[serde(default)]
    action: Action,
    hits: Vec<String>,
    misses: Vec<String>,
}

/// What no pattern can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Check {
    /// Numbers of payment cards.
    Card,
}

/// What is done about a leak where its type says `as_written`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made unreadable.
    #[default]
    Mask,
    /// The message is not delivered.
    Block,
}

/// One kind of leak.
#[derive(Debug)]
pub struct Leak {
    /// What the log calls it.
    pub id: Box<str>,
    /// What is done about it.
    pub action: Action,
}

/// All leaks of a policy; cheap to clone.
#[derive(Clone, Default)]
pub struct Book(Arc<Pages>);

#[derive(Default)]
struct Pages {
    /// The patterns of `patterns`, in the same order: whether anything is found at all takes one pass.
    set: Option<RegexSet>,
    /// Place in `list` and the pattern.
    patterns: Vec<(usize, Regex)>,
    /// The place in `list` of what looks for cards.
    card: Option<usize>,
    list: Vec<Leak>,
}

/// The product's own, compiled once a process.
static OWN: LazyLock<Result<Book, Vec<String>>> =
    LazyLock::new(|| parse(BUILTIN).map_err(|why| vec![why]).and_then(Book::of));

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("leaks", &self.len()).finish()
    }
}

impl Book {
    /// Compiles what the configuration names, and has every pattern prove itself on its own examples.
    ///
    /// # Errors
    /// What is wrong: the key path and a sentence each, with the leak's id.
    pub fn compile(config: &Leaks) -> Result<Self, Vec<(String, String)>> {
        let file = config.file.as_ref().map(|file| &*file.text);
        let sources = Sources { section: "leaks", builtin: config.builtin, file };
        sources.compile(&OWN, || parse(BUILTIN), parse, Self::of)
    }

    fn of(written: Vec<Written>) -> Result<Self, Vec<String>> {
        if written.len() > MOST {
            return Err(vec![format!("has more than {MOST} patterns")]);
        }
        let mut pages = Pages::default();
        let mut problems = Vec::new();
        for (n, one) in written.iter().enumerate() {
            let twice = written.iter().take(n).any(|earlier| earlier.id == one.id);
            let compiled = if twice { Err("is there twice".to_owned()) } else { one.compiled() };
            match compiled {
                Err(why) => problems.push(format!("{}: {why}", one.id)),
                Ok(None) if pages.card.is_some() => problems.push(format!("{}: cards are looked for already", one.id)),
                Ok(None) => pages.card = Some(n),
                Ok(Some(pattern)) => pages.patterns.push((n, pattern)),
            }
            pages.list.push(Leak { id: one.id.as_str().into(), action: one.action });
        }
        let patterns = pages.patterns.iter().map(|(_, pattern)| pattern.as_str());
        pages.set = match RegexSetBuilder::new(patterns).size_limit(SET).dfa_size_limit(SET).build() {
            Ok(set) => Some(set).filter(|set| !set.is_empty()),
            Err(_) => return Err(vec!["all patterns together take too much memory".to_owned()]),
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let book = Self(Arc::new(pages));
        for (n, one) in written.iter().enumerate() {
            let finds = |text: &str| book.find(text).iter().any(|found| found.leak == n);
            let disproof = examples::disproof(&one.hits, &one.misses, finds);
            problems.extend(disproof.map(|why| format!("{}: {why}", one.id)));
        }
        if problems.is_empty() { Ok(book) } else { Err(problems) }
    }

    /// How many kinds are looked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.list.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.list.is_empty()
    }

    /// A kind by its place.
    #[must_use]
    pub fn leak(&self, place: usize) -> Option<&Leak> {
        self.0.list.get(place)
    }

    /// All that is found in a text, by where it begins. Cost: one pass, and one more for each kind that is found.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        if let Some(set) = self.0.set.as_ref().filter(|set| set.is_match(text)) {
            for (leak, pattern) in set.matches(text).iter().filter_map(|n| self.0.patterns.get(n)) {
                found.extend(pattern.find_iter(text).map(|m| Found { leak: *leak, range: m.range() }));
            }
        }
        if let Some(leak) = self.0.card {
            card::find(text, |range| found.push(Found { leak, range }));
        }
        found.sort_by_key(|one| one.range.start);
        found
    }
}

/// Something that must not leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which kind, by its place.
    pub leak: usize,
    /// Where, in bytes of the text as it is meant.
    pub range: Range<usize>,
}

impl Written {
    /// The pattern; `None` where cards are looked for.
    fn compiled(&self) -> Result<Option<Regex>, String> {
        examples::legal(&self.id, &self.hits, &self.misses)?;
        let Some(pattern) = self.pattern.as_ref().filter(|_| self.check.is_none()) else {
            let card = self.check == Some(Check::Card) && self.pattern.is_none();
            return if card { Ok(None) } else { Err("needs either a pattern or a check".to_owned()) };
        };
        examples::pattern(pattern).map(Some)
    }
}

fn parse(text: &str) -> Result<Vec<Written>, String> {
    examples::read(text, "leaks").map(|file: File| file.leak)
}

/// A string as written, without its quotes, with every character of what was found replaced by `*`; nothing else changes,
/// and it does not get longer. `found` is by where it begins, in bytes of what the string means.
#[must_use]
pub fn masked(raw: &str, meant: &str, found: &[Found]) -> String {
    let mut out = String::with_capacity(raw.len());
    let (mut rest, mut at, mut open) = (raw, 0, found.iter().peekable());
    let mut until = 0;
    for c in meant.chars() {
        let (unit, behind) = rest.split_at_checked(unit(rest)).unwrap_or((rest, ""));
        while let Some(next) = open.next_if(|next| next.range.start <= at) {
            until = until.max(next.range.end);
        }
        out.push_str(if at < until { "*" } else { unit });
        at += c.len_utf8();
        rest = behind;
    }
    out
}

/// How many bytes the first character takes as it is written.
fn unit(raw: &str) -> usize {
    match raw.as_bytes() {
        // half of a pair: the other half follows, or the scan had refused it
        [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..] => 12,
        [b'\\', b'u', ..] => 6,
        [b'\\', _, ..] => 2,
        _ => raw.chars().next().map_or(0, char::len_utf8),
    }
}

/// A number as written, with the digits of what was found replaced by zeros, but for the first of the number: what a
/// number begins with must not be a zero.
#[must_use]
pub fn zeroed(raw: &str, found: &[Found]) -> String {
    let first = raw.find(|c: char| c.is_ascii_digit());
    let hidden = |at: usize| Some(at) != first && found.iter().any(|one| one.range.contains(&at));
    raw.char_indices().map(|(at, c)| if c.is_ascii_digit() && hidden(at) { '0' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Book {
        Book::compile(&Leaks { default: portcullis_common::config::model::LeakUse::Mask, builtin: true, file: None })
            .unwrap_or_else(|e| panic!("{e:#?}"))
    }

    #[test]
    fn every_builtin_pattern_finds_its_hits_and_not_its_misses() {
        assert!(own().len() >= 15, "{}", own().len());
    }

    #[test]
    fn a_pattern_that_does_not_prove_itself_is_refused() {
        let one = |body: &str| {
            let text = format!("[[leak]]\nid = 'a'\n{body}\n");
            parse(&text).map_err(|why| vec![why]).and_then(Book::of)
        };
        assert_eq!(one("pattern = 'evil'\nhits = ['so evil']\nmisses = ['good']").unwrap().len(), 1);
        for body in [
            "pattern = 'evil'\nhits = ['good']\nmisses = ['good']",
            "pattern = 'evil'\nhits = ['evil']\nmisses = ['evil']",
            "pattern = '(?=x)'\nhits = ['x']\nmisses = ['y']",
            "pattern = 'x*'\nhits = ['x']\nmisses = ['y']",
            "pattern = 'x'\nhits = []\nmisses = ['y']",
            "hits = ['x']\nmisses = ['y']",
            "check = 'card'\nhits = ['4111111111111112']\nmisses = ['y']",
            "check = 'card'\npattern = 'x'\nhits = ['4111111111111111']\nmisses = ['y']",
            "pattern = 'x'\nwrong = 1\nhits = ['x']\nmisses = ['y']",
        ] {
            assert!(one(body).is_err(), "{body}");
        }
        let twice = "[[leak]]\nid = 'x'\npattern = 'q'\nhits = ['q']\nmisses = ['p']\n".repeat(2);
        assert!(Book::of(parse(&twice).unwrap()).is_err());
    }

    #[test]
    fn what_people_and_programs_say_is_no_leak() {
        let book = own();
        for text in [
            "hello, how are you?",
            "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "550e8400-e29b-41d4-a716-446655440000",
            "+49 (0)221 / 12345-67",
            "2026-11-23T04:00:00.123456789Z",
            "https://example.com/a?b=c&d=1234567890123",
            "order 4111 from 2024, invoice 1111-2222",
            "sk_test and pk_live are prefixes",
            "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
            "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16",
            "ISBN 978-0-306-40615-7",
            "1700000000000 ms",
        ] {
            assert_eq!(book.find(text), [], "{text}");
        }
    }

    #[test]
    fn a_mask_takes_what_was_found_and_leaves_every_other_byte() {
        let book = own();
        for (raw, after) in [
            ("pay 4111111111111111 now", "pay **************** now"),
            (r"\t4111\u00201111 1111 1111\n", r"\t*******************\n"),
            (r"\ud7ff4111111111111111", r"\ud7ff****************"),
            (r"\u0034111111111111111", "****************"),
            (r"\ud83d\ude00 4111111111111111 😀", r"\ud83d\ude00 **************** 😀"),
            ("4111111111111111, 5555555555554444", "****************, ****************"),
        ] {
            let meant: String = serde_json::from_str(&format!("\"{raw}\"")).unwrap();
            assert_eq!(masked(raw, &meant, &book.find(&meant)), after);
        }
        assert_eq!(masked("äöü", "äöü", &[Found { leak: 0, range: 2..4 }]), "ä*ü");
        let number = |raw: &str| zeroed(raw, &book.find(raw));
        assert_eq!(number("4111111111111111"), "4000000000000000");
        assert_eq!(number("-4111111111111111"), "-4000000000000000");
        assert_eq!(number("12"), "12");
    }
}
