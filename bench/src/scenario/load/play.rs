//! The sockets' side: what is due is sent, what comes back is put to the moment it was due.

use serde_json::{Value, json};

use super::Load;
use super::mix::Op;
use crate::histogram::Histogram;
use crate::message::{self, Kind};
use crate::scenario::entry::Session;
use crate::socket::{ConnId, Gone, Net, Player};
use crate::{Outcome, clock, frame};

/// What is not here so long after it was due is lost, in nanoseconds.
const LOST: u64 = 3_000_000_000;

#[derive(Debug, Default)]
struct Count {
    sent: u64,
    expected: u64,
    got: u64,
    latency: Histogram,
}

/// Who does it.
pub(super) struct Crowd {
    /// In the order of their numbers.
    pub(super) sessions: Vec<Session>,
    /// Heads of the newcomers.
    pub(super) heads: Vec<Vec<u8>>,
    /// By session: whether it is in its other room.
    pub(super) aside: Vec<bool>,
}

/// One window.
pub(super) struct Running<'a> {
    options: &'a Load,
    sessions: &'a [Session],
    heads: &'a [Vec<u8>],
    /// Numbers of this window's operations begin here.
    base: u64,
    next: u64,
    end: u64,
    first: u64,
    step: u64,
    counts: [Count; 4],
    /// By socket: the newcomer's operation.
    newcomers: Vec<Option<u64>>,
    /// By session: whether it is in its other room.
    aside: &'a mut [bool],
    connected: usize,
    last_receipt: u64,
    pub(super) lateness: Histogram,
    pub(super) refused: u64,
    pub(super) lost_sessions: u64,
    pub(super) fault: Option<String>,
}

impl<'a> Running<'a> {
    pub(super) fn new(
        options: &'a Load,
        Crowd { sessions, heads, aside }: &'a mut Crowd,
        base: u64,
        seconds: f64,
    ) -> Self {
        let step = clock::seconds(1.0 / options.rate.max(1.0)).max(1);
        let count = ((options.rate * seconds) as u64).max(1);
        Self {
            options,
            sessions,
            heads,
            base,
            next: base,
            end: base + count,
            first: clock::now_ns() + step,
            step,
            counts: Default::default(),
            newcomers: Vec::new(),
            aside,
            connected: (base as f64 * options.mix.share(Op::Connect)).ceil() as usize,
            last_receipt: 0,
            lateness: Histogram::default(),
            refused: 0,
            lost_sessions: 0,
            fault: None,
        }
    }

    pub(super) fn step(&self) -> u64 {
        self.step
    }

    pub(super) fn sent(&self) -> u64 {
        self.next
    }

    pub(super) fn sent_here(&self) -> u64 {
        self.next - self.base
    }

    pub(super) fn deliveries(&self) -> u64 {
        let of = |op: Op| self.counts.get(op.index()).map_or(0, |count| count.got);
        of(Op::Room) + of(Op::Direct)
    }

    pub(super) fn lost(&self) -> u64 {
        let missing: u64 = self.counts.iter().map(|count| count.expected.saturating_sub(count.got)).sum();
        missing.saturating_sub(self.refused)
    }

    pub(super) fn quantile_us(&self, quantile: f64) -> f64 {
        let mut all = Histogram::default();
        self.counts.iter().for_each(|count| all.absorb(&count.latency));
        all.quantile(quantile) as f64 / 1000.0
    }

    pub(super) fn seen(&self, op: Op) -> Value {
        self.counts.get(op.index()).map_or(Value::Null, |count| {
            json!({ "sent": count.sent, "expected": count.expected, "got": count.got, "latency": count.latency.summary() })
        })
    }

    fn due(&self, seq: u64) -> u64 {
        self.first + (seq - self.base) * self.step
    }

