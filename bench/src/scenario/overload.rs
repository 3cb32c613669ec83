//! More than the gateway can do. Four phases on one gateway: what it can do (every session keeps a few messages under way), a
//! quiet time at part of that, several times that much for a while, each message due at its own fixed moment, and the quiet
//! part again. Messages cost the gateway far more than this generator; some are of a type with low priority; newcomers come
//! all the time. No limit of a connection refuses anything: what is shown is the overload ladder.
//!
//! What counts is what is acknowledged, of whichever priority. A sender that cannot get rid of what it has said already
//! says no more: such messages are counted as kept back, and as not served.

use clap::Args;
use serde_json::{Value, json};

use super::entry::{Plan, bring_up};
use super::{Aim, rest};
use crate::finding::{Finding, rounded};
use crate::socket::Net;
use crate::{Outcome, clock};

/// The messages, made ahead.
mod line;
/// The sockets' side.
mod play;
/// What the gateway says of itself meanwhile.
mod watch;

use play::{Crowd, Pace, Phase, Tally};
use watch::{Sample, Watch};

/// Options of `gen overload`.
#[derive(Debug, Clone, Args)]
pub struct Overload {
    /// Where to.
    #[command(flatten)]
    pub aim: Aim,
    /// Sessions, each in a room of its own.
    #[arg(long, default_value_t = 200)]
    pub sessions: usize,
    /// Bytes of the text of a message, HTML.
    #[arg(long, default_value_t = 1_000)]
    pub bytes: usize,
    /// How many of a hundred messages are of low priority.
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub low: u64,
    /// A newcomer comes with every so many messages.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub newcomer_every: u64,
    /// Messages that a session keeps under way while the capacity is measured.
    #[arg(long, default_value_t = 2)]
    pub window: usize,
    /// Seconds in which the capacity is measured, after one to warm up.
    #[arg(long, default_value_t = 4.0)]
    pub capacity: f64,
    /// Seconds of quiet.
    #[arg(long, default_value_t = 5.0)]
    pub quiet: f64,
    /// The part of the capacity that is quiet.
    #[arg(long, default_value_t = 0.3)]
    pub part: f64,
    /// Seconds of overload.
    #[arg(long, default_value_t = 18.0)]
    pub seconds: f64,
    /// So many times the capacity are overload.
    #[arg(long, default_value_t = 3.0)]
    pub times: f64,
    /// Seconds of quiet after it.
    #[arg(long, default_value_t = 14.0)]
    pub after: f64,
    /// Name of the results.
    #[arg(long, default_value = "overload")]
    pub id: String,
    /// What is asked for, for people.
    #[arg(long, default_value = "three times its capacity")]
    pub what: String,
}

/// How much of a CPU the server must take for its capacity to be its own, and not the generator's.
const BUSY: f64 = 0.9;
/// How many times the p99 of the quiet time is as good as quiet again.
const AS_QUIET: u64 = 3;
/// So many good seconds in a row are no accident.
const IN_A_ROW: usize = 3;
/// Different newcomers; each is gone before its turn comes again.
const NEWCOMERS: usize = 8_192;

/// What was seen.
struct Seen {
    /// Messages a second, all acknowledged.
    capacity: f64,
    quiet: Phase,
    heavy: Phase,
    after: Phase,
    /// Counts of the heavy phase alone.
    tally: Tally,
    samples: Vec<Sample>,
    /// Sessions that were closed, all told, and messages that were never answered.
    closed: u64,
    unanswered: u64,
    refusals: Value,
}

/// Plays it.
///
/// # Errors
/// A session could not be brought up, something was refused without overload, the generator is slower than the gateway, or
/// the gateway's figures can't be read.
pub fn run(options: &Overload) -> Outcome<()> {
    let mut net = options.aim.net()?;
    let plan = Plan {
        heads: options.aim.heads("over", options.sessions)?.into(),
        dialect: options.aim.dialect,
        concurrency: options.aim.concurrency,
        rooms: Box::new(|n| format!("room.over-{n}")),
        ping: false,
        receive_buffer: None,
        patience: clock::seconds(options.aim.patience),
    };
    let sessions = bring_up(&mut net, plan)?;
    let heads = options.aim.heads("guest", NEWCOMERS)?;
    let mut crowd = Crowd::new(options, sessions, heads)?;
    rest(&mut net, std::time::Duration::from_millis(500))?;
    let capacity = capacity(&mut net, options, &mut crowd)?;
    let watch = Watch::start(&options.aim)?;
    crowd.forgives = false;
    let quiet = Pace::Open { rate: capacity * options.part, seconds: options.quiet, settles: true };
    let quiet = crowd.play(&mut net, &quiet)?;
    crowd.forgives = true;
    let before = crowd.tally;
    let heavy = Pace::Open { rate: capacity * options.times, seconds: options.seconds, settles: false };
    let heavy = crowd.play(&mut net, &heavy)?;
    let tally = crowd.tally.since(&before);
    let after = Pace::Open { rate: capacity * options.part, seconds: options.after, settles: true };
    let after = crowd.play(&mut net, &after)?;
    let samples = watch.stop()?;
    let (quiet, heavy, after) = (crowd.phase(quiet), crowd.phase(heavy), crowd.phase(after));
    let seen = Seen {
        capacity,
        quiet,
        heavy,
        after,
        tally,
        samples,
        closed: crowd.closed,
        unanswered: crowd.outstanding(),
        refusals: json!({ "codes": crowd.codes, "newcomers": crowd.guests, "closed": crowd.reasons }),
    };
    report(options, &seen)
}

