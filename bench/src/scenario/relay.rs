//! A room message from one node to another, at a fixed rate that leaves everybody time, in rounds that take turns with
//! Redis's own publish and subscribe; what a message costs Redis, for few and for many members; and how many scripts a
//! handshake takes.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::entry::{Plan, Session, bring_up};
use super::{Aim, rest};
use crate::finding::{Finding, line, median, rounded, spread};
use crate::histogram::Histogram;
use crate::message::{self, Kind};
use crate::meter::{Beside, Meter};
use crate::proc::Probe;
use crate::redis::{self, Redis};
use crate::socket::{ConnId, Net, Player};
use crate::{Outcome, clock};

/// Redis alone.
mod raw;

/// Options of `gen relay`.
#[derive(Debug, Clone, Args)]
pub struct Relay {
    /// The sender's node.
    #[command(flatten)]
    pub aim: Aim,
    /// The receivers' node.
    #[arg(long)]
    pub other: SocketAddr,
    /// Its process.
    #[arg(long)]
    pub other_pid: u32,
    /// What the nodes share.
    #[arg(long)]
    pub redis: SocketAddr,
    /// Its process.
    #[arg(long)]
    pub redis_pid: u32,
    /// Rounds of both, in turns.
    #[arg(long, default_value_t = 11)]
    pub rounds: usize,
    /// Seconds of one half of a round.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Messages a second.
    #[arg(long, default_value_t = 300.0)]
    pub rate: f64,
    /// Bytes of the `payload` member.
    #[arg(long, default_value_t = 128)]
    pub bytes: usize,
    /// Messages to each of the rooms whose cost on Redis is counted.
    #[arg(long, default_value_t = 400)]
    pub counted: u64,
    /// Members of those rooms.
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000")]
    pub members: Vec<usize>,
    /// Handshakes whose scripts are counted.
    #[arg(long, default_value_t = 500)]
    pub handshakes: usize,
}

impl Relay {
    fn beside(&self) -> Beside {
        Beside {
            other: Some(self.other),
            other_pid: Some(self.other_pid),
            redis: Some(self.redis),
            redis_pid: Some(self.redis_pid),
        }
    }
}

/// Messages of one half round.
struct Run<'a> {
    sender: &'a Session,
    receiver: ConnId,
    bytes: usize,
    first: u64,
    step: u64,
    total: u64,
    sent: Vec<u64>,
    latency: Histogram,
    lateness: Histogram,
    give_up: u64,
    fault: Option<String>,
}

impl Player for Run<'_> {
    fn message(&mut self, _: &mut Net, id: ConnId, payload: &[u8]) {
        match message::kind(payload) {
            Kind::Chat if id == self.receiver => {}
            Kind::Error => {
                self.fault = Some(String::from_utf8_lossy(payload).into_owned());
                return;
            }
            _ => return,
        }
        let at = message::sequence(payload).and_then(|seq| self.sent.get(usize::try_from(seq).ok()?));
        if let Some(at) = at {
            self.latency.record(clock::now_ns().saturating_sub(*at));
        }
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        let next = self.sent.len() as u64;
        let due = self.first + next * self.step;
        if next < self.total && due <= now {
            match message::numbered_chat(&self.sender.room, &self.sender.csrf, next, self.bytes) {
                Ok(text) => {
                    self.lateness.record(now - due);
                    self.sent.push(clock::now_ns());
                    net.send(self.sender.id, &text);
                }
                Err(error) => self.fault = Some(error.to_string()),
            }
        }
        self.fault.is_some() || self.latency.count() >= self.total || now > self.give_up
    }
}

/// What a half round took of the processes.
#[derive(Clone, Copy)]
struct Spent {
    seconds: f64,
    busy: [f64; 3],
}

struct Bench<'a> {
    options: &'a Relay,
    net: Net,
    probes: [Probe; 3],
    redis: Redis,
}

