//! Well-behaved clients beside hostile ones. Two processes: `healthy` sends each client's health-check on a fixed
//! schedule and measures from the scheduled time, so that a stalled server can't hide its stall; `attack` holds slow
//! handshakes open and never reads from a busy room. The driver tells `healthy` which phase it is.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::entry::{Plan, Session, bring_up};
use super::{Aim, announce};
use crate::finding::Finding;
use crate::histogram::Histogram;
use crate::message::{self, Kind};
use crate::proc::{Memory, Probe};
use crate::socket::{ConnId, Gone, Net, Player};
use crate::{Outcome, clock};

/// The slow side.
pub mod attack;

/// Options of `gen healthy`. Reads `quiet`, `pause`, `attack`, `end` from standard input, a line each.
#[derive(Debug, Clone, Args)]
pub struct Healthy {
    /// Where to.
    #[command(flatten)]
    pub aim: Aim,
    /// Idle healthy clients.
    #[arg(long, default_value_t = 2_000)]
    pub clients: usize,
    /// Seconds between two health-checks of one client.
    #[arg(long, default_value_t = 2.0)]
    pub every: f64,
}

/// The largest share of the quiet phase that the server may have waited for a CPU.
const MOST_WAITED: f64 = 0.03;
/// The largest p99 by which the generator itself may have been late in the quiet phase.
const MOST_LATE_NS: u64 = 2_000_000;

/// Seconds of the attack that are told apart; later ones count as the last.
const COURSE: usize = 64;

const PAUSE: u8 = 0;
const QUIET: u8 = 1;
const ATTACK: u8 = 2;
const END: u8 = 3;

struct Rounds<'a> {
    sessions: &'a [Session],
    frame: Vec<u8>,
    /// By socket: the scheduled times not yet answered, oldest first.
    due: Vec<std::collections::VecDeque<(u64, u8)>>,
    first: u64,
    step: u64,
    sent: u64,
    phase: Arc<AtomicU8>,
    latency: [Histogram; 3],
    /// Of the attack, second by second.
    course: Vec<Histogram>,
    attacked_at: Option<u64>,
    lateness: [Histogram; 3],
    /// First and last look of the quiet phase: the time, and how long the server had waited for a CPU by then.
    waited: Option<[(u64, u64); 2]>,
    unanswered_at_end: u64,
    lost_sessions: u64,
    probe: &'a Probe,
    memory: [Option<Memory>; 2],
    next_look: u64,
    ending: Option<u64>,
}

impl Rounds<'_> {
    fn send_due(&mut self, net: &mut Net, now: u64, phase: u8) {
        let count = self.sessions.len().max(1) as u64;
        while self.first + self.sent * self.step <= now {
            let due = self.first + self.sent * self.step;
            if let Some(session) = usize::try_from(self.sent % count).ok().and_then(|n| self.sessions.get(n)) {
                if let Some(queue) = self.due.get_mut(session.id) {
                    queue.push_back((due, phase));
                }
                if let Some(lateness) = self.lateness.get_mut(usize::from(phase)) {
                    lateness.record(now - due);
                }
                net.send(session.id, &self.frame);
            }
            self.sent += 1;
        }
    }

    /// When in the attack it was slow.
    fn note(&mut self, due: u64, took: u64) {
        let second = due.saturating_sub(*self.attacked_at.get_or_insert(due)) / clock::seconds(1.0);
        let second = usize::try_from(second).unwrap_or(usize::MAX).min(COURSE - 1);
        if self.course.len() <= second {
            self.course.resize_with(second + 1, Histogram::default);
        }
        if let Some(latency) = self.course.get_mut(second) {
            latency.record(took);
        }
    }

    /// Keeps the first look of the quiet phase and the largest of the attack.
    fn look(&mut self, now: u64, phase: u8) {
        if now < self.next_look || phase == PAUSE {
            return;
        }
        self.next_look = now + clock::seconds(0.5);
        let Ok(memory) = self.probe.memory() else { return };
        let [quiet, attack] = &mut self.memory;
        match phase {
            QUIET => {
                *quiet = Some(quiet.unwrap_or(memory));
                if let Ok(waited) = self.probe.waited_ns() {
                    let first = self.waited.map_or((now, waited), |[first, _]| first);
                    self.waited = Some([first, (now, waited)]);
                }
            }
            _ if attack.is_none_or(|seen| seen.rss < memory.rss) => *attack = Some(memory),
            _ => {}
        }
    }
}

impl Player for Rounds<'_> {
    fn message(&mut self, _: &mut Net, id: ConnId, payload: &[u8]) {
        if message::kind(payload) != Kind::HealthCheck {
            return;
        }
        let Some((due, phase)) = self.due.get_mut(id).and_then(std::collections::VecDeque::pop_front) else { return };
        let took = clock::now_ns().saturating_sub(due);
        if let Some(latency) = self.latency.get_mut(usize::from(phase)) {
            latency.record(took);
        }
        if phase == ATTACK {
            self.note(due, took);
        }
    }

    fn closed(&mut self, _: &mut Net, _: ConnId, _: Gone) {
        self.lost_sessions += 1;
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == END {
            // what is not answered a second after the end counts as lost
            let end = *self.ending.get_or_insert(now + clock::seconds(1.0));
            let missing: usize = self.due.iter().map(std::collections::VecDeque::len).sum();
            self.unanswered_at_end = missing as u64;
            return missing == 0 || now > end;
        }
        self.send_due(net, now, phase);
        self.look(now, phase);
        false
    }
}

