//! The same bytes there and back: `/diagnostics/echo` (codec only) against the whole path (token, size, rate, CSRF,
//! role, room, hub). Raw and full rounds alternate in one run, so that the ratio holds on a noisy machine.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::Aim;
use super::entry::{Plan, bring_up};
use crate::finding::{Finding, median, rounded, spread};
use crate::histogram::Histogram;
use crate::message::{self, Kind};
use crate::meter::{Beside, Meter};
use crate::proc::Probe;
use crate::socket::{ConnId, Gone, Net, Player};
use crate::{Outcome, clock, frame, request};

/// Options of `gen echo`.
#[derive(Debug, Clone, Args)]
pub struct Echo {
    /// Where to.
    #[command(flatten)]
    pub aim: Aim,
    /// What is read besides.
    #[command(flatten)]
    pub beside: Beside,
    /// Path of the raw echo.
    #[arg(long, default_value = "/diagnostics/echo")]
    pub raw_path: String,
    /// Connections of each kind.
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// Size of the JSON text.
    #[arg(long, default_value_t = 300)]
    pub bytes: usize,
    /// Messages sent at once; the next ones follow when all are back.
    #[arg(long, value_delimiter = ',', default_value = "1,8")]
    pub windows: Vec<usize>,
    /// Pairs of rounds, raw then full.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Measured seconds of a round.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Unmeasured seconds before each.
    #[arg(long, default_value_t = 0.3)]
    pub warm_up: f64,
    /// Name of the results.
    #[arg(long, default_value = "echo")]
    pub id: String,
}

/// One connection of one kind: what it sends.
struct Lane {
    id: ConnId,
    /// `window` masked frames in one buffer.
    burst: Vec<u8>,
}

struct Bringing {
    wanted: usize,
    opened: Vec<ConnId>,
    fault: Option<String>,
    give_up: u64,
}

impl Player for Bringing {
    fn opened(&mut self, _: &mut Net, id: ConnId) {
        self.opened.push(id);
    }

    fn closed(&mut self, _: &mut Net, _: ConnId, why: Gone) {
        self.fault = Some(format!("the raw echo: {why:?}"));
    }

    fn turn(&mut self, _: &mut Net, now: u64) -> bool {
        if now > self.give_up {
            self.fault = Some("the raw echo does not answer".to_owned());
        }
        self.fault.is_some() || self.opened.len() == self.wanted
    }
}

struct Round<'a> {
    lanes: &'a [Lane],
    window: usize,
    /// By socket: which lane, how many are still out, since when.
    out: Vec<Option<(usize, usize, u64)>>,
    begin: u64,
    end: u64,
    running: bool,
    started: bool,
    cpu_at_begin: Option<u64>,
    probe: &'a Probe,
    latency: Histogram,
    fault: Option<String>,
    give_up: u64,
}

impl Round<'_> {
    fn burst(&mut self, net: &mut Net, lane: usize, now: u64) {
        let Some(Lane { id, burst }) = self.lanes.get(lane) else { return };
        if let Some(slot) = self.out.get_mut(*id) {
            *slot = Some((lane, self.window, now));
        }
        net.send(*id, burst);
    }
}

