//! Rewrites what patterns ask about the places around a match.

use regex_syntax::hir::{Capture, Hir, HirKind, Look, Repetition};

/// For strings as they are meant: word boundaries are ASCII's, so that text in any script is looked through at the same
/// speed. `None`: not a pattern.
pub(super) fn of_strings(pattern: &str) -> Option<String> {
    rewrite(pattern, &|look| match look {
        Look::WordUnicode => Some(Look::WordAscii),
        Look::WordStartUnicode => Some(Look::WordStartAscii),
        Look::WordEndUnicode => Some(Look::WordEndAscii),
        Look::WordStartHalfUnicode => Some(Look::WordStartHalfAscii),
        Look::WordEndHalfUnicode => Some(Look::WordEndHalfAscii),
        other => Some(other),
    })
}

/// For a payload in which every string stands as it is meant, between quotes: fits it where a pattern of
/// [`of_strings`] fits one of its strings. A string's ends are not its text's, so nothing is asked about ends; a quote
/// is no part of a word, so word boundaries hold where they held.
pub(super) fn of_payloads(pattern: &str) -> Option<String> {
    rewrite(&of_strings(pattern)?, &|look| match look {
        Look::Start | Look::End | Look::StartLF | Look::EndLF | Look::StartCRLF | Look::EndCRLF => None,
        other => Some(other),
    })
}

fn rewrite(pattern: &str, change: &dyn Fn(Look) -> Option<Look>) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    Some(walk(hir, change).to_string())
}

/// As deep as the pattern is nested, which its parser bounds.
fn walk(hir: Hir, change: &dyn Fn(Look) -> Option<Look>) -> Hir {
    match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => change(look).map_or_else(Hir::empty, Hir::look),
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            Hir::repetition(Repetition { min, max, greedy, sub: Box::new(walk(*sub, change)) })
        }
        HirKind::Capture(Capture { sub, .. }) => walk(*sub, change),
        HirKind::Concat(all) => Hir::concat(all.into_iter().map(|sub| walk(sub, change)).collect()),
        HirKind::Alternation(all) => Hir::alternation(all.into_iter().map(|sub| walk(sub, change)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn a_pattern_of_payloads_fits_where_one_of_strings_fits_a_string() {
        for (pattern, text) in [
            (r"^\$gt$", "$gt"),
            (r"(?m)^evil$", "evil"),
            (r"\bunion\b", "union"),
            (r"(?i)--\s*$", "x --"),
            (r"(a|^b)+c{2,3}?$", "bacc"),
            (r"\w\Bz", "éz"),
        ] {
            assert!(Regex::new(&of_strings(pattern).unwrap()).unwrap().is_match(text), "{pattern}");
            let quoted = format!("[\"{text}\"]");
            assert!(Regex::new(&of_payloads(pattern).unwrap()).unwrap().is_match(&quoted), "{pattern}");
        }
        assert_eq!(of_strings("("), None);
    }

    #[test]
    fn words_end_where_ascii_says() {
        let word = Regex::new(&of_strings(r"\bor\b").unwrap()).unwrap();
        assert!(word.is_match("éor 1") && word.is_match("an or") && !word.is_match("for"));
    }
}
