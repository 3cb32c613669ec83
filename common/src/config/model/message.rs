//! Rooms, message types, and what they have to pass.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Limit;
use crate::stage::Stages;
use crate::wire::field::FieldPath;

/// `[[room]]`
#[derive(Debug, Clone)]
pub struct RoomRule {
    /// `team.{t}`: `*` and `{name}` are one segment.
    pub pattern: String,
    /// A CEL condition over `claims`, `user`, `roles`, `tenant`, `room` and the pattern's names.
    pub condition: Option<String>,
    /// Roles that may join (any of them; empty: nobody). `"*"` is any authenticated user.
    pub join: Vec<String>,
    /// Roles that may publish (any of them; empty: nobody).
    pub publish: Vec<String>,
    /// Members may ask who is there, and are told who comes and goes.
    pub presence: bool,
    /// What is kept for those who come back, if anything.
    pub history: Option<History>,
}

/// `history = { count, age }`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// At most so many messages.
    pub count: u32,
    /// None older than this.
    pub age: Duration,
}

/// Where a message type goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To the members of `to.room`.
    Room,
    /// To the sessions of `to.user`.
    User(UserReach),
}

/// `users = …` of a type that goes to users; default: refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserReach {
    /// Any user.
    Any,
    /// Users of the sender's tenant.
    SameTenant,
}

/// `[pipeline]`
#[derive(Debug, Clone, Copy)]
pub struct Pipeline {
    /// Stages whose refusals are counted and reported, not enforced, for all types (default none).
    pub dry_run: Stages,
}

/// A JSON Schema from a file.
#[derive(Debug, Clone)]
pub struct SchemaFile {
    /// Where it was read.
    pub path: PathBuf,
    /// What it says; strict JSON, not yet looked at as a schema.
    pub json: Arc<serde_json::Value>,
}

/// `[message.NAME]`
#[derive(Debug, Clone)]
pub struct MessageRule {
    /// Roles that may send it (any of them; `"*"` is any authenticated user).
    pub roles: Vec<String>,
    /// Where it goes.
    pub route: Route,
    /// The sender gets its own message too (default true).
    pub echo: bool,
    /// It is the first that an overloaded node refuses: `priority = "low"` (default `normal`).
    pub low_priority: bool,
    /// A limit of this type for each connection.
    pub rate: Option<Limit>,
    /// Overrides `size.message` for this type, up or down.
    pub max_size: Option<usize>,
    /// A CEL condition over `claims`, `user`, `roles`, `tenant`: who may send it, besides the roles.
    pub condition: Option<String>,
    /// What a payload has to look like that names no version; none: any JSON.
    pub schema: Option<SchemaFile>,
    /// The same for payloads that name one of these versions.
    pub versions: BTreeMap<u32, SchemaFile>,
    /// The member of a payload that names its version (default `version`).
    pub version_field: String,
    /// Fields that hold HTML.
    pub html: Vec<HtmlField>,
    /// Fields that name files: relative, leading nowhere but down.
    pub path_fields: Vec<FieldPath>,
    /// What happens to control characters and overrides of the reading direction (default: taken out).
    pub controls: Controls,
    /// Strings are brought to Unicode's normal form C.
    pub nfc: bool,
    /// What a signature that fits does.
    pub signatures: SignatureUse,
    /// What is held against it again when it is delivered, whoever sent it: size, schema, sanitise.
    pub outbound: Stages,
    /// What a secret in it does when it is delivered (default: `leaks.default`).
    pub leaks: Option<LeakUse>,
    /// Stages that do not refuse this type, only count and report.
    pub dry_run: Stages,
}

/// `message.NAME.html`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HtmlField {
    /// Which.
    pub field: FieldPath,
    /// What is left of it.
    pub mode: HtmlMode,
}

/// How a field with HTML is cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HtmlMode {
    /// Simple markup of text and links stay.
    Basic,
    /// Only text stays.
    Strip,
    /// Everything stays, as text.
    Escape,
}

/// `message.NAME.controls`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controls {
    /// They are taken out.
    Strip,
    /// A message with one is refused.
    Refuse,
    /// They stay.
    Keep,
}

/// `message.NAME.signatures`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureUse {
    /// As each signature says.
    AsWritten,
    /// The message is refused, whatever the signature says.
    Refuse,
    /// None is looked for.
    Off,
}

/// `[signatures]`
#[derive(Debug, Clone)]
pub struct Signatures {
    /// The product's own are used (default true).
    pub builtin: bool,
    /// The operator's.
    pub file: Option<SignatureFile>,
}

/// `message.NAME.leaks`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeakUse {
    /// As each pattern says.
    AsWritten,
    /// It is made unreadable, whatever the pattern says.
    Mask,
    /// The message is not delivered, whatever the pattern says.
    Block,
    /// None is looked for.
    Off,
}

/// `[leaks]`: what must not leave in payloads.
#[derive(Debug, Clone)]
pub struct Leaks {
    /// For types that say nothing, and those that this node does not know (default off).
    pub default: LeakUse,
    /// The product's own patterns are used (default true).
    pub builtin: bool,
    /// The operator's.
    pub file: Option<SignatureFile>,
}

/// A file with signatures, or with patterns of leaks.
#[derive(Debug, Clone)]
pub struct SignatureFile {
    /// Where it was read.
    pub path: PathBuf,
    /// What it says; not yet looked at.
    pub text: Arc<str>,
}
