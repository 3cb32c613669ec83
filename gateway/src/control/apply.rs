//! What each command does on this node.

use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::UnixMs;
use portcullis_common::control::ack::{Answer, MAX};
use portcullis_common::control::command::{Command, target_words};
use portcullis_common::control::sign::Nonce;
use portcullis_common::ids::{SessionId, TypeName, UserId};
use portcullis_common::store::StoreFault;
use portcullis_common::store::bus::Record;
use portcullis_common::store::control::ControlEntry;
use portcullis_common::wire::envelope::RawJson;
use portcullis_common::wire::reply::{Announced, Reply as _};
use portcullis_common::wire::scan::{Bounds, Scratch};
use serde_json::{Map, Value, json};

use crate::node::Node;
use crate::session::registry::SessionEntry;

/// How long the control log may take to bring what a node wrote. Then, if another node took it upon itself to write, it
/// is gone, and this one does.
const SETTLE: Duration = Duration::from_secs(2);

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
        Command::Session { session } => {
            Answer::done(node.registry.get(session).map_or(Value::Null, |entry| detailed(&entry)))
        }
        Command::Bans { after, limit } => bans(node, after.as_deref(), usize::from(limit), now),
        Command::Watch { seconds } => {
            let until = node.clock.mono().after(Duration::from_secs(u64::from(seconds)));
            if node.metrics.tap.open(nonce, until) {
                Answer::done(Value::Null)
            } else {
                Answer::failed("as many watch as may")
            }
        }
        Command::Kick { target, reason } => enter(node, which, ControlEntry::Kick { target, reason }).await,
        Command::Ban { target, until, reason } => {
            if until.is_some_and(|until| until <= now) {
                return Some(Answer::failed("the ban would be over already"));
            }
            enter(node, which, ControlEntry::Ban { target, until, reason }).await
        }
        Command::Lift { target } => {
            let banned = node.bans.is_banned(&target, now);
            let answer = enter(node, which, ControlEntry::Lift { target }).await;
            if answer.data.is_null() { answer } else { Answer { data: json!({"banned": banned}), ..answer } }
        }
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

/// Has the entry written once for the fleet, and waits until it is in force here.
async fn enter(node: &Arc<Node>, which: Which, entry: ControlEntry) -> Answer {
    let Which { nonce, issued } = which;
    let Some(mut told) = node.settled.expect(entry.clone(), issued) else {
        return Answer::failed("too much is under way");
    };
    let fault = |fault: StoreFault| match fault {
        StoreFault::Full(_) => Answer::failed("the control log is full"),
        StoreFault::Unavailable(_) | StoreFault::Era | StoreFault::Fenced => {
            Answer::failed("the store did not take it")
        }
    };
    let mine = match node.stores.desk.claim(nonce).await {
        Ok(mine) => mine,
        Err(why) => return fault(why),
    };
    // the second round is for nodes that waited for one that is gone
    for write in [mine, !mine] {
        if write && let Err(why) = node.stores.control.append(entry.clone()).await {
            return fault(why);
        }
        if let Ok(Ok(sessions)) = actix_rt::time::timeout(SETTLE, &mut told).await {
            return Answer::done(json!({"sessions": sessions}));
        }
        if mine {
            break;
        }
    }
    Answer::failed("the control log did not bring it in time")
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

fn detailed(entry: &SessionEntry) -> Value {
    let mut all = brief(entry);
    all.insert("epoch".to_owned(), json!(entry.holder.epoch.to_string()));
    all.insert("generation".to_owned(), json!(entry.holder.generation));
    all.insert("worker".to_owned(), json!(entry.peer.worker));
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
