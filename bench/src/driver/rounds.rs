//! Several rounds of one figure become one figure: the median, with all of them and their spread beside it.

use serde_json::{Value, json};

use super::row::Row;
use crate::finding::{Finding, median, rounded, spread};

/// Whether every round counts, and not the one in the middle: losses.
fn worst_counts(id: &str) -> bool {
    id.ends_with(".lost") || id.ends_with(".parked")
}

/// Figures of one id become one, where the first of them stands; a sentence that is there twice is told once.
#[must_use]
pub fn merged(rows: Vec<Row>) -> Vec<Row> {
    let mut out: Vec<(Row, Vec<Finding>)> = Vec::new();
    for row in rows {
        let Some(finding) = row.finding().cloned() else {
            if !out.iter().any(|(before, _)| before.json() == row.json()) {
                out.push((row, Vec::new()));
            }
            continue;
        };
        match out.iter_mut().find(|(before, _)| before.finding().is_some_and(|before| before.id == finding.id)) {
            Some((_, rounds)) => rounds.push(finding),
            None => out.push((row, vec![finding])),
        }
    }
    out.into_iter().map(|(row, rounds)| if rounds.len() > 1 { merge(&row, &rounds) } else { row }).collect()
}

fn merge(row: &Row, rounds: &[Finding]) -> Row {
    let (Some(first), Some(last)) = (rounds.first(), rounds.last()) else { return row.clone() };
    let values: Vec<f64> = rounds.iter().map(|finding| finding.value).collect();
    let value = if worst_counts(&first.id) { spread(&values).1 } else { median(&values) };
    let detail = json!({ "rounds": values, "spread": spread(&values), "last": last.detail });
    Row::found(Finding { value: rounded(value), detail, ..first.clone() }, &row.command)
}

/// The rounds of a figure; itself alone where it had one.
#[must_use]
pub fn of(finding: &Finding) -> Vec<f64> {
    let rounds = finding.detail.get("rounds").and_then(Value::as_array);
    rounds.map_or_else(|| vec![finding.value], |rounds| rounds.iter().filter_map(Value::as_f64).collect())
}

/// `one` over `other`, round by round where both had as many; `None` where there is nothing to divide by.
#[must_use]
pub fn ratio(one: &Finding, other: &Finding) -> Option<(f64, Value)> {
    let (mine, its) = (of(one), of(other));
    let pairs: Vec<f64> = if mine.len() == its.len() {
        mine.iter().zip(&its).filter(|(_, its)| **its > 0.0).map(|(mine, its)| rounded(mine / its)).collect()
    } else if other.value > 0.0 {
        vec![rounded(one.value / other.value)]
    } else {
        Vec::new()
    };
    (!pairs.is_empty()).then(|| (median(&pairs), json!({ "rounds": pairs, "spread": spread(&pairs) })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &str, value: f64) -> Finding {
        Finding::new(id, "a figure", value, "us", Value::Null)
    }

    fn rows(figures: &[(&str, f64)]) -> Vec<Row> {
        figures.iter().map(|(id, value)| Row::found(finding(id, *value), "run")).collect()
    }

    fn made(figures: &[(&str, f64)]) -> Vec<Finding> {
        merged(rows(figures)).iter().filter_map(|row| row.finding().cloned()).collect()
    }

    #[test]
    fn rounds_become_their_median_and_losses_their_worst() {
        let made =
            made(&[("x", 3.0), ("x.lost", 0.0), ("x", 1.0), ("x.lost", 7.0), ("x", 2.0), ("x.lost", 0.0), ("y", 9.0)]);
        assert_eq!(
            made.iter().map(|f| (f.id.as_str(), f.value)).collect::<Vec<_>>(),
            [("x", 2.0), ("x.lost", 7.0), ("y", 9.0)]
        );
        assert_eq!((of(&made[0]), &made[0].detail["spread"]), (vec![3.0, 1.0, 2.0], &json!([1.0, 3.0])));
        assert_eq!(made[2].detail, Value::Null, "what had one round is as it was");
    }

    #[test]
    fn a_peer_that_is_absent_in_every_round_is_told_once() {
        let skip = || Row::skipped("nats is not here".to_owned(), "run");
        assert_eq!(merged(vec![skip(), Row::found(finding("x", 1.0), "run"), skip()]).len(), 2);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let two = |a, b| made(&[("x", a), ("x", b)]).remove(0);
        let (value, detail) = ratio(&two(2.0, 6.0), &two(1.0, 2.0)).expect("a ratio");
        assert_eq!((value, &detail["rounds"]), (2.5, &json!([2.0, 3.0])));
        assert_eq!(ratio(&two(2.0, 4.0), &finding("y", 3.0)).map(|(value, _)| value), Some(1.0));
        assert!(ratio(&two(1.0, 1.0), &finding("y", 0.0)).is_none());
    }
}