impl Player for Round<'_> {
    fn message(&mut self, net: &mut Net, id: ConnId, payload: &[u8]) {
        let Some(Some((lane, left, since))) = self.out.get_mut(id) else { return };
        match message::kind(payload) {
            Kind::Chat => {}
            Kind::Error => {
                self.fault = Some(String::from_utf8_lossy(payload).into_owned());
                return;
            }
            _ => return,
        }
        *left = left.saturating_sub(1);
        let (lane, left, since) = (*lane, *left, *since);
        let now = clock::now_ns();
        if self.cpu_at_begin.is_some() {
            self.latency.record(now.saturating_sub(since));
        }
        if left > 0 {
            return;
        }
        if self.running {
            self.burst(net, lane, now);
        } else if let Some(slot) = self.out.get_mut(id) {
            *slot = None;
        }
    }

    fn closed(&mut self, _: &mut Net, _: ConnId, why: Gone) {
        self.fault = Some(format!("a connection was lost: {why:?}"));
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        if !self.started {
            self.started = true;
            (0..self.lanes.len()).for_each(|lane| self.burst(net, lane, now));
        }
        if self.cpu_at_begin.is_none() && now >= self.begin {
            match self.probe.cpu_ns() {
                Ok(cpu) => self.cpu_at_begin = Some(cpu),
                Err(error) => self.fault = Some(error.to_string()),
            }
            self.begin = clock::now_ns();
        }
        if now >= self.end {
            self.running = false;
        }
        if now > self.give_up {
            self.fault = Some("echoes are missing".to_owned());
        }
        // the CPU is read once all echoes are back, and all that came since it was first read count
        self.fault.is_some() || (!self.running && self.out.iter().all(Option::is_none))
    }
}

struct Seen {
    cpu_us: f64,
    per_second: f64,
    busy: f64,
}

fn round(net: &mut Net, options: &Echo, lanes: &[Lane], window: usize, latency: &mut Histogram) -> Outcome<Seen> {
    let probe = options.aim.probe();
    let begin = clock::now_ns() + clock::seconds(options.warm_up);
    let end = begin + clock::seconds(options.seconds);
    let mut round = Round {
        lanes,
        window,
        out: vec![None; lanes.iter().map(|lane| lane.id + 1).max().unwrap_or(0)],
        begin,
        end,
        running: true,
        started: false,
        cpu_at_begin: None,
        probe: &probe,
        latency: Histogram::default(),
        fault: None,
        give_up: end + clock::seconds(options.aim.patience),
    };
    net.play(&mut round, options.aim.idle(Duration::from_millis(5)))?;
    if let Some(fault) = round.fault {
        return Err(fault.into());
    }
    let cpu = (probe.cpu_ns()? - round.cpu_at_begin.unwrap_or(0)) as f64;
    let elapsed = (clock::now_ns() - round.begin) as f64;
    let count = round.latency.count().max(1) as f64;
    latency.absorb(&round.latency);
    Ok(Seen { cpu_us: cpu / count / 1000.0, per_second: count / elapsed * 1e9, busy: cpu / elapsed })
}

fn lanes(ids: &[(ConnId, Vec<u8>)], window: usize) -> Vec<Lane> {
    ids.iter().map(|(id, text)| Lane { id: *id, burst: frame::encode(frame::TEXT, text).repeat(window) }).collect()
}

fn report(options: &Echo, window: usize, pairs: &[(Seen, Seen)], latencies: &(Histogram, Histogram)) -> Outcome<()> {
    let column = |of: fn(&(Seen, Seen)) -> f64| pairs.iter().map(of).collect::<Vec<_>>();
    let (raw, full) = (column(|(raw, _)| raw.cpu_us), column(|(_, full)| full.cpu_us));
    let ratios = column(|(raw, full)| full.cpu_us / raw.cpu_us);
    let rounds = |values: &[f64]| values.iter().map(|v| rounded(*v)).collect::<Vec<_>>();
    let side = |cpu: &[f64], rate: Vec<f64>, busy: Vec<f64>, latency: &Histogram| -> Value {
        json!({
            "cpu_us": rounds(cpu), "per_second": median(&rate).round(), "server_busy": rounded(median(&busy)),
            "latency": latency.summary(),
        })
    };
    let detail = json!({
        "connections": options.connections, "bytes": options.bytes, "window": window, "ratios": rounds(&ratios),
        "spread": spread(&ratios), "raw_cpu_us": rounded(median(&raw)), "full_cpu_us": rounded(median(&full)),
        "raw": side(&raw, column(|(raw, _)| raw.per_second), column(|(raw, _)| raw.busy), &latencies.0),
        "full": side(&full, column(|(_, full)| full.per_second), column(|(_, full)| full.busy), &latencies.1),
    });
    let base = format!("{}.w{window}", options.id);
    let tls = if options.aim.ca_file.is_some() { " over TLS" } else { "" };
    let what = |end: &str| format!("{}-byte chat{tls}, window {window}: {end}", options.bytes);
    Finding::new(&format!("{base}.raw"), what("CPU of a raw echo"), median(&raw), "us", Value::Null).print()?;
    Finding::new(&format!("{base}.full"), what("CPU of the whole path"), median(&full), "us", Value::Null).print()?;
    Finding::new(&format!("{base}.ratio"), what("whole path / raw echo"), median(&ratios), "x", detail).print()
}

