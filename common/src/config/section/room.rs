//! `[[room]]`: patterns and who may do what in the rooms that match.

use config::Value;

use super::super::model::{History, RoomRule};
use super::super::read::Section;
use super::super::unit::duration;
use super::super::value::{boolean, integer, line, text};
use super::{DAY, roles, secs};
use crate::ids::RoomName;

/// Names that a condition has already, or that its language keeps for itself.
const TAKEN: &[&str] = &["claims", "user", "roles", "tenant", "room", "true", "false", "null", "in"];

pub(super) fn rooms(root: &mut Section<'_>) -> Vec<RoomRule> {
    let mut seen: Vec<(Vec<String>, String)> = Vec::new();
    let mut rules = Vec::new();
    for (_, mut s) in root.elements("room") {
        let pattern = s.required("pattern", "say which rooms this is about, as in \"team.{t}\"", pattern);
        if let Some(shape) = pattern.as_deref().map(shape) {
            if let Some((_, earlier)) = seen.iter().find(|(other, _)| *other == shape) {
                let problem = format!("matches the same rooms as {earlier}: only one of them could ever apply");
                s.report().refuse(s.key("pattern"), problem);
            }
            seen.push((shape, s.key("pattern")));
        }
        let rule = RoomRule {
            pattern: pattern.clone().unwrap_or_default(),
            condition: s.optional("where", line(4096)),
            join: roles(&mut s, "join"),
            publish: roles(&mut s, "publish"),
            presence: s.or("presence", false, boolean),
            history: s.child_if("history").and_then(history),
        };
        if pattern.is_some() {
            rules.push(rule);
        }
    }
    rules
}

fn history(mut s: Section<'_>) -> Option<History> {
    let count = s.required("count", "say how many messages are kept", integer(1..=100_000));
    let age = s.required("age", "say how long messages are kept, as in \"10m\"", duration(secs(1)..=DAY * 7));
    Some(History { count: count?, age: age? })
}

/// Segments separated by `.`, each literal, `*` or `{name}`.
fn pattern(value: &Value) -> Result<String, String> {
    let written = text(value)?;
    if written.len() > RoomName::MAX {
        return Err(format!("must not be longer than {} bytes", RoomName::MAX));
    }
    let mut names: Vec<&str> = Vec::new();
    for segment in written.split('.') {
        if segment.is_empty() {
            return Err("has an empty segment: segments are separated by single dots".into());
        }
        if segment == "*" {
            continue;
        }
        if let Some(name) = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            capture(name, &names)?;
            names.push(name);
        } else if segment.contains(['*', '{', '}']) {
            return Err("may have `*` and `{name}` only as whole segments".into());
        } else if RoomName::parse(segment).is_err() {
            return Err("has a character that is not allowed: letters, digits, `-`, `_`, `:` and `@` are".into());
        }
    }
    Ok(written.to_owned())
}

fn capture(name: &str, earlier: &[&str]) -> Result<(), String> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if !first || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return Err("has a name in braces that is not lower-case letters, digits and `_`, a letter first".into());
    }
    if TAKEN.contains(&name) {
        return Err(format!("must not call a segment `{name}`: conditions have that name already"));
    }
    if earlier.contains(&name) {
        return Err(format!("has the name `{name}` twice"));
    }
    Ok(())
}

/// The pattern with every capture as `*`: two patterns of one shape match the same rooms.
fn shape(pattern: &str) -> Vec<String> {
    pattern.split('.').map(|s| if s.starts_with('{') { "*".to_owned() } else { s.to_owned() }).collect()
}
