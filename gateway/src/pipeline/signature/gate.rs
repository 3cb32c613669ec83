//! What a payload has to contain before any pattern could fit one of its strings: one of a few bytes, or one of a few
//! words of three letters. Most text has none of them, and that is found sixteen and more bytes at a time, where the
//! automaton of all patterns looks at each byte.
//!
//! Only for a payload that is ASCII and has neither backslash nor percent sign. Its strings then stand as they are meant,
//! and so have no quote and no control character in them either: what needs one of these cannot fit.

use std::collections::BTreeSet;

use aho_corasick::packed::{Config, MatchKind, Searcher};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Letters of a word.
const WORD: usize = 3;

/// Members of a class beyond which nothing is expected of it.
const FEW: usize = 6;

/// Letters from the most to the least frequent in English text.
const FREQUENT: &[u8] = b"etaoinshrdlucmfwypvbgkjqxz";

/// See the module.
pub(super) struct Gate {
    bytes: Vec<u8>,
    words: Option<Searcher>,
}

impl Gate {
    /// For these patterns; `None` where one of them may fit any text, or where there are too many words.
    pub(super) fn of<'p>(patterns: impl Iterator<Item = &'p str>) -> Option<Self> {
        let mut all = Marks::default();
        for pattern in patterns {
            match need(&regex_syntax::parse(pattern).ok()?) {
                Need::Nothing => return None,
                Need::Never => {}
                Need::OneOf(marks) => all.join(marks),
            }
        }
        let words = if all.words.is_empty() {
            None
        } else {
            Some(Config::new().match_kind(MatchKind::LeftmostFirst).builder().extend(&all.words).build()?)
        };
        Some(Self { bytes: all.bytes.into_iter().collect(), words })
    }

    /// False: none of the patterns fits a string of this payload. Cost: a few passes of vector instructions.
    pub(super) fn lets(&self, payload: &[u8]) -> bool {
        let found = |three: &[u8]| match *three {
            [a, b, c] => memchr::memchr3(a, b, c, payload).is_some(),
            [a, b] => memchr::memchr2(a, b, payload).is_some(),
            [a] => memchr::memchr(a, payload).is_some(),
            _ => false,
        };
        self.bytes.chunks(3).any(found) || self.words.as_ref().is_some_and(|words| words.find(payload).is_some())
    }
}

/// What is in every match of a pattern.
enum Need {
    /// There is no match.
    Never,
    /// One of these at least.
    OneOf(Marks),
    /// Nothing that is known.
    Nothing,
}

#[derive(Default)]
struct Marks {
    bytes: BTreeSet<u8>,
    words: BTreeSet<[u8; WORD]>,
}

impl Marks {
    fn join(&mut self, other: Self) {
        self.bytes.extend(other.bytes);
        self.words.extend(other.words);
    }

    /// How often ordinary text has one of these, and what looking for them costs: a measure to compare by.
    fn weight(&self) -> usize {
        let common = |letter: &u8| {
            let place = FREQUENT.iter().position(|one| *one == letter.to_ascii_lowercase());
            place.map_or(0, |place| FREQUENT.len() - place)
        };
        let word = |word: &[u8; WORD]| 20 + word.iter().map(common).sum::<usize>();
        5 * self.bytes.len() + self.words.iter().map(word).sum::<usize>()
    }
}

/// Bytes that a place of a match may have, as far as they can be in a string.
type Place = BTreeSet<u8>;

fn can_be(byte: &u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_control() && !matches!(byte, b'"' | b'\\' | b'%')
}

/// Whether it is no letter, and nothing that JSON or plain text is full of.
fn is_rare(byte: &u8) -> bool {
    !byte.is_ascii_alphanumeric() && !b" \":,{}[]._-?!".contains(byte)
}

fn need(hir: &Hir) -> Need {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Need::Nothing,
        HirKind::Literal(_) | HirKind::Class(_) => of_row(std::slice::from_ref(hir)),
        HirKind::Repetition(repetition) if repetition.min == 0 => Need::Nothing,
        HirKind::Repetition(repetition) => need(&repetition.sub),
        HirKind::Capture(capture) => need(&capture.sub),
        HirKind::Concat(all) => of_row(all),
        HirKind::Alternation(all) => of_any(all),
    }
}

fn of_any(all: &[Hir]) -> Need {
    let mut marks = Marks::default();
    let mut ever = false;
    for one in all {
        match need(one) {
            Need::Nothing => return Need::Nothing,
            Need::Never => {}
            Need::OneOf(more) => {
                ever = true;
                marks.join(more);
            }
        }
    }
    if ever { Need::OneOf(marks) } else { Need::Never }
}

