//! The sockets' side: what is due is sent, what comes back is put to the moment it was due.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::Overload;
use super::line::Line;
use crate::histogram::Histogram;
use crate::message::{self, Kind};
use crate::scenario::entry::Session;
use crate::socket::{ConnId, Gone, Net, Player};
use crate::{Outcome, clock, frame};

/// A sender with more than this that its kernel would not take says no more until some of it is gone.
const KEPT: usize = 64 << 10;
/// How long the last answers are waited for, in nanoseconds.
const PATIENCE: u64 = 5_000_000_000;
/// What an answered message is due at.
const ANSWERED: u64 = u64::MAX;

/// How messages come.
pub(super) enum Pace {
    /// Every session keeps some under way.
    Closed {
        /// So long.
        seconds: f64,
        /// It ends when all is answered.
        settles: bool,
    },
    /// Each at its moment.
    Open {
        /// Messages a second.
        rate: f64,
        /// So long.
        seconds: f64,
        /// It ends when all is answered.
        settles: bool,
    },
}

/// Counts of messages and newcomers; of messages those of normal priority first, then those of low.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) offered: u64,
    pub(super) kept_back: u64,
    pub(super) acked: [u64; 2],
    pub(super) refused: [u64; 2],
    pub(super) guests: u64,
    pub(super) guests_in: u64,
    pub(super) guests_out: u64,
}

impl Tally {
    /// Of both priorities.
    pub(super) fn acked(&self) -> u64 {
        self.acked.iter().sum()
    }

    /// What was counted after `then`.
    pub(super) fn since(&self, then: &Self) -> Self {
        let each = |now: [u64; 2], then: [u64; 2]| [now[0] - then[0], now[1] - then[1]];
        Self {
            offered: self.offered - then.offered,
            kept_back: self.kept_back - then.kept_back,
            acked: each(self.acked, then.acked),
            refused: each(self.refused, then.refused),
            guests: self.guests - then.guests,
            guests_in: self.guests_in - then.guests_in,
            guests_out: self.guests_out - then.guests_out,
        }
    }
}

/// What became of the messages that were due in one second.
#[derive(Debug, Clone, Default)]
pub(super) struct Second {
    due: u64,
    acked: u64,
    refused: u64,
    kept_back: u64,
    latency: Histogram,
}

impl Second {
    /// Whether all was acknowledged, and 99 of 100 within `bound` nanoseconds.
    pub(super) fn is_good(&self, bound: u64) -> bool {
        self.due > 0 && self.acked == self.due && self.latency.quantile(0.99) <= bound
    }

    /// For the detail of a figure.
    pub(super) fn told(&self) -> Value {
        let us = |quantile| self.latency.quantile(quantile) / 1000;
        json!([self.due, self.acked, self.refused, self.kept_back, us(0.5), us(0.99)])
    }
}

/// One phase.
#[derive(Debug, Clone, Default)]
pub(super) struct Phase {
    first: u64,
    step: u64,
    count: u64,
    /// Number of its first message.
    base: u64,
    pub(super) seconds: Vec<Second>,
}

impl Phase {
    /// When it began, as of [`clock::now_ns`].
    pub(super) fn start(&self) -> u64 {
        self.first
    }

    /// When it ended.
    pub(super) fn end(&self) -> u64 {
        self.first + self.step * self.count
    }

    /// Seconds.
    pub(super) fn length(&self) -> f64 {
        (self.end() - self.first) as f64 / 1e9
    }

    /// Of all that was acknowledged.
    pub(super) fn latency(&self) -> Histogram {
        let mut all = Histogram::default();
        self.seconds.iter().for_each(|second| all.absorb(&second.latency));
        all
    }

    /// In nanoseconds.
    pub(super) fn quantile(&self, quantile: f64) -> u64 {
        self.latency().quantile(quantile)
    }

    fn second(&mut self, due: u64) -> Option<&mut Second> {
        let second = usize::try_from(due.checked_sub(self.first)? / 1_000_000_000).ok()?;
        self.seconds.get_mut(second)
    }
}

struct Speaker {
    id: ConnId,
    open: bool,
    /// Normal priority, low priority.
    lines: [Line; 2],
}