/// Follows the driver's phases; the end of the input is the end.
fn follow_phases() -> Outcome<Arc<AtomicU8>> {
    let phase = Arc::new(AtomicU8::new(PAUSE));
    let told = Arc::clone(&phase);
    std::thread::Builder::new().name("phases".into()).spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line.as_deref().map(str::trim) {
                Ok("quiet") => told.store(QUIET, Ordering::Relaxed),
                Ok("pause") => told.store(PAUSE, Ordering::Relaxed),
                Ok("attack") => told.store(ATTACK, Ordering::Relaxed),
                _ => break,
            }
        }
        told.store(END, Ordering::Relaxed);
    })?;
    Ok(phase)
}

/// Plays the healthy side.
///
/// # Errors
/// A session could not be brought up, or the server's process can't be read.
pub fn run(options: &Healthy) -> Outcome<()> {
    let mut net = options.aim.net()?;
    let plan = Plan {
        heads: options.aim.heads("well", options.clients)?.into(),
        dialect: options.aim.dialect,
        concurrency: options.aim.concurrency,
        rooms: Box::new(|n| format!("room.well-{}", n % 100)),
        ping: false,
        receive_buffer: None,
        patience: clock::seconds(options.aim.patience),
    };
    let sessions = bring_up(&mut net, plan)?;
    let phase = follow_phases()?;
    let step = (clock::seconds(options.every) / sessions.len().max(1) as u64).max(1);
    let _ticker = net.ticker(Duration::from_nanos(step))?;
    announce("ready")?;
    let probe = options.aim.probe();
    let mut rounds = Rounds {
        due: vec![std::collections::VecDeque::new(); sessions.iter().map(|s| s.id + 1).max().unwrap_or(0)],
        sessions: &sessions,
        frame: message::health_check(),
        first: clock::now_ns() + step,
        step,
        sent: 0,
        phase,
        latency: [Histogram::default(), Histogram::default(), Histogram::default()],
        lateness: [Histogram::default(), Histogram::default(), Histogram::default()],
        course: Vec::new(),
        attacked_at: None,
        waited: None,
        unanswered_at_end: 0,
        lost_sessions: 0,
        probe: &probe,
        memory: [None, None],
        next_look: 0,
        ending: None,
    };
    net.play(&mut rounds, Duration::from_millis(100))?;
    report(options, &rounds)
}

fn report(options: &Healthy, rounds: &Rounds<'_>) -> Outcome<()> {
    let [_, quiet, attack] = &rounds.latency;
    let [before, peak] = rounds.memory;
    if quiet.count() == 0 || attack.count() == 0 {
        return Err("a phase without any answer".into());
    }
    let ratio = attack.quantile(0.99) as f64 / quiet.quantile(0.99).max(1) as f64;
    let waited = rounds.waited.map_or(0.0, |[(t0, w0), (t1, w1)]| (w1 - w0) as f64 / (t1 - t0).max(1) as f64);
    let [_, late_quiet, late_attack] = &rounds.lateness;
    let course: Vec<[u64; 2]> =
        rounds.course.iter().map(|second| [0.99, 1.0].map(|q| second.quantile(q) / 1_000)).collect();
    let detail = json!({
        "course_p99_and_most_us": course,
        "clients": options.clients, "every_seconds": options.every, "quiet": quiet.summary(), "attack": attack.summary(),
        "generator_lateness": { "quiet": late_quiet.summary(), "attack": late_attack.summary() },
        "server_waited_for_cpu_when_quiet": waited, "unanswered": rounds.unanswered_at_end,
        "rss_before": before.map(|m| m.rss), "rss_peak": peak.map(|m| m.rss),
    });
    let what = format!("p99 of {} healthy clients, under attack / quiet", options.clients);
    // other work makes the quiet phase loud, and the ratio small: such a figure must not pass for a met budget
    if waited > MOST_WAITED || late_quiet.quantile(0.99) > MOST_LATE_NS {
        let what = format!("{what} (not judged: other work disturbed the quiet phase)");
        Finding::new("hostile.p99_ratio.disturbed", what, ratio, "x", detail).print()?;
    } else {
        Finding::new("hostile.p99_ratio", what, ratio, "x", detail).print()?;
    }
    let lost = (rounds.lost_sessions + rounds.unanswered_at_end) as f64;
    Finding::new("hostile.harmed", "healthy sessions lost and checks unanswered", lost, "", json!(null)).print()?;
    let Some((before, peak)) = before.zip(peak) else { return Ok(()) };
    let grown = peak.rss.saturating_sub(before.rss) as f64 / f64::from(1 << 20);
    Finding::new("hostile.rss_growth", "resident memory at the attack's peak, above quiet", grown, "MiB", json!(null))
        .print()
}
