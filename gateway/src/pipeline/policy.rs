//! The configuration in the pipeline's terms: compiled once, shared by all connections, replaced as a whole on reload.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cel::Env;
use portcullis_common::config::model::{Config, LeakUse, Limit, MessageRule, Rate};
use portcullis_common::gcra::Gcra;
use portcullis_common::ids::TypeName;
use portcullis_common::stage::{Stage, Stages};
use portcullis_common::wire::scan::Bounds;

use super::action::Builtin;
use super::outbound::{Guard, leak};
use super::rate::{Allowance, NamedRule};
use super::schema::Schemas;
use super::score::Thresholds;
use super::signature::book::Book;
use super::{REFUSALS_PER_MINUTE, Sheds, csrf, flow, rate};
use crate::route::condition::Condition;
use crate::route::rooms::RoomBook;

/// Every rule that messages have to pass.
pub struct Policy {
    /// The longest frame: that of the longest type.
    pub(super) frame: usize,
    /// The longest message of a type that says nothing about it.
    pub(super) message: usize,
    bounds: Bounds,
    pub(super) flow: flow::Flow,
    pub(super) refusals: Gcra,
    csrf: csrf::Times,
    kinds: HashMap<TypeName, TypePolicy>,
    /// Which rooms there are.
    pub rooms: RoomBook,
    /// `[limit.NAME]` with names of the operator's.
    pub(super) limits: Vec<NamedRule>,
    /// What attacks look like.
    pub(super) signatures: Book,
    /// What must not leave.
    pub(super) leaks: leak::Book,
    /// What types that nobody declared have to pass on their way out.
    pub(super) undeclared: Guard,
    /// Whether anything at all is looked at on its way out.
    pub(super) guards: bool,
    /// What a connection's score does.
    pub(super) anomaly: Thresholds,
    /// Where counts are kept that connections share.
    pub(super) allowance: Arc<dyn Allowance>,
    /// Stages that only note, for what has no type.
    pub(super) dry: Stages,
    /// Tells this policy from those before it: what was remembered under another is forgotten.
    pub(super) serial: u64,
    /// Stages that a test took out of the list.
    #[cfg(test)]
    pub(super) off: Stages,
}

/// A type that exists.
#[derive(Debug)]
pub struct TypePolicy {
    /// Who answers.
    pub body: Body,
    /// The longest message.
    pub max_size: usize,
    /// Whether it needs no CSRF token.
    pub csrf_exempt: bool,
    /// Who may send it, besides the roles.
    pub condition: Option<Condition>,
    /// Its own limit for each connection, and the number under which a connection counts it.
    pub rate: Option<(u64, Gcra)>,
    /// Places in the policy's list of those limits that may concern it.
    pub limits: Vec<usize>,
    /// What its payload has to look like.
    pub schema: Schemas,
    /// What it has to pass on its way out.
    pub guard: Guard,
    /// Stages that only note.
    pub dry: Stages,
}

impl TypePolicy {
    /// Whether it is among what an overloaded node turns away.
    pub(super) fn is_shed(&self, sheds: Sheds) -> bool {
        match (sheds, &self.body) {
            (Sheds::Nothing, _) | (_, Body::Builtin(_)) => false,
            (Sheds::Low, Body::Application(rule)) => rule.low_priority,
            (Sheds::All, Body::Application(_)) => true,
        }
    }
}

/// Whether the gateway itself answers.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one for each type of the configuration")]
pub enum Body {
    /// It does.
    Builtin(Builtin),
    /// It carries the message.
    Application(MessageRule),
}

/// Key path and sentence.
type Problem = (String, String);

