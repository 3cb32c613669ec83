//! `gatectl policy`: what users and networks are held to, and why somebody is kept out.

use portcullis_common::clock::UnixMs;
use portcullis_common::control::ack::{Gathering, Outcome};
use portcullis_common::control::command::Command;
use serde_json::{Map, Value, json};

use super::arguments::{Kind, Whom};
use super::fleet::{Fleet, end};
use super::show::{age, cell, left, safe_line, span, table};
use super::{End, Trouble, show as out};

/// One row a node that answered: the members of its answer, and `node`.
fn rows(gathering: &Gathering) -> Vec<Value> {
    let done = gathering.answers().filter_map(|(node, answer)| {
        let answer = answer.filter(|answer| matches!(answer.outcome, Outcome::Done | Outcome::Failed))?;
        let mut row = Map::new();
        row.insert("node".into(), json!(node.as_str()));
        row.extend(answer.data.as_object()?.iter().map(|(name, value)| (name.clone(), value.clone())));
        Some(Value::Object(row))
    });
    done.collect()
}

/// A member in ms as a span.
fn time(row: &Value, name: &str) -> String {
    row.get(name).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), span)
}

/// `gatectl policy show`.
pub async fn show(fleet: &Fleet, json: bool) -> Result<End, Trouble> {
    let gathering = fleet.ask_all(&Command::Policy).await?;
    let rows = rows(&gathering);
    if json {
        out::json(&rows);
    } else {
        let cells = rows.iter().map(|row| {
            let named = |name| cell(row, name);
            let delays = format!("{} .. {}", time(row, "delay"), time(row, "max_delay"));
            vec![
                named("node"),
                named("version"),
                named("mode"),
                format!("{} / {} / {}", named("restrict"), named("disconnect"), named("ban")),
                format!("x{}", named("network_factor")),
                time(row, "half_life"),
                delays,
                named("restricted"),
                named("bans"),
                named("auto_bans_left"),
            ]
        });
        let heads = [
            "NODE",
            "VERSION",
            "MODE",
            "RESTRICT / DISCONNECT / BAN",
            "NETWORKS",
            "HALF-LIFE",
            "DELAY",
            "RESTRICTED",
            "BANS",
            "AUTO-BANS LEFT",
        ];
        table(&heads, &cells.collect::<Vec<_>>());
        feeds(&rows);
    }
    Ok(end(&gathering))
}

/// The feeds of reputation that each node has in force.
fn feeds(rows: &[Value]) {
    let all = |row: &Value| row.get("feeds").and_then(Value::as_array).cloned().unwrap_or_default();
    let cells = rows.iter().flat_map(|row| {
        all(row).into_iter().map(|feed| {
            let named = |name| cell(&feed, name);
            vec![
                cell(row, "node"),
                named("feed"),
                named("version"),
                named("entries"),
                time(&feed, "age"),
                time(&feed, "left"),
                named("points"),
                named("blockFrom"),
                named("dryRun"),
            ]
        })
    });
    let heads = ["NODE", "FEED", "VERSION", "NETWORKS", "AGE", "LEFT", "POINTS", "BLOCKS FROM", "DRY RUN"];
    table(&heads, &cells.collect::<Vec<_>>());
}

/// `gatectl policy explain`.
pub async fn explain(fleet: &Fleet, who: String, json: bool) -> Result<End, Trouble> {
    let address = Whom { kind: Kind::Ip, value: who.clone() }.target().is_ok();
    let kind = if address { Kind::Ip } else { Kind::User };
    let target = Whom { kind, value: who.clone() }.target().map_err(|bad| Trouble::Usage(format!("{who}: {bad}")))?;
    let gathering = fleet.ask_all(&Command::Explain { target }).await?;
    let rows = rows(&gathering);
    if json {
        out::json(&rows);
    } else {
        let now = fleet.now().await?;
        if let Some(account) = rows.iter().filter_map(|row| row.get("account")).find(|account| account.is_object()) {
            told(&who, account, now);
        } else {
            safe_line(&format!("{who}: nothing is on its account"));
        }
        held(&rows, now);
        said(&rows);
    }
    Ok(end(&gathering))
}

/// What feeds of reputation say about an address, by node: they may have different versions.
fn said(rows: &[Value]) {
    let feeds = |row: &Value| row.get("feeds").and_then(Value::as_array).cloned().unwrap_or_default();
    let cells = rows.iter().flat_map(|row| {
        feeds(row).into_iter().map(|said| {
            let names = ["feed", "version", "network", "score", "action", "mode", "points"];
            std::iter::once(cell(row, "node")).chain(names.map(|name| cell(&said, name))).collect::<Vec<_>>()
        })
    });
    let heads = ["NODE", "FEED", "VERSION", "NETWORK", "SCORE", "ACTION", "MODE", "POINTS"];
    table(&heads, &cells.collect::<Vec<_>>());
}

/// The account: the same whichever node reads it.
fn told(who: &str, account: &Value, now: UnixMs) {
    let points = account.get("points").and_then(Value::as_f64).unwrap_or_default();
    let named = |name| cell(account, name);
    safe_line(&format!(
        "{who}: {points:.1} points (restrict {}, disconnect {}, ban {}; half of them in {}), {} strikes, step {}",
        named("restrict"),
        named("disconnect"),
        named("ban"),
        time(account, "half_life"),
        named("strikes"),
        named("step"),
    ));
    let next = account.get("next").cloned().unwrap_or_default();
    safe_line(&format!("next: {} in {}", cell(&next, "what"), left(&next, "at", now)));
    let facts = account.get("facts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let cells = facts.iter().rev().map(|fact| {
        let named = |name| cell(fact, name);
        vec![age(fact, "at", now), named("node"), named("what"), named("weight"), named("count")]
    });
    table(&["AGO", "NODE", "EVIDENCE", "POINTS", "TIMES"], &cells.collect::<Vec<_>>());
}

/// What each node holds it to.
fn held(rows: &[Value], now: UnixMs) {
    let until = |row: &Value, name: &str| match row.get(name) {
        Some(held @ Value::Object(_)) => left(held, "until", now),
        _ => "no".to_owned(),
    };
    let why = |row: &Value| {
        let reasons = ["banned", "restricted"].iter().filter_map(|name| row.get(name)?.get("reason")?.as_str());
        reasons.collect::<Vec<_>>().join("; ")
    };
    let cells = rows.iter().map(|row| {
        let sessions = row.get("sessions").and_then(Value::as_array).map_or(0, Vec::len);
        vec![cell(row, "node"), until(row, "restricted"), until(row, "banned"), sessions.to_string(), why(row)]
    });
    table(&["NODE", "RESTRICTED", "BANNED", "SESSIONS", "REASON"], &cells.collect::<Vec<_>>());
}
