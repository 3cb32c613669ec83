//! Many sessions that do different things, each at a moment fixed ahead: messages to small rooms, direct messages, joins and
//! leaves, newcomers. Latency counts from the fixed moment, so that a server that stalls can't hide it.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::entry::{Plan, Session, bring_up};
use super::{Aim, rest};
use crate::finding::{Finding, rounded};
use crate::meter::{Beside, Meter, Spent};
use crate::socket::Net;
use crate::{Outcome, clock};

/// Which operation comes when.
pub mod mix;
/// The sockets' side.
mod play;

use mix::{Mix, Op};
use play::{Crowd, Running};

/// Options of `gen load`.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// Where to.
    #[command(flatten)]
    pub aim: Aim,
    /// What is read besides.
    #[command(flatten)]
    pub beside: Beside,
    /// Sessions.
    #[arg(long, default_value_t = 2_000)]
    pub sessions: usize,
    /// Members of a room; every session is in one.
    #[arg(long, default_value_t = 4)]
    pub room_size: usize,
    /// All sessions are of one user, in a room each, and it may be refused what a limit does not allow.
    #[arg(long)]
    pub one_user: bool,
    /// Weights of `room`, `direct`, `join` (and leave) and `connect` (and close).
    #[arg(long, default_value = "room=1")]
    pub mix: Mix,
    /// Operations a second.
    #[arg(long, default_value_t = 4_000.0)]
    pub rate: f64,
    /// Bytes of the `payload` member.
    #[arg(long, default_value_t = 128)]
    pub bytes: usize,
    /// Measured seconds.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Unmeasured seconds before.
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Name of the results.
    #[arg(long, default_value = "load")]
    pub id: String,
    /// What it is, for people.
    #[arg(long, default_value = "operations")]
    pub what: String,
}

/// Plays it.
///
/// # Errors
/// A session could not be brought up, something unexpected was refused, or a process can't be read. Losses are a result.
pub fn run(options: &Load) -> Outcome<()> {
    let mut net = options.aim.net()?;
    let mut meter = Meter::of(&options.aim, &options.beside)?;
    let sessions = sessions(&mut net, options)?;
    let heads = options.aim.heads("new", options.newcomers())?;
    let mut crowd = Crowd { aside: vec![false; sessions.len()], sessions, heads };
    rest(&mut net, Duration::from_millis(500))?;
    let warm = drive(&mut net, options, &mut crowd, 0, options.warm_up)?.sent();
    if meter.has_redis() {
        meter.settle(&mut net)?;
    }
    let idle = meter.idle(&mut net, Duration::from_secs(1))?;
    let before = meter.read()?;
    let run = drive(&mut net, options, &mut crowd, warm, options.seconds)?;
    let spent = meter.since(before)?;
    report(options, &run, spent, idle, &meter)
}

impl Load {
    fn newcomers(&self) -> usize {
        let share = self.mix.share(Op::Connect);
        if share > 0.0 { ((self.seconds + self.warm_up) * self.rate * share) as usize + 64 } else { 0 }
    }

    fn room(&self, number: usize) -> String {
        format!("room.load-{}", number / self.room_size.max(1))
    }
}

/// In the order of their numbers.
fn sessions(net: &mut Net, options: &Load) -> Outcome<Vec<Session>> {
    let heads = match options.one_user {
        true => options.aim.heads_of_one("load", options.sessions)?,
        false => options.aim.heads("load", options.sessions)?,
    };
    let rooms = options.clone();
    let (mut first, second) = (heads.into_iter().collect::<Vec<_>>(), options.beside.other);
    // with another node, the second half is there
    let there = if second.is_some() { first.split_off(options.sessions / 2) } else { Vec::new() };
    let from = first.len();
    let plan = |heads: Vec<Vec<u8>>, from: usize, net: &mut Net| {
        let rooms = rooms.clone();
        let plan = Plan {
            heads: heads.into(),
            dialect: options.aim.dialect,
            concurrency: options.aim.concurrency,
            rooms: Box::new(move |n| rooms.room(from + n)),
            ping: false,
            receive_buffer: None,
            patience: clock::seconds(options.aim.patience),
        };
        bring_up(net, plan)
    };
    let mut all = plan(first, 0, net)?;
    if let Some(other) = second {
        net.aim_at(other);
        let more = plan(there, from, net)?;
        all.extend(more.into_iter().map(|session| Session { number: from + session.number, ..session }));
        net.aim_at(options.aim.target);
    }
    all.sort_by_key(|session| session.number);
    Ok(all)
}