impl Policy {
    /// Compiles all that concerns the pipeline. `allowance` outlives the policy: what was used stays used on a reload.
    ///
    /// # Errors
    /// All that is wrong, each with its key path and a sentence.
    pub fn compile(config: &Config, allowance: Arc<dyn Allowance>, serial: u64) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let env = Arc::new(Env::stdlib());
        let rooms = RoomBook::new(&config.room).map_err(|p| problems.extend(p)).ok();
        let mut kinds = HashMap::new();
        for (name, rule) in &config.message {
            match application(config, name, rule, &env) {
                Ok(kind) => drop(kinds.insert(name.clone(), kind)),
                Err(found) => problems.extend(found),
            }
        }
        for builtin in Builtin::ALL {
            if let Ok(name) = TypeName::parse(builtin.name()) {
                kinds.insert(name, builtin_policy(config, builtin));
            }
        }
        let signatures = Book::compile(&config.signatures).map_err(|p| problems.extend(p)).unwrap_or_default();
        let leaks = leak::Book::compile(&config.leaks).map_err(|p| problems.extend(p)).ok();
        let undeclared = Guard { checks: Stages::NONE, leaks: config.leaks.default };
        let guards = kinds.values().map(|kind| kind.guard).chain([undeclared]).any(|guard| !guard.idle());
        if leaks.as_ref().is_some_and(leak::Book::is_empty)
            && kinds.values().any(|kind| kind.guard.leaks != LeakUse::Off)
        {
            problems.push(("leaks.builtin".to_owned(), "is false and there is no file: nothing would be found".into()));
        }
        let Some(rooms) = rooms.filter(|_| problems.is_empty()) else { return Err(problems) };
        let per_minute = Rate { count: REFUSALS_PER_MINUTE, period: Duration::from_secs(60) };
        let size = &config.size;
        Ok(Self {
            frame: kinds.values().map(|kind| kind.max_size).fold(size.message, usize::max),
            message: size.message,
            bounds: Bounds {
                depth: size.json_depth,
                nodes: size.json_nodes,
                keys: size.json_keys,
                items: size.json_items,
                string: size.json_string,
            },
            flow: flow::Flow::new(&config.limit),
            refusals: Gcra::new(Limit { rate: per_minute, burst: REFUSALS_PER_MINUTE }),
            csrf: csrf::Times::new(&config.csrf),
            kinds,
            rooms,
            limits: config.limit.named.iter().map(|(name, rule)| NamedRule::new(name, rule, &config.auth)).collect(),
            signatures,
            leaks: leaks.unwrap_or_default(),
            undeclared,
            guards,
            anomaly: Thresholds::new(&config.anomaly),
            allowance,
            dry: config.pipeline.dry_run,
            serial,
            #[cfg(test)]
            off: Stages::NONE,
        })
    }

    /// When tokens of this policy are to be rotated, and how long the previous one stays good.
    #[must_use]
    pub fn csrf(&self) -> csrf::Times {
        self.csrf
    }

    /// The longest message of any type: what the frame layer lets in.
    #[must_use]
    pub fn frame_limit(&self) -> usize {
        self.frame
    }

    /// How many payload schemas there are; for `/health`.
    #[must_use]
    pub fn schemas(&self) -> usize {
        self.kinds.values().map(|kind| kind.schema.len()).sum()
    }

    /// How many signatures there are; for `/health`.
    #[must_use]
    pub fn signatures(&self) -> usize {
        self.signatures.len()
    }

    /// Whether anything is looked at on its way out.
    #[must_use]
    pub fn guards(&self) -> bool {
        self.guards
    }

    /// How many kinds of leaks are looked for; for `/health`.
    #[must_use]
    pub fn leaks(&self) -> usize {
        self.leaks.len()
    }

    /// What a connection's score is at a moment, on the clock of [`super::Now::mono_ns`].
    #[must_use]
    pub fn points(&self, score: &super::score::Score, now: u64) -> f64 {
        score.points(&self.anomaly, now)
    }

    /// The rules of a type.
    pub(super) fn kind(&self, name: &str) -> Option<&TypePolicy> {
        self.kinds.get(name)
    }

    /// What the scan counts against.
    pub(super) fn bounds(&self) -> Bounds {
        if self.runs(Stage::Size) { self.bounds } else { Bounds::NONE }
    }

    /// Whether a stage is in the list: always, but for tests that show what it stops.
    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "a test's policy answers otherwise")]
    pub(super) fn runs(&self, _: Stage) -> bool {
        true
    }

    #[cfg(test)]
    pub(super) fn runs(&self, stage: Stage) -> bool {
        !self.off.has(stage)
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("serial", &self.serial).field("dry", &self.dry).finish_non_exhaustive()
    }
}

/// Whether the configuration exempts a type from CSRF tokens.
fn exempt(config: &Config, name: &str) -> bool {
    config.csrf.exempt.iter().any(|exempt| exempt.as_str() == name)
}

fn application(
    config: &Config,
    name: &TypeName,
    rule: &MessageRule,
    env: &Arc<Env>,
) -> Result<TypePolicy, Vec<Problem>> {
    let at = |key: &str| format!("message.{}.{key}", name.as_str());
    let mut problems = Vec::new();
    let condition = rule.condition.as_deref().map(|source| Condition::of_type(source, env)).transpose();
    let condition = condition.map_err(|sentence| problems.push((at("where"), sentence))).ok().flatten();
    let schema = Schemas::compile(rule).map_err(|found| {
        problems.extend(found.into_iter().map(|(key, sentence)| (at(&key), sentence)));
    });
    let (Ok(schema), true) = (schema, problems.is_empty()) else { return Err(problems) };
    let concerns = |(n, (_, limit)): (usize, (_, &portcullis_common::config::model::NamedLimit))| {
        (limit.types.is_empty() || limit.types.contains(name)).then_some(n)
    };
    Ok(TypePolicy {
        max_size: rule.max_size.unwrap_or(config.size.message),
        csrf_exempt: exempt(config, name.as_str()),
        condition,
        rate: rule.rate.map(|limit| (rate::id(("type", name.as_str())), Gcra::new(limit))),
        limits: config.limit.named.iter().enumerate().filter_map(concerns).collect(),
        schema,
        guard: Guard { checks: rule.outbound, leaks: rule.leaks.unwrap_or(config.leaks.default) },
        dry: config.pipeline.dry_run.union(rule.dry_run),
        body: Body::Application(rule.clone()),
    })
}

fn builtin_policy(config: &Config, builtin: Builtin) -> TypePolicy {
    TypePolicy {
        body: Body::Builtin(builtin),
        max_size: config.size.message,
        csrf_exempt: builtin.csrf_exempt() || exempt(config, builtin.name()),
        condition: None,
        rate: None,
        limits: Vec::new(),
        schema: Schemas::default(),
        guard: Guard::NONE,
        dry: config.pipeline.dry_run,
    }
}
