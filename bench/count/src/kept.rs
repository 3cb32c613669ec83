//! The kept numbers, and what they are compared with.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::callgrind::{Counted, WHOLE};
use crate::hostile::{BENIGN, FACTOR};

/// What a number may differ from the kept one, either way: a change for the better is a change too, and is kept.
const TOLERANCE: f64 = 0.05;

/// Below this many instructions a few more or less are no change.
const FEW: u64 = 40;

/// Prints the table, and compares it with the file or replaces that.
///
/// # Errors
/// A sentence that says what differs and how the file is renewed.
pub fn judge(file: &Path, found: &Counted, renew: bool) -> Result<(), String> {
    if renew {
        write(file, found)?;
    }
    let text = fs::read_to_string(file).map_err(|why| format!("{}: {why}", file.display()))?;
    let compiler = text.lines().find_map(|line| line.strip_prefix("# compiler: ")).unwrap_or_default();
    let rows = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once('\t'));
    let kept: HashMap<&str, u64> = rows.filter_map(|(name, count)| Some((name, count.parse().ok()?))).collect();
    let mut changed = Vec::new();
    println!("{:<44} {:>12} {:>12} {:>8}", "instructions of one", "kept", "now", "change");
    for (name, now) in &found.cases {
        let before = kept.get(name.as_str()).copied();
        let change = before.map(|before| ratio(*now, before) - 1.0);
        let shown = change.map_or("new".to_owned(), |change| format!("{:+.1} %", 100.0 * change));
        println!("{name:<44} {:>12} {now:>12} {shown:>8}", before.map_or(String::new(), |n| n.to_string()));
        let same = change.is_some_and(|change| change.abs() <= TOLERANCE)
            || before.is_some_and(|before| before.abs_diff(*now) <= FEW);
        if !same {
            changed.push(format!("{name}: {shown}"));
        }
    }
    changed.extend(
        kept.keys()
            .filter(|name| !found.cases.iter().any(|(case, _)| case == *name))
            .map(|name| format!("{name}: gone")),
    );
    parts(found);
    worst(found)?;
    if changed.is_empty() {
        return Ok(());
    }
    let here = here();
    if compiler != here {
        println!(
            "the kept numbers are of another compiler or machine ({compiler}; here {here}): not judged; renew them"
        );
        return Ok(());
    }
    Err(format!(
        "what a message costs has changed by more than {} %:\n  {}\nif that is meant, renew the numbers with `make counts-renew` and say why in the commit",
        100.0 * TOLERANCE,
        changed.join("\n  ")
    ))
}

fn parts(found: &Counted) {
    let whole = count_of(found, WHOLE);
    println!("\nof \"{WHOLE}\", with what they call:");
    for (part, cost) in &found.parts {
        println!("  {part:<42} {cost:>12} {:>5.1} %", 100.0 * ratio(*cost, whole));
    }
}

/// The dearest large message against benign ones.
fn worst(found: &Counted) -> Result<(), String> {
    let benign = BENIGN.iter().map(|name| count_of(found, name)).max().unwrap_or_default();
    let mut hostile: Vec<(&str, f64)> = found
        .cases
        .iter()
        .filter(|(name, _)| name.starts_with("hostile: "))
        .map(|(name, count)| (name.as_str(), ratio(*count, benign)))
        .collect();
    hostile.sort_by(|one, other| other.1.total_cmp(&one.1));
    println!("\nthe dearest large messages, times the dearest benign one:");
    for (name, times) in hostile.iter().take(5) {
        println!("  {name:<42} {times:>12.2}");
    }
    match hostile.first() {
        Some((name, times)) if *times > FACTOR => Err(format!("{name} costs {times:.1} benign messages of its size")),
        _ => Ok(()),
    }
}

fn count_of(found: &Counted, name: &str) -> u64 {
    found.cases.iter().find(|(case, _)| case == name).map_or(0, |(_, count)| *count)
}

#[allow(clippy::cast_precision_loss, reason = "instructions of a second fit")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}

fn write(file: &Path, found: &Counted) -> Result<(), String> {
    let mut text =
        "# Instructions by callgrind; see CONTRIBUTING.md. Written by `make counts-renew`, read by `make counts`.\n"
            .to_owned();
    let _ = writeln!(text, "# compiler: {}", here());
    for (name, count) in &found.cases {
        let _ = writeln!(text, "{name}\t{count}");
    }
    fs::write(file, text).map_err(|why| format!("{}: {why}", file.display()))
}

/// What numbers depend on besides the source.
fn here() -> String {
    let version = Command::new("rustc").arg("--version").output().ok();
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default();
    format!("{version}, {}", std::env::consts::ARCH)
}
