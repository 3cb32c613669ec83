//! Lists: nodes, sessions, bans.

use std::collections::BTreeMap;

use portcullis_common::control::ack::{Gathering, Outcome};
use portcullis_common::control::command::{Command, MAX_PAGE};
use portcullis_common::ids::{NodeId, SessionId};
use portcullis_common::store::control::Target;
use serde_json::{Map, Value, json};

use super::arguments::{Kind, Sessions, Whom};
use super::fleet::{Fleet, end};
use super::show::{age, cell, complain, left, span, table};
use super::{End, Trouble, show};

/// `gatectl nodes`.
pub async fn nodes(fleet: &Fleet, json: bool) -> Result<End, Trouble> {
    let gathering = fleet.ask_all(&Command::Nodes).await?;
    let rows: Vec<Value> = gathering
        .answers()
        .map(|(node, answer)| {
            let data =
                answer.filter(|answer| answer.outcome == Outcome::Done).and_then(|answer| answer.data.as_object());
            let mut row = Map::new();
            row.insert("id".into(), json!(node.as_str()));
            let silent = if answer.is_some() { "refused" } else { "silent" };
            row.insert("state".into(), json!(silent));
            for name in ["sessions", "connections", "bans", "version", "uptime_ms", "epoch", "reasons", "degraded"] {
                row.insert(name.into(), Value::Null);
            }
            row.extend(data.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
            Value::Object(row)
        })
        .collect();
    if json {
        show::json(&rows);
    } else {
        let cells = rows.iter().map(|row| {
            let uptime = row.get("uptime_ms").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), span);
            let named = |name| cell(row, name);
            vec![
                named("id"),
                named("state"),
                named("sessions"),
                named("connections"),
                named("bans"),
                uptime,
                named("version"),
            ]
        });
        table(&["ID", "STATE", "SESSIONS", "CONNECTIONS", "BANS", "UPTIME", "VERSION"], &cells.collect::<Vec<_>>());
    }
    Ok(end(&gathering))
}

/// The rows of all answers, and where they can be relied on to be complete: behind the last row of a page that goes on,
/// the others' rows belong to the next page.
fn merged(gathering: &Gathering, key: impl Fn(&Value) -> String) -> (Vec<(String, NodeId, Value)>, Option<String>) {
    let mut rows = Vec::new();
    let mut cut: Option<String> = None;
    for (node, answer) in gathering.answers() {
        let Some(answer) = answer.filter(|answer| answer.outcome == Outcome::Done) else { continue };
        let list = answer.data.as_array().map(Vec::as_slice).unwrap_or_default();
        let keyed: Vec<(String, NodeId, Value)> =
            list.iter().map(|row| (key(row), node.clone(), row.clone())).collect();
        if answer.more
            && let Some((last, ..)) = keyed.last()
        {
            cut = Some(cut.map_or_else(|| last.clone(), |cut| cut.min(last.clone())));
        }
        rows.extend(keyed);
    }
    if let Some(cut) = &cut {
        rows.retain(|(key, ..)| key <= cut);
    }
    rows.sort_by(|(a, n, _), (b, m, _)| (a, n).cmp(&(b, m)));
    (rows, cut)
}

/// Nodes that answered: only they are asked for the next page, so that one that is silent costs its time once.
fn answered(gathering: &Gathering) -> Vec<NodeId> {
    gathering.tally().done
}

fn page(limit: usize) -> u16 {
    u16::try_from(limit).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE)
}

/// `gatectl sessions list`.
pub async fn sessions(fleet: &Fleet, what: &Sessions, json: bool) -> Result<End, Trouble> {
    let mut expected = match &what.node {
        Some(node) => vec![node.clone()],
        None => fleet.nodes().await?,
    };
    let (mut found, mut after, mut ending) = (Vec::new(), what.after, None);
    let more = loop {
        let limit = page(what.limit.saturating_sub(found.len()));
        let command = Command::Sessions { user: what.user.clone(), after, limit };
        let mut gathering = fleet.ask(&command, expected).await?;
        if let Some(only) = &what.node {
            gathering = only_of(&gathering, only);
        }
        ending = ending.or(Some(end(&gathering)));
        expected = answered(&gathering);
        let (rows, cut) = merged(&gathering, |row| cell(row, "session"));
        found.extend(rows.into_iter().map(|(_, _, row)| row));
        after = cut.as_deref().and_then(SessionId::parse);
        if after.is_none() || found.len() >= what.limit {
            break after.is_some() || found.len() > what.limit;
        }
    };
    found.truncate(what.limit);
    if more && let Some(last) = found.last() {
        complain(&format!("there are more: --after {}", cell(last, "session")));
    }
    let now = fleet.now().await?;
    if json {
        show::json(&found);
    } else {
        let cells = found.iter().map(|row| {
            let named = |name| cell(row, name);
            vec![
                named("session"),
                named("user"),
                named("node"),
                age(row, "created", now),
                named("client"),
                named("tenant"),
            ]
        });
        table(&["SESSION", "USER", "NODE", "AGE", "CLIENT", "TENANT"], &cells.collect::<Vec<_>>());
    }
    Ok(ending.unwrap_or(End::None))
}

