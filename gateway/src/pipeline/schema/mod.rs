//! Whether a payload has the form that its type's JSON Schema (Draft 2020-12) declares.
//!
//! Schemas are compiled at the start: one that cannot be stops it. They are [strict](strict): objects take only the members
//! that the schema names. Nothing is fetched: a `$ref` leads somewhere in the same file or is an error. Patterns run in
//! linear time (the `regex` crate; look-around and back-references are errors), so a payload cannot aim at one. How often a
//! schema may look at the values of a payload is bounded, so a payload cannot aim at one that refers to itself either. The
//! validator reads the scan's tape; no tree of the payload is built.

/// The scan's tape as the validator sees it.
mod instance;

/// What a schema leaves out is closed, and what it misspells is found.
mod strict;

use std::collections::BTreeMap;

use jsonschema::{Draft, PatternOptions, Validator};
use portcullis_common::config::model::{MessageRule, SchemaFile};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use portcullis_common::wire::tape::{Item, Kind};

use self::instance::{Instance, TapeJson, Work};
use super::policy::Body;
use super::stages::{Halt, Run};

/// What one compiled pattern may take, in bytes: what a bounded repetition of something large would blow up.
const PATTERN: usize = 1 << 20;

/// Values that one validation may look at, counted each time: so many, and so many for each byte of the payload. A union of
/// ten forms looks at each member of a small object some thirty times, which is far below.
const WORK: (usize, usize) = (4_096, 2);

/// The same for finding out what is wrong with a payload that is invalid: only the log asks.
const WHY: usize = 4_096;

/// The schemas of one type.
#[derive(Default)]
pub struct Schemas {
    /// For payloads that name no version.
    base: Option<Validator<TapeJson>>,
    /// For those that do.
    versions: BTreeMap<u32, Validator<TapeJson>>,
    /// The member that names it.
    field: Box<str>,
}

impl std::fmt::Debug for Schemas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schemas").field("base", &self.base.is_some()).field("versions", &self.versions.keys()).finish()
    }
}

impl Schemas {
    /// Compiles the schemas of a type.
    ///
    /// # Errors
    /// All that is wrong: the key beneath the type, and a sentence with the place in the schema.
    pub fn compile(rule: &MessageRule) -> Result<Self, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let mut one = |key: String, file: &SchemaFile| compile(file).map_err(|why| problems.push((key, why))).ok();
        let base = rule.schema.as_ref().and_then(|file| one("schema".to_owned(), file));
        let each = rule.versions.iter().enumerate();
        let versions =
            each.filter_map(|(n, (version, file))| Some((*version, one(format!("versions[{n}]"), file)?))).collect();
        let schemas = Self { base, versions, field: rule.version_field.as_str().into() };
        if problems.is_empty() { Ok(schemas) } else { Err(problems) }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.versions.len() + usize::from(self.base.is_some())
    }

    /// Whether any JSON passes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a payload is what the schema that it asks for says.
    ///
    /// # Errors
    /// `schema_invalid`, with the place in the schema.
    pub fn judge(&self, payload: Option<Item<'_>>) -> Result<(), Reject> {
        let Some(schema) = self.of(payload)? else { return Ok(()) };
        let bytes = payload.map_or(0, |root| root.raw().len());
        held(schema, payload, &Work::of(WORK.0 + WORK.1 * bytes), &Work::of(WHY))
    }

    /// The schema that a payload asks for.
    fn of(&self, payload: Option<Item<'_>>) -> Result<Option<&Validator<TapeJson>>, Reject> {
        if self.versions.is_empty() {
            return Ok(self.base.as_ref());
        }
        let named = payload.filter(|root| root.kind() == Kind::Object).and_then(|root| root.get(&self.field));
        let Some(named) = named else {
            return self.base.as_ref().map(Some).ok_or_else(|| invalid("schema: the payload names no version"));
        };
        let version = named.number().filter(|n| n.integer).and_then(|n| n.raw.parse().ok());
        let found = version.and_then(|version: u32| self.versions.get(&version));
        found.map(Some).ok_or_else(|| invalid("schema: not a version of this type"))
    }
}

fn compile(file: &SchemaFile) -> Result<Validator<TapeJson>, String> {
    let at = |why: String| format!("{}: {why}", file.path.display());
    let schema = strict::closed(&file.json).map_err(at)?;
    jsonschema::options_for::<TapeJson>()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN).dfa_size_limit(PATTERN))
        .build(&schema)
        .map_err(|error| at(format!("is not a usable schema: {error} (at {})", error.instance_path())))
}

fn held(schema: &Validator<TapeJson>, payload: Option<Item<'_>>, work: &Work, why: &Work) -> Result<(), Reject> {
    let valid = schema.is_valid(Instance::payload(payload, work));
    if work.spent() {
        return Err(invalid("schema: asks about the payload too often"));
    }
    if valid {
        return Ok(());
    }
    // the schema is the operator's own text, the instance is not: only the one is logged
    let broken = schema.validate(Instance::payload(payload, why)).err().map(|error| error.schema_path().to_string());
    Err(invalid(format!("schema: against {}", broken.unwrap_or_default())))
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Reject {
    Reject::new(Code::SchemaInvalid, detail)
}

/// An application's payload has to be what its schema says. What the gateway itself answers is typed in code.
pub(super) fn check(run: &mut Run<'_, '_>) -> Result<(), Halt> {
    let Some(kind) = run.kind.filter(|kind| matches!(kind.body, Body::Application(_))) else { return Ok(()) };
    Ok(kind.schema.judge(run.payload.root())?)
}

#[cfg(test)]
mod tests;
