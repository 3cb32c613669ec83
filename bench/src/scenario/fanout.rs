//! One message to all members of a room, at a fixed rate that the generator can follow.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::entry::{Plan, Session, bring_up};
use super::{Aim, rest};
use crate::dialect::{Dialect, Heard};
use crate::finding::Finding;
use crate::histogram::Histogram;
use crate::message;
use crate::meter::{Beside, Meter};
use crate::socket::{ConnId, Gone, Net, Player, Ticker};
use crate::{Outcome, clock};

/// Options of `gen fanout`.
#[derive(Debug, Clone, Args)]
pub struct Fanout {
    /// Where to.
    #[command(flatten)]
    pub aim: Aim,
    /// What is read besides; with another node, half of the members are there.
    #[command(flatten)]
    pub beside: Beside,
    /// Members of the room, the sender among them.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,5000")]
    pub members: Vec<usize>,
    /// Bytes of the `payload` member.
    #[arg(long, default_value_t = 128)]
    pub bytes: usize,
    /// Deliveries a second; messages a second are this over the members.
    #[arg(long, default_value_t = 40_000.0)]
    pub rate: f64,
    /// Messages a second, whatever the members; in place of `rate`.
    #[arg(long)]
    pub messages: Option<f64>,
    /// Measured seconds.
    #[arg(long, default_value_t = 6.0)]
    pub seconds: f64,
    /// Unmeasured seconds before.
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Name of the results; the member count is appended.
    #[arg(long, default_value = "fanout")]
    pub id: String,
}

struct Broadcast<'a> {
    sender: &'a Session,
    dialect: Dialect,
    bytes: usize,
    members: u64,
    first: u64,
    step: u64,
    /// Messages of this window have numbers from here on.
    base: u64,
    sent: u64,
    end: u64,
    received: u64,
    received_bytes: u64,
    latency: Histogram,
    lateness: Histogram,
    lost_sessions: BTreeMap<String, u64>,
    last_receipt: u64,
    fault: Option<String>,
}

/// What is not here so long after it was due is lost, in nanoseconds.
const LOST: u64 = 3_000_000_000;

impl Broadcast<'_> {
    fn due(&self, seq: u64) -> u64 {
        self.first + (seq - self.base) * self.step
    }

    fn expected(&self) -> u64 {
        (self.end - self.base) * self.members
    }

    fn send_due(&mut self, net: &mut Net, now: u64) -> Outcome<()> {
        while self.sent < self.end && self.due(self.sent) <= now {
            let (room, csrf) = (&self.sender.room, &self.sender.csrf);
            let text = self.dialect.numbered_chat(room, csrf, self.sent, self.bytes)?;
            self.lateness.record(now - self.due(self.sent));
            net.send(self.sender.id, &text);
            self.sent += 1;
        }
        Ok(())
    }
}

impl Player for Broadcast<'_> {
    fn message(&mut self, net: &mut Net, id: ConnId, payload: &[u8]) {
        match self.dialect.hear(payload) {
            Heard::Chat => {}
            Heard::Error => {
                self.fault = Some(String::from_utf8_lossy(payload).into_owned());
                return;
            }
            Heard::Asks(text) => return net.send(id, &self.dialect.say(text)),
            _ => return,
        }
        self.received_bytes += payload.len() as u64;
        for seq in message::sequences(payload).filter(|seq| (self.base..self.end).contains(seq)) {
            let now = clock::now_ns();
            self.last_receipt = now;
            self.received += 1;
            self.latency.record(now.saturating_sub(self.due(seq)));
        }
    }

    fn closed(&mut self, _: &mut Net, _: ConnId, why: Gone) {
        *self.lost_sessions.entry(format!("{why:?}")).or_default() += 1;
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        if let Err(error) = self.send_due(net, now) {
            self.fault = Some(error.to_string());
        }
        let silent = now > self.last_receipt.max(self.due(self.end)) + LOST;
        self.fault.is_some() || (self.sent == self.end && self.received >= self.expected()) || silent
    }
}

/// Messages for so long, from the number `base` on.
fn drive<'a>(
    net: &mut Net,
    options: &Fanout,
    (sender, members): (&'a Session, u64),
    base: u64,
    seconds: f64,
) -> Outcome<Broadcast<'a>> {
    let messages = options.messages.unwrap_or(options.rate / members as f64);
    let step = clock::seconds(1.0 / messages.max(0.01)).max(1);
    let _ticker: Ticker = net.ticker(Duration::from_nanos(step.min(1_000_000)))?;
    let mut run = Broadcast {
        sender,
        dialect: options.aim.dialect,
        bytes: options.bytes,
        members,
        first: clock::now_ns() + step,
        step,
        base,
        sent: base,
        end: base + (clock::seconds(seconds) / step.max(1)).max(1),
        received: 0,
        received_bytes: 0,
        latency: Histogram::default(),
        lateness: Histogram::default(),
        lost_sessions: BTreeMap::new(),
        last_receipt: 0,
        fault: None,
    };
    net.play(&mut run, options.aim.idle(Duration::from_millis(20)))?;
    match run.fault.take() {
        Some(fault) => Err(fault.into()),
        None => Ok(run),
    }
}

