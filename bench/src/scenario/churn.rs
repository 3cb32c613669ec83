//! Connects and closes in large numbers, in rounds. What the server holds afterwards (descriptors, its own connection
//! gauge) must be what it held before, and the rounds behind the first must not grow its memory.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::Aim;
use crate::finding::{Finding, line};
use crate::message::{self, Kind};
use crate::proc::Memory;
use crate::socket::{ConnId, Gone, Net, Player};
use crate::{Outcome, clock, frame, scrape};

/// Options of `gen churn`.
#[derive(Debug, Clone, Args)]
pub struct Churn {
    /// Where to.
    #[command(flatten)]
    pub aim: Aim,
    /// Connects and closes of a round.
    #[arg(long, default_value_t = 100_000)]
    pub count: usize,
    /// Rounds; what a round adds to the memory is the slope over all of them.
    #[arg(long, default_value_t = 2)]
    pub rounds: usize,
    /// The server's gauge of open connections.
    #[arg(long, default_value = "portcullis_connections")]
    pub gauge: String,
    /// Seconds that the server may take to let go.
    #[arg(long, default_value_t = 30.0)]
    pub let_go: f64,
}

struct Round {
    heads: Vec<Vec<u8>>,
    concurrency: usize,
    under_way: usize,
    welcomed: u64,
    lost: BTreeMap<String, u64>,
    last_progress: u64,
    patience: u64,
    fault: Option<String>,
}

impl Player for Round {
    /// Half say goodbye, a quarter send FIN, a quarter send RST: as clients are.
    fn message(&mut self, net: &mut Net, id: ConnId, payload: &[u8]) {
        if message::kind(payload) != Kind::Welcome {
            return;
        }
        self.welcomed += 1;
        self.last_progress = clock::now_ns();
        match self.welcomed % 4 {
            0 => net.close(id),
            1 => net.abort(id),
            _ => return net.send(id, &frame::encode(frame::CLOSE, &1000u16.to_be_bytes())),
        }
        self.under_way -= 1;
    }

    fn closed(&mut self, _: &mut Net, _: ConnId, why: Gone) {
        self.under_way -= 1;
        if why != Gone::Closed(1000) {
            *self.lost.entry(format!("{why:?}")).or_default() += 1;
        }
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        while self.under_way < self.concurrency {
            let Some(head) = self.heads.pop() else { break };
            match net.open(head, None) {
                Ok(_) => self.under_way += 1,
                Err(error) => {
                    self.fault = Some(error.to_string());
                    return true;
                }
            }
        }
        if now > self.last_progress + self.patience {
            self.fault = Some(format!("nothing happened after {} connections", self.welcomed));
        }
        self.fault.is_some() || (self.under_way == 0 && self.heads.is_empty())
    }
}

/// What a server holds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Held {
    descriptors: u64,
    gauge: Option<f64>,
}

impl Held {
    fn now(options: &Churn) -> Outcome<Self> {
        let gauge = match options.aim.private {
            Some(private) => scrape::series_sum(&scrape::get(private, "/metrics")?.1, &options.gauge),
            None => None,
        };
        Ok(Self { descriptors: options.aim.probe().descriptors()?, gauge })
    }

    fn json(self) -> Value {
        json!({ "descriptors": self.descriptors, "gauge": self.gauge })
    }
}

/// Waits until no more is held than in `baseline`; how long that took, and what is held then.
fn settle(options: &Churn, baseline: Held) -> Outcome<(f64, Held)> {
    let begin = clock::now_ns();
    loop {
        let held = Held::now(options)?;
        let seconds = (clock::now_ns() - begin) as f64 / 1e9;
        let back = held.descriptors <= baseline.descriptors && held.gauge <= baseline.gauge;
        if back || seconds > options.let_go {
            return Ok((seconds, held));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Plays it.
///
/// # Errors
/// More than one connection in a thousand failed, nothing happened, or the server's process can't be read.
pub fn run(options: &Churn) -> Outcome<()> {
    let baseline = Held::now(options)?;
    let before = options.aim.probe().memory()?;
    let mut rounds: Vec<(Memory, Held, Value)> = Vec::new();
    for n in 0..options.rounds.max(2) {
        let mut net = options.aim.net()?;
        let mut round = Round {
            heads: options.aim.heads(&format!("churn{n}"), options.count)?,
            concurrency: options.aim.concurrency,
            under_way: 0,
            welcomed: 0,
            lost: BTreeMap::new(),
            last_progress: clock::now_ns(),
            patience: clock::seconds(options.aim.patience),
            fault: None,
        };
        let begin = clock::now_ns();
        net.play(&mut round, Duration::from_millis(100))?;
        if let Some(fault) = round.fault {
            return Err(fault.into());
        }
        if (round.welcomed as usize) < options.count / 1000 * 999 {
            return Err(format!("{} of {} were welcomed: {:?}", round.welcomed, options.count, round.lost).into());
        }
        let elapsed = (clock::now_ns() - begin) as f64 / 1e9;
        drop(net);
        let (seconds, held) = settle(options, baseline)?;
        // one more second, so that what is freed late is freed
        std::thread::sleep(Duration::from_secs(1));
        let memory = options.aim.probe().memory()?;
        let line = json!({
            "welcomed": round.welcomed, "per_second": (round.welcomed as f64 / elapsed).round(), "rss": memory.rss,
            "let_go_seconds": seconds, "held": held.json(), "not_closed_with_1000": round.lost,
        });
        rounds.push((memory, held, line));
    }
    report(options, baseline, before, &rounds)
}

fn report(options: &Churn, baseline: Held, before: Memory, rounds: &[(Memory, Held, Value)]) -> Outcome<()> {
    let (Some((first, ..)), Some((_, held, _))) = (rounds.first(), rounds.last()) else { return Ok(()) };
    let points: Vec<(f64, f64)> =
        (1u32..).zip(rounds).map(|(round, (memory, ..))| (f64::from(round), memory.rss as f64)).collect();
    let (slope, _) = line(&points).ok_or("one round has no slope")?;
    let growth = slope / first.rss as f64 * 100.0;
    let detail = json!({
        "baseline": baseline.json(), "rss_before": before.rss,
        "rounds": rounds.iter().map(|(_, _, line)| line).collect::<Vec<_>>(),
    });
    let what = |what: &str| format!("{what} after {} × {} connections", rounds.len(), options.count);
    let growing =
        format!("growth of resident memory by {} more connections, slope over {} rounds", options.count, rounds.len());
    Finding::new("churn.rss_growth", growing, growth, "%", detail).print()?;
    let descriptors = held.descriptors as f64 - baseline.descriptors as f64;
    Finding::new("churn.descriptors", what("descriptors not given back"), descriptors, "", Value::Null).print()?;
    let Some((now, then)) = held.gauge.zip(baseline.gauge) else { return Ok(()) };
    Finding::new("churn.gauge", what("connections the gauge still counts"), now - then, "", Value::Null).print()
}