    /// What somebody got, put to the moment at which it was due.
    fn got(&mut self, seq: u64) {
        if seq < self.base || seq >= self.next {
            return;
        }
        let (due, now) = (self.due(seq), clock::now_ns());
        if let Some(count) = self.counts.get_mut(self.options.mix.at(seq).index()) {
            count.got += 1;
            count.latency.record(now.saturating_sub(due));
        }
        self.last_receipt = now;
    }

    /// Members of a room: all rooms are full but the last.
    fn members(&self, number: usize) -> u64 {
        let size = self.options.room_size.max(1);
        let first = number / size * size;
        self.sessions.len().saturating_sub(first).min(size) as u64
    }

    fn start(&mut self, net: &mut Net, seq: u64) -> Outcome<()> {
        let op = self.options.mix.at(seq);
        // in turn; one further in each turn, so that nobody does the same all the time
        let count = self.sessions.len().max(1) as u64;
        let number = usize::try_from((seq + seq / count) % count)?;
        let session = self.sessions.get(number).ok_or("no session")?;
        let bytes = self.options.bytes;
        let expected = match op {
            Op::Room => {
                let text = message::numbered_chat(&session.room, &session.csrf, seq, bytes)?;
                net.send(session.id, &text);
                self.members(number)
            }
            Op::Direct => {
                let neighbour = (number + 1) % self.sessions.len();
                let user = format!("hs:{}-load-{neighbour}", self.options.aim.prefix);
                let text = message::numbered_direct(&user, &session.csrf, seq, bytes)?;
                net.send(session.id, &text);
                1
            }
            Op::Move => {
                let room = format!("room.side-{}", number % 64);
                let aside = self.aside.get_mut(number).ok_or("no session")?;
                let kind = if std::mem::replace(aside, !*aside) { "leave" } else { "join" };
                net.send(session.id, &message::numbered_move(kind, &room, &session.csrf, seq));
                1
            }
            Op::Connect => {
                let head = self.heads.get(self.connected).ok_or("too few newcomers")?.clone();
                self.connected += 1;
                let id = net.open(head, None)?;
                if self.newcomers.len() <= id {
                    self.newcomers.resize(id + 1, None);
                }
                if let Some(slot) = self.newcomers.get_mut(id) {
                    *slot = Some(seq);
                }
                1
            }
        };
        if let Some(count) = self.counts.get_mut(op.index()) {
            count.sent += 1;
            count.expected += expected;
        }
        Ok(())
    }

    fn newcomer(&mut self, id: ConnId) -> Option<u64> {
        self.newcomers.get_mut(id).and_then(Option::take)
    }
}

impl Player for Running<'_> {
    fn message(&mut self, net: &mut Net, id: ConnId, payload: &[u8]) {
        match message::kind(payload) {
            Kind::Chat | Kind::Direct => {
                if let Some(seq) = message::sequence(payload) {
                    self.got(seq);
                }
            }
            Kind::Ack => {
                if let Some(seq) = message::moved(payload) {
                    self.got(seq);
                }
            }
            Kind::Welcome => {
                if let Some(seq) = self.newcomer(id) {
                    self.got(seq);
                    net.send(id, &frame::encode(frame::CLOSE, &1000u16.to_be_bytes()));
                }
            }
            Kind::Error if self.options.one_user => {
                self.refused += 1;
                self.last_receipt = clock::now_ns();
            }
            Kind::Error => self.fault = Some(String::from_utf8_lossy(payload).into_owned()),
            _ => {}
        }
    }

    fn closed(&mut self, _: &mut Net, id: ConnId, why: Gone) {
        self.newcomer(id);
        if why != Gone::Closed(1000) {
            self.lost_sessions += 1;
        }
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        while self.next < self.end && self.due(self.next) <= now && self.fault.is_none() {
            let seq = self.next;
            self.lateness.record(now - self.due(seq));
            if let Err(error) = self.start(net, seq) {
                self.fault = Some(error.to_string());
            }
            self.next += 1;
        }
        let complete = self.next == self.end && self.lost() == 0;
        let silent = now > self.last_receipt.max(self.due(self.end)) + LOST;
        self.fault.is_some() || complete || silent
    }
}