/// Everybody, through all phases.
pub(super) struct Crowd<'a> {
    options: &'a Overload,
    speakers: Vec<Speaker>,
    heads: Vec<Vec<u8>>,
    /// By socket: whose it is.
    sockets: Vec<Option<Who>>,
    /// By number: when it was due, or that it is answered.
    dues: Vec<u64>,
    phases: Vec<Phase>,
    /// Whether each session keeps some under way; and whether it has begun to.
    closed_loop: bool,
    primed: bool,
    until: u64,
    settles: bool,
    /// Whether a refusal is a result; otherwise it is a fault.
    pub(super) forgives: bool,
    pub(super) tally: Tally,
    /// Refusals of messages by code, ends of newcomers, and of sessions, by reason.
    pub(super) codes: BTreeMap<String, u64>,
    pub(super) guests: BTreeMap<String, u64>,
    pub(super) reasons: BTreeMap<String, u64>,
    pub(super) closed: u64,
    fault: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Speaker(usize),
    Guest,
}

impl<'a> Crowd<'a> {
    /// Those who are in, and the heads of those who will come.
    pub(super) fn new(options: &'a Overload, sessions: Vec<Session>, heads: Vec<Vec<u8>>) -> Outcome<Self> {
        let mut sockets = vec![None; sessions.iter().map(|session| session.id + 1).max().unwrap_or(0)];
        let mut speakers = Vec::with_capacity(sessions.len());
        for Session { id, csrf, room, .. } in sessions {
            if let Some(slot) = sockets.get_mut(id) {
                *slot = Some(Who::Speaker(speakers.len()));
            }
            let line = |kind| Line::new(kind, &room, &csrf, options.bytes);
            speakers.push(Speaker { id, open: true, lines: [line("work")?, line("bulk")?] });
        }
        Ok(Self {
            options,
            speakers,
            heads,
            sockets,
            dues: Vec::new(),
            phases: Vec::new(),
            closed_loop: false,
            primed: false,
            until: 0,
            settles: false,
            forgives: false,
            tally: Tally::default(),
            codes: BTreeMap::new(),
            guests: BTreeMap::new(),
            reasons: BTreeMap::new(),
            closed: 0,
            fault: None,
        })
    }

    /// Plays one phase, and tells its place among them.
    ///
    /// # Errors
    /// A refusal that is a fault, or polling failed.
    pub(super) fn play(&mut self, net: &mut Net, pace: &Pace) -> Outcome<usize> {
        let start = clock::now_ns();
        let mut phase = Phase { first: start, step: 1, base: self.dues.len() as u64, ..Phase::default() };
        match *pace {
            Pace::Closed { seconds, settles } => {
                (self.closed_loop, self.until, self.settles) = (true, start + clock::seconds(seconds), settles);
            }
            Pace::Open { rate, seconds, settles } => {
                phase.step = clock::seconds(1.0 / rate.max(1.0)).max(1);
                phase.count = clock::seconds(seconds) / phase.step;
                phase.seconds = vec![Second::default(); seconds.ceil() as usize];
                (self.closed_loop, self.until, self.settles) = (false, phase.end(), settles);
            }
        }
        self.phases.push(phase);
        let ticker = net.ticker(Duration::from_millis(1))?;
        net.play(self, Duration::from_millis(20))?;
        drop(ticker);
        self.primed &= !self.settles;
        match self.fault.take() {
            Some(fault) => Err(fault.into()),
            None => Ok(self.phases.len() - 1),
        }
    }

    /// One that was played.
    pub(super) fn phase(&self, place: usize) -> Phase {
        self.phases.get(place).cloned().unwrap_or_default()
    }

    /// Sent, and neither acknowledged nor refused.
    pub(super) fn outstanding(&self) -> u64 {
        let Tally { offered, kept_back, acked, refused, .. } = &self.tally;
        offered - kept_back - acked.iter().chain(refused).sum::<u64>()
    }

    fn is_low(&self, number: u64) -> bool {
        let before = |number: u64| number * self.options.low / 100;
        before(number + 1) > before(number)
    }

    /// Says the next message, which was due at `due`, in the name of the `who`-th.
    fn say(&mut self, net: &mut Net, who: usize, due: u64) {
        let number = self.dues.len() as u64;
        self.dues.push(due);
        self.tally.offered += 1;
        if number.is_multiple_of(self.options.newcomer_every) {
            self.come(net);
        }
        let low = usize::from(self.is_low(number));
        let Some(speaker) = self.speakers.get_mut(who) else { return };
        let kept = !speaker.open || net.waiting(speaker.id) > KEPT;
        if let Some(second) = self.phases.last_mut().and_then(|phase| phase.second(due)) {
            second.due += 1;
            second.kept_back += u64::from(kept);
        }
        if kept {
            self.tally.kept_back += 1;
            if let Some(due) = self.dues.last_mut() {
                *due = ANSWERED;
            }
        } else if let Some(line) = speaker.lines.get_mut(low) {
            net.send(speaker.id, line.numbered(number));
        }
    }

