//! Handshakes: connect, upgrade, token check, session registration, `welcome`; then (cycle) a closing handshake.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::Aim;
use crate::finding::Finding;
use crate::histogram::Histogram;
use crate::message::{self, Kind};
use crate::meter::{Beside, Meter};
use crate::socket::{ConnId, Gone, Net, Player};
use crate::{Outcome, clock, frame};

/// What becomes of a session that has its `welcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum After {
    /// It stays: the figure is the handshake alone.
    Hold,
    /// It says goodbye and waits for the server to: the figure has both.
    Cycle,
}

/// Options of `gen handshake`.
#[derive(Debug, Clone, Args)]
pub struct Handshake {
    /// Where to.
    #[command(flatten)]
    pub aim: Aim,
    /// What is read besides.
    #[command(flatten)]
    pub beside: Beside,
    /// How many are measured.
    #[arg(long, default_value_t = 10_000)]
    pub count: usize,
    /// How many come before, unmeasured.
    #[arg(long, default_value_t = 1_000)]
    pub warm_up: usize,
    /// What becomes of the sessions.
    #[arg(long, value_enum, default_value = "hold")]
    pub after: After,
    /// Name of the result.
    #[arg(long, default_value = "handshake.hold")]
    pub id: String,
}

struct Run {
    heads: Vec<Vec<u8>>,
    concurrency: usize,
    after: After,
    begun: Vec<u64>,
    under_way: usize,
    welcomed: u64,
    finished: u64,
    latency: Histogram,
    lost: BTreeMap<String, u64>,
    last_progress: u64,
    patience: u64,
    fault: Option<String>,
}

impl Run {
    fn new(heads: Vec<Vec<u8>>, options: &Handshake) -> Self {
        Self {
            heads,
            concurrency: options.aim.concurrency,
            after: options.after,
            begun: Vec::new(),
            under_way: 0,
            welcomed: 0,
            finished: 0,
            latency: Histogram::default(),
            lost: BTreeMap::new(),
            last_progress: clock::now_ns(),
            patience: clock::seconds(options.aim.patience),
            fault: None,
        }
    }

    fn finish(&mut self) {
        self.finished += 1;
        self.under_way -= 1;
        self.last_progress = clock::now_ns();
    }
}

impl Player for Run {
    fn message(&mut self, net: &mut Net, id: ConnId, payload: &[u8]) {
        if message::kind(payload) != Kind::Welcome {
            return;
        }
        self.welcomed += 1;
        self.latency.record(clock::now_ns().saturating_sub(self.begun.get(id).copied().unwrap_or(0)));
        match self.after {
            After::Hold => self.finish(),
            After::Cycle => net.send(id, &frame::encode(frame::CLOSE, &1000u16.to_be_bytes())),
        }
    }

    fn closed(&mut self, _: &mut Net, _: ConnId, why: Gone) {
        if self.after == After::Hold || why != Gone::Closed(1000) {
            *self.lost.entry(format!("{why:?}")).or_default() += 1;
        }
        if self.under_way > 0 {
            self.finish();
        }
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        while self.under_way < self.concurrency {
            let Some(head) = self.heads.pop() else { break };
            match net.open(head, None) {
                Ok(id) => {
                    if self.begun.len() <= id {
                        self.begun.resize(id + 1, 0);
                    }
                    if let Some(begun) = self.begun.get_mut(id) {
                        *begun = now;
                    }
                    self.under_way += 1;
                }
                Err(error) => {
                    self.fault = Some(error.to_string());
                    return true;
                }
            }
        }
        if now > self.last_progress + self.patience {
            self.fault = Some(format!("nothing happened after {} handshakes", self.finished));
        }
        self.fault.is_some() || (self.under_way == 0 && self.heads.is_empty())
    }
}

fn play(net: &mut Net, mut run: Run) -> Outcome<Run> {
    net.play(&mut run, Duration::from_millis(100))?;
    match run.fault {
        Some(fault) => Err(fault.into()),
        None => Ok(run),
    }
}

/// Plays it.
///
/// # Errors
/// More than one handshake in a hundred failed, nothing happened, or the server's process can't be read.
pub fn run(options: &Handshake) -> Outcome<()> {
    let mut net = options.aim.net()?;
    let mut meter = Meter::of(&options.aim, &options.beside)?;
    play(&mut net, Run::new(options.aim.heads("warm", options.warm_up)?, options))?;
    let idle = if meter.has_redis() {
        meter.settle(&mut net)?;
        Some(meter.idle(&mut net, Duration::from_secs(1))?)
    } else {
        None
    };
    let held = meter.redis_memory()?;
    let measured = Run::new(options.aim.heads("shake", options.count)?, options);
    let before = meter.read()?;
    let run = play(&mut net, measured)?;
    let spent = meter.since(before)?;
    let welcomed = run.welcomed.max(1) as f64;
    if run.welcomed * 100 < options.count as u64 * 99 {
        return Err(format!("{} of {} were welcomed; the others: {:?}", run.welcomed, options.count, run.lost).into());
    }
    let memory = meter.memory()?;
    let detail = json!({
        "cpu_us": spent.cpu_ns / welcomed / 1000.0, "per_second": (welcomed / spent.seconds).round(), "welcomed": run.welcomed,
        "server_busy": spent.busy(), "concurrency": options.aim.concurrency, "to_welcome": run.latency.summary(),
        "lost": run.lost, "rss": memory.rss, "pss": memory.pss,
    });
    let algorithm = if options.aim.ed25519_file.is_some() { "EdDSA" } else { "HS256" };
    let tls = if options.aim.ca_file.is_some() { ", TLS without resumption" } else { "" };
    let what = match options.after {
        After::Hold => format!("handshakes per core-second, {algorithm}{tls}, up to welcome, sessions stay"),
        After::Cycle => format!("open and close cycles per core-second, {algorithm}{tls}, closing handshake included"),
    };
    Finding::new(&options.id, what, (welcomed / spent.cpu_ns * 1e9).round(), "1/core-s", detail).print()?;
    let Some(idle) = idle else { return Ok(()) };
    let net = spent.beyond(idle);
    let row = |end: &str, what: &str, value: f64, unit: &str| {
        Finding::new(&format!("{}{end}", options.id), what, value, unit, json!(null)).print()
    };
    row(".redis_scripts", "scripts on Redis for a handshake", net.scripts / welcomed, "")?;
    row(".redis_commands", "commands on Redis for a handshake, those in scripts too", net.commands / welcomed, "")?;
    row(".redis_cpu", "CPU of Redis for a handshake", net.redis_cpu_ns / welcomed / 1000.0, "us")?;
    let bytes = meter.redis_memory()?.unwrap_or(0).saturating_sub(held.unwrap_or(0)) as f64;
    row(".redis_bytes", "memory of Redis for a session", bytes / welcomed, "B")
}
