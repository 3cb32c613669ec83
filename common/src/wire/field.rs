//! Which values of a payload a rule is about: `text`, `author.name`, `files[].path`; `$` is the payload itself.

use std::fmt;

use super::tape::Item;

/// The longest field path, in steps: no payload is nested deeper.
const MAX_STEPS: usize = 16;

/// A field of a payload, relative to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath {
    /// From the outside in; empty for the payload itself.
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The member with this key.
    Key(Box<str>),
    /// Every item of an array.
    Each,
}

impl FieldPath {
    /// Reads a path: keys between dots, `[]` behind one for every item of an array. Keys with a dot, a bracket or nothing
    /// in them cannot be named.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let rest = match text.strip_prefix('$') {
            Some("") => return Ok(Self { steps }),
            Some(rest) if rest.starts_with("[]") => rest,
            _ => text,
        };
        for (n, part) in rest.split('.').enumerate() {
            let key = part.trim_end_matches("[]");
            if key.contains(['[', ']', '$']) || key.chars().any(char::is_control) {
                return Err(
                    "is not a field: keys between dots, `[]` for every item of a list, as in \"files[].name\"".into()
                );
            }
            if !key.is_empty() {
                steps.push(Step::Key(key.into()));
            } else if n > 0 || rest == text {
                return Err("has an empty key: write \"a.b\", \"list[].c\", or \"$\" for the payload itself".into());
            }
            steps.extend(std::iter::repeat_n(Step::Each, (part.len() - key.len()) / 2));
        }
        if steps.len() > MAX_STEPS { Err(format!("is deeper than {MAX_STEPS} levels")) } else { Ok(Self { steps }) }
    }

    /// Whether `item` is this field of the payload that stands at `root`. From the inside out: most values are told apart
    /// by their own key.
    #[must_use]
    pub fn matches(&self, root: Item<'_>, item: Item<'_>) -> bool {
        let mut item = item;
        for step in self.steps.iter().rev() {
            if item.place() == root.place() {
                return false;
            }
            let fits = match step {
                Step::Key(key) => item.key() == Some(key),
                Step::Each => item.key().is_none(),
            };
            match item.parent() {
                Some(parent) if fits => item = parent,
                _ => return false,
            }
        }
        item.place() == root.place()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(self.steps.first(), Some(Step::Key(_))) {
            f.write_str("$")?;
        }
        for (n, step) in self.steps.iter().enumerate() {
            match step {
                Step::Key(key) if n > 0 => write!(f, ".{key}")?,
                Step::Key(key) => f.write_str(key)?,
                Step::Each => f.write_str("[]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::{Bounds, Scratch, scan};
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut scratch = Scratch::default();
        scan(text, Bounds::default(), &mut scratch).unwrap();
        let root = scratch.tape(text).root().unwrap();
        let payload = root.get("payload").unwrap();
        let path = FieldPath::parse(path).unwrap();
        root.subtree().filter(|item| path.matches(payload, *item)).map(|item| item.raw().to_owned()).collect()
    }

    #[test]
    fn a_path_finds_its_values_and_no_others() {
        let text = r#"{"text":0,"payload":{"text":1,"a":{"text":2,"b":[{"text":3},{"te\u0078t":4},[{"text":5}]]}}}"#;
        for (path, values) in [
            ("text", &["1"][..]),
            ("a.text", &["2"]),
            ("a.b[].text", &["3", "4"]),
            ("a.b[][].text", &["5"]),
            ("b.text", &[]),
            ("payload.text", &[]),
        ] {
            assert_eq!(found(path, text), values, "{path}");
        }
        assert_eq!(found("$", r#"{"payload":"x"}"#), ["\"x\""]);
        assert_eq!(found("$[]", r#"{"payload":["x",["y"]]}"#), ["\"x\"", "[\"y\"]"]);
        assert_eq!(found("$[].n", r#"{"payload":[{"n":7}]}"#), ["7"]);
    }

    #[test]
    fn paths_are_written_as_they_are_read_and_nonsense_is_refused() {
        for path in ["text", "a.b", "a[].b", "$", "$[]", "$[][].x", "a.b[]"] {
            assert_eq!(FieldPath::parse(path).unwrap().to_string(), path);
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a[0]", "[]", "a[", "$.a", "$a", "a\n", &"a.".repeat(20)] {
            assert!(FieldPath::parse(bad).is_err(), "{bad:?}");
        }
    }
}
