//! Overload: a node that is asked for more than it can do takes less, step by step, instead of doing all of it badly.
//!
//! ```text
//! memory · queues · lag ─► Ladder, four times a second ─► 1 newcomers: 503 ─► 2 types of low priority: `store_unavailable`
//!                                                         ─► 3 the largest queues: 4508
//! ```
//! Where only time is short, the second step turns away no more than it must: each worker carries what is of low priority
//! while it is not behind ([`Overload::sheds`], [`Pace`]), so that nobody is refused for a processor that then has
//! nothing to do; and a worker that is as late as it may be turns away what has no low priority too, rather than let all of
//! it wait in the sockets.
//!
//! Each step is an event, a metric and a word in `/health`, and is taken back by itself.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::config::model::Overload as Rules;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use serde_json::{Value, json};

use self::ladder::{Ladder, Load, Shed};
use self::memory::Memory;
use crate::events::OverloadStep;
use crate::node::Node;
use crate::pipeline::Sheds;
use crate::worker::SWEEP;

/// Which step.
pub mod ladder;

/// How much memory there is.
mod memory;

/// Whether a worker is behind.
pub mod pace;

pub use self::pace::Pace;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(250);
/// Looks over which the largest lag counts: workers tick twice a second.
const LOOKS: usize = 4;
/// When somebody who was refused had better come back.
const RETRY: Duration = Duration::from_secs(5);
const NONE: u8 = Shed::None as u8;
const BEHIND: u8 = Shed::Behind as u8;
/// Outboxes below this are never closed for it.
const SMALL: usize = 16 << 10;

/// One a node.
#[derive(Default)]
pub struct Overload {
    /// The one that is acted upon.
    step: AtomicU8,
    /// The one that the load asks for: the same, but in a dry run.
    asked: AtomicU8,
    /// [`Shed`] as a number.
    shed: AtomicU8,
    turned_away: AtomicU64,
    /// The messages among them.
    messages: AtomicU64,
    last: Mutex<Load>,
}

impl Overload {
    /// The step it is on.
    #[must_use]
    pub fn step(&self) -> u8 {
        self.step.load(Ordering::Relaxed)
    }

    /// Whether newcomers are let in.
    ///
    /// # Errors
    /// `store_unavailable`, with a time after which to come back.
    pub fn takes_newcomers(&self) -> Result<(), Reject> {
        if self.step() >= 1 { Err(self.refusal("no new sessions")) } else { Ok(()) }
    }

    /// Which messages are turned away now by a worker whose pace says what it has too much of. Cost: one relaxed load.
    pub fn sheds(&self, pace: impl FnOnce() -> Sheds) -> Sheds {
        match self.shed.load(Ordering::Relaxed) {
            NONE => Sheds::Nothing,
            BEHIND => pace(),
            _ => pace().max(Sheds::Low),
        }
    }

    /// Whether it depends on the workers which messages are turned away.
    #[must_use]
    pub fn asks_workers(&self) -> bool {
        self.shed.load(Ordering::Relaxed) != NONE
    }

    /// What the sender of such a message is told: `store_unavailable`, with a time after which to say it again.
    #[must_use]
    pub fn shed(&self) -> Reject {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.refusal("more messages than it can carry")
    }

    fn refusal(&self, detail: &'static str) -> Reject {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        Reject::new(Code::StoreUnavailable, detail).retry(RETRY)
    }

    /// For `/health`; `dry_run`: nothing of it is meant.
    #[must_use]
    pub fn report(&self, dry_run: bool) -> Value {
        let Load { memory, queues, lag, turned_away, .. } = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = self.asked.load(Ordering::Relaxed);
        let part = |part: f64| (part * 100.0).round() / 100.0;
        json!({
            "step": asked, "dryRun": dry_run, "memory": part(memory), "queues": part(queues), "lag": part(lag),
            "turnedAwayPerSecond": turned_away.round(),
        })
    }
}

/// Which of a worker's outboxes have to go on the third step: the largest, until a quarter of what waits is gone.
pub fn largest<T>(mut waiting: Vec<(usize, T)>) -> Vec<T> {
    waiting.retain(|(bytes, _)| *bytes >= SMALL);
    waiting.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let enough = waiting.iter().map(|(bytes, _)| bytes).sum::<usize>() / 4;
    let mut gone = 0;
    let mut chosen = Vec::new();
    for (bytes, one) in waiting {
        if gone > enough || (gone == enough && !chosen.is_empty()) {
            break;
        }
        gone += bytes;
        chosen.push(one);
    }
    chosen
}

/// What was turned away up to a moment, and the messages among it.
#[derive(Clone, Copy, Default)]
struct Counted {
    all: u64,
    messages: u64,
    at: Mono,
}

impl Counted {
    fn now(overload: &Overload, at: Mono) -> Self {
        let counts = [&overload.turned_away, &overload.messages].map(|count| count.load(Ordering::Relaxed));
        Self { all: counts[0], messages: counts[1], at }
    }