    fn come(&mut self, net: &mut Net) {
        let place = usize::try_from(self.tally.guests).unwrap_or(0) % self.heads.len().max(1);
        let head = self.heads.get(place).cloned().unwrap_or_default();
        self.tally.guests += 1;
        match net.open(head, None) {
            Ok(id) => {
                if self.sockets.len() <= id {
                    self.sockets.resize(id + 1, None);
                }
                if let Some(slot) = self.sockets.get_mut(id) {
                    *slot = Some(Who::Guest);
                }
            }
            Err(error) => self.fault = Some(error.to_string()),
        }
    }

    /// Puts an answer to its message.
    fn answered(&mut self, number: u64, acked: bool) {
        let low = usize::from(self.is_low(number));
        let now = clock::now_ns();
        let Some(due) = usize::try_from(number).ok().and_then(|number| self.dues.get_mut(number)) else { return };
        let due = std::mem::replace(due, ANSWERED);
        if due == ANSWERED {
            return;
        }
        let counts = if acked { &mut self.tally.acked } else { &mut self.tally.refused };
        if let Some(count) = counts.get_mut(low) {
            *count += 1;
        }
        let phase = self.phases.iter_mut().rfind(|phase| phase.base <= number);
        let Some(second) = phase.and_then(|phase| phase.second(due)) else { return };
        if acked {
            second.acked += 1;
            second.latency.record(now.saturating_sub(due));
        } else {
            second.refused += 1;
        }
    }

    fn say_what_is_due(&mut self, net: &mut Net, now: u64) {
        let count = self.speakers.len().max(1) as u64;
        while let Some(phase) = self.phases.last() {
            let here = self.dues.len() as u64 - phase.base;
            let due = phase.first + here * phase.step;
            if here >= phase.count || due > now {
                break;
            }
            // in turn; one further in each turn, so that nobody's messages are all of one priority
            let number = self.dues.len() as u64;
            self.say(net, usize::try_from((number + number / count) % count).unwrap_or(0), due);
        }
    }
}

impl Player for Crowd<'_> {
    fn message(&mut self, net: &mut Net, id: ConnId, payload: &[u8]) {
        let Some(who) = self.sockets.get(id).copied().flatten() else { return };
        match (who, message::kind(payload)) {
            (Who::Guest, Kind::Welcome) => {
                self.tally.guests_in += 1;
                if let Some(slot) = self.sockets.get_mut(id) {
                    *slot = None;
                }
                net.send(id, &frame::encode(frame::CLOSE, &1000u16.to_be_bytes()));
            }
            (Who::Speaker(speaker), kind @ (Kind::Ack | Kind::Error)) => {
                let Some(number) = message::moved(payload) else { return };
                self.answered(number, kind == Kind::Ack);
                if kind == Kind::Error {
                    let code = message::code(payload).unwrap_or("?").to_owned();
                    if !self.forgives {
                        self.fault = Some(String::from_utf8_lossy(payload).into_owned());
                    }
                    *self.codes.entry(code).or_default() += 1;
                }
                if self.closed_loop && !self.settles {
                    self.say(net, speaker, clock::now_ns());
                }
            }
            _ => {}
        }
    }

    fn closed(&mut self, _: &mut Net, id: ConnId, why: Gone) {
        match self.sockets.get_mut(id).and_then(Option::take) {
            Some(Who::Speaker(speaker)) => {
                self.closed += 1;
                *self.reasons.entry(format!("{why:?}")).or_default() += 1;
                if let Some(speaker) = self.speakers.get_mut(speaker) {
                    speaker.open = false;
                }
            }
            Some(Who::Guest) => {
                self.tally.guests_out += 1;
                *self.guests.entry(format!("{why:?}")).or_default() += 1;
                if !self.forgives {
                    self.fault = Some(format!("a newcomer was refused: {why:?}"));
                }
            }
            None => {}
        }
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        if !self.closed_loop {
            self.say_what_is_due(net, now);
        } else if !self.primed && !self.settles {
            self.primed = true;
            for who in (0..self.speakers.len()).cycle().take(self.speakers.len() * self.options.window) {
                self.say(net, who, now);
            }
        }
        let settled = !self.settles || self.outstanding() == 0 || now > self.until + PATIENCE;
        self.fault.is_some() || (now >= self.until && settled)
    }
}