/// What Redis does for a message, in a round of its own that has no warm-up: every message of it counts.
fn on_redis(net: &mut Net, options: &Echo, meter: &mut Meter, full: &[Lane], window: usize) -> Outcome<()> {
    meter.settle(net)?;
    let idle = meter.idle(net, Duration::from_secs(1))?;
    let whole = Echo { warm_up: 0.0, ..options.clone() };
    let (before, mut latency) = (meter.read()?, Histogram::default());
    round(net, &whole, full, window, &mut latency)?;
    let (spent, count) = (meter.since(before)?, latency.count().max(1) as f64);
    let beyond = spent.beyond(idle);
    let row = |end: &str, what: &str, value: f64, unit: &str| {
        let what = format!("{}-byte chat, window {window}: {what}", options.bytes);
        Finding::new(&format!("{}.w{window}{end}", options.id), what, value, unit, Value::Null).print()
    };
    row(".redis_commands", "commands on Redis", beyond.commands / count, "")?;
    row(".redis_cpu", "CPU of Redis", beyond.redis_cpu_ns / count / 1000.0, "us")?;
    row(".calls", "policy calls", spent.calls / count, "")
}

/// Plays it.
///
/// # Errors
/// A connection failed, an echo is missing, an error came back, or the server's process can't be read.
pub fn run(options: &Echo) -> Outcome<()> {
    let mut net = options.aim.net()?;
    let mut meter = Meter::of(&options.aim, &options.beside)?;
    let plan = Plan {
        heads: options.aim.heads("echo", options.connections)?.into(),
        dialect: options.aim.dialect,
        concurrency: options.aim.concurrency,
        rooms: Box::new(|n| format!("room.echo-{n}")),
        ping: false,
        receive_buffer: None,
        patience: clock::seconds(options.aim.patience),
    };
    let full = bring_up(&mut net, plan)?
        .into_iter()
        .map(|session| Ok((session.id, message::chat_of(&session.room, &session.csrf, options.bytes)?)))
        .collect::<Outcome<Vec<_>>>()?;
    let mut bringing = Bringing {
        wanted: options.connections,
        opened: Vec::new(),
        fault: None,
        give_up: options.aim.patience_from_now(),
    };
    for _ in 0..options.connections {
        net.open(request::head(&net.host(), &options.raw_path, None), None)?;
    }
    net.play(&mut bringing, Duration::from_millis(100))?;
    if let Some(fault) = bringing.fault {
        return Err(fault.into());
    }
    // the raw echo gets the very bytes that the whole path gets
    let raw: Vec<_> = bringing.opened.iter().zip(&full).map(|(id, (_, text))| (*id, text.clone())).collect();
    for &window in &options.windows {
        let (raw, full) = (lanes(&raw, window), lanes(&full, window));
        let (mut pairs, mut latencies) = (Vec::new(), (Histogram::default(), Histogram::default()));
        for _ in 0..options.rounds {
            let a = round(&mut net, options, &raw, window, &mut latencies.0)?;
            let b = round(&mut net, options, &full, window, &mut latencies.1)?;
            pairs.push((a, b));
        }
        report(options, window, &pairs, &latencies)?;
        if meter.has_redis() {
            on_redis(&mut net, options, &mut meter, &full, window)?;
        }
    }
    Ok(())
}
