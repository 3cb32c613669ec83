//! Many bans at once: `gatectl ban import` and `gatectl ban export`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use portcullis_common::control::ack::{Answer, Outcome};
use portcullis_common::control::command::{BanItem, Command, MAX_IMPORT};
use portcullis_common::control::sign::{MAX, Refusal};
use portcullis_common::ids::NodeId;
use serde_json::{Value, json};

use super::arguments::{Export, Import};
use super::fleet::{Fleet, end};
use super::show::{cell, complain, table};
use super::{End, Trouble, lines, list, show};

/// What of a command's bytes may be bans; the rest is its frame.
const BYTES: usize = MAX - (1 << 10);

/// A larger file is not read.
const LARGEST: u64 = 64 << 20;

/// How often nodes that are busy are asked again, and after how long.
const AGAIN: (usize, Duration) = (20, Duration::from_millis(500));

/// What a node did of all commands together.
#[derive(Default)]
struct Row {
    bans: u64,
    why: Option<String>,
}

fn read(what: &Import) -> Result<String, Trouble> {
    let name = what.file.display();
    let mut text = String::new();
    let read = if what.file.as_os_str() == "-" {
        std::io::stdin().take(LARGEST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(&what.file).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text))
    };
    read.map_err(|error| Trouble::Usage(format!("{name}: {error}")))?;
    if text.len() as u64 > LARGEST {
        return Err(Trouble::Usage(format!("{name}: is larger than {} MiB", LARGEST >> 20)));
    }
    Ok(text)
}

/// As many bans in a command as fit.
fn batches(bans: Vec<BanItem>) -> Vec<Vec<BanItem>> {
    let mut batches: Vec<Vec<BanItem>> = Vec::new();
    let mut size = usize::MAX;
    for ban in bans {
        let len = serde_json::to_vec(&ban).map_or(0, |text| text.len()) + 1;
        match batches.last_mut().filter(|batch| batch.len() < MAX_IMPORT && size.saturating_add(len) <= BYTES) {
            Some(batch) => {
                batch.push(ban);
                size += len;
            }
            None => {
                batches.push(vec![ban]);
                size = len;
            }
        }
    }
    batches
}

fn is_busy(answer: &Answer) -> bool {
    answer.outcome == Outcome::Refused && answer.detail.as_deref() == Some(Refusal::Busy.name())
}

/// `gatectl ban import`.
pub async fn import(fleet: &Fleet, what: &Import, json: bool) -> Result<End, Trouble> {
    let text = read(what)?;
    let mut bans = lines::parse(&text, fleet.now().await?).map_err(Trouble::Usage)?;
    for ban in bans.iter_mut().filter(|ban| ban.reason.is_empty()) {
        ban.reason.clone_from(&what.reason);
    }
    let nodes = fleet.nodes().await?;
    let mut rows: BTreeMap<NodeId, Row> = nodes.iter().map(|node| (node.clone(), Row::default())).collect();
    let (all, mut sent, mut ending) = (bans.len(), 0, End::All);
    for batch in batches(bans) {
        let count = batch.len();
        let done = send(fleet, &Command::Import { bans: batch }, &nodes, &mut rows).await?;
        if done == End::None {
            complain(&format!("no node took the {count} bans behind the first {sent}: the rest was not sent"));
            ending = if sent == 0 { End::None } else { End::Partly };
            break;
        }
        sent += count;
        ending = if done == End::Partly { End::Partly } else { ending };
    }
    if all == 0 {
        complain("there is no ban in it");
    }
    told(&rows, json);
    Ok(ending)
}

/// One command, and again for nodes that were too busy.
async fn send(
    fleet: &Fleet,
    command: &Command,
    nodes: &[NodeId],
    rows: &mut BTreeMap<NodeId, Row>,
) -> Result<End, Trouble> {
    let mut tries = 0;
    loop {
        let gathering = fleet.ask(command, nodes.to_vec()).await?;
        tries += 1;
        if tries < AGAIN.0 && gathering.answers().filter_map(|(_, answer)| answer).any(is_busy) {
            tokio::time::sleep(AGAIN.1).await;
            continue;
        }
        for (node, answer) in gathering.answers() {
            let row = rows.entry(node.clone()).or_default();
            match answer {
                Some(answer) if answer.outcome == Outcome::Done => {
                    row.bans += answer.data.get("bans").and_then(Value::as_u64).unwrap_or(0);
                }
                other => row.why = Some(other.map_or("silent".to_owned(), |a| a.detail.clone().unwrap_or_default())),
            }
        }
        return Ok(end(&gathering));
    }
}

fn told(rows: &BTreeMap<NodeId, Row>, json: bool) {
    let rows: Vec<Value> = rows
        .iter()
        .map(|(node, row)| {
            let outcome = if row.why.is_none() { "done" } else { "failed" };
            json!({"node": node.as_str(), "outcome": outcome, "bans": row.bans, "detail": row.why})
        })
        .collect();
    if json {
        show::json(&rows);
    } else {
        let cells = rows.iter().map(|row| ["node", "outcome", "bans"].map(|name| cell(row, name)).to_vec());
        table(&["NODE", "OUTCOME", "BANS"], &cells.collect::<Vec<_>>());
    }
}

/// `gatectl ban export`.
pub async fn export(fleet: &Fleet, what: &Export) -> Result<End, Trouble> {
    let list::Bans { rows, ending, .. } = list::gather_bans(fleet, lines::MOST).await?;
    let mut text = String::new();
    for row in &rows {
        let Some(target) = list::target(row) else { continue };
        let until = row.get("until").and_then(Value::as_u64);
        let reason = row.get("reason").and_then(Value::as_str).unwrap_or_default();
        text.push_str(&lines::write(&target, until, reason));
        text.push('\n');
    }
    match what.out.as_ref().filter(|file| file.as_os_str() != "-") {
        Some(file) => std::fs::write(file, text).map_err(|e| Trouble::Usage(format!("{}: {e}", file.display())))?,
        None => show::raw(text.as_bytes()),
    }
    Ok(ending)
}

#[cfg(test)]
mod tests {
    use portcullis_common::store::control::Target;

    use super::*;

    #[test]
    fn a_command_takes_as_many_bans_as_fit_and_none_is_left_out() {
        let ban = |n: usize, reason: usize| BanItem {
            target: Target::Token(n.to_string()),
            until: None,
            reason: "r".repeat(reason),
        };
        let long: Vec<_> = (0..1_000).map(|n| ban(n, 200)).collect();
        let short: Vec<_> = (0..1_000).map(|n| ban(n, 0)).collect();
        for bans in [long, short, vec![]] {
            let batches = batches(bans.clone());
            assert!(batches.iter().all(|batch| Command::Import { bans: batch.clone() }.check().is_ok()));
            let size = |batch: &Vec<BanItem>| serde_json::to_vec(batch).unwrap().len();
            assert!(batches.iter().map(size).all(|size| size <= BYTES + 2));
            assert_eq!(batches.concat(), bans);
        }
    }
}
