//! Signatures, compiled: one set of patterns, looked for in one pass over each string, in linear time.

use std::fmt;
use std::sync::{Arc, LazyLock};

use portcullis_common::config::model::Signatures;
use portcullis_common::wire::field::FieldPath;
use regex::{RegexSet, RegexSetBuilder};
use serde::Deserialize;

use super::gate::Gate;
use super::pattern;
use crate::pipeline::examples::{self, Sources};

/// The product's own.
const BUILTIN: &str = include_str!("builtin.toml");

/// Signatures at most, both files together.
pub const MOST: usize = 1_024;

/// What the automata of the set may take, in bytes, compiled and while they run.
const SET: usize = 16 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    signature: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    pattern: String,
    weight: u32,
    #[serde(default)]
    action: Action,
    #[serde(default)]
    on: On,
    #[serde(default)]
    fields: Vec<String>,
    hits: Vec<String>,
    misses: Vec<String>,
}

/// What a match does besides adding its weight to the connection's score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing.
    #[default]
    Score,
    /// The message is refused.
    Refuse,
}

/// Where a signature is looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// In strings.
    #[default]
    Values,
    /// In names of members.
    Keys,
}

/// One signature.
#[derive(Debug)]
pub struct Signature {
    /// What the log and metrics call it.
    pub id: Box<str>,
    /// What a match adds to the score.
    pub weight: u32,
    /// What a match does besides.
    pub action: Action,
    /// Where it is looked for.
    pub on: On,
    /// Only in these fields; everywhere where none is named.
    pub fields: Vec<FieldPath>,
}

/// All signatures of a policy; cheap to clone.
#[derive(Clone, Default)]
pub struct Book(Arc<Pages>);

#[derive(Default)]
struct Pages {
    set: Option<RegexSet>,
    /// Finds something in a text where one of the set would in a part of it.
    screen: Option<RegexSet>,
    /// Says of most texts that the screen would find nothing.
    gate: Option<Gate>,
    list: Vec<Signature>,
}

/// The product's own, compiled once a process.
static OWN: LazyLock<Result<Book, Vec<String>>> =
    LazyLock::new(|| parse(BUILTIN).map_err(|why| vec![why]).and_then(Book::of));

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("signatures", &self.len()).finish()
    }
}

impl Book {
    /// Compiles what the configuration names, and has every signature prove itself on its own examples.
    ///
    /// # Errors
    /// What is wrong: the key path and a sentence each, with the signature's id.
    pub fn compile(config: &Signatures) -> Result<Self, Vec<(String, String)>> {
        let file = config.file.as_ref().map(|file| &*file.text);
        let sources = Sources { section: "signatures", builtin: config.builtin, file };
        sources.compile(&OWN, || parse(BUILTIN), parse, Self::of)
    }

