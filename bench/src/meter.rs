//! What a window took: CPU of the servers, and CPU and commands of their Redis. Read outside the window's own work, so
//! that looking is on nobody's account.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::finding::rounded;
use crate::proc::{Memory, Probe};
use crate::redis::{self, Redis};
use crate::scenario::{Aim, rest};
use crate::socket::Net;
use crate::{Outcome, clock, scrape};

/// What else is read, besides the server of [`Aim`].
#[derive(Debug, Clone, Default, Args)]
pub struct Beside {
    /// Another node: where it listens.
    #[arg(long)]
    pub other: Option<SocketAddr>,
    /// Its process.
    #[arg(long)]
    pub other_pid: Option<u32>,
    /// What the nodes share.
    #[arg(long)]
    pub redis: Option<SocketAddr>,
    /// Its process.
    #[arg(long)]
    pub redis_pid: Option<u32>,
}

/// Counters of a gateway that tell what policy cost: calls to the store for limits, and messages that waited for one.
const CALLS: &str = "portcullis_limit_calls_total";
const PARKED: &str = "portcullis_parked_total";

/// Reads the same processes again and again.
pub struct Meter {
    servers: Vec<Probe>,
    redis: Option<(Probe, Redis)>,
    private: Option<SocketAddr>,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    at: u64,
    cpu: u64,
    redis_cpu: u64,
    commands: u64,
    scripts: u64,
    calls: f64,
    parked: f64,
}

/// What passed between two readings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// Seconds.
    pub seconds: f64,
    /// Nanoseconds of CPU of all servers.
    pub cpu_ns: f64,
    /// Nanoseconds of CPU of Redis.
    pub redis_cpu_ns: f64,
    /// Commands that Redis ran, those inside scripts too.
    pub commands: f64,
    /// Scripts that Redis ran.
    pub scripts: f64,
    /// Calls of the first server to the store for limits.
    pub calls: f64,
    /// Messages of it that waited for one.
    pub parked: f64,
}

impl Spent {
    /// The same without what goes on anyway, as seen in `idle`.
    #[must_use]
    pub fn beyond(self, idle: Self) -> Self {
        let share = self.seconds / idle.seconds.max(1e-9);
        let less = |mine: f64, its: f64| mine - its * share;
        Self {
            cpu_ns: less(self.cpu_ns, idle.cpu_ns),
            redis_cpu_ns: less(self.redis_cpu_ns, idle.redis_cpu_ns),
            commands: less(self.commands, idle.commands),
            scripts: less(self.scripts, idle.scripts),
            ..self
        }
    }

    /// How much of a CPU the servers took.
    #[must_use]
    pub fn busy(&self) -> f64 {
        rounded(self.cpu_ns / 1e9 / self.seconds.max(1e-9))
    }

    /// Redis for each of `operations`, as a JSON object.
    #[must_use]
    pub fn redis(&self, operations: f64) -> Value {
        let each = |value: f64| rounded(value / operations.max(1.0));
        json!({
            "cpu_us": each(self.redis_cpu_ns / 1000.0), "commands": each(self.commands), "scripts": each(self.scripts),
        })
    }
}

impl Meter {
    /// The server of `aim` and what stands `beside` it.
    ///
    /// # Errors
    /// Redis does not answer.
    pub fn of(aim: &Aim, beside: &Beside) -> Outcome<Self> {
        let mut servers = vec![aim.probe()];
        servers.extend(beside.other_pid.map(Probe::of));
        let redis = match (beside.redis, beside.redis_pid) {
            (Some(at), Some(pid)) => Some((Probe::of(pid), Redis::connect(at)?)),
            _ => None,
        };
        Ok(Self { servers, redis, private: aim.private })
    }

    /// Whether there is a Redis to read.
    #[must_use]
    pub fn has_redis(&self) -> bool {
        self.redis.is_some()
    }

    /// Counters now.
    ///
    /// # Errors
    /// A process is gone, or Redis or a gateway does not answer.
    pub fn read(&mut self) -> Outcome<Reading> {
        let mut reading = Reading::default();
        if let Some((probe, redis)) = &mut self.redis {
            let calls = redis.calls()?;
            (reading.commands, reading.scripts) = (redis::all(&calls), redis::scripts(&calls));
            reading.redis_cpu = probe.cpu_ns()?;
        }
        if let Some(private) = self.private {
            let metrics = scrape::get(private, "/metrics")?.1;
            let sum = |name| scrape::series_sum(&metrics, name).unwrap_or(0.0);
            (reading.calls, reading.parked) = (sum(CALLS), sum(PARKED));
        }
        for server in &self.servers {
            reading.cpu += server.cpu_ns()?;
        }
        reading.at = clock::now_ns();
        Ok(reading)
    }

    /// What passed since.
    ///
    /// # Errors
    /// As [`Meter::read`].
    pub fn since(&mut self, then: Reading) -> Outcome<Spent> {
        // the CPU of the servers first: what looking costs them comes after
        let (at, mut cpu) = (clock::now_ns(), 0);
        for server in &self.servers {
            cpu += server.cpu_ns()?;
        }
        let now = self.read()?;
        let more = |now: u64, then: u64| now.saturating_sub(then) as f64;
        Ok(Spent {
            seconds: more(at, then.at) / 1e9,
            cpu_ns: more(cpu, then.cpu),
            redis_cpu_ns: more(now.redis_cpu, then.redis_cpu),
            commands: more(now.commands, then.commands),
            scripts: more(now.scripts, then.scripts),
            calls: now.calls - then.calls,
            parked: now.parked - then.parked,
        })
    }

    /// Waits until Redis has as much to do in one half second as in the next: what newcomers set off is over. At most 8 s.
    ///
    /// # Errors
    /// As [`Meter::read`].
    pub fn settle(&mut self, net: &mut Net) -> Outcome<()> {
        let half = Duration::from_millis(500);
        let mut before = self.idle(net, half)?.commands;
        for _ in 0..15 {
            let now = self.idle(net, half)?.commands;
            if (now - before).abs() <= (0.2 * before).max(10.0) {
                break;
            }
            before = now;
        }
        Ok(())
    }

    /// What goes on when the sockets only live, over `long`.
    ///
    /// # Errors
    /// As [`Meter::read`].
    pub fn idle(&mut self, net: &mut Net, long: Duration) -> Outcome<Spent> {
        let before = self.read()?;
        rest(net, long)?;
        self.since(before)
    }

    /// What Redis holds, in bytes; `None` without one.
    ///
    /// # Errors
    /// It does not answer.
    pub fn redis_memory(&mut self) -> Outcome<Option<u64>> {
        self.redis.as_mut().map(|(_, redis)| redis.memory()).transpose()
    }

    /// Memory of the first server.
    ///
    /// # Errors
    /// The process is gone.
    pub fn memory(&self) -> Outcome<Memory> {
        self.servers.first().ok_or("no server")?.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_anyway_is_taken_off_in_proportion_to_the_time() {
        let idle = Spent { seconds: 2.0, cpu_ns: 10.0, commands: 4.0, calls: 1.0, ..Spent::default() };
        let busy = Spent { seconds: 4.0, cpu_ns: 100.0, commands: 20.0, calls: 7.0, ..Spent::default() };
        let net = busy.beyond(idle);
        assert_eq!((net.cpu_ns, net.commands, net.calls, net.seconds), (80.0, 12.0, 7.0, 4.0));
        assert_eq!(net.redis(4.0)["commands"], 3.0);
    }
}
