//! What a reader must know to judge the figures: a machine that does other work is no place for ratios of latencies.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::plan::Depth;
use crate::{clock, proc};

/// Where and when figures were taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Length of the run.
    pub depth: String,
    /// The day, as `2026-11-23`.
    pub date: String,
    /// The commit, where it is known.
    pub commit: String,
    /// The processor's name.
    pub cpu: String,
    /// How many of them.
    pub cpus: usize,
    /// Operating system and kernel.
    pub kernel: String,
    /// Load average of the minute before the run.
    pub load: String,
    /// Whether server and generator had a CPU each.
    pub pinned: bool,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn here(depth: Depth) -> Self {
        let first = |file: &str, of: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines().find_map(|line| line.strip_prefix(of)).map_or_else(String::new, |rest| {
                rest.trim_start_matches(|c: char| c == ':' || c.is_whitespace()).to_owned()
            })
        };
        let said = |program: &str, arguments: &[&str]| {
            let out = Command::new(program).args(arguments).output().ok().filter(|out| out.status.success());
            out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
        };
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            depth: format!("{depth:?}"),
            date: date(clock::unix_seconds() / 86_400),
            commit: said("git", &["rev-parse", "--short", "HEAD"]),
            cpu: first("/proc/cpuinfo", "model name"),
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: said("uname", &["-sr"]),
            load: load.split_whitespace().next().unwrap_or("unknown").to_owned(),
            pinned: proc::can_pin(),
        }
    }

    /// A sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let pinned = if self.pinned { "servers and generator pinned to a CPU each" } else { "nothing pinned" };
        let of = if self.commit.is_empty() { String::new() } else { format!(" of {}", self.commit) };
        format!(
            "{} run{of} on {}: {} × {}, {}, load average {} before the run; {pinned}; one worker a gateway.",
            self.depth, self.date, self.cpus, self.cpu, self.kernel, self.load
        )
    }
}

/// The day of the Gregorian calendar so many days after 1970-01-01 (Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn date(days: u64) -> String {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    format!("{:04}-{month:02}-{day:02}", year_of_era + era * 400 + u64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_since_the_epoch_are_dates() {
        assert_eq!(
            (date(0), date(59), date(11_016), date(20_780)),
            ("1970-01-01".into(), "1970-03-01".into(), "2000-02-29".into(), "2026-11-23".into())
        );
    }

    #[test]
    fn the_sentence_names_the_machine() {
        let sentence = Machine::here(Depth::Quick).sentence();
        assert!(sentence.starts_with("Quick run") && sentence.contains("load average"), "{sentence}");
    }
}
