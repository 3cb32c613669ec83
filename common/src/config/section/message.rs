//! `[message.NAME]`: the declared message types.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

use super::super::file::Files;
use super::super::model::{
    Controls, HtmlField, HtmlMode, Limit, MessageRule, Route, SchemaFile, SignatureUse, UserReach,
};
use super::super::read::Section;
use super::super::unit::{length, rate};
use super::super::value::{boolean, choice, integer, line, text, type_name};
use super::pipeline::{LEAKS, dry_run};
use super::roles;
use crate::ids::TypeName;
use crate::stage::{Stage, Stages};
use crate::wire::field::FieldPath;

/// `html = ["field:mode"]`
pub(in super::super) const HTML: &[(&str, HtmlMode)] =
    &[("basic", HtmlMode::Basic), ("strip", HtmlMode::Strip), ("escape", HtmlMode::Escape)];

/// `controls`
pub(in super::super) const CONTROLS: &[(&str, Controls)] =
    &[("strip", Controls::Strip), ("refuse", Controls::Refuse), ("keep", Controls::Keep)];

/// `signatures`
pub(in super::super) const SIGNATURES: &[(&str, SignatureUse)] =
    &[("as_written", SignatureUse::AsWritten), ("refuse", SignatureUse::Refuse), ("off", SignatureUse::Off)];

/// Types of the protocol itself: their meaning is not configurable.
pub(in super::super) const RESERVED: &[&str] = &[
    "welcome",
    "join",
    "leave",
    "ack",
    "error",
    "csrf",
    "token_refresh",
    "token_expiring",
    "health-check",
    "reconnect",
    "presence",
];

pub(super) fn messages(root: &mut Section<'_>, files: Files<'_>) -> BTreeMap<TypeName, MessageRule> {
    let mut rules = BTreeMap::new();
    for (name, s) in root.named("message") {
        let parsed = match type_name(name) {
            _ if RESERVED.contains(&name) => Err("is a type of the protocol itself and cannot be declared".to_owned()),
            other => other.map_err(|problem| format!("is not a message type: the name {problem}")),
        };
        if let Err(problem) = &parsed {
            s.report().refuse(s.path(), problem.as_str());
        }
        let rule = message(s, files);
        if let (Ok(name), Some(rule)) = (parsed, rule) {
            rules.insert(name, rule);
        }
    }
    rules
}

/// `priority = "low"`
const PRIORITIES: &[(&str, bool)] = &[("normal", false), ("low", true)];

fn message(mut s: Section<'_>, files: Files<'_>) -> Option<MessageRule> {
    let roles = roles(&mut s, "roles");
    if roles.is_empty() {
        let problem = "names nobody who could send it: list roles, or [\"*\"] for every authenticated user";
        s.report().refuse_together(&[], &s.key("roles"), problem);
    }
    let route = route(&mut s);
    let echo = s.or("echo", true, boolean);
    let low_priority = s.or("priority", false, choice(PRIORITIES));
    let max_size = s.optional("max_size", length(1..=16 << 20));
    let rate = limit(&mut s);
    let condition = s.optional("where", line(4096));
    let schema = s.optional("schema", |v| files.schema(v));
    let versions = versions(&mut s, files);
    let version_field = s.optional("version_field", line(128));
    if version_field.is_some() && versions.is_empty() {
        s.report().refuse_together(&[&s.key("versions")], &s.key("version_field"), "does nothing without `versions`");
    }
    let version_field = version_field.unwrap_or_else(|| "version".to_owned());
    let html = s.list("html", html).unwrap_or_default();
    let path_fields = s.list("path_fields", |v| FieldPath::parse(text(v)?)).unwrap_or_default();
    let fields: Vec<&FieldPath> = html.iter().map(|html| &html.field).collect();
    super::once(&fields, &s.key("html"), s.report());
    super::once(&path_fields, &s.key("path_fields"), s.report());
    let controls = s.or("controls", Controls::Strip, choice(CONTROLS));
    let nfc = s.or("nfc", false, boolean);
    let signatures = s.or("signatures", SignatureUse::AsWritten, choice(SIGNATURES));
    let outbound = outbound(&mut s, schema.is_some() || !versions.is_empty());
    let leaks = s.optional("leaks", choice(LEAKS));
    let dry_run = dry_run(&mut s);
    let route = route?;
    Some(MessageRule {
        roles,
        route,
        echo,
        low_priority,
        rate,
        max_size,
        condition,
        schema,
        versions,
        version_field,
        html,
        path_fields,
        controls,
        nfc,
        signatures,
        outbound,
        leaks,
        dry_run,
    })
}

