//! What happens on the node, for those who watch: events leave a line here while somebody does, and lines go out as
//! answers to the command that asked for them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::control::ack::Answer;
use portcullis_common::control::sign::Nonce;
use serde_json::{Value, json};

use super::ack::Acks;
use crate::node::Node;

/// Lines that wait to be sent; more are counted, and their number is told.
const LINES: usize = 1_000;
/// Lines of one answer.
const PAGE: usize = 200;
/// How often lines are sent.
const PERIOD: Duration = Duration::from_millis(250);
/// Watches at a time; more are refused.
const WATCHERS: usize = 8;

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Value>,
    lost: u64,
    watchers: Vec<(Nonce, Mono)>,
}

/// Where events leave their lines. Costs one relaxed load while nobody watches.
#[derive(Default)]
pub struct Tap {
    open: AtomicBool,
    waiting: Mutex<Waiting>,
}

impl Tap {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a line, if somebody watches.
    pub fn say(&self, line: impl FnOnce() -> Value) {
        if !self.open.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.lock();
        if waiting.lines.len() < LINES {
            let line = line();
            waiting.lines.push_back(line);
        } else {
            waiting.lost += 1;
        }
    }

    /// Somebody watches until then. False: too many do.
    #[must_use]
    pub fn open(&self, nonce: Nonce, until: Mono) -> bool {
        let mut waiting = self.lock();
        if waiting.watchers.len() >= WATCHERS {
            return false;
        }
        waiting.watchers.push((nonce, until));
        self.open.store(true, Ordering::Relaxed);
        true
    }

    /// What is to be said to whom; whose time is over is forgotten.
    fn take(&self, now: Mono) -> Option<(Vec<Nonce>, Value)> {
        if !self.open.load(Ordering::Relaxed) {
            return None;
        }
        let mut waiting = self.lock();
        waiting.watchers.retain(|(_, until)| *until > now);
        if waiting.watchers.is_empty() {
            self.open.store(false, Ordering::Relaxed);
            (waiting.lines, waiting.lost) = (VecDeque::new(), 0);
            return None;
        }
        if waiting.lines.is_empty() && waiting.lost == 0 {
            return None;
        }
        let page = waiting.lines.len().min(PAGE);
        let lines: Vec<Value> = waiting.lines.drain(..page).collect();
        let lost = std::mem::take(&mut waiting.lost);
        let nonces = waiting.watchers.iter().map(|(nonce, _)| *nonce).collect();
        Some((nonces, json!({"lines": lines, "lost": lost})))
    }
}

/// Sends what was left, until the node is gone.
pub(super) async fn report(node: Weak<Node>, acks: Arc<Acks>) {
    let mut ticks = actix_rt::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        let Some(node) = node.upgrade() else { return };
        if let Some((nonces, lines)) = node.metrics.tap.take(node.clock.mono()) {
            let event = Answer::event(lines);
            for nonce in nonces {
                acks.send(&node, nonce, &event).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Nonce = Nonce([1; 16]);

    #[test]
    fn lines_are_kept_only_while_somebody_watches() {
        let tap = Tap::default();
        tap.say(|| unreachable!("nobody watches"));
        assert!(tap.open(ONE, Mono(10)));
        tap.say(|| json!(1));
        assert_eq!(tap.take(Mono(9)), Some((vec![ONE], json!({"lines": [1], "lost": 0}))));
        assert_eq!(tap.take(Mono(9)), None, "said once");
        tap.say(|| json!(2));
        assert_eq!(tap.take(Mono(10)), None, "its time is over");
        tap.say(|| unreachable!("nobody watches any more"));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told() {
        let tap = Tap::default();
        assert!(tap.open(ONE, Mono(10)));
        (0..LINES + 7).for_each(|n| tap.say(|| json!(n)));
        let (_, first) = tap.take(Mono(1)).unwrap();
        assert_eq!((first["lines"].as_array().unwrap().len(), &first["lost"]), (PAGE, &json!(7)));
        let pages = std::iter::from_fn(|| tap.take(Mono(1))).count();
        assert_eq!(pages, LINES / PAGE - 1);
    }

    #[test]
    fn so_many_may_watch_and_no_more() {
        let tap = Tap::default();
        assert!((0..WATCHERS).all(|n| tap.open(Nonce([n as u8; 16]), Mono(10))));
        assert!(!tap.open(ONE, Mono(10)));
        assert_eq!(tap.take(Mono(10)), None);
        assert!(tap.open(ONE, Mono(20)), "those whose time is over make room");
    }
}