impl Bench<'_> {
    /// Sends `total` messages and waits for all of them at one receiver.
    fn run(&mut self, sender: &Session, receiver: ConnId, total: u64, rate: f64) -> Outcome<(Histogram, Histogram)> {
        let step = clock::seconds(1.0 / rate).max(1);
        let first = clock::now_ns() + step;
        let mut run = Run {
            sender,
            receiver,
            bytes: self.options.bytes,
            first,
            step,
            total,
            sent: Vec::with_capacity(usize::try_from(total)?),
            latency: Histogram::default(),
            lateness: Histogram::default(),
            give_up: first + total * step + clock::seconds(5.0),
            fault: None,
        };
        let ticker = self.net.ticker(Duration::from_nanos(step))?;
        self.net.play(&mut run, Duration::from_millis(100))?;
        drop(ticker);
        match run.fault {
            Some(fault) => Err(fault.into()),
            None if run.latency.count() < total => {
                Err(format!("{} of {total} messages arrived", run.latency.count()).into())
            }
            None => Ok((run.latency, run.lateness)),
        }
    }

    fn cpu(&self) -> Outcome<[u64; 3]> {
        let [a, b, redis] = &self.probes;
        Ok([a.cpu_ns()?, b.cpu_ns()?, redis.cpu_ns()?])
    }

    /// Sessions on one of the nodes, all in one room.
    fn sessions(&mut self, node: SocketAddr, series: &str, count: usize, room: &str) -> Outcome<Vec<Session>> {
        self.net.aim_at(node);
        let room = room.to_owned();
        let plan = Plan {
            heads: self.options.aim.heads(series, count)?.into(),
            dialect: self.options.aim.dialect,
            concurrency: self.options.aim.concurrency,
            rooms: Box::new(move |_| room.clone()),
            ping: false,
            receive_buffer: None,
            patience: clock::seconds(self.options.aim.patience),
        };
        bring_up(&mut self.net, plan)
    }

    fn pair(&mut self, room: &str, members: usize) -> Outcome<(Session, Vec<Session>)> {
        let senders = self.sessions(self.options.aim.target, &format!("s-{room}"), 1, room)?;
        let receivers = self.sessions(self.options.other, &format!("r-{room}"), members, room)?;
        let sender = senders.into_iter().next().ok_or("no sender")?;
        Ok((sender, receivers))
    }
}

/// Plays it.
///
/// # Errors
/// A session could not be brought up, a message was lost, or Redis did not answer.
pub fn run(options: &Relay) -> Outcome<()> {
    let probes = [options.aim.probe(), Probe::of(options.other_pid), Probe::of(options.redis_pid)];
    let redis = Redis::connect(options.redis)?;
    let mut bench = Bench { options, net: options.aim.net()?, probes, redis };
    handshakes(&mut bench)?;
    latency(&mut bench)?;
    cost(&mut bench)?;
    listeners(&bench)
}

/// What a message costs Redis more for each connection, that is node, that hears it: Redis alone, its own publish.
fn listeners(bench: &Bench<'_>) -> Outcome<()> {
    let (options, [.., probe]) = (bench.options, &bench.probes);
    let mut points = Vec::new();
    for count in [1usize, 4, 16] {
        let ns = raw::cost(options.redis, probe, options.bytes, count, 8_000)?;
        points.push((count as f64, ns / 1000.0));
    }
    let (slope, first) = line(&points).ok_or("no slope")?;
    let detail = json!({ "listeners_and_us": points, "intercept_us": rounded(first) });
    let what = "CPU of Redis for each further listener of a message, its own publish, slope over 1, 4, 16";
    Finding::new("relay.raw.listener", what, slope, "us", detail).print()
}

fn latency(bench: &mut Bench<'_>) -> Outcome<()> {
    let options = bench.options;
    let (sender, receivers) = bench.pair("room.relay", 1)?;
    let receiver = receivers.first().ok_or("no receiver")?.id;
    let total = (options.rate * options.seconds) as u64;
    bench.run(&sender, receiver, total / 4, options.rate)?;
    let mut raw = raw::Pair::connect(options.redis, options.bytes)?;
    let us = |ns: u64| ns as f64 / 1000.0;
    let (mut ours, mut theirs, mut late, mut busiest) = ([vec![], vec![]], [vec![], vec![]], vec![], 0.0f64);
    for _ in 0..options.rounds {
        let (cpu, began) = (bench.cpu()?, clock::now_ns());
        let (latency, lateness) = bench.run(&sender, receiver, total, options.rate)?;
        let spent = spent(cpu, bench.cpu()?, began);
        busiest = spent.busy.iter().fold(busiest, |most, busy| most.max(*busy));
        late.push(us(lateness.quantile(0.99)));
        let plain = raw.run(total, options.rate)?;
        for ((list, raw_list), quantile) in ours.iter_mut().zip(&mut theirs).zip([0.5, 0.99]) {
            list.push(us(latency.quantile(quantile)));
            raw_list.push(us(plain.quantile(quantile)));
        }
    }
    let ([p50, p99], [raw50, raw99]) = (&ours, &theirs);
    let ratios: Vec<f64> = p99.iter().zip(raw99).map(|(ours, raw)| ours / raw).collect();
    let detail = json!({
        "rounds": options.rounds, "rate": options.rate, "p50_us": p50, "p99_us": p99, "raw_p50_us": raw50,
        "raw_p99_us": raw99, "generator_late_p99_us": late, "spread": spread(&ratios),
    });
    let figure = |id: &str, what: &str, list: &[f64]| {
        Finding::new(id, format!("{what}, median of {} rounds", options.rounds), median(list), "µs", json!(null))
            .print()
    };
    figure("relay.p50", "room message from node to node, p50", p50)?;
    figure("relay.p99", "room message from node to node, p99", p99)?;
    figure("relay.raw.p50", "Redis publish to subscribe, p50", raw50)?;
    figure("relay.raw.p99", "Redis publish to subscribe, p99", raw99)?;
    let what = "p99 of a room message from node to node / of Redis publish to subscribe, medians";
    Finding::new("relay.p99_ratio", what, median(p99) / median(raw99).max(0.001), "x", detail).print()?;
    Finding::new("relay.busiest", "busiest process while measuring", busiest * 100.0, "% of a CPU", json!(null)).print()
}