fn broadcast(net: &mut Net, options: &Fanout, meter: &mut Meter, sessions: &[Session]) -> Outcome<()> {
    let sender = sessions.first().ok_or("a room needs a member")?;
    let members = sessions.len() as u64;
    let warm = drive(net, options, (sender, members), 0, options.warm_up)?;
    let idle = if meter.has_redis() {
        meter.settle(net)?;
        Some(meter.idle(net, Duration::from_secs(2))?)
    } else {
        None
    };
    let before = meter.read()?;
    let run = drive(net, options, (sender, members), warm.end, options.seconds)?;
    let spent = meter.since(before)?;
    let (due, messages) = (run.expected(), (run.end - run.base) as f64);
    let lost = due.saturating_sub(run.received);
    let memory = meter.memory()?;
    let mut detail = json!({
        "members": members, "messages": messages, "deliveries": run.received, "due": due, "lost": lost,
        "lost_sessions": run.lost_sessions, "payload_bytes": options.bytes,
        "message_bytes": run.received_bytes / run.received.max(1), "rss": memory.rss, "pss": memory.pss,
        "deliveries_per_second": (run.received as f64 / spent.seconds).round(), "server_busy": spent.busy(),
        "latency": run.latency.summary(), "generator_lateness": run.lateness.summary(),
    });
    if let (Some(idle), Some(map)) = (idle, detail.as_object_mut()) {
        map.insert("redis".to_owned(), spent.beyond(idle).redis(messages));
    }
    let id = |end: &str| format!("{}.{members}{end}", options.id);
    let what = format!("CPU per delivery, {} bytes to {members} members", options.bytes);
    let per_delivery = spent.cpu_ns / run.received.max(1) as f64 / 1000.0;
    Finding::new(&id(""), what, per_delivery, "us", detail).print()?;
    let what = format!("p99 of a delivery from the moment it was due, {members} members");
    Finding::new(&id(".p99"), what, run.latency.quantile(0.99) as f64 / 1000.0, "us", json!(null)).print()?;
    if let Some(idle) = idle {
        let what = format!("CPU of Redis for a message to {members} members");
        let net = spent.beyond(idle);
        Finding::new(&id(".redis_cpu"), what, net.redis_cpu_ns / messages / 1000.0, "us", json!(null)).print()?;
        let what = format!("commands on Redis for a message to {members} members");
        Finding::new(&id(".redis_commands"), what, net.commands / messages, "", json!(null)).print()?;
    }
    let what = format!("deliveries lost, {members} members");
    Finding::new(&id(".lost"), what, lost as f64, "", json!(null)).print()
}

/// The members; with another node, every second one is there.
fn members(net: &mut Net, options: &Fanout, members: usize) -> Outcome<Vec<Session>> {
    let mut here = options.aim.heads(&format!("fan{members}"), members)?;
    let there = options.beside.other.map(|other| (other, here.split_off(members.div_ceil(2))));
    let mut all = Vec::with_capacity(members);
    for (target, heads) in [Some((options.aim.target, here)), there].into_iter().flatten() {
        net.aim_at(target);
        let plan = Plan {
            heads: heads.into(),
            dialect: options.aim.dialect,
            concurrency: options.aim.concurrency,
            rooms: Box::new(move |_| format!("room.fan-{members}")),
            ping: false,
            receive_buffer: None,
            patience: clock::seconds(options.aim.patience),
        };
        all.extend(bring_up(net, plan)?);
    }
    Ok(all)
}

/// Plays it.
///
/// # Errors
/// A session could not be brought up, an error came back, or the server's process can't be read. Losses are a result.
pub fn run(options: &Fanout) -> Outcome<()> {
    let mut meter = Meter::of(&options.aim, &options.beside)?;
    for &count in &options.members {
        let mut net = options.aim.net()?;
        let sessions = members(&mut net, options, count)?;
        rest(&mut net, Duration::from_millis(500))?;
        broadcast(&mut net, options, &mut meter, &sessions)?;
        drop(net);
        // the server sees the members go before the next room fills
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
