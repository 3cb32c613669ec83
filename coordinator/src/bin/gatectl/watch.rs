//! What happens now: a command that is answered for as long as it lasts, and asked anew when that is over.

use std::time::Duration;

use portcullis_common::clock::{Clock as _, SystemClock};
use portcullis_common::control::ack::{Answer, Gathering, Outcome};
use portcullis_common::control::command::{Command, MAX_WATCH};
use portcullis_common::ids::NodeId;
use serde_json::{Value, json};

use super::fleet::{Fleet, end};
use super::show::{cell, complain};
use super::{End, Trouble, show};

/// One command lasts so long; the next is sent before it is over.
const TURN: Duration = Duration::from_secs(MAX_WATCH as u64 - 5);

/// Nodes have so long to say that they are watched.
const BEGIN: Duration = Duration::from_secs(3);

/// `gatectl watch`.
pub async fn watch(fleet: &Fleet, during: Option<Duration>, json: bool) -> Result<End, Trouble> {
    let clock = SystemClock::default();
    let until = during.map(|during| clock.mono().after(during));
    let mut ending = None;
    loop {
        let turn = clock.mono().after(TURN);
        let (begun, stop) = (clock.mono().after(BEGIN), until.map_or(turn, |until| until.min(turn)));
        let mut gathering = Gathering::of(fleet.nodes().await?);
        let mut asked = fleet.send(&Command::Watch { seconds: MAX_WATCH }).await?;
        loop {
            let now = clock.mono();
            if ending.is_none() && (gathering.is_complete() || now >= begun) {
                ending = Some(end(&gathering));
            }
            if ending == Some(End::None) || now >= stop {
                break;
            }
            let wait = stop.since(now).min(Duration::from_millis(500));
            for (node, answer) in fleet.answers(&mut asked, wait).await? {
                show_lines(&node, &answer, json);
                gathering.take(node, answer);
            }
        }
        let over = until.is_some_and(|until| clock.mono() >= until);
        if over || ending == Some(End::None) {
            return Ok(ending.unwrap_or_else(|| end(&gathering)));
        }
    }
}

fn show_lines(node: &NodeId, answer: &Answer, json: bool) {
    if answer.outcome != Outcome::Event {
        return;
    }
    for event in answer.data.get("lines").and_then(Value::as_array).into_iter().flatten() {
        let Some(members) = event.as_object() else { continue };
        if json {
            let mut row = members.clone();
            row.insert("node".into(), json!(node.as_str()));
            show::line(&Value::Object(row).to_string());
        } else {
            let others = members.keys().filter(|name| *name != "event");
            let words: Vec<String> = others.map(|name| format!("{name}={}", cell(event, name))).collect();
            show::safe_line(&format!("{node}  {}  {}", cell(event, "event"), words.join(" ")));
        }
    }
    if let Some(lost) = answer.data.get("lost").and_then(Value::as_u64).filter(|lost| *lost > 0) {
        complain(&format!("{node}: {lost} more than could be told"));
    }
}