fn drive<'a>(net: &mut Net, options: &'a Load, crowd: &'a mut Crowd, base: u64, seconds: f64) -> Outcome<Running<'a>> {
    let mut run = Running::new(options, crowd, base, seconds);
    let ticker = net.ticker(Duration::from_nanos(run.step().min(1_000_000)))?;
    net.play(&mut run, options.aim.idle(Duration::from_millis(20)))?;
    drop(ticker);
    match run.fault.take() {
        Some(fault) => Err(fault.into()),
        None => Ok(run),
    }
}

fn report(options: &Load, run: &Running<'_>, spent: Spent, idle: Spent, meter: &Meter) -> Outcome<()> {
    let net = spent.beyond(idle);
    let operations = run.sent_here() as f64;
    let each = |ns: f64, count: u64| rounded(ns / count.max(1) as f64 / 1000.0);
    let kinds: Vec<(String, Value)> = Op::ALL
        .iter()
        .filter(|op| options.mix.share(**op) > 0.0)
        .map(|op| (op.name().to_owned(), run.seen(*op)))
        .collect();
    let memory = meter.memory()?;
    let mut detail = json!({
        "sessions": options.sessions, "room_size": options.room_size, "payload_bytes": options.bytes,
        "rate": options.rate, "operations": operations, "deliveries": run.deliveries(), "refused": run.refused,
        "lost": run.lost(), "lost_sessions": run.lost_sessions, "server_busy": spent.busy(), "idle_busy": idle.busy(),
        "cpu_us_per_delivery": each(net.cpu_ns, run.deliveries()), "rss": memory.rss, "pss": memory.pss,
        "generator_lateness": run.lateness.summary(), "by_operation": kinds.iter().cloned().collect::<serde_json::Map<_, _>>(),
    });
    if let (true, Some(map)) = (meter.has_redis(), detail.as_object_mut()) {
        map.insert("redis".to_owned(), net.redis(operations));
        map.insert(
            "policy_calls".to_owned(),
            json!({ "per_message": rounded(spent.calls / operations), "parked": spent.parked }),
        );
    }
    let (id, what) = (&options.id, &options.what);
    let row = |end: &str, what: String, value: f64, unit: &str| {
        Finding::new(&format!("{id}{end}"), what, value, unit, Value::Null).print()
    };
    Finding::new(id, format!("{what}: CPU of an operation"), net.cpu_ns / operations / 1000.0, "us", detail).print()?;
    if run.deliveries() > run.sent_here() && options.mix.share(Op::Room) >= 1.0 {
        row(".delivery", format!("{what}: CPU of a delivery"), each(net.cpu_ns, run.deliveries()), "us")?;
    }
    row(".p50", format!("{what}: p50 from the moment it was due"), run.quantile_us(0.5), "us")?;
    row(".p99", format!("{what}: p99 from the moment it was due"), run.quantile_us(0.99), "us")?;
    row(".lost", format!("{what}: answers and deliveries lost"), run.lost() as f64, "")?;
    if meter.has_redis() {
        row(".redis_commands", format!("{what}: commands on Redis for an operation"), net.commands / operations, "")?;
        row(
            ".redis_cpu",
            format!("{what}: CPU of Redis for an operation"),
            net.redis_cpu_ns / operations / 1000.0,
            "us",
        )?;
        row(".calls", format!("{what}: policy calls for a message"), spent.calls / operations, "")?;
        row(".parked", format!("{what}: messages that waited for a policy call"), spent.parked, "")?;
    }
    Ok(())
}