/// `outbound = ["size", "schema", "sanitise"]`
fn outbound(s: &mut Section<'_>, has_schema: bool) -> Stages {
    let legal = [Stage::Size, Stage::Schema, Stage::Sanitise].map(|stage| (stage.name(), stage));
    let stages = s.list("outbound", choice(&legal)).unwrap_or_default();
    super::once(&stages, &s.key("outbound"), s.report());
    if stages.contains(&Stage::Schema) && !has_schema {
        s.report().refuse_together(&[&s.key("schema")], &s.key("outbound"), "names a schema, and the type has none");
    }
    stages.into_iter().fold(Stages::NONE, Stages::with)
}

/// `html = ["text", "note:strip"]`
fn html(value: &Value) -> Result<HtmlField, String> {
    let written = text(value)?;
    let (path, mode) = match written.split_once(':') {
        None => (written, HtmlMode::Basic),
        Some((path, mode)) => (path, choice(HTML)(&Value::new(None, mode))?),
    };
    Ok(HtmlField { field: FieldPath::parse(path)?, mode })
}

/// `versions = ["2:schemas/chat-2.json"]`
fn versions(s: &mut Section<'_>, files: Files<'_>) -> BTreeMap<u32, SchemaFile> {
    const LEGAL: &str = "must be a version and its schema, as in \"2:schemas/chat-2.json\"";
    let pairs = s.list("versions", |v| {
        let (number, path) = text(v)?.split_once(':').ok_or(LEGAL)?;
        let number: u32 = number.parse().map_err(|_| LEGAL)?;
        Ok((number, files.schema(&Value::new(None, path))?))
    });
    let mut versions = BTreeMap::new();
    for (n, (number, schema)) in pairs.into_iter().flatten().enumerate() {
        if versions.insert(number, schema).is_some() {
            s.report().refuse(format!("{}[{n}]", s.key("versions")), "is a version that is there already");
        }
    }
    versions
}

fn route(s: &mut Section<'_>) -> Option<Route> {
    let to_user = s.required("route", "say where messages go, \"room\" or \"user\"", destination);
    let reaches = [("any", UserReach::Any), ("same_tenant", UserReach::SameTenant)];
    let reach = s.optional("users", |v| match &v.kind {
        ValueKind::String(text) if text == "hook" => {
            Err("must be \"any\" or \"same_tenant\": asking a hook is not in this version".to_owned())
        }
        _ => choice(&reaches)(v),
    });
    let users = s.has("users");
    match (to_user?, reach) {
        (false, None) if !users => Some(Route::Room),
        (false, _) => {
            s.report().refuse(s.key("users"), "is about messages to users, but the route is \"room\"");
            None
        }
        (true, Some(reach)) => Some(Route::User(reach)),
        (true, None) => {
            if !users {
                let problem = "is missing: say which users may be reached, \"any\" or \"same_tenant\"";
                s.report().refuse(s.key("users"), problem);
            }
            None
        }
    }
}

/// Whether messages go to users.
fn destination(value: &Value) -> Result<bool, String> {
    match &value.kind {
        ValueKind::Table(_) => Err("must be \"room\" or \"user\": webhooks are not in this version".into()),
        ValueKind::String(text) if text == "stream" => {
            Err("must be \"room\" or \"user\": streams are not in this version".into())
        }
        _ => {
            text(value)?;
            choice(&[("room", false), ("user", true)])(value)
        }
    }
}

/// `rate = "10/s"` with `burst`, which is the rate's count unless it is given.
fn limit(s: &mut Section<'_>) -> Option<Limit> {
    let given = s.has("rate");
    let rate = s.optional("rate", rate);
    let burst = s.optional("burst", integer(1..=1_000_000));
    if burst.is_some() && !given {
        s.report().refuse(s.key("burst"), "does nothing without `rate`");
    }
    rate.map(|rate| Limit { rate, burst: burst.unwrap_or(rate.count) })
}