/// The lightest of what the parts, and the words that they make up, need.
fn of_row(all: &[Hir]) -> Need {
    let mut best: Option<Marks> = None;
    let mut better = |marks: Marks| {
        if best.as_ref().is_none_or(|best| marks.weight() < best.weight()) {
            best = Some(marks);
        }
    };
    let mut run: Vec<Place> = Vec::new();
    for part in all {
        let places: Vec<Place> = match part.kind() {
            HirKind::Literal(literal) => literal.0.iter().map(|byte| Place::from([*byte])).collect(),
            HirKind::Class(class) => vec![members(class)],
            HirKind::Look(_) => continue,
            _ => {
                run.clear();
                match need(part) {
                    Need::Never => return Need::Never,
                    Need::OneOf(marks) => better(marks),
                    Need::Nothing => {}
                }
                continue;
            }
        };
        for place in places {
            let place: Place = place.into_iter().filter(can_be).collect();
            if place.is_empty() {
                return Need::Never;
            }
            if place.len() <= FEW && place.iter().all(is_rare) {
                better(Marks { bytes: place.clone(), ..Marks::default() });
            }
            run.push(place);
            if let Some([a, b, c]) = run.last_chunk::<WORD>()
                && let Some(words) = words(a, b, c)
            {
                better(Marks { words, ..Marks::default() });
            }
        }
    }
    best.map_or(Need::Nothing, Need::OneOf)
}

/// Every spelling of a word whose places are one letter each, in either case.
fn words(a: &Place, b: &Place, c: &Place) -> Option<BTreeSet<[u8; WORD]>> {
    let one_letter = |place: &Place| {
        let mut letters = place.iter().map(u8::to_ascii_lowercase);
        let first = letters.next();
        letters.all(|letter| Some(letter) == first)
    };
    let whole = [a, b, c].into_iter().all(one_letter);
    let spellings = || a.iter().flat_map(move |x| b.iter().flat_map(move |y| c.iter().map(move |z| [*x, *y, *z])));
    whole.then(|| spellings().collect())
}

/// The ASCII characters of a class.
fn members(class: &Class) -> Place {
    let ascii = (0..0x80_u8).filter(|byte| match class {
        Class::Unicode(class) => {
            let letter = char::from(*byte);
            class.iter().any(|range| (range.start()..=range.end()).contains(&letter))
        }
        Class::Bytes(class) => class.iter().any(|range| (range.start()..=range.end()).contains(byte)),
    });
    ascii.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets(pattern: &str, payload: &str) -> bool {
        Gate::of([pattern].into_iter()).expect("a gate").lets(payload.as_bytes())
    }

    #[test]
    fn a_payload_passes_with_a_mark_of_one_pattern_and_not_without() {
        for (pattern, with, without) in [
            (r"(?i)\bunion\s+select\b", "a UNION select b", "a un-ion s-e-l-e-c-t"),
            (r"(?i)(drop|alter)\s+table", "ALTER  TABLE", "a drip, a tabard"),
            (r"x?;\s*ls", "a;b", "xls"),
            (r"(<|>=)a", ">=", "a b"),
            (r#"["']\s*or"#, "it's", "this or that"),
            (r"(ab|cd)*\$", "$", "abcd"),
            (r"evil+", "EVIL evil", "EVIL"),
            (r"a.c#", "#", "abc"),
        ] {
            assert!(lets(pattern, with), "{pattern}: {with}");
            assert!(!lets(pattern, without), "{pattern}: {without}");
        }
    }

    #[test]
    fn a_pattern_that_needs_nothing_in_particular_leaves_no_gate() {
        for pattern in [r"\d+", r"[a-z]{8}", r"(union)?", r"a|bcd", r"^x", r"\w+\s\w+"] {
            assert!(Gate::of([pattern].into_iter()).is_none(), "{pattern}");
            assert!(Gate::of([";", pattern].into_iter()).is_none(), "{pattern}");
        }
    }

    #[test]
    fn what_no_string_of_such_a_payload_can_contain_is_waited_for_by_nobody() {
        for pattern in [r#"a"b"#, r"\\x", r"\n", "é", "%0d", "(%2e|．)/"] {
            assert!(!lets(pattern, r#"{"a":"b;/"}"#), "{pattern}");
        }
    }
}