    fn of(written: Vec<Written>) -> Result<Self, Vec<String>> {
        if written.is_empty() {
            return Ok(Self::default());
        }
        if written.len() > MOST {
            return Err(vec![format!("has more than {MOST} signatures")]);
        }
        let mut problems: Vec<String> = written.iter().filter_map(Written::problem).collect();
        for (n, one) in written.iter().enumerate() {
            if written.iter().take(n).any(|earlier| earlier.id == one.id) {
                problems.push(format!("{}: is there twice", one.id));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let compile = |rewrite: fn(&str) -> Option<String>| {
            let patterns: Option<Vec<String>> = written.iter().map(|one| rewrite(&one.pattern)).collect();
            let set = patterns.map(|all| RegexSetBuilder::new(all).size_limit(SET).dfa_size_limit(SET).build());
            set.and_then(Result::ok).ok_or_else(|| vec!["all patterns together take too much memory".to_owned()])
        };
        let (set, screen) = (compile(pattern::of_strings)?, compile(pattern::of_payloads)?);
        for (n, one) in written.iter().enumerate() {
            let disproof = examples::disproof(&one.hits, &one.misses, |text| set.matches(text).matched(n));
            problems.extend(disproof.map(|why| format!("{}: {why}", one.id)));
        }
        let gate = Gate::of(written.iter().map(|one| &*one.pattern));
        let list: Result<Vec<Signature>, String> = written.into_iter().map(Written::signature).collect();
        match (list, problems.is_empty()) {
            (Ok(list), true) => Ok(Self(Arc::new(Pages { set: Some(set), screen: Some(screen), gate, list }))),
            (Err(why), _) => Err(vec![why]),
            _ => Err(problems),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.list.is_empty()
    }

    /// Whether a signature may fit a string of a payload that is written like this. Never false where one does. Cost:
    /// one pass over it.
    #[must_use]
    pub fn may_find_in(&self, payload: &str) -> bool {
        // what is spelled in another way is only found as it is meant
        let as_meant = memchr::memchr2(b'\\', b'%', payload.as_bytes()).is_none();
        let shut = |gate: &Gate| payload.is_ascii() && !gate.lets(payload.as_bytes());
        match &self.0.screen {
            Some(_) if !as_meant => true,
            Some(screen) => !self.0.gate.as_ref().is_some_and(shut) && screen.is_match(payload),
            None => false,
        }
    }

    /// The signatures that fit a text. Cost: one pass; a second only where something fits.
    pub fn find<'b>(&'b self, text: &str) -> impl Iterator<Item = &'b Signature> + use<'b> {
        let found = self.0.set.as_ref().filter(|set| set.is_match(text)).map(|set| set.matches(text));
        found.into_iter().flatten().filter_map(|n| self.0.list.get(n))
    }
}

impl Written {
    fn problem(&self) -> Option<String> {
        let weight = if (1..=1_000).contains(&self.weight) {
            Ok(())
        } else {
            Err("the weight must be between 1 and 1000".to_owned())
        };
        let good = examples::legal(&self.id, &self.hits, &self.misses).and(weight);
        let why = good.and_then(|()| examples::pattern(&self.pattern)).err()?;
        Some(format!("{}: {why}", self.id))
    }

    fn signature(self) -> Result<Signature, String> {
        let Self { id, weight, action, on, fields, .. } = self;
        let parse = |field: &String| FieldPath::parse(field).map_err(|why| format!("{id}: fields: {field} {why}"));
        let fields = fields.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Signature { id: id.into(), weight, action, on, fields })
    }
}

fn parse(text: &str) -> Result<Vec<Written>, String> {
    examples::read(text, "signatures").map(|file: File| file.signature)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn written(id: &str, pattern: &str, hit: &str, miss: &str) -> Result<Book, Vec<String>> {
        let text = format!(
            "[[signature]]\nid = '{id}'\npattern = '{pattern}'\nweight = 3\nhits = ['{hit}']\nmisses = ['{miss}']"
        );
        Book::of(parse(&text).unwrap())
    }

    #[test]
    fn every_builtin_signature_finds_its_hits_and_not_its_misses() {
        let book = Book::compile(&Signatures { builtin: true, file: None }).unwrap_or_else(|e| panic!("{e:#?}"));
        assert!(book.len() >= 20, "{}", book.len());
    }

    #[test]
    fn a_signature_that_does_not_prove_itself_is_refused() {
        assert_eq!(written("a", "evil", "so evil", "good").unwrap().len(), 1);
        for (id, pattern, hit, miss) in [
            ("a", "evil", "good", "good"),
            ("a", "evil", "evil", "evil"),
            ("a", "(?=x)", "x", "y"),
            ("a", "x*", "x", "y"),
            ("a b", "x", "x", "y"),
            ("", "x", "x", "y"),
            ("a", "(", "x", "y"),
        ] {
            assert!(written(id, pattern, hit, miss).is_err(), "{id} {pattern}");
        }
        assert!(parse("[[signature]]\nid = 'x'\nwrong = 1").is_err());
        let twice = "[[signature]]\nid = 'x'\npattern = 'q'\nweight = 1\nhits = ['q']\nmisses = ['p']\n".repeat(2);
        assert!(Book::of(parse(&twice).unwrap()).is_err());
    }

    #[test]
    fn a_file_of_signatures_is_bounded_and_says_what_is_wrong_with_it() {
        let file = |text: &str| {
            let file = portcullis_common::config::model::SignatureFile { path: "s.toml".into(), text: text.into() };
            Book::compile(&Signatures { builtin: false, file: Some(file) }).map_err(|problems| problems[0].1.clone())
        };
        let one = |id: &str, fields: &str| {
            format!("[[signature]]\nid = '{id}'\npattern = 'q'\nweight = 1\nhits = ['q']\nmisses = ['p']\n{fields}")
        };
        assert!(file("").unwrap().is_empty());
        assert_eq!(format!("{:?}", file(&one("a", "")).unwrap()), "Book { signatures: 1 }");
        let many: String = (0..=MOST).map(|n| one(&format!("s{n}"), "")).collect();
        for (text, why) in [
            ("[[signature]]", "at line"),
            (&one("a", "fields = ['a..b']"), "fields"),
            (&one("a", "").replace("weight = 1", "weight = 0"), "weight"),
            (&one("a", "").replace("['p']", "[]"), "misses"),
            (&one("a", "").replace("'q'", "'(?:[a-z]{1000}){1000}'"), "compiled"),
            (&many, "more than"),
        ] {
            let said = file(text).expect_err(why);
            assert!(said.contains(why), "{why}: {said}");
        }
        assert!(Book::compile(&Signatures { builtin: false, file: None }).unwrap().is_empty());
    }

    #[test]
    fn what_fits_a_string_may_be_found_in_its_payload() {
        let own = parse(BUILTIN).unwrap();
        let book = Book::of(parse(BUILTIN).unwrap()).unwrap();
        for hit in own.iter().flat_map(|one| &one.hits) {
            let hit = serde_json::to_string(hit).unwrap();
            for payload in [hit.clone(), format!("{{{hit}:1}}"), format!("[1,{{\"a\":{hit}}}]")] {
                assert!(book.may_find_in(&payload), "{payload}");
            }
        }
        let chat =
            r#"{"text":"the quick brown fox, O'Brien & co; cost: 5 < 6","tags":["a","b"],"n":[1,-2e3],"x":null}"#;
        assert!(!book.may_find_in(chat) && !Book::default().may_find_in("\\"));
    }

    /// The screen and its gate against the set itself, on what is made of pieces of the examples.
    #[test]
    fn no_payload_hides_a_string_that_fits() {
        let own = parse(BUILTIN).unwrap();
        let book = Book::of(parse(BUILTIN).unwrap()).unwrap();
        let examples: Vec<&String> = own.iter().flat_map(|one| one.hits.iter().chain(&one.misses)).collect();
        let mut rng = StdRng::seed_from_u64(1);
        let piece = |rng: &mut StdRng| {
            let chars: Vec<char> = examples.choose(rng).unwrap().chars().collect();
            let (a, b) = (rng.random_range(0..=chars.len()), rng.random_range(0..=chars.len()));
            chars[a.min(b)..a.max(b)].iter().collect::<String>()
        };
        let (mut found, mut shut) = (0, 0);
        for _ in 0..20_000 {
            let text: String = (0..rng.random_range(1..4)).map(|_| piece(&mut rng)).collect();
            let payload = serde_json::to_string(&text).unwrap();
            let (fits, may) = (book.find(&text).next().is_some(), book.may_find_in(&payload));
            assert!(may || !fits, "{payload}");
            found += usize::from(fits);
            shut += usize::from(book.0.gate.as_ref().is_some_and(|gate| !gate.lets(payload.as_bytes())));
        }
        assert!(found > 500 && shut > 500, "{found} fit, {shut} were told by the gate");
    }

    #[test]
    fn what_people_say_fits_nothing() {
        let book = Book::compile(&Signatures { builtin: true, file: None }).unwrap();
        for text in [
            "hello, how are you?",
            "select a seat from the plan",
            "O'Brien or O'Neil",
            "if (a < b && c > d) { return x; }",
            "https://example.com/a?b=c&d=e#f",
            "fn main() { println!(\"hi\"); }",
            "SELECT name FROM users WHERE id = 3",
            "SELECT * FROM t WHERE a = 'x' OR b = 'y'",
            "日本語のテキスト",
            "مرحبا",
            "👩‍👩‍👧",
            "\\frac{1}{2} < x",
            "npm install && npm test",
            "<b>bold</b> and <i>it</i>",
            "{{ user.name }}",
            "cost is $5; update me tomorrow",
            "a|b|c",
            "#hashtag @someone",
        ] {
            let found: Vec<&str> = book.find(text).map(|s| &*s.id).collect();
            assert!(found.is_empty(), "{text}: {found:?}");
        }
    }
}
