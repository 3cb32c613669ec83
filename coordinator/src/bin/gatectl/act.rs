//! What changes something: kick, ban, lift, drain, broadcast.

use std::time::Duration;

use portcullis_common::control::ack::{Gathering, Outcome};
use portcullis_common::control::command::Command;
use portcullis_common::ids::{NodeId, TypeName};
use portcullis_common::store::control::Target;
use serde_json::{Value, json};

use super::arguments::{BanAdd, KickSession, KickUser, Whom};
use super::fleet::{Fleet, end};
use super::show::{cell, complain, table};
use super::{End, Trouble, show};

/// How long a reload may take: keys of new issuers are fetched.
const RELOAD: Duration = Duration::from_secs(20);

/// One row a node: `node outcome sessions detail`.
fn told(gathering: &Gathering, json: bool) -> End {
    told_with(gathering, "sessions", json)
}

/// The same with another member of the answer than `sessions`.
fn told_with(gathering: &Gathering, member: &str, json: bool) -> End {
    let rows: Vec<Value> = gathering
        .answers()
        .map(|(node, answer)| {
            let outcome = match answer.map(|answer| answer.outcome) {
                Some(Outcome::Done | Outcome::Event) => "done",
                Some(Outcome::Failed) => "failed",
                Some(Outcome::Refused) => "refused",
                None => "silent",
            };
            let value = answer.and_then(|answer| answer.data.get(member)).cloned().unwrap_or_default();
            let detail = answer.and_then(|answer| answer.detail.clone());
            json!({"node": node.as_str(), "outcome": outcome, member: value, "detail": detail})
        })
        .collect();
    if json {
        show::json(&rows);
    } else {
        let cells = rows.iter().map(|row| ["node", "outcome", member].map(|name| cell(row, name)).to_vec());
        table(&["NODE", "OUTCOME", &member.to_uppercase()], &cells.collect::<Vec<_>>());
    }
    end(gathering)
}

/// `gatectl kick session`.
pub async fn kick_session(fleet: &Fleet, what: KickSession, json: bool) -> Result<End, Trouble> {
    let command = Command::Kick { target: Target::Session(what.session), reason: what.reason };
    Ok(told(&fleet.ask_all(&command).await?, json))
}

/// `gatectl kick user`.
pub async fn kick_user(fleet: &Fleet, what: KickUser, json: bool) -> Result<End, Trouble> {
    let command = Command::Kick { target: Target::User(what.user), reason: what.reason };
    Ok(told(&fleet.ask_all(&command).await?, json))
}

/// `gatectl ban add`.
pub async fn ban(fleet: &Fleet, what: BanAdd, json: bool) -> Result<End, Trouble> {
    let target = what.whom.target().map_err(|problem| Trouble::Usage(format!("{}: {problem}", what.whom.value)))?;
    let until = match what.during {
        Some(during) => Some(fleet.now().await?.after(during)),
        None => None,
    };
    let command = Command::Ban { target, until, reason: what.reason };
    Ok(told(&fleet.ask_all(&command).await?, json))
}

/// `gatectl ban remove`.
pub async fn lift(fleet: &Fleet, whom: Whom, json: bool) -> Result<End, Trouble> {
    let target = whom.target().map_err(|problem| Trouble::Usage(format!("{}: {problem}", whom.value)))?;
    let gathering = fleet.ask_all(&Command::Lift { target }).await?;
    let banned =
        |answer: &portcullis_common::control::ack::Answer| answer.data.get("banned") == Some(&Value::Bool(true));
    let was = gathering.answers().filter_map(|(_, answer)| answer).any(banned);
    let ending = told(&gathering, json);
    if ending != End::None && !was {
        complain("no node knew such a ban");
    }
    Ok(ending)
}

/// `gatectl reload`: the answer is the version of the rules that each node has now.
pub async fn reload(fleet: Fleet, json: bool) -> Result<End, Trouble> {
    let fleet = fleet.patient(RELOAD);
    Ok(told_with(&fleet.ask_all(&Command::Reload).await?, "version", json))
}

/// `gatectl drain`.
pub async fn drain(fleet: &Fleet, node: NodeId, wait: Option<Duration>, json: bool) -> Result<End, Trouble> {
    if !fleet.nodes().await?.contains(&node) {
        complain(&format!("{node}: no such node has a lease"));
        if json {
            show::json(&[]);
        }
        return Ok(End::None);
    }
    let gathering = fleet.ask(&Command::Drain { node: node.clone() }, vec![node.clone()]).await?;
    let ending = told(&gathering, json);
    let (Some(wait), End::All) = (wait, ending) else { return Ok(ending) };
    let gone = async {
        while fleet.nodes().await?.contains(&node) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    };
    match tokio::time::timeout(wait, gone).await {
        Ok(Ok(())) => Ok(End::All),
        Ok(Err(trouble)) => Err(trouble),
        Err(_) => {
            complain(&format!("{node}: still there"));
            Ok(End::Partly)
        }
    }
}

/// `gatectl broadcast`.
pub async fn broadcast(fleet: &Fleet, kind: TypeName, payload: String, json: bool) -> Result<End, Trouble> {
    if serde_json::from_str::<Value>(&payload).is_err() {
        return Err(Trouble::Usage("the payload is not JSON; a text needs its quotes: '\"like this\"'".to_owned()));
    }
    Ok(told(&fleet.ask_all(&Command::Broadcast { kind, payload: payload.trim().to_owned() }).await?, json))
}
