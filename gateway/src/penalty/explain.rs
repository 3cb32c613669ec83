//! What operators ask: which policy is in force, and why somebody is kept out.

use std::sync::Arc;

use futures_util::future::join_all;
use portcullis_common::clock::{UnixMs, millis};
use portcullis_common::control::ack::Answer;
use portcullis_common::penalty::{Ladder, Step, Subject};
use portcullis_common::store::control::Target;
use portcullis_common::store::penalty::Statement;
use serde_json::{Value, json};

use crate::node::Node;
use crate::session::describe;
use crate::session::registry::SessionEntry;

/// Sessions of one node that are described.
const SESSIONS: usize = 20;

/// `gatectl policy show`, of this node.
#[must_use]
pub fn policy(node: &Node) -> Value {
    let rules = node.rules.load();
    let penalty = &rules.config.penalty;
    let mode = match (penalty.enabled, penalty.dry_run) {
        (false, _) => "off",
        (true, true) => "dry_run",
        (true, false) => "on",
    };
    json!({
        "version": rules.version,
        "mode": mode,
        "half_life": millis(penalty.half_life),
        "restrict": penalty.restrict,
        "disconnect": penalty.disconnect,
        "ban": penalty.ban,
        "network_factor": penalty.network_factor,
        "delay": millis(penalty.delay),
        "max_delay": millis(penalty.max_delay),
        "restricted": node.bans.restricted(node.now_at_store()),
        "doors_shut": node.bans.doors_shut(node.now_at_store()),
        "bans": node.bans.len(),
        "auto_bans_left": node.penalties.bans_left(penalty, node.clock.nanos()),
        "waiting": node.pending.len(),
        "feeds": rules.feeds.report(node.clock.wall()),
    })
}

/// `gatectl policy explain`, as this node sees it: what holds, the account in the store, the sessions here.
pub async fn explain(node: &Arc<Node>, target: &Target, now: UnixMs) -> Answer {
    let subject = match target {
        Target::User(user) => Subject::User(user.clone()),
        Target::Network(network) => Subject::network(network.addr()),
        Target::Session(_) | Target::Token(_) => return Answer::failed("accounts are of users and networks"),
    };
    let Ok((now, statement)) = node.stores.penalties.statement(subject.clone()).await else {
        return Answer { data: holds(node, &subject, now), ..Answer::failed("the store did not answer") };
    };
    let ladder = node.rules.load().config.penalty.ladder(&subject);
    let sessions = sessions(node, &subject).await;
    let mut data = holds(node, &subject, now);
    if let Some(data) = data.as_object_mut() {
        data.insert("account".to_owned(), statement.map_or(Value::Null, |s| account(&s, &ladder, now)));
        data.insert("sessions".to_owned(), Value::Array(sessions));
    }
    Answer::done(data)
}

/// What this node would say to a handshake.
fn holds(node: &Node, subject: &Subject, now: UnixMs) -> Value {
    let (user, ip) = match subject {
        Subject::User(user) => (Some(user), None),
        Subject::Network(network) => (None, Some(network.addr())),
    };
    let restricted = node.bans.restriction(user, ip, now);
    let restricted = restricted.map(|r| json!({"until": r.until.0, "close": r.close, "reason": r.reason.as_deref()}));
    let banned = node.bans.banned_by(user, ip, now).map(|ban| {
        let (_, target) = portcullis_common::control::command::target_words(&ban.target);
        json!({"target": target, "until": ban.until.map(|u| u.0), "since": ban.since.0, "reason": ban.reason.as_deref()})
    });
    let shut = ip.and_then(|ip| node.bans.shut(ip, now)).map(|shut| {
        let (_, network) = portcullis_common::control::command::target_words(&shut.target);
        json!({"network": network, "until": shut.until.map(|u| u.0), "since": shut.since.0, "reason": shut.reason.as_deref()})
    });
    // feeds end by the clock of whoever compiled them, not by the store's
    let feeds = ip.map(|ip| node.rules.load().feeds.explain(ip, node.clock.wall()));
    json!({"now": now.0, "restricted": restricted, "shut": shut, "banned": banned, "feeds": feeds})
}

fn account(statement: &Statement, ladder: &Ladder, now: UnixMs) -> Value {
    let Statement { account, facts } = statement;
    let next = match account.kept_out(now) {
        Some(until) => json!({"what": "let in", "at": until.0}),
        None => json!({"what": "forgotten", "at": now.0.saturating_add(account.matters(ladder, now))}),
    };
    let facts = facts.iter().map(|noted| {
        let fact = &noted.fact;
        json!({"at": noted.at.0, "node": noted.node, "what": fact.what, "weight": fact.weight, "count": fact.count})
    });
    json!({
        "points": account.points_at(ladder, now),
        "restrict": ladder.restrict,
        "disconnect": ladder.disconnect,
        "ban": ladder.ban,
        "half_life": millis(ladder.half_life),
        "strikes": account.strikes_at(ladder, now),
        "step": Some(account.step_at(now)).filter(|step| *step != Step::None).map(Step::name),
        "next": next,
        "facts": facts.collect::<Vec<_>>(),
    })
}

async fn sessions(node: &Node, subject: &Subject) -> Vec<Value> {
    let entries: Vec<Arc<SessionEntry>> = match subject {
        Subject::User(user) => node.registry.of_user(user),
        Subject::Network(network) => {
            node.registry.select(SESSIONS, |entry| network.contains(&entry.client.to_canonical()))
        }
    };
    let described = entries.iter().take(SESSIONS).map(|entry| async {
        let described = describe::ask(entry).await?;
        let session = entry.holder.sid.to_string();
        Some(json!({
            "session": session, "user": entry.user.as_str(), "score": described.score, "evidence": described.evidence,
        }))
    });
    join_all(described).await.into_iter().flatten().collect()
}
