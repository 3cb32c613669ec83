//! One message to all members of a room, at a fixed rate that the generator can follow.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::entry::{Plan, Session, bring_up};
use super::{Aim, rest};
use crate::finding::{Finding, rounded};
use crate::histogram::Histogram;
use crate::message::{self, Kind};
use crate::proc::Probe;
use crate::socket::{ConnId, Gone, Net, Player, Ticker};
use crate::{Outcome, clock};

/// Options of `gen fanout`.
#[derive(Debug, Clone, Args)]
pub struct Fanout {
    /// Where to.
    #[command(flatten)]
    pub aim: Aim,
    /// Members of the room, the sender among them.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,5000")]
    pub members: Vec<usize>,
    /// Bytes of the `payload` member.
    #[arg(long, default_value_t = 128)]
    pub bytes: usize,
    /// Deliveries a second; messages a second are this over the members.
    #[arg(long, default_value_t = 40_000.0)]
    pub rate: f64,
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
    bytes: usize,
    members: u64,
    first: u64,
    step: u64,
    sent: u64,
    /// Messages up to this one are warm-up.
    warm: u64,
    total: u64,
    received: u64,
    received_warm: u64,
    received_bytes: u64,
    latency: Histogram,
    lateness: Histogram,
    lost_sessions: BTreeMap<String, u64>,
    probe: &'a Probe,
    cpu_at_begin: Option<u64>,
    last_receipt: u64,
    patience: u64,
    fault: Option<String>,
}

impl Broadcast<'_> {
    fn due(&self, seq: u64) -> u64 {
        self.first + seq * self.step
    }

    fn complete(&self) -> bool {
        self.received + self.received_warm >= self.total * self.members
    }

    fn send_due(&mut self, net: &mut Net, now: u64) -> Outcome<()> {
        while self.sent < self.total && self.due(self.sent) <= now {
            if self.sent == self.warm {
                self.cpu_at_begin = Some(self.probe.cpu_ns()?);
            }
            let text = message::numbered_chat(&self.sender.room, &self.sender.csrf, self.sent, self.bytes)?;
            self.lateness.record(now - self.due(self.sent));
            net.send(self.sender.id, &text);
            self.sent += 1;
        }
        Ok(())
    }
}

impl Player for Broadcast<'_> {
    fn message(&mut self, _: &mut Net, _: ConnId, payload: &[u8]) {
        match message::kind(payload) {
            Kind::Chat => {}
            Kind::Error => {
                self.fault = Some(String::from_utf8_lossy(payload).into_owned());
                return;
            }
            _ => return,
        }
        let Some(seq) = message::sequence(payload) else { return };
        let now = clock::now_ns();
        self.last_receipt = now;
        if seq < self.warm {
            self.received_warm += 1;
            return;
        }
        self.received += 1;
        self.received_bytes += payload.len() as u64;
        self.latency.record(now.saturating_sub(self.due(seq)));
    }

    fn closed(&mut self, _: &mut Net, _: ConnId, why: Gone) {
        *self.lost_sessions.entry(format!("{why:?}")).or_default() += 1;
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        if let Err(error) = self.send_due(net, now) {
            self.fault = Some(error.to_string());
        }
        let silent = now > self.last_receipt.max(self.due(self.total)) + self.patience;
        self.fault.is_some() || (self.sent == self.total && self.complete()) || silent
    }
}

fn broadcast(net: &mut Net, options: &Fanout, sessions: &[Session]) -> Outcome<()> {
    let sender = sessions.first().ok_or("a room needs a member")?;
    let members = sessions.len() as u64;
    let step = (1e9 * members as f64 / options.rate.max(1.0)) as u64;
    let messages = |seconds: f64| (clock::seconds(seconds) / step.max(1)).max(1);
    let warm = messages(options.warm_up);
    let probe = options.aim.probe();
    let _ticker: Ticker = net.ticker(Duration::from_nanos(step.min(1_000_000)))?;
    let mut run = Broadcast {
        sender,
        bytes: options.bytes,
        members,
        first: clock::now_ns() + step,
        step,
        sent: 0,
        warm,
        total: warm + messages(options.seconds),
        received: 0,
        received_warm: 0,
        received_bytes: 0,
        latency: Histogram::default(),
        lateness: Histogram::default(),
        lost_sessions: BTreeMap::new(),
        probe: &probe,
        cpu_at_begin: None,
        last_receipt: 0,
        // what is not here 3 s after it was due is lost
        patience: clock::seconds(3.0),
        fault: None,
    };
    net.play(&mut run, options.aim.idle(Duration::from_millis(20)))?;
    if let Some(fault) = run.fault {
        return Err(fault.into());
    }
    let cpu = (probe.cpu_ns()? - run.cpu_at_begin.ok_or("nothing was sent")?) as f64;
    let due = (run.total - run.warm) * members;
    let elapsed = clock::now_ns().saturating_sub(run.due(run.warm)) as f64;
    let detail = json!({
        "members": members, "messages": run.total - run.warm, "deliveries": run.received, "due": due,
        "lost": due.saturating_sub(run.received), "lost_sessions": run.lost_sessions,
        "payload_bytes": options.bytes, "message_bytes": run.received_bytes / run.received.max(1),
        "deliveries_per_second": (run.received as f64 / elapsed * 1e9).round(), "server_busy": rounded(cpu / elapsed),
        "latency": run.latency.summary(), "generator_lateness": run.lateness.summary(),
    });
    let what = format!("CPU per delivery, {} bytes to {members} members", options.bytes);
    let per_delivery = cpu / run.received.max(1) as f64 / 1000.0;
    Finding::new(&format!("{}.{members}", options.id), what, per_delivery, "us", detail).print()?;
    let what = format!("deliveries lost, {members} members");
    Finding::new(
        &format!("{}.{members}.lost", options.id),
        what,
        due.saturating_sub(run.received) as f64,
        "",
        json!(null),
    )
    .print()
}

/// Plays it.
///
/// # Errors
/// A session could not be brought up, an error came back, or the server's process can't be read. Losses are a result.
pub fn run(options: &Fanout) -> Outcome<()> {
    for &members in &options.members {
        let mut net = options.aim.net()?;
        let plan = Plan {
            heads: options.aim.heads(&format!("fan{members}"), members)?.into(),
            concurrency: options.aim.concurrency,
            rooms: Box::new(move |_| format!("room.fan-{members}")),
            ping: false,
            receive_buffer: None,
            patience: clock::seconds(options.aim.patience),
        };
        let sessions = bring_up(&mut net, plan)?;
        rest(&mut net, Duration::from_millis(500))?;
        broadcast(&mut net, options, &sessions)?;
        drop(net);
        // the server sees the members go before the next room fills
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
