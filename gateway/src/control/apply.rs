//! What each command does on this node.

use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::UnixMs;
use portcullis_common::control::ack::{Answer, MAX};
use portcullis_common::control::command::{BanItem, Command, target_words};
use portcullis_common::control::sign::Nonce;
use portcullis_common::ids::{SessionId, TypeName, UserId};
use portcullis_common::store::bus::Record;
use portcullis_common::store::control::ControlEntry;
use portcullis_common::wire::envelope::RawJson;
use portcullis_common::wire::reply::{Announced, Reply as _};
use portcullis_common::wire::scan::{Bounds, Scratch};
use serde_json::{Map, Value, json};

use super::state;
use crate::node::Node;
use crate::penalty::explain;
use crate::reload;
use crate::session::describe;
use crate::session::registry::SessionEntry;

/// The longest reason for a reload that changed nothing, in bytes.
const WHY: usize = 4 << 10;

/// What of an answer's bytes may be a list; the rest is its frame.
const LIST: usize = MAX - (1 << 10);

/// Which command it is.
#[derive(Clone, Copy)]
pub(super) struct Which {
    pub(super) nonce: Nonce,
    /// When it was issued.
    pub(super) issued: UnixMs,
}

/// Carries a command out. `None`: it is another node's.
pub(super) async fn apply(node: &Arc<Node>, which: Which, command: Command, now: UnixMs) -> Option<Answer> {
    let Which { nonce, .. } = which;
    Some(match command {
        Command::Nodes => Answer::done(state(node)),
        Command::Sessions { user, after, limit } => sessions(node, user.as_ref(), after, usize::from(limit)),
        Command::Session { session } => Answer::done(match node.registry.get(session) {
            Some(entry) => detailed(&entry).await,
            None => Value::Null,
        }),
        Command::Bans { after, limit } => bans(node, after.as_deref(), usize::from(limit), now),
        Command::Watch { seconds } => {
            let until = node.clock.mono().after(Duration::from_secs(u64::from(seconds)));
            if node.metrics.tap.open(nonce, until) {
                Answer::done(Value::Null)
            } else {
                Answer::failed("as many watch as may")
            }
        }
        Command::Kick { target, reason } => {
            state::enter(node, which, vec![ControlEntry::Kick { target, reason }]).await
        }
        Command::Ban { target, until, reason } => state::ban(node, which, BanItem { target, until, reason }, now).await,
        Command::Import { bans } => state::import(node, which, bans, now).await,
        Command::Lift { target } => state::lift(node, which, target, now).await,
        Command::Reload => reloaded(node).await,
        Command::Policy => Answer::done(explain::policy(node)),
        Command::Explain { target } => explain::explain(node, &target, now).await,
        Command::Drain { node: which } => {
            if which != node.config.node.id {
                return None;
            }
            node.ask_to_drain();
            Answer::done(json!({"sessions": node.registry.count()}))
        }
        Command::Broadcast { kind, payload } => broadcast(node, &kind, &payload),
    })
}

/// Reads the configuration again, as for SIGHUP; the answer says which version of the rules is in force, or why it is the
/// old one.
async fn reloaded(node: &Arc<Node>) -> Answer {
    match reload::from_source(node).await {
        Ok(version) => Answer::done(json!({"version": version})),
        Err(problems) => {
            let mut why =
                problems.iter().map(|(path, problem)| format!("{path}: {problem}")).collect::<Vec<_>>().join("; ");
            why.truncate(why.floor_char_boundary(WHY));
            Answer { data: json!({"version": node.rules.load().version}), ..Answer::failed(why) }
        }
    }
}

/// What `/health` says, in one line.
fn state(node: &Node) -> Value {
    let reasons = node.not_ready();
    let degraded = node.degraded();
    let state = match () {
        () if node.is_draining() => "draining",
        () if !reasons.is_empty() => "not_ready",
        () if !degraded.is_empty() => "degraded",
        () => "ready",
    };
    json!({
        "state": state,
        "sessions": node.registry.count(),
        "connections": node.caps.total(),
        "bans": node.bans.len(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_ms": node.clock.mono().0,
        "epoch": node.epoch().to_string(),
        "reasons": reasons,
        "degraded": degraded,
    })
}

fn brief(entry: &SessionEntry) -> Map<String, Value> {
    let members = [
        ("session", json!(entry.holder.sid.to_string())),
        ("user", json!(entry.user.as_str())),
        ("node", json!(entry.holder.node.as_str())),
        ("created", json!(entry.opened.0)),
        ("client", json!(entry.client.to_string())),
        ("tenant", json!(entry.tenant.as_ref().map(|tenant| tenant.as_str()))),
        ("user_agent", json!(entry.user_agent.as_deref())),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn detailed(entry: &SessionEntry) -> Value {
    let mut all = brief(entry);
    all.insert("epoch".to_owned(), json!(entry.holder.epoch.to_string()));
    all.insert("generation".to_owned(), json!(entry.holder.generation));
    all.insert("worker".to_owned(), json!(entry.peer.worker));
    if let Some(described) = describe::ask(entry).await {
        all.insert("rooms".to_owned(), json!(described.rooms));
        all.insert("score".to_owned(), json!(described.score));
        all.insert("evidence".to_owned(), json!(described.evidence));
    }
    Value::Object(all)
}

fn sessions(node: &Node, user: Option<&UserId>, after: Option<SessionId>, limit: usize) -> Answer {
    let (entries, more) = node.registry.page(user, after, limit);
    listed(entries.iter().map(|entry| Value::Object(brief(entry))), more)
}

fn bans(node: &Node, after: Option<&str>, limit: usize, now: UnixMs) -> Answer {
    let (bans, more) = node.bans.page(after, limit, now);
    let row = bans.iter().map(|ban| {
        let (kind, target) = target_words(&ban.target);
        let reason = ban.reason.as_deref().unwrap_or_default();
        json!({"kind": kind, "target": target, "until": ban.until.map(|until| until.0), "since": ban.since.0, "reason": reason})
    });
    listed(row, more)
}

/// As many as fit into an answer.
fn listed(rows: impl Iterator<Item = Value>, more: bool) -> Answer {
    let (mut list, mut size, mut more) = (Vec::new(), 0, more);
    for row in rows {
        size += row.to_string().len() + 1;
        if size > LIST {
            more = true;
            break;
        }
        list.push(row);
    }
    Answer { more, ..Answer::done(Value::Array(list)) }
}

fn broadcast(node: &Node, kind: &TypeName, payload: &str) -> Answer {
    let Ok(payload) = RawJson::check(payload, Bounds::default(), &mut Scratch::default()) else {
        return Answer::failed("the payload is not JSON that a client could have sent");
    };
    let body = Announced { kind: kind.as_str(), payload, now: node.clock.wall() }.to_bytes();
    let sessions = node.bus.to_all(Record { body, exclude: None });
    Answer::done(json!({"sessions": sessions}))
}
