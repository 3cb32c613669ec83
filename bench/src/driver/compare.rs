//! Figures that are made of others of the same run: ours beside the peers', two nodes beside one, many beside few.

use serde_json::{Value, json};

use super::peer::Peer;
use super::rounds;
use super::row::Row;
use crate::finding::Finding;

struct Found<'a> {
    rows: &'a [Row],
}

impl<'a> Found<'a> {
    fn row(&self, id: &str) -> Option<(&'a Finding, &'a str)> {
        self.rows.iter().find_map(|row| Some((row.finding().filter(|found| found.id == id)?, row.command.as_str())))
    }

    fn ratio(&self, id: &str, what: String, one: &str, other: &str) -> Option<Row> {
        let (one, command) = self.row(one)?;
        let (value, detail) = rounds::ratio(one, self.row(other)?.0)?;
        Some(Row::found(Finding::new(id, what, value, "x", detail), command))
    }

    /// What follows `prefix` in ids, where it is a number, rising.
    fn counts(&self, prefix: &str) -> Vec<u64> {
        let of = |row: &Row| row.finding()?.id.strip_prefix(prefix)?.parse().ok();
        let mut counts: Vec<u64> = self.rows.iter().filter_map(of).collect();
        counts.sort_unstable();
        counts
    }

    /// Whose figures stand behind `prefix` in ids.
    fn peers(&self, prefix: &str) -> Vec<String> {
        let name = |row: &Row| Some(row.finding()?.id.strip_prefix(prefix)?.split_once('.')?.0.to_owned());
        let mut names: Vec<String> = self.rows.iter().filter_map(name).collect();
        names.dedup();
        names
    }
}

/// All of them that the rows allow.
#[must_use]
pub fn all(rows: &[Row]) -> Vec<Row> {
    let found = Found { rows };
    let mut out = Vec::new();
    beside_peers(&found, &mut out);
    over_nodes(&found, &mut out);
    growth(&found, &mut out);
    policies(&found, &mut out);
    out
}

fn beside_peers(found: &Found<'_>, out: &mut Vec<Row>) {
    for members in found.counts("fanout.") {
        let ours = format!("fanout.{members}");
        for peer in found.peers("fanout-") {
            let what = format!("CPU per delivery to {members} members / {}", Peer::title(&peer));
            out.extend(found.ratio(&format!("{ours}.vs.{peer}"), what, &ours, &format!("fanout-{peer}.{members}")));
        }
        let what = format!("CPU per delivery to {members} members / a raw echo at window 1");
        out.extend(found.ratio(&format!("{ours}.vs.raw-echo"), what, &ours, "echo.w1.raw"));
    }
    for peer in found.peers("idle-small-") {
        let what = format!("memory of an idle session / {}", Peer::title(&peer));
        let id = format!("idle-small.vs.{peer}");
        out.extend(found.ratio(&id, what, "idle-small.rss", &format!("idle-small-{peer}.rss")));
    }
}

fn over_nodes(found: &Found<'_>, out: &mut Vec<Row>) {
    let counts = found.counts("nodes2.");
    for members in &counts {
        let two = format!("nodes2.{members}");
        let what = |of: &str| format!("CPU per delivery to {members} members over two nodes / over one{of}");
        out.extend(found.ratio(&format!("{two}.vs.one"), what(""), &two, &format!("nodes0.{members}")));
        let id = format!("{two}.vs.one-redis");
        out.extend(found.ratio(&id, what(" with Redis"), &two, &format!("nodes1.{members}")));
    }
    let even = found.counts("nodes2-even.");
    if let (Some(few), Some(many)) = (even.first(), even.last()) {
        let what = format!("CPU of Redis for a message to {many} members / to {few}, two nodes, 100 messages/s");
        let of = |members: &u64| format!("nodes2-even.{members}.redis_cpu");
        out.extend(found.ratio("nodes2.redis_growth", what, &of(many), &of(few)));
        let what = format!("commands on Redis for a message to {many} members / to {few}, two nodes, 100 messages/s");
        let of = |members: &u64| format!("nodes2-even.{members}.redis_commands");
        out.extend(found.ratio("nodes2.redis_commands_growth", what, &of(many), &of(few)));
    }
}

