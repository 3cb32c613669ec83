//! Reads keys from a layered tree, remembers what was asked for, and refuses what was not.

use std::sync::LazyLock;

use config::{Map, Value, ValueKind};

use super::error::{Report, suggestion};
use super::layer::PREFIX;
use super::value::kind;

/// What stands for a table that is not there.
static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// Keys of the contract that this version does not enforce: an option that does nothing would be a defect.
const LATER: &[&str] = &["webhook"];

/// One table. Whatever in it was not asked for when this is dropped is refused as unknown.
pub(super) struct Section<'t> {
    path: String,
    /// The path with `[]` for every index and `NAME` for every name: what the documentation calls the key.
    schema: String,
    table: &'t Map<String, Value>,
    report: &'t Report,
    asked: Vec<&'static str>,
    /// What was not asked for has been given out by [`Self::others`].
    open: bool,
}

impl<'t> Section<'t> {
    /// The table at the root.
    pub(super) fn root(tree: &'t Value, report: &'t Report) -> Self {
        Self::at(tree, String::new(), String::new(), report).unwrap_or_else(|| Self::empty("", "", report))
    }

    fn at(value: &'t Value, path: String, schema: String, report: &'t Report) -> Option<Self> {
        match &value.kind {
            ValueKind::Table(table) => Some(Self { path, schema, table, report, asked: Vec::new(), open: false }),
            other => {
                report.refuse(path, format!("must be a table, not {}{}", kind(other), from(value)));
                None
            }
        }
    }

    fn empty(path: &str, schema: &str, report: &'t Report) -> Self {
        let (path, schema) = (path.to_owned(), schema.to_owned());
        Self { path, schema, table: &EMPTY, report, asked: Vec::new(), open: false }
    }

