//! Which rooms exist, who may join them, who may publish in them. Whatever no rule allows is refused.
//!
//! A pattern is segments between dots; `*` and `{name}` match exactly one segment that is not empty. Of the patterns
//! that match, the one with the longest literal prefix decides, then the one with more literal segments, then the first
//! in the file; it alone decides: no other rule is asked when it refuses.

use std::collections::HashSet;
use std::sync::Arc;

use cel::Env;
use portcullis_common::config::model::RoomRule;
use portcullis_common::ids::RoomName;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

pub use super::condition::Subject;
use super::condition::{Condition, NAMES};
use crate::pipeline::role::{self, Asked, Memo};

/// The longest pattern, in bytes; a room's name is no longer either.
const MAX_PATTERN: usize = RoomName::MAX;

/// Every rule, compiled. Shared by all connections; replaced as a whole on reload.
#[derive(Debug)]
pub struct RoomBook {
    /// The most specific first, so that the first that matches decides.
    rules: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    rule: RoomRule,
    pattern: Pattern,
    condition: Option<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    Literal(String),
    Any,
    Capture(String),
}

#[derive(Debug)]
struct Pattern(Vec<Segment>);

/// What somebody wants in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Enter it.
    Join,
    /// Say something in it.
    Publish,
}

/// The rule of a room.
#[derive(Debug)]
pub struct Matched<'b, 'r> {
    /// The rule.
    pub rule: &'b RoomRule,
    /// The names of the pattern and the segments that they stand for.
    pub captures: Vec<(&'b str, &'r str)>,
}

