//! Tables, JSON, times. What comes from the store may be anybody's words: no control character reaches a terminal.

use std::io::Write as _;

use portcullis_common::clock::UnixMs;
use serde_json::Value;

/// Bytes to stdout. Whoever reads it may be gone: that is no fault of ours.
pub fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// A line to stdout.
pub fn line(text: &str) {
    raw(format!("{text}\n").as_bytes());
}

/// A line of somebody else's words to stdout.
pub fn safe_line(text: &str) {
    line(&clean(text));
}

/// A line to stderr.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", clean(text));
}

/// An array of objects.
pub fn json(rows: &[Value]) {
    line(&Value::Array(rows.to_vec()).to_string());
}

/// Aligned columns under their heads; nothing at all without rows.
pub fn table(heads: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&heads).chain(&rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(&rows) {
        let mut written = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            written.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(written.trim_end());
        text.push('\n');
    }
    raw(text.as_bytes());
}

/// Without control characters and marks that turn the direction of text.
fn clean(text: &str) -> String {
    let bad =
        |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    text.chars().map(|c| if bad(c) { '\u{fffd}' } else { c }).collect()
}

/// A member as a cell.
pub fn cell(row: &Value, name: &str) -> String {
    match row.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A time in ms as `3d 4h`, the two largest units.
pub fn span(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let mut left = ms;
    let mut words = Vec::new();
    for (unit, name) in units {
        if left >= unit || (words.is_empty() && name == "s") {
            words.push(format!("{}{name}", left / unit));
            left %= unit;
        } else if !words.is_empty() {
            break;
        }
        if words.len() == 2 {
            break;
        }
    }
    words.join(" ")
}

/// How long ago a member's time was.
pub fn age(row: &Value, name: &str, now: UnixMs) -> String {
    row.get(name).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), |at| span(now.0.saturating_sub(at)))
}

/// How long until a member's time; `for ever` when there is none.
pub fn left(row: &Value, name: &str, now: UnixMs) -> String {
    row.get(name).and_then(Value::as_u64).map_or_else(|| "for ever".to_owned(), |at| span(at.saturating_sub(now.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        for (ms, text) in [
            (0, "0s"),
            (999, "0s"),
            (61_000, "1m 1s"),
            (60_000, "1m"),
            (3_600_000, "1h"),
            (3_601_000, "1h"),
            (90_000_000, "1d 1h"),
            (86_400_000 * 400, "400d"),
        ] {
            assert_eq!(span(ms), text, "{ms}");
        }
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_shown() {
        assert_eq!(clean("a\u{1b}[31mb\u{202e}c\n"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}");
    }
}
