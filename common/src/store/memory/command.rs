//! Commands and answers inside one process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::shard::lock;
use super::{Bounds, ready};
use crate::clock::{Clock, Mono, UnixMs};
use crate::control::sign::Nonce;
use crate::store::command::{ANSWERS, ANSWERS_KEPT, AnswerPlace, CommandDesk, CommandSink, Commands, KEPT, Received};
use crate::store::{StoreFault, StoreFuture};

#[derive(Default)]
struct Answers {
    /// How many gave way.
    gone: u64,
    kept: VecDeque<Bytes>,
    claimed: bool,
    until: Mono,
}

#[derive(Default)]
struct Desk {
    sinks: Vec<Arc<dyn CommandSink>>,
    answers: HashMap<Nonce, Answers>,
}

/// A command is with its sinks when `dispatch` returns, so none is kept. At most [`KEPT`] commands have answers; what is
/// beyond that is refused.
pub(super) struct MemoryCommands {
    clock: Arc<dyn Clock>,
    desk: Mutex<Desk>,
    sinks: usize,
}

impl MemoryCommands {
    pub(super) fn new(clock: Arc<dyn Clock>, bounds: Bounds) -> Self {
        Self { clock, desk: Mutex::default(), sinks: bounds.control_sinks }
    }
}

impl Desk {
    fn entry(&mut self, nonce: Nonce, now: Mono) -> Result<&mut Answers, StoreFault> {
        self.answers.retain(|_, answers| answers.until > now);
        if self.answers.len() >= KEPT && !self.answers.contains_key(&nonce) {
            return Err(StoreFault::Full("answers to commands"));
        }
        let answers = self.answers.entry(nonce).or_default();
        answers.until = now.after(ANSWERS_KEPT);
        Ok(answers)
    }
}

impl Commands for MemoryCommands {
    fn now(&self) -> StoreFuture<'_, UnixMs> {
        ready(Ok(self.clock.wall()))
    }

    fn dispatch(&self, command: Bytes) -> StoreFuture<'_, ()> {
        let sinks = lock(&self.desk).sinks.clone();
        for sink in sinks {
            sink.take(Received { bytes: command.clone(), at: self.clock.wall() });
        }
        ready(Ok(()))
    }

    fn answers(&self, to: Nonce, after: AnswerPlace, _wait: Duration) -> StoreFuture<'_, Vec<(AnswerPlace, Bytes)>> {
        let now = self.clock.mono();
        let desk = lock(&self.desk);
        let found = desk.answers.get(&to).filter(|answers| answers.until > now);
        let all = found.into_iter().flat_map(|answers| {
            let places = (answers.gone + 1..).map(|n| AnswerPlace(0, n));
            places.zip(answers.kept.iter().cloned())
        });
        ready(Ok(all.filter(|(place, _)| *place > after).collect()))
    }
}

impl CommandDesk for MemoryCommands {
    fn follow(&self, sink: Arc<dyn CommandSink>) -> StoreFuture<'_, UnixMs> {
        let mut desk = lock(&self.desk);
        if desk.sinks.len() >= self.sinks {
            return ready(Err(StoreFault::Full("command sinks")));
        }
        desk.sinks.push(sink);
        ready(Ok(self.clock.wall()))
    }

    fn claim(&self, nonce: Nonce) -> StoreFuture<'_, bool> {
        let claim = |answers: &mut Answers| !std::mem::replace(&mut answers.claimed, true);
        ready(lock(&self.desk).entry(nonce, self.clock.mono()).map(claim))
    }

    fn answer(&self, to: Nonce, answer: Bytes) -> StoreFuture<'_, ()> {
        let put = |answers: &mut Answers| {
            if answers.kept.len() >= ANSWERS {
                answers.kept.pop_front();
                answers.gone += 1;
            }
            answers.kept.push_back(answer);
        };
        ready(lock(&self.desk).entry(to, self.clock.mono()).map(put))
    }
}
