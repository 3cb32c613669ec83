//! All clients of a node lose it at once and come back to the others, each at a random moment of its own as PROTOCOL.md
//! asks for; what that costs Redis is read from what it counts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::entry::{Plan, bring_up};
use super::{Aim, announce};
use crate::finding::Finding;
use crate::histogram::Histogram;
use crate::message::{self, Kind};
use crate::redis::{self, Redis};
use crate::socket::{ConnId, Gone, Net, Player};
use crate::{Outcome, clock};

/// Options of `gen storm`.
#[derive(Debug, Clone, Args)]
pub struct Storm {
    /// The node that will be lost.
    #[command(flatten)]
    pub aim: Aim,
    /// Where the clients go then, in turn.
    #[arg(long, value_delimiter = ',', required = true)]
    pub refuge: Vec<SocketAddr>,
    /// What the nodes share.
    #[arg(long)]
    pub redis: SocketAddr,
    /// Clients of the node.
    #[arg(long, default_value_t = 15_000)]
    pub clients: usize,
    /// Seconds over which the first tries are spread.
    #[arg(long, default_value_t = 10.0)]
    pub spread: f64,
    /// Seconds after the loss for which Redis is watched: until the slots of the dead are freed.
    #[arg(long, default_value_t = 25.0)]
    pub watch: f64,
}

/// How long a refused client waits at least before it tries again; at most three times that.
const AGAIN: f64 = 1.0;
/// Between two looks at what Redis counted.
const LOOK: f64 = 0.5;

struct Flight<'a> {
    options: &'a Storm,
    heads: &'a [Vec<u8>],
    /// By socket: whose it is.
    clients: Vec<Option<usize>>,
    /// By client: whether it has not lost its node yet.
    stands: Vec<bool>,
    /// How many have.
    lost: usize,
    tries: BinaryHeap<Reverse<(u64, usize)>>,
    random: u64,
    lost_at: Option<u64>,
    last_back: u64,
    back: Histogram,
    refused: BTreeMap<String, u64>,
    redis: Redis,
    next_look: u64,
    looked: Option<(u64, u64, u64)>,
    at_loss: Option<(u64, u64)>,
    peak_scripts: f64,
    peak_calls: f64,
    /// Looks: seconds after the loss, scripts a second.
    course: Vec<(f64, f64)>,
    fault: Option<String>,
}

impl Flight<'_> {
    /// A number in 0..1 (SplitMix64): the same tries in every run.
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn later(&mut self, client: usize, from: f64, spread: f64) {
        let wait = from + self.random() * spread;
        self.tries.push(Reverse((clock::now_ns() + clock::seconds(wait), client)));
    }

    fn start_due(&mut self, net: &mut Net, now: u64) -> Outcome<()> {
        while let Some(Reverse((due, client))) = self.tries.peek().copied() {
            if due > now {
                break;
            }
            self.tries.pop();
            let refuge = self.options.refuge.get(client % self.options.refuge.len()).ok_or("no refuge")?;
            net.aim_at(*refuge);
            let id = net.open(self.heads.get(client).cloned().ok_or("no head")?, None)?;
            if self.clients.len() <= id {
                self.clients.resize(id + 1, None);
            }
            if let Some(slot) = self.clients.get_mut(id) {
                *slot = Some(client);
            }
        }
        Ok(())
    }

    fn look(&mut self, now: u64) -> Outcome<()> {
        let Some(lost_at) = self.lost_at.filter(|_| now >= self.next_look) else { return Ok(()) };
        self.next_look = now + clock::seconds(LOOK);
        let calls = self.redis.calls()?;
        let (scripts, all) = (redis::scripts(&calls), redis::all(&calls));
        if let Some((then, scripts_then, all_then)) = self.looked {
            let seconds = (now - then) as f64 / 1e9;
            let rate = (scripts - scripts_then) as f64 / seconds;
            self.peak_scripts = self.peak_scripts.max(rate);
            self.peak_calls = self.peak_calls.max((all - all_then) as f64 / seconds);
            self.course.push((((now - lost_at) as f64 / 1e8).round() / 10.0, rate.round()));
        }
        self.looked = Some((now, scripts, all));
        self.at_loss.get_or_insert((scripts, all));
        Ok(())
    }

    fn all_back(&self) -> bool {
        self.back.count() >= self.heads.len() as u64
    }
}

