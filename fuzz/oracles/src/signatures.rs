//! Signatures: the book finds in a text exactly what each pattern finds by itself, with the word boundaries of ASCII; and
//! the look over a whole payload misses nothing that is in one of its strings.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use portcullis_common::config::model::Signatures;
use portcullis_gateway::pipeline::signature::book::Book;
use regex::Regex;
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    signature: Vec<Written>,
}

#[derive(Deserialize)]
struct Written {
    id: String,
    pattern: String,
}

static BOOK: LazyLock<Book> =
    LazyLock::new(|| Book::compile(&Signatures { builtin: true, file: None }).unwrap_or_else(|e| panic!("{e:?}")));

static EACH: LazyLock<Vec<(String, Regex)>> = LazyLock::new(|| {
    let file: File =
        toml::from_str(include_str!("../../../gateway/src/pipeline/signature/builtin.toml")).expect("signatures");
    let compile = |one: Written| {
        let pattern = one.pattern.replace(r"\b", r"(?-u:\b)");
        (one.id, Regex::new(&pattern).expect("a pattern"))
    };
    file.signature.into_iter().map(compile).collect()
});

/// One string.
pub fn signatures(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let found: BTreeSet<&str> = BOOK.find(text).map(|signature| &*signature.id).collect();
    let each: BTreeSet<&str> = EACH.iter().filter(|(_, one)| one.is_match(text)).map(|(id, _)| id.as_str()).collect();
    assert_eq!(found, each, "{text:?}");
    let payload = serde_json::to_string(text).expect("JSON");
    assert!(found.is_empty() || BOOK.may_find_in(&payload), "{found:?} in {payload}");
}