/// What the gateway acknowledges when it always has something to do.
fn capacity(net: &mut Net, options: &Overload, crowd: &mut Crowd<'_>) -> Outcome<f64> {
    let probe = options.aim.probe();
    crowd.play(net, &Pace::Closed { seconds: 1.0, settles: false })?;
    let (acked, cpu, at) = (crowd.tally.acked(), probe.cpu_ns()?, clock::now_ns());
    crowd.play(net, &Pace::Closed { seconds: options.capacity, settles: false })?;
    let seconds = clock::now_ns().saturating_sub(at) as f64 / 1e9;
    let (acked, cpu) = (crowd.tally.acked() - acked, probe.cpu_ns()?.saturating_sub(cpu));
    crowd.play(net, &Pace::Closed { seconds: 0.0, settles: true })?;
    let busy = cpu as f64 / 1e9 / seconds;
    if busy < BUSY {
        return Err(format!("the gateway had only {busy:.2} of a CPU's work: the generator is too slow for it").into());
    }
    Ok(acked as f64 / seconds)
}

impl Seen {
    fn goodput(&self) -> f64 {
        self.tally.acked() as f64 / self.heavy.length()
    }

    fn growth(&self, of: impl Fn(&Sample) -> u64) -> f64 {
        let quiet = self.samples.iter().filter(|sample| sample.at < self.heavy.start()).map(&of).max().unwrap_or(0);
        let peak = self.samples.iter().map(&of).max().unwrap_or(0);
        peak.saturating_sub(quiet) as f64 / f64::from(1 << 20)
    }

    /// Changes of the step in the second half of the overload.
    fn swings(&self) -> f64 {
        let half = self.heavy.start() + (self.heavy.end() - self.heavy.start()) / 2;
        let at =
            |moment: u64| self.samples.iter().rfind(|sample| sample.at <= moment).map_or(0.0, |sample| sample.steps);
        at(self.heavy.end()) - at(half)
    }

    /// Seconds after the end of the overload until messages are answered as when it was quiet, and until the ladder is left
    /// for good; all there are, where that did not come.
    fn recovery(&self) -> (f64, f64) {
        let bound = self.quiet.quantile(0.99) * AS_QUIET;
        let good: Vec<bool> = self.after.seconds.iter().map(|second| second.is_good(bound)).collect();
        let answered = good.windows(IN_A_ROW).position(|few| few.iter().all(|good| *good));
        let answered = answered.map_or(self.after.length(), |second| second as f64);
        let later = |sample: &&Sample| sample.at > self.after.start();
        let high = self.samples.iter().filter(later).rfind(|sample| sample.step > 0.0);
        let left = match high {
            Some(high) => self.samples.iter().find(|sample| sample.at > high.at).map(|sample| sample.at),
            None => Some(self.after.start()),
        };
        let left = left.map_or(self.after.length(), |at| at.saturating_sub(self.after.start()) as f64 / 1e9);
        (answered, left)
    }

    fn detail(&self, options: &Overload) -> Value {
        let course: Vec<Value> = self.samples.iter().map(|sample| sample.told(self.heavy.start())).collect();
        let seconds = |phase: &Phase| phase.seconds.iter().map(play::Second::told).collect::<Vec<_>>();
        json!({
            "sessions": options.sessions, "text_bytes": options.bytes, "low_percent": options.low,
            "offered_per_second": rounded(self.tally.offered as f64 / self.heavy.length()),
            "kept_back": self.tally.kept_back, "acked": { "normal": self.tally.acked[0], "low": self.tally.acked[1] },
            "refused": { "normal": self.tally.refused[0], "low": self.tally.refused[1] },
            "newcomers": { "came": self.tally.guests, "in": self.tally.guests_in, "refused": self.tally.guests_out },
            "by_reason": self.refusals, "quiet": self.quiet.latency().summary(), "overload": self.heavy.latency().summary(),
            "overload_by_second": seconds(&self.heavy), "after_by_second": seconds(&self.after), "ladder": course,
        })
    }
}

fn report(options: &Overload, seen: &Seen) -> Outcome<()> {
    let (id, what) = (&options.id, &options.what);
    let (answered, left) = seen.recovery();
    let row = |end: &str, text: &str, value: f64, unit: &str, detail: Value| {
        Finding::new(&format!("{id}.{end}"), format!("{what}: {text}"), value, unit, detail).print()
    };
    let nothing = Value::Null;
    row("capacity", "what it can do, messages acknowledged", seen.capacity, "/s", nothing.clone())?;
    row("goodput", "acknowledged / capacity", seen.goodput() / seen.capacity, "x", seen.detail(options))?;
    row(
        "quiet_p99",
        "p99 before it, at a third of the capacity",
        seen.quiet.quantile(0.99) as f64 / 1e6,
        "ms",
        nothing.clone(),
    )?;
    row(
        "p99",
        "p99 of what is acknowledged, from the moment it was due",
        seen.heavy.quantile(0.99) as f64 / 1e6,
        "ms",
        nothing.clone(),
    )?;
    row(
        "rss_growth",
        "resident memory at its peak, above quiet",
        seen.growth(|sample| sample.rss),
        "MiB",
        nothing.clone(),
    )?;
    row(
        "kernel_growth",
        "memory of the kernel's TCP buffers at its peak, above quiet, both ends",
        seen.growth(|sample| sample.kernel),
        "MiB",
        nothing.clone(),
    )?;
    row("swings", "changes of the ladder's step in the second half of it", seen.swings(), "", nothing.clone())?;
    let parts = json!({ "as_quick_as_before": answered, "ladder_left": rounded(left) });
    row("recovery", "until all is as before, after it", answered.max(left), "s", parts)?;
    row("closed", "sessions closed", seen.closed as f64, "", nothing.clone())?;
    row("unanswered", "messages that were never answered", seen.unanswered as f64, "", nothing)
}