    /// Both, a second.
    fn since(&self, before: &Self) -> (f64, f64) {
        let passed = self.at.since(before.at).as_secs_f64().max(PERIOD.as_secs_f64());
        let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / passed;
        (each(self.all, before.all), each(self.messages, before.messages))
    }
}

/// Looks for ever.
pub async fn run(node: Weak<Node>) {
    let (mut ladder, memory) = (Ladder::default(), Memory::default());
    let mut lags = [Duration::ZERO; LOOKS];
    let mut before = Counted::default();
    for turn in 0.. {
        actix_rt::time::sleep(PERIOD).await;
        let Some(node) = node.upgrade() else { return };
        let rules = node.rules.load().config.overload.clone();
        let now = node.clock.mono();
        if let Some(lag) = lags.get_mut(turn % LOOKS) {
            *lag = lag_now(&node, now);
        }
        let counted = Counted::now(&node.overload, now);
        let rates = counted.since(&std::mem::replace(&mut before, counted));
        let load = if rules.enabled {
            load(&node, &rules, &memory, lags.iter().max().copied().unwrap_or_default(), rates)
        } else {
            ladder = Ladder::default();
            Load::default()
        };
        ladder.look(&load, now);
        settle(&node, &ladder, load, rules.dry_run);
    }
}

fn settle(node: &Arc<Node>, ladder: &Ladder, load: Load, dry_run: bool) {
    let (overload, metrics, asked) = (&node.overload, &node.metrics.overload, ladder.step());
    *overload.last.lock().unwrap_or_else(PoisonError::into_inner) = load;
    let (step, shed, dry) = if dry_run { (0, Shed::None, asked) } else { (asked, ladder.shed(), 0) };
    overload.shed.store(shed as u8, Ordering::Relaxed);
    overload.step.store(step, Ordering::Relaxed);
    metrics.step.set(i64::from(step));
    metrics.dry_run_step.set(i64::from(dry));
    let before = overload.asked.swap(asked, Ordering::Relaxed);
    if before != asked {
        OverloadStep { before, step: asked, load, dry_run }.emit(&node.metrics);
    }
}

fn load(node: &Node, rules: &Rules, memory: &Memory, lag: Duration, (turned_away, shed): (f64, f64)) -> Load {
    let waiting = u64::try_from(node.metrics.outbox_bytes.get()).unwrap_or(0);
    Load {
        memory: memory.part(rules.memory),
        queues: waiting as f64 / rules.queues.max(1) as f64,
        lag: lag.as_secs_f64() / rules.lag.as_secs_f64().max(0.001),
        turned_away,
        shed,
    }
}

/// How late the worker is that is latest; one that never ran is another's to report.
fn lag_now(node: &Node, now: Mono) -> Duration {
    let beats = node.metrics.heartbeat.iter().map(|beat| beat.load(Ordering::Relaxed) / 1_000_000);
    let ages = beats.filter(|beat| *beat > 0).map(|beat| now.since(Mono(beat)));
    ages.max().unwrap_or_default().saturating_sub(SWEEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_outboxes_go_until_a_quarter_is_gone_and_small_ones_never() {
        assert_eq!(largest::<u8>(vec![]), [] as [u8; 0]);
        assert_eq!(largest(vec![(SMALL - 1, 'a')]), [] as [char; 0]);
        assert_eq!(largest(vec![(SMALL, 'a')]), ['a']);
        assert_eq!(largest(vec![(100_000, 'a'), (900_000, 'b'), (200_000, 'c')]), ['b']);
        let even: Vec<(usize, usize)> = (0..8).map(|n| (50_000, n)).collect();
        assert_eq!(largest(even).len(), 2);
    }

    #[test]
    fn each_step_refuses_what_it_says_and_counts_it() {
        let overload = Overload::default();
        for (step, newcomers) in [(0, true), (1, false), (2, false), (3, false)] {
            overload.step.store(step, Ordering::Relaxed);
            assert_eq!(overload.takes_newcomers().is_ok(), newcomers);
        }
        assert_eq!((overload.turned_away.load(Ordering::Relaxed), overload.shed().code), (3, Code::StoreUnavailable));
        assert_eq!(overload.turned_away.load(Ordering::Relaxed), 4);
        assert_eq!(overload.takes_newcomers().unwrap_err().code, Code::StoreUnavailable);
    }

    #[test]
    fn what_is_turned_away_is_what_workers_have_too_much_of_or_at_least_what_is_of_low_priority() {
        let overload = Overload::default();
        let paces = [Sheds::Nothing, Sheds::Low, Sheds::All];
        for (shed, all) in [
            (Shed::None, [Sheds::Nothing; 3]),
            (Shed::Behind, paces),
            (Shed::All, [Sheds::Low, Sheds::Low, Sheds::All]),
        ] {
            overload.shed.store(shed as u8, Ordering::Relaxed);
            assert_eq!(paces.map(|pace| overload.sheds(|| pace)), all, "{shed:?}");
            assert_eq!(overload.asks_workers(), shed != Shed::None);
        }
    }
}