impl Player for Flight<'_> {
    fn message(&mut self, _: &mut Net, id: ConnId, payload: &[u8]) {
        if message::kind(payload) != Kind::Welcome || self.clients.get(id).copied().flatten().is_none() {
            return;
        }
        self.last_back = clock::now_ns();
        self.back.record(self.last_back.saturating_sub(self.lost_at.unwrap_or(self.last_back)));
    }

    fn closed(&mut self, _: &mut Net, id: ConnId, why: Gone) {
        let Some(client) = self.clients.get_mut(id).and_then(Option::take) else { return };
        self.lost_at.get_or_insert_with(clock::now_ns);
        let stood = self.stands.get_mut(client).is_some_and(std::mem::take);
        if stood {
            self.lost += 1;
            if self.lost == self.heads.len()
                && let Err(error) = announce("lost")
            {
                self.fault = Some(error.to_string());
            }
            return self.later(client, 0.0, self.options.spread);
        }
        *self.refused.entry(format!("{why:?}")).or_default() += 1;
        self.later(client, AGAIN, 2.0 * AGAIN);
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        let done = self.start_due(net, now).and_then(|()| self.look(now));
        if let Err(error) = done {
            self.fault = Some(error.to_string());
        }
        let since = self.lost_at.map_or(0, |lost| now.saturating_sub(lost));
        let over = self.all_back() && since > clock::seconds(self.options.watch);
        self.fault.is_some() || over || since > clock::seconds(self.options.watch + 60.0)
    }
}

/// Plays it: tells `up` when all clients stand, `lost` when the last of them knows that its node is no more, and `over`
/// when there is nothing left to see; then waits for a line of its input, for thousands of sockets that close at once are
/// no part of a storm.
///
/// # Errors
/// A session could not be brought up; Redis or the system did not answer.
pub fn run(options: &Storm) -> Outcome<()> {
    let mut net = options.aim.net()?;
    let heads = options.aim.heads("storm", options.clients)?;
    let plan = Plan {
        heads: heads.clone().into(),
        dialect: options.aim.dialect,
        concurrency: options.aim.concurrency,
        rooms: Box::new(|_| String::new()),
        ping: false,
        receive_buffer: None,
        patience: clock::seconds(options.aim.patience),
    };
    let sessions = bring_up(&mut net, plan)?;
    let mut clients = vec![None; sessions.iter().map(|session| session.id + 1).max().unwrap_or(0)];
    // whoever has this socket is as good as anybody: heads are used again in any order
    for (client, session) in sessions.iter().enumerate() {
        if let Some(slot) = clients.get_mut(session.id) {
            *slot = Some(client);
        }
    }
    let mut flight = Flight {
        options,
        heads: &heads,
        clients,
        stands: vec![true; heads.len()],
        lost: 0,
        tries: BinaryHeap::with_capacity(heads.len()),
        random: 8,
        lost_at: None,
        last_back: 0,
        back: Histogram::default(),
        refused: BTreeMap::new(),
        redis: Redis::connect(options.redis)?,
        next_look: 0,
        looked: None,
        at_loss: None,
        peak_scripts: 0.0,
        peak_calls: 0.0,
        course: Vec::new(),
        fault: None,
    };
    announce("up")?;
    net.play(&mut flight, Duration::from_millis(10))?;
    if let Some(fault) = flight.fault {
        return Err(fault.into());
    }
    announce("over")?;
    std::io::stdin().read_line(&mut String::new())?;
    report(&flight)
}

fn report(flight: &Flight<'_>) -> Outcome<()> {
    let (clients, lost_at) = (flight.heads.len(), flight.lost_at.ok_or("the node was never lost")?);
    let missing = clients as f64 - flight.back.count() as f64;
    let seconds = flight.last_back.saturating_sub(lost_at) as f64 / 1e9;
    let detail = json!({
        "clients": clients, "spread_seconds": flight.options.spread, "refused": flight.refused,
        "back": flight.back.summary(),
    });
    let what = format!("{clients} clients lost their node at once: until the last was back on another");
    Finding::new("storm.back", what, seconds, "s", detail).print()?;
    Finding::new("storm.missing", "clients that never came back", missing, "", json!(null)).print()?;
    let (_, scripts, all) = flight.looked.ok_or("Redis was never looked at")?;
    let (scripts_before, all_before) = flight.at_loss.unwrap_or_default();
    let per_client = |count: u64| count as f64 / clients.max(1) as f64;
    let detail = json!({ "calls_peak_per_second": flight.peak_calls.round(), "course": flight.course });
    Finding::new("storm.redis_peak", "scripts on Redis in the worst half second", flight.peak_scripts, "/s", detail)
        .print()?;
    let detail = json!({ "calls_per_client": per_client(all - all_before) });
    let what = format!("scripts on Redis for each client, coming back and clearing up, {} s", flight.options.watch);
    Finding::new("storm.redis_per_client", what, per_client(scripts - scripts_before), "", detail).print()
}
