//! Figures as Markdown.

use super::What;
use super::budget::{self, PROMISES};
use super::machine::Machine;
use super::peer::Peer;
use super::row::{Result, Row};
use crate::finding::Finding;

/// A number for people: three digits that count, thousands apart.
#[must_use]
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        big if big >= 100.0 => 0,
        big if big >= 10.0 => 1,
        small if small >= 0.1 || small == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut out = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    let rest = rest.trim_end_matches('0');
    if rest.is_empty() { format!("{sign}{out}") } else { format!("{sign}{out}.{rest}") }
}

fn figure(finding: &Finding) -> String {
    format!("{} {}", number(finding.value), finding.unit).trim_end().to_owned()
}

/// The rounds' ends, where there were several.
fn spread(finding: &Finding) -> String {
    let ends = finding.detail.get("spread").and_then(|ends| Some((ends.get(0)?.as_f64()?, ends.get(1)?.as_f64()?)));
    ends.map_or_else(String::new, |(low, high)| format!(" ({} to {})", number(low), number(high)))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn met(row: &Row) -> &'static str {
    match row.met() {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "–",
    }
}

fn find<'a>(rows: &'a [Row], id: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.finding().is_some_and(|finding| finding.id == id))
}

/// What was promised: met or not, by how much, and the command.
#[must_use]
pub fn promises(rows: &[Row]) -> String {
    let mut out =
        "| what | budget | measured | met? | by | command |\n| --- | ---: | ---: | --- | ---: | --- |\n".to_owned();
    for (id, what) in PROMISES {
        let budget = budget::of(id);
        let told = budget.map_or_else(String::new, |budget| budget.to_string());
        let line = match find(rows, id).and_then(|row| Some((row, row.finding()?))) {
            Some((row, finding)) => {
                let by = budget.map_or_else(String::new, |budget| budget.distance(finding.value));
                let measured = format!("{}{}", number(finding.value), spread(finding));
                format!("| {what} | {told} | {measured} | {} | {by} | `{}` |\n", met(row), row.command)
            }
            None => format!("| {what} | {told} | – | not measured | | |\n"),
        };
        out.push_str(&line);
    }
    out
}

/// Ours and the peers': CPU of a delivery and memory of an idle session.
#[must_use]
pub fn peers(rows: &[Row]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        let id = row.finding().map_or("", |finding| finding.id.as_str());
        let name = id.strip_prefix("fanout-").and_then(|rest| rest.split_once('.')).map(|(name, _)| name);
        names.extend(name.filter(|name| !names.contains(name)));
    }
    let mut out =
        "| server | to 1,000 members | to 5,000 members | idle connection |\n| --- | ---: | ---: | ---: |\n".to_owned();
    let value = |id: String| {
        find(rows, &id)
            .and_then(Row::finding)
            .map_or_else(|| "–".to_owned(), |finding| format!("{}{}", figure(finding), spread(finding)))
    };
    let all = std::iter::once(("Portcullis, everything on", String::new()));
    for (title, name) in all.chain(names.iter().map(|name| (Peer::title(name), format!("-{name}")))) {
        let fan = |members: u32| value(format!("fanout{name}.{members}"));
        out.push_str(&format!(
            "| {title} | {} | {} | {} |\n",
            fan(1000),
            fan(5000),
            value(format!("idle-small{name}.rss"))
        ));
    }
    for row in rows {
        if let Result::Skipped(why) = &row.result {
            out.push_str(&format!("\n{why}.\n"));
        }
    }
    out
}

/// Every figure, scenario by scenario.
#[must_use]
pub fn figures(rows: &[Row]) -> String {
    let mut out = String::new();
    for what in What::ALL {
        let mark = format!("--only {}", what.name());
        let of = |row: &&Row| row.command.split(" --").any(|part| format!("--{part}").trim() == mark);
        let mut mine = rows.iter().filter(of).filter_map(|row| Some((row, row.finding()?))).peekable();
        let Some((first, _)) = mine.peek() else { continue };
        out.push_str(&format!(
            "\n### {}\n\n`{}`\n\n| what | measured | budget | met? |\n| --- | ---: | ---: | --- |\n",
            what.name(),
            first.command
        ));
        for (row, finding) in mine {
            let budget = row.budget().map_or_else(|| "–".to_owned(), |budget| budget.to_string());
            out.push_str(&format!("| {} | {} | {budget} | {} |\n", cell(&finding.what), figure(finding), met(row)));
        }
    }
    for row in rows {
        match &row.result {
            Result::Failed(fault) => out.push_str(&format!("\nFailed: {} (`{}`)\n", fault, row.command)),
            Result::Skipped(why) => out.push_str(&format!("\nSkipped: {why} (`{}`)\n", row.command)),
            Result::Found(_) => {}
        }
    }
    out
}

/// All of it.
#[must_use]
pub fn whole(machine: &Machine, rows: &[Row]) -> String {
    format!("{}\n\n{}\n{}\n{}", machine.sentence(), promises(rows), peers(rows), figures(rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn row(id: &str, value: f64) -> Row {
        Row::found(Finding::new(id, "a | figure", value, "us", Value::Null), "portcullis-bench run --only echo --quick")
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let all = [2883.994, 16_536.0, 1.534, 104.133, 33.25, 0.0, 0.012, -0.653, 2.0, 1_234_567.0];
        let told = ["2,884", "16,536", "1.53", "104", "33.2", "0", "0.012", "-0.65", "2", "1,234,567"];
        assert_eq!(all.map(number), told.map(str::to_owned));
    }

    #[test]
    fn a_missed_budget_and_one_that_nobody_measured_can_be_seen() {
        let table = promises(&[row("echo.w1.ratio", 1.65)]);
        assert!(
            table.contains(
                "window 1 | ≤ 1.5 | 1.65 | **no** | 10 % above | `portcullis-bench run --only echo --quick` |"
            ),
            "{table}"
        );
        assert!(table.contains("| the same, window 8 | ≤ 4 | – | not measured | | |"), "{table}");
    }

    #[test]
    fn a_failed_scenario_and_a_skipped_peer_are_told_with_the_reason() {
        let rows = [
            row("echo.w1.ratio", 1.2),
            Row::failed_with("no server".to_owned(), "run"),
            Row::skipped("NATS: not measured (it is not here)".to_owned(), "run"),
        ];
        let table = figures(&rows);
        assert!(table.contains("### echo\n") && table.contains("| a \\| figure | 1.2 us | ≤ 1.5 | yes |"), "{table}");
        assert!(table.contains("Failed: no server (`run`)") && table.contains("Skipped: NATS"), "{table}");
        assert!(peers(&rows).ends_with("NATS: not measured (it is not here).\n"));
    }

    #[test]
    fn each_server_has_a_line_with_its_spread() {
        let mut ours = row("fanout.1000", 5.0);
        if let Result::Found(finding) = &mut ours.result {
            finding.detail = serde_json::json!({ "spread": [4.5, 6.0] });
        }
        let table = peers(&[ours, row("fanout-uws.1000", 6.0), row("idle-small-uws.rss", 700.0)]);
        assert!(table.contains("| Portcullis, everything on | 5 us (4.5 to 6) | – | – |"), "{table}");
        assert!(table.contains("| uWebSockets | 6 us | – | 700 us |"), "{table}");
    }
}
