//! The conditions of room rules: CEL expressions of the operator's, compiled once, evaluated over facts of a session.
//!
//! Bounded by construction: an expression has at most [`MAX_LENGTH`] bytes, macros that iterate (`all`, `exists`, `map`,
//! `filter`) do not nest, regular expressions are not compiled in, and claims beyond [`CLAIM_BOUNDS`] are not looked at.
//! So the steps of one evaluation are at most the expression's nodes times the claims' values.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr};
use cel::{Context, Env, Program, Value};
use portcullis_common::ids::{RoomName, TenantId, UserId};
use portcullis_common::wire::scan::{Bounds, Scratch, scan};

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 1_024;

/// The largest claims that a condition is evaluated over; beyond them it fails.
pub const CLAIM_BOUNDS: Bounds = Bounds { depth: 16, nodes: 1_024, ..Bounds::NONE };

/// The names that every condition may use besides its pattern's.
pub const NAMES: [&str; 5] = ["claims", "user", "roles", "tenant", "room"];

/// Whom a rule is asked about.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The tenant; an empty string in conditions where there is none.
    pub tenant: Option<&'a TenantId>,
    /// The roles of the session's token.
    pub roles: &'a [Arc<str>],
    /// The token's claims, as JSON text; read only where a condition asks for `claims`.
    pub claims: &'a str,
}

/// Shows no claims.
impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("user", self.user).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// A compiled condition.
pub struct Condition {
    program: Program,
    env: Arc<Env>,
    uses_claims: bool,
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Condition")
    }
}

impl Condition {
    /// Compiles an expression that may use [`NAMES`] and `captures`.
    ///
    /// # Errors
    /// A sentence for the operator: too long, not CEL, an unknown name, nested iteration.
    pub fn compile(source: &str, captures: &[&str], env: &Arc<Env>) -> Result<Self, String> {
        let names: Vec<&str> = NAMES.iter().chain(captures).copied().collect();
        Self::over(source, &names, env)
    }

    /// Compiles the condition of a message type, which is about no room: it may use [`NAMES`] but `room`.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn of_type(source: &str, env: &Arc<Env>) -> Result<Self, String> {
        let names: Vec<&str> = NAMES.iter().copied().filter(|name| *name != "room").collect();
        Self::over(source, &names, env)
    }

    fn over(source: &str, legal: &[&str], env: &Arc<Env>) -> Result<Self, String> {
        if source.len() > MAX_LENGTH {
            return Err(format!("is longer than {MAX_LENGTH} bytes"));
        }
        let program = catch_unwind(|| Program::compile(source))
            .map_err(|_| "is not CEL".to_owned())?
            .map_err(|errors| format!("is not CEL: {errors}"))?;
        let mut bound = Vec::new();
        if iteration(program.expression(), &mut bound) > 1 {
            return Err("iterates inside an iteration: its cost could not be bounded".to_owned());
        }
        let names = program.references();
        for name in names.variables() {
            if !legal.contains(&name) && !bound.contains(&name) {
                return Err(format!("uses `{name}`, which is none of {}", legal.join(", ")));
            }
        }
        let uses_claims = names.has_variable("claims");
        drop(names);
        Ok(Self { program, env: Arc::clone(env), uses_claims })
    }

    /// Whether the condition is true. False for whatever else comes out: another value, an error, claims that are
    /// missing or too large. Parses the claims each time it needs them; nothing is kept.
    #[must_use]
    pub fn holds(&self, subject: &Subject<'_>, room: Option<&RoomName>, captures: &[(&str, &str)]) -> bool {
        let evaluate = AssertUnwindSafe(|| self.evaluate(subject, room, captures) == Some(true));
        catch_unwind(evaluate).unwrap_or(false)
    }

    fn evaluate(&self, subject: &Subject<'_>, room: Option<&RoomName>, captures: &[(&str, &str)]) -> Option<bool> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        for (name, value) in captures {
            context.add_variable_from_value(*name, *value);
        }
        context.add_variable_from_value("user", subject.user.as_str());
        if let Some(room) = room {
            context.add_variable_from_value("room", room.as_str());
        }
        context.add_variable_from_value("tenant", subject.tenant.map_or("", TenantId::as_str));
        context.add_variable_from_value("roles", cel::to_value(subject.roles).ok()?);
        if self.uses_claims {
            if !scan(subject.claims, CLAIM_BOUNDS, &mut Scratch::default()).ok()?.object {
                return None;
            }
            let claims: serde_json::Value = serde_json::from_str(subject.claims).ok()?;
            context.add_variable_from_value("claims", value(claims));
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(answer)) => Some(answer),
            _ => None,
        }
    }
}

/// Whole numbers become CEL's `int` where they fit, so that they meet literals of the same type.
fn value(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(b),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => n.as_f64().map_or(Value::Null, Value::Float),
        },
        Json::String(text) => Value::String(Arc::new(text)),
        Json::Array(list) => Value::List(Arc::new(list.into_iter().map(value).collect())),
        Json::Object(members) => {
            members.into_iter().map(|(k, v)| (k, value(v))).collect::<HashMap<String, Value>>().into()
        }
    }
}

/// How deep iterations nest; gathers the names that they bind.
fn iteration<'e>(expr: &'e IdedExpr, bound: &mut Vec<&'e str>) -> usize {
    let mut deepest = |parts: Vec<&'e IdedExpr>| parts.into_iter().map(|p| iteration(p, bound)).max().unwrap_or(0);
    match &expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        Expr::Call(call) => deepest(call.args.iter().chain(call.target.as_deref()).collect()),
        Expr::List(list) => deepest(list.elements.iter().collect()),
        Expr::Select(select) => deepest(vec![&select.operand]),
        Expr::Map(map) => deepest(map.entries.iter().flat_map(entry).collect()),
        Expr::Struct(object) => deepest(object.entries.iter().flat_map(entry).collect()),
        Expr::Comprehension(all) => {
            let range = deepest(vec![&all.iter_range]);
            let body = deepest(vec![&all.accu_init, &all.loop_cond, &all.loop_step, &all.result]);
            bound.push(&all.iter_var);
            bound.extend(all.iter_var2.as_deref());
            bound.push(&all.accu_var);
            // one after the other is linear: an iteration makes no more values than it runs over
            range.max(body + 1)
        }
    }
}

fn entry(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(pair) => vec![&pair.key, &pair.value],
    }
}
