//! What the kernel says about the server's process. Reading costs the server nothing but the walk over its page
//! tables (`smaps_rollup`), which is therefore never read inside a CPU window.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use crate::Outcome;

/// A process, seen through `/proc`.
#[derive(Debug, Clone)]
pub struct Probe {
    root: PathBuf,
}

/// Memory of a process at one moment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident set.
    pub rss: u64,
    /// Resident set with shared pages divided among their users.
    pub pss: u64,
}

impl Probe {
    /// The process `pid`.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self { root: PathBuf::from(format!("/proc/{pid}")) }
    }

    fn read(&self, name: &str) -> Outcome<String> {
        let path = self.root.join(name);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// Nanoseconds on a CPU so far, all live threads, user and kernel time together. A running thread's share is up
    /// to one scheduler tick old.
    ///
    /// # Errors
    /// The process is gone, or the kernel keeps no scheduler statistics.
    pub fn cpu_ns(&self) -> Outcome<u64> {
        self.schedstat(0)
    }

    /// Nanoseconds that its threads were ready to run and waited for a CPU: how much other work disturbed it.
    ///
    /// # Errors
    /// The process is gone, or the kernel keeps no scheduler statistics.
    pub fn waited_ns(&self) -> Outcome<u64> {
        self.schedstat(1)
    }

    fn schedstat(&self, field: usize) -> Outcome<u64> {
        let tasks = self.root.join("task");
        let mut sum = 0;
        for task in fs::read_dir(&tasks).map_err(|error| format!("{}: {error}", tasks.display()))? {
            // a thread may end between the listing and the reading
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let number = text.split_whitespace().nth(field).and_then(|number| number.parse::<u64>().ok());
            sum += number.ok_or("no such number in schedstat")?;
        }
        Ok(sum)
    }

    /// Memory now.
    ///
    /// # Errors
    /// The process is gone, or not ours to look at.
    pub fn memory(&self) -> Outcome<Memory> {
        let text = self.read("smaps_rollup")?;
        let field = |name| kilobytes(&text, name).ok_or_else(|| format!("no {name} in smaps_rollup"));
        Ok(Memory { rss: field("Rss:")? * 1024, pss: field("Pss:")? * 1024 })
    }

    /// Open descriptors now.
    ///
    /// # Errors
    /// The process is gone, or not ours to look at.
    pub fn descriptors(&self) -> Outcome<u64> {
        let path = self.root.join("fd");
        Ok(fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?.count() as u64)
    }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| first_number(line.strip_prefix(name)?))
}

/// Whether both CPUs that the driver pins to exist; without them nothing is pinned.
#[must_use]
pub fn can_pin() -> bool {
    std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() >= 2)
        && std::process::Command::new("taskset").arg("-V").output().is_ok_and(|out| out.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_sees_this_process() {
        let me = Probe::of(std::process::id());
        let memory = me.memory().expect("Linux");
        assert!(memory.rss > 100_000 && memory.pss > 0 && memory.pss <= memory.rss);
        assert!(me.descriptors().expect("Linux") >= 3 && me.cpu_ns().expect("Linux") > 0);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "0-1 ---p 0 [rollup]\nRss:    12 kB\nPss_Anon: 3 kB\nPss:     7 kB\n";
        assert_eq!(
            (kilobytes(text, "Rss:"), kilobytes(text, "Pss:"), kilobytes(text, "Uss:")),
            (Some(12), Some(7), None)
        );
    }

    #[test]
    fn a_process_that_is_gone_is_an_error_and_not_zero() {
        assert!(Probe::of(u32::MAX).cpu_ns().is_err());
    }
}