impl RoomBook {
    /// Compiles every rule.
    ///
    /// # Errors
    /// All that is wrong, each with its key path (`room[2].where`) and a sentence.
    pub fn new(rules: &[RoomRule]) -> Result<Self, Vec<(String, String)>> {
        let env = Arc::new(Env::stdlib());
        let mut errors = Vec::new();
        let mut compiled: Vec<Compiled> = Vec::new();
        let mut shapes = HashSet::new();
        for (i, rule) in rules.iter().enumerate() {
            let pattern = match Pattern::parse(&rule.pattern) {
                Ok(pattern) => pattern,
                Err(sentence) => {
                    errors.push((format!("room[{i}].pattern"), sentence));
                    continue;
                }
            };
            if !shapes.insert(pattern.shape()) {
                errors.push((format!("room[{i}].pattern"), "matches what an earlier rule matches: never used".into()));
            }
            let condition = rule.condition.as_deref().map(|source| Condition::compile(source, &pattern.names(), &env));
            match condition.transpose() {
                Ok(condition) => compiled.push(Compiled { rule: rule.clone(), pattern, condition }),
                Err(sentence) => errors.push((format!("room[{i}].where"), sentence)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        // stable: file order decides between equals
        compiled.sort_by_key(|c| std::cmp::Reverse((c.pattern.prefix(), c.pattern.literals())));
        Ok(Self { rules: compiled })
    }

    /// The rule that decides about `room`. Linear in the number of rules.
    #[must_use]
    pub fn find<'b, 'r>(&'b self, room: &'r RoomName) -> Option<Matched<'b, 'r>> {
        self.rules.iter().find_map(|c| {
            let captures = c.pattern.matches(room.as_str())?;
            Some(Matched { rule: &c.rule, captures })
        })
    }

    /// The rule that decides about `room`, without what its names stand for: nothing is allocated.
    #[must_use]
    pub fn rule(&self, room: &RoomName) -> Option<&RoomRule> {
        self.compiled(room).map(|compiled| &compiled.rule)
    }

    fn compiled(&self, room: &RoomName) -> Option<&Compiled> {
        self.rules.iter().find(|c| c.pattern.fits(room.as_str()))
    }

    /// Whether `who` may join; the rule says what else holds in the room.
    ///
    /// # Errors
    /// `forbidden`: no rule for this room, none of its roles, or its condition is not true.
    pub fn may_join(&self, room: &RoomName, who: &Subject<'_>) -> Result<&RoomRule, Reject> {
        self.decide(room, who, Verb::Join, 0, &mut Memo::default())
    }

    /// Whether `who` may publish. Membership is for the caller to ask about.
    ///
    /// # Errors
    /// As [`Self::may_join`].
    pub fn may_publish(&self, room: &RoomName, who: &Subject<'_>) -> Result<&RoomRule, Reject> {
        self.decide(room, who, Verb::Publish, 0, &mut Memo::default())
    }

    /// Whether `who` may do it. What its condition answered before, under the policy `serial`, is in `memo`. Membership is
    /// for the caller to ask about.
    ///
    /// # Errors
    /// As [`Self::may_join`].
    pub fn decide(
        &self,
        room: &RoomName,
        who: &Subject<'_>,
        verb: Verb,
        serial: u64,
        memo: &mut Memo,
    ) -> Result<&RoomRule, Reject> {
        let forbidden = |detail: &'static str| Reject::new(Code::Forbidden, detail);
        let Compiled { rule, pattern, condition } = self.compiled(room).ok_or_else(|| forbidden("room: no rule"))?;
        let roles = match verb {
            Verb::Join => &rule.join,
            Verb::Publish => &rule.publish,
        };
        if !role::any(roles, who.roles) {
            return Err(forbidden("room: none of the rule's roles"));
        }
        let Some(condition) = condition else { return Ok(rule) };
        let evaluate = || {
            let captures = pattern.matches(room.as_str()).unwrap_or_default();
            condition.holds(who, Some(room), &captures)
        };
        if memo.ask(serial, Asked::Room(room.clone()), evaluate) {
            Ok(rule)
        } else {
            Err(forbidden("room: the rule's condition is not true"))
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(format!("has no characters or more than {MAX_PATTERN}"));
        }
        let segments = text.split('.').map(segment).collect::<Result<Vec<_>, _>>()?;
        let pattern = Self(segments);
        let names = pattern.names();
        if names.iter().collect::<HashSet<_>>().len() != names.len() {
            return Err("has the same name twice".into());
        }
        Ok(pattern)
    }

    /// Segments before the first that is not literal.
    fn prefix(&self) -> usize {
        self.0.iter().take_while(|s| matches!(s, Segment::Literal(_))).count()
    }

    fn literals(&self) -> usize {
        self.0.iter().filter(|s| matches!(s, Segment::Literal(_))).count()
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().filter_map(|s| if let Segment::Capture(name) = s { Some(name.as_str()) } else { None }).collect()
    }

    /// The pattern with its names forgotten: two of the same shape match the same rooms.
    fn shape(&self) -> Vec<Segment> {
        let plain = |s: &Segment| if let Segment::Literal(_) = s { s.clone() } else { Segment::Any };
        self.0.iter().map(plain).collect()
    }

    fn fits(&self, room: &str) -> bool {
        let mut found = room.split('.');
        let fit = self.0.iter().all(|segment| match (segment, found.next()) {
            (Segment::Literal(literal), text) => text == Some(literal),
            (_, text) => text.is_some_and(|text| !text.is_empty()),
        });
        fit && found.next().is_none()
    }

    fn matches<'b, 'r>(&'b self, room: &'r str) -> Option<Vec<(&'b str, &'r str)>> {
        let mut captures = Vec::new();
        let mut found = room.split('.');
        for segment in &self.0 {
            let text = found.next()?;
            match segment {
                Segment::Literal(literal) if literal != text => return None,
                Segment::Literal(_) => {}
                _ if text.is_empty() => return None,
                Segment::Any => {}
                Segment::Capture(name) => captures.push((name.as_str(), text)),
            }
        }
        if found.next().is_some() { None } else { Some(captures) }
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    if text == "*" {
        return Ok(Segment::Any);
    }
    if let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return Err("has a name that is not lower-case letters, digits and `_`".into());
        }
        // CEL's own words could not be written in the condition
        if NAMES.contains(&name) || ["true", "false", "null", "in"].contains(&name) {
            return Err(format!("has the name `{name}`, which means something else in a condition"));
        }
        return Ok(Segment::Capture(name.to_owned()));
    }
    RoomName::check(text).map_err(|why| format!("has a segment that {why}"))?;
    Ok(Segment::Literal(text.to_owned()))
}

#[cfg(test)]
mod tests;
