//! One measured result, and the statistics behind it.

use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Outcome;

/// One line of output. `id` names the figure for the budget table and for comparing runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name, `idle.rss_slope`.
    pub id: String,
    /// What was measured, for people.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Everything else that was seen: rounds, percentiles, losses.
    pub detail: Value,
}

impl Finding {
    /// A figure with its detail.
    #[must_use]
    pub fn new(id: &str, what: impl Into<String>, value: f64, unit: &str, detail: Value) -> Self {
        Self { id: id.to_owned(), what: what.into(), value: rounded(value), unit: unit.to_owned(), detail }
    }

    /// Prints it as one JSON line.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn print(&self) -> Outcome<()> {
        print_line(&serde_json::to_value(self)?)
    }
}

/// Prints one JSON line and flushes it, so that a driver sees it at once.
///
/// # Errors
/// Standard output is closed.
pub fn print_line(line: &Value) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Three decimals: more is noise.
#[must_use]
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The middle of `values`, the mean of the two middle ones when they are even in number; 0 for none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.get(half), half.checked_sub(1).and_then(|below| sorted.get(below))) {
        (Some(high), Some(low)) if sorted.len().is_multiple_of(2) => (low + high) / 2.0,
        (Some(middle), _) => *middle,
        (None, _) => 0.0,
    }
}

/// Smallest and largest of `values`; zeroes for none.
#[must_use]
pub fn spread(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold(None, |seen: Option<(f64, f64)>, v| {
            Some(seen.map_or((*v, *v), |(low, high)| (low.min(*v), high.max(*v))))
        })
        .unwrap_or((0.0, 0.0))
}

/// Slope and intercept of the least-squares line through `points`; `None` for fewer than two different x.
#[must_use]
pub fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    let (sx, sy) = points.iter().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x, sy + y));
    let (mx, my) = (sx / n, sy / n);
    let (xx, xy) =
        points.iter().fold((0.0, 0.0), |(xx, xy), (x, y)| (xx + (x - mx) * (x - mx), xy + (x - mx) * (y - my)));
    (xx > 0.0).then(|| (xy / xx, my - xy / xx * mx))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_through_points_on_a_line_is_that_line() {
        let (slope, intercept) = line(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]).expect("a line");
        assert!((slope - 2.0).abs() < 1e-9 && (intercept - 3.0).abs() < 1e-9);
        assert!(line(&[(1.0, 5.0), (1.0, 7.0)]).is_none() && line(&[]).is_none());
    }

    #[test]
    fn the_median_is_the_middle_and_the_spread_the_ends() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0]), median(&[])), (2.0, 2.5, 0.0));
        assert_eq!((spread(&[3.0, 1.0, 2.0]), spread(&[])), ((1.0, 3.0), (0.0, 0.0)));
    }
}