/// Every node answers; what the others say was not asked for.
fn only_of(gathering: &Gathering, only: &NodeId) -> Gathering {
    let mut one = Gathering::of([only.clone()]);
    for (node, answer) in gathering.answers() {
        if let Some(answer) = answer.filter(|_| node == only) {
            one.take(node.clone(), answer.clone());
        }
    }
    one
}

/// `gatectl sessions show`.
pub async fn session(fleet: &Fleet, session: SessionId, json: bool) -> Result<End, Trouble> {
    let gathering = fleet.ask_all(&Command::Session { session }).await?;
    let found = gathering.answers().filter_map(|(_, answer)| answer).filter(|a| a.outcome == Outcome::Done);
    let found: Vec<Value> = found.map(|answer| answer.data.clone()).filter(Value::is_object).collect();
    if json {
        show::json(&found);
    } else {
        for row in &found {
            let names = row.as_object().into_iter().flat_map(Map::keys);
            table(&["FIELD", "VALUE"], &names.map(|name| vec![name.clone(), cell(row, name)]).collect::<Vec<_>>());
        }
    }
    let ending = end(&gathering);
    if found.is_empty() {
        complain("no node that answered has such a session");
        return Ok(End::None);
    }
    Ok(ending)
}

/// Bans of all nodes.
pub struct Bans {
    /// One a target.
    pub rows: Vec<Value>,
    /// There are more.
    more: bool,
    /// Who answered.
    pub ending: End,
}

/// The target that a row is about.
pub fn target(row: &Value) -> Option<Target> {
    let kind = match row.get("kind")?.as_str()? {
        "network" => Kind::Ip,
        "user" => Kind::User,
        "session" => Kind::Session,
        _ => Kind::Token,
    };
    Whom { kind, value: row.get("target")?.as_str()?.to_owned() }.target().ok()
}

/// Up to `limit` bans, each with the nodes that know it.
pub async fn gather_bans(fleet: &Fleet, limit: usize) -> Result<Bans, Trouble> {
    let mut expected = fleet.nodes().await?;
    let (mut found, mut after, mut ending) = (BTreeMap::new(), None, None);
    let more = loop {
        let command = Command::Bans { after: after.clone(), limit: page(limit.saturating_sub(found.len())) };
        let gathering = fleet.ask(&command, expected).await?;
        ending = ending.or(Some(end(&gathering)));
        expected = answered(&gathering);
        let (rows, cut) = merged(&gathering, |row| format!("{}:{}", cell(row, "kind"), cell(row, "target")));
        for (key, node, row) in rows {
            let (_, nodes) = found.entry(key).or_insert_with(|| (row, Vec::new()));
            nodes.push(node.to_string());
        }
        after = cut;
        if after.is_none() || found.len() >= limit {
            break after.is_some() || found.len() > limit;
        }
    };
    let rows = found.into_values().take(limit).map(|(mut row, nodes)| {
        if let Some(row) = row.as_object_mut() {
            row.insert("nodes".into(), json!(nodes));
        }
        row
    });
    Ok(Bans { rows: rows.collect(), more, ending: ending.unwrap_or(End::None) })
}

/// `gatectl ban list`.
pub async fn bans(fleet: &Fleet, limit: usize, json: bool) -> Result<End, Trouble> {
    let Bans { rows, more, ending } = gather_bans(fleet, limit).await?;
    if more {
        complain("there are more: raise --limit");
    }
    let now = fleet.now().await?;
    if json {
        show::json(&rows);
    } else {
        let cells = rows.iter().map(|row| {
            let nodes = row.get("nodes").and_then(Value::as_array).map_or(0, Vec::len);
            let named = |name| cell(row, name);
            vec![named("kind"), named("target"), left(row, "until", now), nodes.to_string(), named("reason")]
        });
        table(&["KIND", "TARGET", "LEFT", "NODES", "REASON"], &cells.collect::<Vec<_>>());
    }
    Ok(ending)
}