    /// Where errors go.
    pub(super) fn report(&self) -> &'t Report {
        self.report
    }

    /// This table's own path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The path of a key in it.
    pub(super) fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Whether the key is written at all; it counts as known.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    fn find(&mut self, key: &'static str) -> Option<&'t Value> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
            self.report.know(join(&self.schema, key));
        }
        self.table.get(key).filter(|v| !matches!(v.kind, ValueKind::Nil))
    }

    /// A key that may be left out.
    pub(super) fn optional<T>(&mut self, key: &'static str, parse: impl Fn(&Value) -> Result<T, String>) -> Option<T> {
        let value = self.find(key)?;
        self.take(value, &self.key(key), parse)
    }

    /// A key with a default.
    pub(super) fn or<T>(&mut self, key: &'static str, default: T, parse: impl Fn(&Value) -> Result<T, String>) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// A key that has to be there; `what` says what is legal.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        what: &str,
        parse: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.report.refuse(self.key(key), format!("is missing: {what}"));
        }
        self.optional(key, parse)
    }

    /// An array of plain values; every bad element is reported. From the environment: separated by commas.
    pub(super) fn list<T>(&mut self, key: &'static str, parse: impl Fn(&Value) -> Result<T, String>) -> Option<Vec<T>> {
        let value = self.find(key)?;
        let path = self.key(key);
        let split;
        let items = match &value.kind {
            ValueKind::Array(items) => items,
            ValueKind::String(text) if of_environment(value) => {
                split = commas(text, value);
                &split
            }
            other => {
                self.report.refuse(path, format!("must be a list, not {}", kind(other)));
                return None;
            }
        };
        let items = items.iter().enumerate();
        Some(items.filter_map(|(n, item)| self.take(item, &format!("{path}[{n}]"), &parse)).collect())
    }

    fn take<T>(&self, value: &Value, path: &str, parse: impl Fn(&Value) -> Result<T, String>) -> Option<T> {
        parse(value).map_err(|problem| self.report.refuse(path, format!("{problem}{}", from(value)))).ok()
    }

    /// A table in this one; an empty one when it is not there.
    pub(super) fn child(&mut self, key: &'static str) -> Section<'t> {
        let (path, schema) = (self.key(key), join(&self.schema, key));
        self.child_if(key).unwrap_or_else(|| Self::empty(&path, &schema, self.report))
    }

    /// A table in this one, when it is there.
    pub(super) fn child_if(&mut self, key: &'static str) -> Option<Section<'t>> {
        let value = self.find(key)?;
        Self::at(value, self.key(key), join(&self.schema, key), self.report)
    }

    /// An array of tables, each with its index; what is not a table is refused and left out.
    pub(super) fn elements(&mut self, key: &'static str) -> Vec<(usize, Section<'t>)> {
        let (path, schema) = (self.key(key), format!("{}[]", join(&self.schema, key)));
        match self.find(key).map(|v| &v.kind) {
            None => Vec::new(),
            Some(ValueKind::Array(items)) => {
                let each = items.iter().enumerate();
                each.filter_map(|(n, v)| Some((n, Self::at(v, format!("{path}[{n}]"), schema.clone(), self.report)?)))
                    .collect()
            }
            Some(other) => {
                let problem = format!("must be an array of tables, [[{path}]], not {}", kind(other));
                self.report.refuse(path, problem);
                Vec::new()
            }
        }
    }

    /// A table whose keys are names that the operator chose, sorted.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(&'t str, Section<'t>)> {
        let child = self.child(key);
        let schema = format!("{}.NAME", child.schema);
        let mut names: Vec<(&'t String, &'t Value)> = child.table.iter().collect();
        names.sort_by_key(|(name, _)| *name);
        let open = |(name, value): (&'t String, &'t Value)| {
            Some((name.as_str(), Self::at(value, child.key(name), schema.clone(), child.report)?))
        };
        let sections = names.into_iter().filter_map(open).collect();
        child.forget();
        sections
    }

    /// The tables in this one whose names are not among `known`: names that the operator chose, sorted.
    pub(super) fn others(&mut self, known: &[&'static str]) -> Vec<(&'t str, Section<'t>)> {
        let schema = format!("{}.NAME", self.schema);
        self.open = true;
        let mut names: Vec<(&'t String, &'t Value)> =
            self.table.iter().filter(|(name, _)| !known.contains(&name.as_str())).collect();
        names.sort_by_key(|(name, _)| *name);
        let open = |(name, value): (&'t String, &'t Value)| {
            Some((name.as_str(), Self::at(value, self.key(name), schema.clone(), self.report)?))
        };
        names.into_iter().filter_map(open).collect()
    }

    /// Gives the table up without calling anything in it unknown.
    pub(super) fn forget(mut self) {
        self.table = &EMPTY;
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        let unasked = |key: &String| !self.open && !self.asked.contains(&key.as_str());
        for (key, value) in self.table.iter().filter(|(key, _)| unasked(key)) {
            let problem = if LATER.contains(&key.as_str()) {
                "is not enforced by this version, and what does nothing is refused: remove it".to_owned()
            } else if let Some(meant) = suggestion(key, self.asked.iter().copied()) {
                format!("is not a known key; did you mean `{meant}`?")
            } else {
                let mut known = self.asked.clone();
                known.sort_unstable();
                format!("is not a known key; known here: {}", known.join(", "))
            };
            self.report.refuse(self.key(key), problem + &from(value));
        }
    }
}

/// `section.key`; a name with a character that would make the path ambiguous is quoted.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if plain && !key.is_empty() { key.to_owned() } else { format!("{:?}", short(key)) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// At most 64 characters of a key.
fn short(key: &str) -> String {
    key.chars().take(64).collect()
}

/// Names the variable a value came from.
fn from(value: &Value) -> String {
    value.origin().filter(|o| o.starts_with(PREFIX)).map(|o| format!(" (from {o})")).unwrap_or_default()
}

/// Whether a value came from a variable, where everything is text.
pub(super) fn of_environment(value: &Value) -> bool {
    value.origin().is_some_and(|o| o.starts_with(PREFIX))
}

fn commas(text: &str, whole: &Value) -> Vec<Value> {
    let origin = whole.origin().map(str::to_owned);
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| Value::new(origin.as_ref(), item)).collect()
}
