//! The file and the environment, laid over each other.
//!
//! The file is read by the `config` crate, into its tree, which remembers where each value came from. Its builder and its
//! environment source are not used: they read keys as path expressions, so that `"a[9999999999]" = 1` allocates until
//! the process aborts, a number in a variable's name turns an array into a table, and a single underscore after the
//! prefix goes unnoticed.

use std::collections::BTreeMap;

use config::{File, FileFormat, Map, Source, Value, ValueKind};

use super::error::{Report, suggestion};
use super::section::SECTIONS;

/// What every variable begins with.
pub(super) const PREFIX: &str = "PORTCULLIS__";

/// More segments than any key has.
const MAX_SEGMENTS: usize = 8;

/// Lays the environment over the text of a file. Errors of form go into `report`; what could be read is returned.
pub(super) fn tree(text: Option<&str>, env: &BTreeMap<String, String>, name: &str, report: &Report) -> Value {
    let mut cache: Value = Map::<String, Value>::new().into();
    if let Some(text) = text {
        match File::from_str(text, FileFormat::Toml).collect() {
            Ok(file) => cache = file.into(),
            Err(error) => report.refuse(name, syntax(&error)),
        }
    }
    let mut variables: Vec<(Vec<Segment>, &String, &String)> = Vec::new();
    for (name, value) in env {
        match segments(name) {
            Some(Ok(path)) => variables.push((path, name, value)),
            Some(Err(problem)) => report.refuse(name, problem),
            None => {}
        }
    }
    variables.sort();
    for (path, name, value) in variables {
        if let Err(problem) = put(&mut cache, &path, Value::new(Some(name), value.as_str())) {
            report.refuse(name, problem);
        }
    }
    cache
}

/// Position and message of a syntax error, without the line itself: a secret may stand in it.
fn syntax(error: &config::ConfigError) -> String {
    let config::ConfigError::FileParse { cause, .. } = error else {
        return "is not TOML".to_owned();
    };
    let text = cause.to_string();
    let Some((position, rest)) = text.split_once('\n').filter(|(first, _)| first.starts_with("TOML parse error at"))
    else {
        return "is not TOML: it has a number out of range".to_owned();
    };
    let position = position.trim_start_matches("TOML parse error at ");
    let message: Vec<&str> = rest.lines().skip(3).map(str::trim).filter(|l| !l.is_empty()).collect();
    let message = message.join("; ");
    // What the parser quotes it puts between backticks; only short punctuation and keywords are let through.
    let quotes_input = message.split('`').skip(1).step_by(2).any(|q| q.len() > 8);
    if message.is_empty() || quotes_input {
        format!("is not TOML, at {position}")
    } else {
        format!("is not TOML, at {position}: {message}")
    }
}

/// One step into the tree.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    /// An element of an array; sorted by number.
    Index(usize),
    /// A key, in lower case.
    Key(String),
}

/// The path that a variable names; `None` when it is not meant for us.
fn segments(name: &str) -> Option<Result<Vec<Segment>, String>> {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return stray(name).map(Err);
    };
    let parts: Vec<&str> = rest.split("__").collect();
    if parts.len() > MAX_SEGMENTS || parts.iter().any(|p| p.is_empty()) {
        return Some(
            Err("is not a key: write PORTCULLIS__SECTION__KEY, with two underscores between the parts".into()),
        );
    }
    let part = |p: &&str| p.parse().map_or_else(|_| Segment::Key(p.to_ascii_lowercase()), Segment::Index);
    Some(Ok(parts.iter().map(part).collect()))
}

/// A variable that was probably meant for us, but would not be read. What Kubernetes sets for a service whose name
/// begins with `portcullis` is not one.
fn stray(name: &str) -> Option<String> {
    let rest = name.strip_prefix("PORTCULLIS_")?;
    if of_a_service(name) {
        return None;
    }
    let first = rest.split('_').find(|p| !p.is_empty())?.to_ascii_lowercase();
    let section = SECTIONS.iter().find(|s| **s == first).copied();
    let section = section.or_else(|| suggestion(&first, SECTIONS.iter().copied()).filter(|_| rest.contains("__")))?;
    Some(format!(
        "is not read, for one underscore separates words, not parts: write {PREFIX}{}__KEY",
        section.to_ascii_uppercase()
    ))
}

/// Whether Kubernetes would set a variable of this name for a service.
fn of_a_service(name: &str) -> bool {
    let port = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| port(rest))
}

/// Puts one value into the tree: existing keys are found whatever their case, the next free index appends.
fn put(node: &mut Value, path: &[Segment], value: Value) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else {
        *node = value;
        return Ok(());
    };
    let index = match first {
        Segment::Index(index) => *index,
        Segment::Key(key) => {
            let Some(table) = table(node) else {
                return Err("names a key of something that is not a table".into());
            };
            let existing = table.keys().find(|k| k.eq_ignore_ascii_case(key)).cloned();
            let child = table.entry(existing.unwrap_or_else(|| key.clone()));
            return put(child.or_insert_with(|| Value::new(None, ValueKind::Nil)), rest, value);
        }
    };
    if matches!(node.kind, ValueKind::Nil) {
        node.kind = ValueKind::Array(Vec::new());
    }
    let ValueKind::Array(array) = &mut node.kind else {
        return Err("has a number where the name of a key is expected".into());
    };
    if index == array.len() {
        array.push(Value::new(None, ValueKind::Nil));
    }
    let len = array.len();
    let child = array.get_mut(index).ok_or_else(|| format!("names an element beyond the end: the next is {len}"))?;
    put(child, rest, value)
}

/// The table at a node, made where there is nothing yet.
fn table(node: &mut Value) -> Option<&mut Map<String, Value>> {
    if matches!(node.kind, ValueKind::Nil) {
        node.kind = ValueKind::Table(Map::new());
    }
    match &mut node.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}
