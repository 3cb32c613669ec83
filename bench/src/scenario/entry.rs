//! Bringing sessions up: handshake, `welcome`, and where asked for, a room and an answered ping.

use std::collections::VecDeque;
use std::time::Duration;

use crate::dialect::{Dialect, Heard};
use crate::message;
use crate::socket::{ConnId, Gone, Net, Player};
use crate::{Outcome, clock, frame};

/// A session that has what it was asked to get.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its socket.
    pub id: ConnId,
    /// Which head of the plan was its own.
    pub number: usize,
    /// What its messages must carry.
    pub csrf: String,
    /// The room it is in.
    pub room: String,
}

/// How far a newcomer must get.
pub struct Plan {
    /// One head for each session.
    pub heads: VecDeque<Vec<u8>>,
    /// How the server is spoken to.
    pub dialect: Dialect,
    /// Handshakes under way at once.
    pub concurrency: usize,
    /// The room of the n-th session; empty means none.
    pub rooms: Box<dyn FnMut(usize) -> String>,
    /// Whether a ping must be answered too.
    pub ping: bool,
    /// The sessions' receive buffers.
    pub receive_buffer: Option<usize>,
    /// Nanoseconds without progress after which it is an error.
    pub patience: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Upgrade,
    Join,
    Ping,
}

struct Entry {
    plan: Plan,
    started: usize,
    /// By socket: the session so far, while it is under way.
    under_way: Vec<Option<(Step, Session)>>,
    count_under_way: usize,
    done: Vec<Session>,
    last_progress: u64,
    fault: Option<String>,
}

impl Entry {
    fn step(&mut self, id: ConnId) -> Option<&mut (Step, Session)> {
        self.under_way.get_mut(id).and_then(Option::as_mut)
    }

    fn start(&mut self, net: &mut Net) -> Outcome<()> {
        while self.count_under_way < self.plan.concurrency {
            let Some(head) = self.plan.heads.pop_front() else { break };
            let room = (self.plan.rooms)(self.started);
            let head = self.plan.dialect.head(&net.host(), &room).unwrap_or(head);
            let id = net.open(head, self.plan.receive_buffer)?;
            if self.under_way.len() <= id {
                self.under_way.resize(id + 1, None);
            }
            if let Some(slot) = self.under_way.get_mut(id) {
                *slot = Some((Step::Upgrade, Session { id, number: self.started, csrf: String::new(), room }));
            }
            self.started += 1;
            self.count_under_way += 1;
        }
        Ok(())
    }

    fn finish(&mut self, id: ConnId) {
        if let Some((_, session)) = self.under_way.get_mut(id).and_then(Option::take) {
            self.done.push(session);
            self.count_under_way -= 1;
            self.last_progress = clock::now_ns();
        }
    }

    fn joined(&mut self, net: &mut Net, id: ConnId) {
        if self.plan.ping {
            if let Some((step, _)) = self.step(id) {
                *step = Step::Ping;
            }
            net.send(id, &frame::encode(frame::PING, b"bench"));
        } else {
            self.finish(id);
        }
    }
}

impl Player for Entry {
    fn opened(&mut self, net: &mut Net, id: ConnId) {
        if self.plan.dialect.stands_when_open() {
            self.joined(net, id);
        }
    }

    fn message(&mut self, net: &mut Net, id: ConnId, payload: &[u8]) {
        let dialect = self.plan.dialect;
        let Some((step, session)) = self.step(id) else { return };
        match (dialect.hear(payload), &step) {
            (Heard::Asks(text), _) => net.send(id, &dialect.say(text)),
            (Heard::Welcome, Step::Upgrade) => {
                session.csrf = message::csrf_token(payload).unwrap_or_default();
                if session.room.is_empty() {
                    return self.joined(net, id);
                }
                let join = dialect.join(&session.room, &session.csrf);
                *step = Step::Join;
                net.send(id, &join);
            }
            // NATS says nothing of a subscription; what it says next to a ping stands for it
            (Heard::Joined | Heard::Welcome, Step::Join) => self.joined(net, id),
            (Heard::Error, _) => self.fault = Some(String::from_utf8_lossy(payload).into_owned()),
            _ => {}
        }
    }

    fn pong(&mut self, _: &mut Net, id: ConnId) {
        if matches!(self.step(id), Some((Step::Ping, _))) {
            self.finish(id);
        }
    }

    fn closed(&mut self, _: &mut Net, id: ConnId, why: Gone) {
        let when = if self.step(id).is_some() { "on its way in" } else { "after it was in" };
        self.fault = Some(format!("a session was lost {when}: {why:?}"));
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        if let Err(error) = self.start(net) {
            self.fault = Some(error.to_string());
        }
        if now > self.last_progress + self.plan.patience {
            self.fault = Some(format!("{} sessions stand, then nothing more happened", self.done.len()));
        }
        self.fault.is_some() || (self.count_under_way == 0 && self.plan.heads.is_empty())
    }
}

/// Brings one session up for each head of the plan.
///
/// # Errors
/// A session was refused, lost or told an error, or nothing happened for the plan's patience.
pub fn bring_up(net: &mut Net, plan: Plan) -> Outcome<Vec<Session>> {
    let expected = plan.heads.len();
    let mut entry = Entry {
        plan,
        started: 0,
        under_way: Vec::new(),
        count_under_way: 0,
        done: Vec::with_capacity(expected),
        last_progress: clock::now_ns(),
        fault: None,
    };
    net.play(&mut entry, Duration::from_millis(100))?;
    match entry.fault {
        Some(fault) => Err(format!("after {} of {expected} sessions: {fault}", entry.done.len()).into()),
        None => Ok(entry.done),
    }
}
