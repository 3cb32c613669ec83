//! How much memory this process has, and how much of it it may have: the cgroup's limit, else the machine's.

/// The part of what there is that a node fills before it takes less, where the configuration does not say.
const PART: f64 = 0.85;

/// Linux reports pages of this size on every machine that we run on.
const PAGE: u64 = 4_096;

/// Bytes that may be used; `None`: nobody says.
pub(super) struct Memory(Option<u64>);

impl Default for Memory {
    fn default() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        let group = groups.iter().find_map(|path| read(path)?.trim().parse().ok());
        let machine = read("/proc/meminfo").and_then(|text| total(&text));
        Self(group.into_iter().chain(machine).min())
    }
}

/// `MemTotal` in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// Resident bytes.
fn resident(statm: &str) -> Option<u64> {
    statm.split(' ').nth(1)?.parse::<u64>().ok()?.checked_mul(PAGE)
}

impl Memory {
    /// How much of the limit is used; the limit is `given`, or a part of what there is. Where nothing is known, nothing is
    /// used. Cost: a read of procfs.
    pub(super) fn part(&self, given: Option<usize>) -> f64 {
        let given = given.map(|bytes| bytes as f64);
        let Some(limit) = given.or(self.0.map(|all| all as f64 * PART)) else { return 0.0 };
        let used = std::fs::read_to_string("/proc/self/statm").ok().and_then(|statm| resident(&statm));
        used.map_or(0.0, |used| used as f64 / limit.max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_says_is_read_and_what_it_does_not_say_is_nothing() {
        assert_eq!(total("MemTotal:       16303428 kB\nMemFree: 1 kB\n"), Some(16_303_428 * 1_024));
        assert_eq!((total("MemFree: 1 kB"), total("MemTotal: much kB")), (None, None));
        assert_eq!(resident("732 462 433 6 0 89 0\n"), Some(462 * PAGE));
        assert_eq!((resident(""), resident("1")), (None, None));
    }

    #[test]
    fn this_process_uses_some_of_what_there_is() {
        let all = Memory::default().part(None);
        assert!(all > 0.0 && all < 1.0, "{all}");
        assert!(Memory(None).part(Some(1 << 20)) > 1.0, "more than a MiB");
        assert!(Memory(None).part(None).abs() < f64::EPSILON);
    }
}
