//! The documents that hold the figures. What stands between their marks is made from the kept results and nothing else; a
//! test compares.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::machine::Machine;
use super::row::Row;
use super::{slopes, table};
use crate::Outcome;

/// Where results are kept, from the root of the tree.
pub const KEPT: &str = "docs/bench/latest.jsonl";

/// Options of `report`.
#[derive(Debug, Clone, Args)]
pub struct Report {
    /// The root of the tree.
    #[arg(long, default_value = ".")]
    pub root: PathBuf,
    /// Results of a run to keep from now on, before anything is made of them.
    #[arg(long)]
    pub keep: Option<PathBuf>,
    /// Changes nothing; fails where a document differs from what the kept results make.
    #[arg(long, conflicts_with = "keep")]
    pub check: bool,
}

#[derive(Deserialize)]
struct First {
    run: Machine,
}

/// Reads a file of results.
///
/// # Errors
/// It can't be read, or a line of it is none of ours.
pub fn read(file: &Path) -> Outcome<(Machine, Vec<Row>)> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut lines = text.lines();
    let first: First = serde_json::from_str(lines.next().ok_or("no results")?)?;
    Ok((first.run, lines.map(Row::read).collect::<Outcome<Vec<Row>>>()?))
}

/// Where the capacity calculator has its costs from.
const SLOPES: &str = "common/src/capacity/slopes.json";

/// The part of each document, by its path and the name of its marks.
///
/// # Errors
/// The results lack a figure that the capacity guide needs.
pub fn parts(machine: &Machine, rows: &[Row]) -> Outcome<Vec<(&'static str, &'static str, String)>> {
    let sentence = machine.sentence();
    let readme = format!(
        "{sentence}\n\n{}\nThe same messages through other servers, with their security off, CPU of a delivery of 128 bytes:\n\n{}\n\
         Every figure, its method and how to take it again: [docs/BENCHMARKS.md](docs/BENCHMARKS.md).",
        table::promises(rows),
        table::peers(rows)
    );
    let benchmarks = format!("{sentence}\n\n{}\n{}{}", table::promises(rows), table::peers(rows), table::figures(rows));
    let guide = slopes::guide(&slopes::of(machine, rows)?);
    Ok(vec![
        ("README.md", "numbers", readme),
        ("docs/BENCHMARKS.md", "numbers", benchmarks),
        ("docs/CAPACITY.md", "capacity", guide),
    ])
}

/// `text` with what stands between the marks replaced.
///
/// # Errors
/// It has no such marks.
pub fn set(text: &str, mark: &str, part: &str) -> Outcome<String> {
    let (open, close) = (format!("<!-- {mark} -->\n"), format!("\n<!-- /{mark} -->"));
    let fault = || format!("no {} … {}", open.trim(), close.trim());
    let (before, rest) = text.split_once(&open).ok_or_else(fault)?;
    let (_, after) = rest.split_once(&close).ok_or_else(fault)?;
    Ok(format!("{before}{open}{}{close}{after}", part.trim_end()))
}

/// Writes the documents, or says which of them differ.
///
/// # Errors
/// A file can't be read or written, or with `check`: differs.
pub fn run(options: &Report) -> Outcome<()> {
    let kept = options.root.join(KEPT);
    let (machine, rows) = read(options.keep.as_deref().unwrap_or(&kept))?;
    let mut documents = Vec::new();
    for (file, mark, part) in parts(&machine, &rows)? {
        let path = options.root.join(file);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        documents.push((file, set(&text, mark, &part).map_err(|error| format!("{file}: {error}"))?));
    }
    documents.push((SLOPES, slopes::json(&slopes::of(&machine, &rows)?)));
    let mut stale = Vec::new();
    for (file, new) in documents {
        let path = options.root.join(file);
        if fs::read_to_string(&path).unwrap_or_default() != new {
            stale.push(file);
            if !options.check {
                fs::write(&path, new)?;
            }
        }
    }
    if let Some(new) = &options.keep {
        fs::copy(new, &kept)?;
    }
    match (stale.is_empty(), options.check) {
        (false, true) => Err(format!("{} differ from {KEPT}: make bench-report", stale.join(", ")).into()),
        (false, false) => Ok(writeln!(std::io::stdout(), "written: {}", stale.join(", "))?),
        (true, _) => Ok(writeln!(std::io::stdout(), "all as {KEPT} says")?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_say_what_the_kept_results_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (machine, rows) = read(&root.join(KEPT)).expect("kept results");
        let made = slopes::json(&slopes::of(&machine, &rows).expect("a whole run"));
        assert_eq!(fs::read_to_string(root.join(SLOPES)).expect("slopes"), made, "make bench-report");
        for (file, mark, part) in parts(&machine, &rows).expect("a whole run") {
            let text = fs::read_to_string(root.join(file)).expect(file);
            assert_eq!(set(&text, mark, &part).expect(file), text, "{file}: make bench-report writes it anew");
        }
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let text = "a\n<!-- numbers -->\nold\n<!-- /numbers -->\nb\n";
        assert_eq!(set(text, "numbers", "new\n").expect("marks"), "a\n<!-- numbers -->\nnew\n<!-- /numbers -->\nb\n");
        assert!(set("a", "numbers", "new").is_err());
    }
}