fn spent(before: [u64; 3], after: [u64; 3], began: u64) -> Spent {
    let seconds = (clock::now_ns() - began) as f64 / 1e9;
    let mut busy = [0.0; 3];
    for ((busy, before), after) in busy.iter_mut().zip(before).zip(after) {
        *busy = (after - before) as f64 / 1e9 / seconds;
    }
    Spent { seconds, busy }
}

/// What Redis does for a message to rooms of different sizes, with what it does anyway taken off.
fn cost(bench: &mut Bench<'_>) -> Outcome<()> {
    let options = bench.options;
    let total = options.counted;
    let mut meter = Meter::of(&options.aim, &options.beside())?;
    let mut costs = Vec::new();
    for members in &options.members {
        let (sender, receivers) = bench.pair(&format!("room.cost-{members}"), *members)?;
        let receiver = receivers.last().ok_or("no receiver")?.id;
        meter.settle(&mut bench.net)?;
        // a larger room takes the nodes longer, and Redis must not know
        let rate = options.rate.min(20_000.0 / *members as f64).max(20.0);
        let (calls, cpu, began) = (redis::all(&bench.redis.calls()?), bench.cpu()?, clock::now_ns());
        rest(&mut bench.net, Duration::from_secs_f64(options.seconds))?;
        let quiet = spent(cpu, bench.cpu()?, began);
        let idle_calls = (redis::all(&bench.redis.calls()?) - calls) as f64 / quiet.seconds;
        let (calls, cpu, began) = (redis::all(&bench.redis.calls()?), bench.cpu()?, clock::now_ns());
        bench.run(&sender, receiver, total, rate)?;
        let spent = spent(cpu, bench.cpu()?, began);
        let calls = (redis::all(&bench.redis.calls()?) - calls) as f64 - idle_calls * spent.seconds;
        let [.., busy] = spent.busy;
        let [.., idle] = quiet.busy;
        let us = (busy - idle) * spent.seconds * 1e6 / total as f64;
        costs.push((calls / total as f64, us));
        let detail = json!({ "cpu_us_per_message": rounded(us), "idle_calls_per_second": rounded(idle_calls) });
        let what = format!("commands on Redis for a message to a room of {members} on another node");
        Finding::new(&format!("relay.redis.{members}"), what, calls / total as f64, "", detail).print()?;
    }
    let (Some((few, few_us)), Some((many, many_us))) = (costs.first(), costs.last()) else { return Ok(()) };
    let detail = json!({ "cpu_us": [few_us, many_us], "cpu_ratio": rounded(many_us / few_us) });
    let what = "commands on Redis for a message to the largest room / to the smallest";
    Finding::new("relay.redis_growth", what, many / few, "x", detail).print()
}

/// Scripts that a handshake takes, with what the nodes run anyway taken off, and on a connection that the server has
/// learned its scripts from: each that is under way when one is used first is sent once more, with its text.
fn handshakes(bench: &mut Bench<'_>) -> Outcome<()> {
    let options = bench.options;
    bench.sessions(options.aim.target, "first", options.aim.concurrency, "")?;
    let (before, began) = (redis::scripts(&bench.redis.calls()?), clock::now_ns());
    rest(&mut bench.net, Duration::from_secs_f64(options.seconds.max(3.0)))?;
    let idle = (redis::scripts(&bench.redis.calls()?) - before) as f64 / ((clock::now_ns() - began) as f64 / 1e9);
    let (before, began) = (redis::scripts(&bench.redis.calls()?), clock::now_ns());
    bench.sessions(options.aim.target, "trips", options.handshakes, "")?;
    let seconds = (clock::now_ns() - began) as f64 / 1e9;
    let scripts = (redis::scripts(&bench.redis.calls()?) - before) as f64 - idle * seconds;
    let each = scripts / options.handshakes.max(1) as f64;
    let what = format!("scripts on Redis for a handshake, mean of {}", options.handshakes);
    Finding::new("relay.handshake_scripts", what, each, "", json!({ "idle_scripts_per_second": rounded(idle) })).print()
}
