//! Callgrind (the Valgrind manual, chapter 6): this program once more under it, counting only in [`crate::case::measured`],
//! with one file of costs for each time that function returns.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::case;

/// The stages of a message and what is around them, by the names of their functions.
const PARTS: [&str; 15] = [
    "size::frame",
    "flow::take",
    "decode::decode",
    "size::check",
    "decode::fresh",
    "score::gate",
    "csrf::check",
    "role::check",
    "rate::check",
    "schema::check",
    "signature::check",
    "sanitise::check",
    "score::check",
    "score::settle",
    "action::action",
];

/// The case whose stages are shown.
pub const WHOLE: &str = "pipeline, json";

/// What was counted.
pub struct Counted {
    /// Each case, and the instructions of one operation.
    pub cases: Vec<(String, u64)>,
    /// The parts of [`WHOLE`] that are functions of their own in this build.
    pub parts: Vec<(&'static str, u64)>,
}

/// Runs every case under callgrind.
///
/// # Errors
/// A sentence: Valgrind is missing, failed, or wrote something else than expected.
pub fn count() -> Result<Counted, String> {
    let directory = std::env::temp_dir().join(format!("portcullis-count-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|why| format!("{}: {why}", directory.display()))?;
    let found = run(&directory).and_then(|()| read(&directory));
    let _ = fs::remove_dir_all(&directory);
    found
}

fn run(directory: &Path) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|why| format!("this program has no path: {why}"))?;
    // a pattern with an asterisk would toggle, and never dump (Valgrind 3.19)
    let measured = "portcullis_count::case::measured";
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--dump-line=no", "--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--toggle-collect={measured}"))
        .arg(format!("--dump-after={measured}"))
        .arg(format!("--callgrind-out-file={}", directory.join("out").display()))
        .arg(program)
        .arg("run")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|why| format!("valgrind cannot be started: {why}"))?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

fn read(directory: &Path) -> Result<Counted, String> {
    let mut counted = Counted { cases: Vec::new(), parts: Vec::new() };
    for (number, case) in (1..).zip(case::all()) {
        let file = directory.join(format!("out.{number}"));
        let text = fs::read_to_string(&file).map_err(|why| format!("{}: {why}", file.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("summary: ")?.trim().parse().ok());
        let total: u64 = total.filter(|n| *n > 0).ok_or_else(|| format!("nothing was counted of {}", case.name))?;
        if case.name == WHOLE {
            counted.parts = parts(&text);
        }
        counted.cases.push((case.name, total / case.operations));
    }
    Ok(counted)
}

/// What each part cost with everything that it called.
fn parts(text: &str) -> Vec<(&'static str, u64)> {
    let mut inclusive: HashMap<&str, u64> = HashMap::new();
    let mut function = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '-' || c == '*') {
            // a place and a cost; what stands behind `calls=` is the cost of the call
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            *inclusive.entry(function).or_default() += cost.unwrap_or_default();
        }
    }
    let cost = |part: &&'static str| {
        let name = format!("portcullis_gateway::pipeline::{part}");
        let found = inclusive.iter().filter(|(function, _)| function.starts_with(&name));
        let sum: u64 = found.map(|(_, cost)| cost).sum();
        (sum > 0).then_some((*part, sum))
    };
    PARTS.iter().filter_map(cost).collect()
}
