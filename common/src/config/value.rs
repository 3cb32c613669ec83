//! One value: strings, numbers, choices. No message repeats what was written, for it may be a secret in the wrong place.

use std::ops::RangeInclusive;

use config::{Value, ValueKind};

use super::error::suggestion;
use super::read::of_environment;
use crate::ids::{BadName, TypeName};

/// What a value is, in words.
pub(super) fn kind(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "a boolean",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "an integer",
        ValueKind::Float(_) => "a decimal number",
        ValueKind::String(_) => "a string",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    }
}

/// A string, as it is.
pub(super) fn text(value: &Value) -> Result<&str, String> {
    match &value.kind {
        ValueKind::String(text) => Ok(text),
        other => Err(format!("must be a string, not {}", kind(other))),
    }
}

/// A string of 1 to `max` bytes without control characters.
pub(super) fn line(max: usize) -> impl Fn(&Value) -> Result<String, String> {
    move |value| {
        let text = text(value)?;
        if text.trim().is_empty() {
            return Err("must not be empty".into());
        }
        if text.len() > max {
            return Err(format!("must not be longer than {max} bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err("must not contain a control character".into());
        }
        Ok(text.to_owned())
    }
}

/// A string of 1 to `max` bytes without white space either.
pub(super) fn word(max: usize) -> impl Fn(&Value) -> Result<String, String> {
    move |value| {
        let word = line(max)(value)?;
        if word.contains(char::is_whitespace) { Err("must not contain white space".into()) } else { Ok(word) }
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    match &value.kind {
        ValueKind::Boolean(yes) => Ok(*yes),
        ValueKind::String(text) if of_environment(value) && text == "true" => Ok(true),
        ValueKind::String(text) if of_environment(value) && text == "false" => Ok(false),
        other => Err(format!("must be true or false, not {}", kind(other))),
    }
}

/// A whole number without a unit.
pub(super) fn whole(value: &Value) -> Result<i64, String> {
    match &value.kind {
        ValueKind::I64(number) => Ok(*number),
        ValueKind::String(text) if of_environment(value) => {
            text.trim().parse().map_err(|_| "must be a whole number".to_owned())
        }
        other => Err(format!("must be a whole number, not {}", kind(other))),
    }
}

/// A whole number within bounds.
pub(super) fn integer<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let number = whole(value)?;
        let legal = range.contains(&number).then(|| T::try_from(number).ok()).flatten();
        legal.ok_or_else(|| format!("must be between {} and {}", range.start(), range.end()))
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(legal: &[(&'static str, T)]) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let words = || legal.iter().map(|(word, _)| *word);
        let list = words().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ");
        let ValueKind::String(text) = &value.kind else {
            return Err(format!("must be one of {list}, not {}", kind(&value.kind)));
        };
        let found = legal.iter().find(|(word, _)| word == text).map(|(_, meaning)| *meaning);
        found.ok_or_else(|| match suggestion(text, words()) {
            Some(meant) => format!("must be one of {list}; did you mean {meant:?}?"),
            None => format!("must be one of {list}"),
        })
    }
}

/// A message type.
pub(super) fn type_name(name: &str) -> Result<TypeName, String> {
    let parsed = TypeName::parse(name).map_err(|bad| match bad {
        BadName::Character => "has a character that is not allowed: letters, digits, `.`, `-` and `_` are".to_owned(),
        other => other.to_string(),
    })?;
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        Ok(parsed)
    } else {
        Err("must begin with a letter".into())
    }
}