fn growth(found: &Found<'_>, out: &mut Vec<Row>) {
    let peers =
        found.peers("wide-").into_iter().map(|peer| (format!("wide-{peer}."), format!("{}: ", Peer::title(&peer))));
    for (series, whose) in std::iter::once(("wide.".to_owned(), String::new())).chain(peers) {
        if let Some(many) = found.counts(&series).last().filter(|many| **many > 1_000) {
            let what = format!("{whose}CPU per delivery to {many} members / to 1,000");
            out.extend(found.ratio(
                &format!("{series}growth"),
                what,
                &format!("{series}{many}"),
                &format!("{series}1000"),
            ));
        }
    }
    let Some((idle, command)) = found.row("idle.rss") else { return };
    let plateaus = idle.detail.get("plateaus").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let empty = idle.detail.get("empty_rss").and_then(Value::as_f64).unwrap_or_default();
    let each = |value: &Value| Some((value.get("rss")?.as_f64()? - empty) / value.get("sessions")?.as_f64()?);
    let each: Vec<f64> = plateaus.iter().filter_map(each).collect();
    if let ([first, .., last], Some(few)) = (each.as_slice(), plateaus.first().and_then(|few| few.get("sessions"))) {
        let what = format!("memory of an idle session, of the most / of {few}, the empty process taken off");
        let detail = json!({ "bytes_each": each });
        out.push(Row::found(Finding::new("idle.growth", what, last / first, "x", detail), command));
    }
}

/// All policies beside as few as can be.
fn policies(found: &Found<'_>, out: &mut Vec<Row>) {
    for store in ["memory", "redis"] {
        let of = |level: &str, end: &str| format!("policy.{store}.{level}{end}");
        let what = format!("CPU of a message, all policies / as few as can be, {store} store");
        out.extend(found.ratio(&of("all", ".vs.off"), what, &of("all", ".w8.full"), &of("off", ".w8.full")));
        let what = format!("CPU of a handshake, all policies / as few as can be, {store} store");
        // handshakes are figures of speed
        let (all, off) = (of("all", ".handshakes"), of("off", ".handshakes"));
        out.extend(found.ratio(&of("all", ".handshakes.vs.off"), what, &off, &all));
    }
    let what = "CPU of a message, Redis / memory, policies as by default".to_owned();
    out.extend(found.ratio(
        "policy.redis.vs.memory",
        what,
        "policy.redis.defaults.w8.full",
        "policy.memory.defaults.w8.full",
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(figures: &[(&str, f64)]) -> Vec<Row> {
        figures.iter().map(|(id, value)| Row::found(Finding::new(id, "", *value, "us", Value::Null), "run")).collect()
    }

    fn value(rows: &[Row], id: &str) -> Option<f64> {
        rows.iter().filter_map(Row::finding).find(|finding| finding.id == id).map(|finding| finding.value)
    }

    #[test]
    fn ours_stands_beside_each_peer_and_two_nodes_beside_one() {
        let made = all(&rows(&[
            ("fanout.1000", 6.0),
            ("wide.1000", 6.0),
            ("wide.10000", 6.6),
            ("wide-uws.1000", 5.0),
            ("wide-uws.10000", 6.0),
            ("fanout.1000.lost", 0.0),
            ("fanout-uws.1000", 5.0),
            ("fanout-uws.1000.lost", 0.0),
            ("nodes0.1000", 6.0),
            ("nodes2.1000", 6.9),
            ("nodes2-even.10", 7.0),
            ("nodes2-even.10.redis_cpu", 10.0),
            ("nodes2-even.400", 7.0),
            ("nodes2-even.400.redis_cpu", 11.0),
            ("policy.redis.off.handshakes", 9000.0),
            ("policy.redis.all.handshakes", 6000.0),
        ]));
        assert_eq!(value(&made, "fanout.1000.vs.uws"), Some(1.2));
        assert_eq!((value(&made, "nodes2.1000.vs.one"), value(&made, "nodes2.redis_growth")), (Some(1.15), Some(1.1)));
        assert_eq!(
            (value(&made, "wide.growth"), value(&made, "policy.redis.all.handshakes.vs.off")),
            (Some(1.1), Some(1.5))
        );
        assert_eq!(value(&made, "wide-uws.growth"), Some(1.2));
        assert_eq!(made.len(), 6);
    }

    #[test]
    fn memory_grows_evenly_when_the_most_sessions_take_as_much_each_as_the_fewest() {
        let plateaus = json!({ "empty_rss": 100, "plateaus": [
            { "sessions": 1, "rss": 110 }, { "sessions": 2, "rss": 140 }, { "sessions": 3, "rss": 136 },
        ]});
        let finding = Finding::new("idle.rss", "", 11.0, "B", plateaus);
        assert_eq!(value(&all(&[Row::found(finding, "run")]), "idle.growth"), Some(1.2));
    }
}
