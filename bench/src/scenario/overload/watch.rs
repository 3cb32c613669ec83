//! What the gateway and the kernel say of it, a few times a second, from a thread of its own: a gateway that answers late
//! must not hold up those who make it late.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::finding::rounded;
use crate::proc::Probe;
use crate::scenario::Aim;
use crate::{Outcome, clock, scrape};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(500);
/// Linux counts the memory of sockets in pages of this size.
const PAGE: u64 = 4_096;

/// One look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// When, as of [`clock::now_ns`].
    pub(super) at: u64,
    /// The ladder's step.
    pub(super) step: f64,
    /// Changes of it so far.
    pub(super) steps: f64,
    /// Resident bytes.
    pub(super) rss: u64,
    /// Bytes of TCP buffers of the whole machine: both ends.
    pub(super) kernel: u64,
}

impl Sample {
    /// For the detail of a figure.
    pub(super) fn told(&self, zero: u64) -> Value {
        let seconds = rounded((self.at as f64 - zero as f64) / 1e9);
        json!([seconds, self.step, self.steps, self.rss >> 20, self.kernel >> 20])
    }
}

/// Looks until it is stopped.
pub(super) struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Watch {
    /// Begins.
    ///
    /// # Errors
    /// There is no private port to look at, or no thread left.
    pub(super) fn start(aim: &Aim) -> Outcome<Self> {
        let (private, probe) = (aim.private.ok_or("the ladder is read from the private port: --private")?, aim.probe());
        look(private, &probe)?;
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = std::thread::Builder::new().name("watch".into()).spawn(move || {
            let mut samples = Vec::new();
            while !told.load(Ordering::Relaxed) {
                // a look that fails is one that is missing
                samples.extend(look(private, &probe));
                std::thread::sleep(PERIOD);
            }
            samples
        })?;
        Ok(Self { over, thread })
    }

    /// Ends, and tells what was seen.
    ///
    /// # Errors
    /// The thread failed.
    pub(super) fn stop(self) -> Outcome<Vec<Sample>> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the watching thread failed".into())
    }
}

fn look(private: SocketAddr, probe: &Probe) -> Outcome<Sample> {
    let (_, metrics) = scrape::get(private, "/metrics")?;
    let number = |name| scrape::series_sum(&metrics, name).ok_or_else(|| format!("no {name}"));
    let (step, steps) = (number("portcullis_overload_step")?, number("portcullis_overload_steps_total")?);
    let kernel = sockets(&std::fs::read_to_string("/proc/net/sockstat")?).unwrap_or(0);
    Ok(Sample { at: clock::now_ns(), step, steps, rss: probe.memory()?.rss, kernel })
}

/// Bytes behind `mem` in the line of TCP.
fn sockets(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    words.nth(1)?.parse::<u64>().ok().map(|pages| pages * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_sockets_is_read_from_its_line() {
        let text = "sockets: used 97\nTCP: inuse 12 orphan 0 tw 3 alloc 14 mem 5\nUDP: inuse 1 mem 9\n";
        assert_eq!((sockets(text), sockets("UDP: mem 2")), (Some(5 * PAGE), None));
    }
}
