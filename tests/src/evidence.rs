//! What the ledger did, from its own numbers: every node logs the sequence of each step that gave or took a slot, and
//! sorting by it gives the order in which the steps took effect, over all nodes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A step of one user's ledger.
#[derive(Debug, Clone)]
struct Step {
    seq: u64,
    /// Of one number: first who goes, then who comes.
    rank: u8,
    session: String,
    passed_to: Option<String>,
}

/// The steps of one user.
#[derive(Debug, Clone)]
pub struct Evidence(Vec<Step>);

/// What a replay of the steps shows.
#[derive(Debug, Default)]
pub struct Replay {
    /// The most sessions with a connection at one moment.
    pub peak: usize,
    /// Who has a slot at the end.
    pub holders: BTreeSet<String>,
    /// How many slots were given.
    pub given: usize,
    /// How many of them passed from a victim.
    pub passed: usize,
}

/// Sessions whose node died without a word, with the sequence until which they count all the same. A sequence of the
/// Redis store is never less than its time in µs.
pub type Silent = BTreeMap<String, u64>;

impl Evidence {
    /// From the events of all nodes' logs, at `debug`.
    ///
    /// # Panics
    /// When an event has no session.
    #[must_use]
    pub fn of(user: &str, events: impl IntoIterator<Item = Value>) -> Self {
        let rank = |event: &Value| match event["event"].as_str()? {
            "slot_released" | "slot_detached" => Some(0),
            "slot_taken" | "resume_shown" => Some(1),
            _ => None,
        };
        let step = |event: &Value| {
            Some(Step {
                rank: rank(event)?,
                seq: event["seq"].as_u64()?,
                session: event["session"].as_str().expect("a session").to_owned(),
                passed_to: event["passed_to"].as_str().map(str::to_owned),
            })
        };
        let own = events.into_iter().filter(|event| event["user"] == user);
        let mut steps: Vec<Step> = own.filter_map(|event| step(&event)).collect();
        steps.sort_by_key(|step| (step.seq, step.rank));
        Self(steps)
    }

    /// Goes through the steps in their order.
    #[must_use]
    pub fn replay(&self, silent: &Silent) -> Replay {
        let mut replay = Replay::default();
        for step in &self.0 {
            for (session, until) in silent {
                if *until < step.seq {
                    replay.holders.remove(session);
                }
            }
            if step.rank == 0 {
                replay.holders.remove(&step.session);
                if let Some(newcomer) = &step.passed_to {
                    replay.holders.insert(newcomer.clone());
                    replay.passed += 1;
                }
            } else {
                replay.holders.insert(step.session.clone());
                replay.given += 1;
            }
            replay.peak = replay.peak.max(replay.holders.len());
        }
        replay
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, session: &str, seq: u64) -> Value {
        json!({"event": name, "user": "u", "session": session, "seq": seq})
    }

    #[test]
    fn the_order_is_the_sequence_and_not_the_logs() {
        let events = [event("slot_taken", "b", 3), event("slot_taken", "a", 1), event("slot_released", "a", 2)];
        let replay = Evidence::of("u", events).replay(&Silent::new());
        assert_eq!((replay.peak, replay.given), (1, 2));
        let events = [event("slot_taken", "b", 2), event("slot_taken", "a", 1), event("slot_released", "a", 3)];
        assert_eq!(Evidence::of("u", events).replay(&Silent::new()).peak, 2);
    }

    #[test]
    fn a_pass_is_one_step_told_twice() {
        let mut passed = event("slot_released", "a", 2);
        passed["passed_to"] = json!("b");
        let events = [event("slot_taken", "a", 1), event("slot_taken", "b", 2), passed];
        let replay = Evidence::of("u", events).replay(&Silent::new());
        assert_eq!((replay.peak, replay.passed, replay.holders.len()), (1, 1, 1));
    }

    #[test]
    fn those_who_died_without_a_word_count_until_their_time() {
        let events = [event("slot_taken", "a", 1), event("slot_taken", "b", 10), event("slot_taken", "c", 21)];
        let peak = |until| Evidence::of("u", events.clone()).replay(&Silent::from([("a".to_owned(), until)])).peak;
        assert_eq!((peak(9), peak(10), peak(20)), (2, 2, 2));
        assert_eq!(peak(21), 3);
    }
}
