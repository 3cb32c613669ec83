//! Patterns that prove themselves: what files of signatures and files of leaks have in common. Each pattern has an id, and
//! examples of what it finds and of what it does not, which are tried when it is loaded.

use regex::{Regex, RegexBuilder};
use serde::de::DeserializeOwned;

/// What one pattern may take, in bytes, compiled and while it runs.
const PATTERN: usize = 1 << 20;

/// Where patterns come from.
pub(super) struct Sources<'s> {
    /// The section of the configuration that names them.
    pub(super) section: &'static str,
    /// The product's own are wanted.
    pub(super) builtin: bool,
    /// The text of the operator's file, if there is one.
    pub(super) file: Option<&'s str>,
}

impl Sources<'_> {
    /// Compiles what is wanted; `own` is the product's, compiled already.
    ///
    /// # Errors
    /// The key path and a sentence each.
    pub(super) fn compile<W, B: Clone + Default>(
        &self,
        own: &Result<B, Vec<String>>,
        parse_own: impl FnOnce() -> Result<Vec<W>, String>,
        parse: impl FnOnce(&str) -> Result<Vec<W>, String>,
        of: impl FnOnce(Vec<W>) -> Result<B, Vec<String>>,
    ) -> Result<B, Vec<(String, String)>> {
        let at = |key: &str| {
            let path = format!("{}.{key}", self.section);
            move |all: Vec<String>| all.into_iter().map(|why| (path.clone(), why)).collect::<Vec<_>>()
        };
        let Some(text) = self.file else {
            return if self.builtin { own.clone().map_err(at("builtin")) } else { Ok(B::default()) };
        };
        let mut written = if self.builtin { parse_own().unwrap_or_default() } else { Vec::new() };
        written.extend(parse(text).map_err(|why| at("file")(vec![why]))?);
        of(written).map_err(at("file"))
    }
}

/// Reads a file of `what`; an error names the line.
pub(super) fn read<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| text.get(..span.start).unwrap_or_default().lines().count());
        format!("is not a file of {what}, at line {line}: {}", error.message())
    })
}

/// Whether an id may be one, and there are examples.
pub(super) fn legal(id: &str, hits: &[String], misses: &[String]) -> Result<(), String> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if id.is_empty() || id.len() > 64 || !id.bytes().all(letter) {
        return Err("the id must be 1 to 64 letters, digits, dots, dashes or underscores".to_owned());
    }
    if hits.is_empty() || misses.is_empty() {
        return Err("hits and misses need one example each, to prove what it finds and what it does not".to_owned());
    }
    Ok(())
}

/// A pattern by itself.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    match RegexBuilder::new(text).size_limit(PATTERN).dfa_size_limit(PATTERN).build() {
        Err(_) => Err("the pattern cannot be compiled (no look-around, no back-references)".to_owned()),
        Ok(pattern) if pattern.is_match("") => Err("the pattern finds nothing everywhere".to_owned()),
        Ok(pattern) => Ok(pattern),
    }
}

/// What its examples say against a pattern.
pub(super) fn disproof(hits: &[String], misses: &[String], finds: impl Fn(&str) -> bool) -> Option<String> {
    let missed = hits.iter().filter(|text| !finds(text)).count();
    let wrong = misses.iter().filter(|text| finds(text)).count();
    (missed + wrong > 0).then(|| format!("does not find {missed} of its hits, and finds {wrong} of its misses"))
}
