//! Slow handshakes that never end, and members of a busy room that never read. What the server throws out comes back,
//! so that the pressure stays.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::super::entry::{Plan, Session, bring_up};
use super::super::{Aim, announce};
use crate::finding::print_line;
use crate::message::{self, Kind};
use crate::socket::{ConnId, Gone, Net, Player};
use crate::{Outcome, clock, request};

/// Options of `gen attack`.
#[derive(Debug, Clone, Args)]
pub struct Attack {
    /// Where to.
    #[command(flatten)]
    pub aim: Aim,
    /// Half-sent request heads held open, one more byte a second each.
    #[arg(long, default_value_t = 5_000)]
    pub slow_handshakes: usize,
    /// Members of the busy room that never read.
    #[arg(long, default_value_t = 2_000)]
    pub slow_readers: usize,
    /// Messages a second in the busy room.
    #[arg(long, default_value_t = 4.0)]
    pub busy_rate: f64,
    /// Bytes of each one's payload.
    #[arg(long, default_value_t = 2_000)]
    pub busy_bytes: usize,
    /// Handshakes a second at most, when what was thrown out comes back.
    #[arg(long, default_value_t = 1_000.0)]
    pub comeback_rate: f64,
    /// Seconds, counted from when everything stands.
    #[arg(long, default_value_t = 15.0)]
    pub seconds: f64,
}

const ROOM: &str = "room.busy";
const READER_BUFFER: usize = 4_096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Nobody,
    Trickler,
    /// A reader on its way in; it is muted once it has joined.
    Reader,
    Publisher,
}

struct Pressure<'a> {
    options: &'a Attack,
    roles: Vec<Role>,
    publisher: &'a Session,
    /// What a trickler has to say, over and over: one endless header value.
    tricklers: Vec<ConnId>,
    next_trickle: usize,
    trickled: u64,
    trickle_from: u64,
    comebacks: VecDeque<Role>,
    comeback_credit_at: u64,
    reader_heads: Vec<Vec<u8>>,
    published: u64,
    publish_from: Option<u64>,
    thrown_out: BTreeMap<String, u64>,
    up: bool,
    end: u64,
    fault: Option<String>,
}

impl Pressure<'_> {
    fn role(&mut self, id: ConnId) -> &mut Role {
        if self.roles.len() <= id {
            self.roles.resize(id + 1, Role::Nobody);
        }
        // the resize above makes the slot
        #[allow(clippy::indexing_slicing)]
        &mut self.roles[id]
    }

    fn come(&mut self, net: &mut Net, role: Role) -> Outcome<()> {
        let id = match role {
            Role::Trickler => {
                let whole = request::head(&net.host(), "/ws", Some("never-finished"));
                let half = whole.get(..whole.len() / 2).unwrap_or_default().to_vec();
                net.open(half, None)?
            }
            Role::Reader => {
                let Some(head) = self.reader_heads.pop() else { return Ok(()) };
                net.open(head, Some(READER_BUFFER))?
            }
            Role::Publisher | Role::Nobody => return Ok(()),
        };
        *self.role(id) = role;
        if role == Role::Trickler {
            self.tricklers.push(id);
        }
        Ok(())
    }

    fn come_back(&mut self, net: &mut Net, now: u64) -> Outcome<()> {
        let gap = (1e9 / self.options.comeback_rate.max(1.0)) as u64;
        // no saving up of more than 50 ms of credit
        self.comeback_credit_at = self.comeback_credit_at.max(now.saturating_sub(50_000_000));
        while self.comeback_credit_at + gap <= now {
            let Some(role) = self.comebacks.pop_front() else { break };
            self.comeback_credit_at += gap;
            self.come(net, role)?;
        }
        Ok(())
    }

    /// One byte a second for each trickler, evenly over the second.
    fn trickle(&mut self, net: &mut Net, now: u64) {
        let due = now.saturating_sub(self.trickle_from) as u128 * self.options.slow_handshakes as u128 / 1_000_000_000;
        while u128::from(self.trickled) < due {
            self.trickled += 1;
            self.next_trickle = (self.next_trickle + 1) % self.tricklers.len().max(1);
            if let Some(id) = self.tricklers.get(self.next_trickle).copied() {
                net.send(id, b"x");
            }
        }
    }

    fn publish(&mut self, net: &mut Net, now: u64) -> Outcome<()> {
        let Some(from) = self.publish_from else { return Ok(()) };
        let due = (now.saturating_sub(from) as f64 / 1e9 * self.options.busy_rate) as u64;
        while self.published < due {
            let csrf = &self.publisher.csrf;
            let text = message::numbered_chat(ROOM, csrf, self.published, self.options.busy_bytes)?;
            net.send(self.publisher.id, &text);
            self.published += 1;
        }
        Ok(())
    }
}

impl Player for Pressure<'_> {
    fn message(&mut self, net: &mut Net, id: ConnId, payload: &[u8]) {
        match (*self.role(id), message::kind(payload)) {
            (Role::Reader, Kind::Welcome) => {
                let join = message::join(ROOM, &message::csrf_token(payload).unwrap_or_default());
                net.send(id, &join);
                net.mute(id);
            }
            (Role::Publisher, Kind::Error) => self.fault = Some(String::from_utf8_lossy(payload).into_owned()),
            _ => {}
        }
    }

    fn closed(&mut self, _: &mut Net, id: ConnId, why: Gone) {
        let role = std::mem::replace(self.role(id), Role::Nobody);
        *self.thrown_out.entry(format!("{role:?}: {why:?}")).or_default() += 1;
        match role {
            Role::Publisher => self.fault = Some(format!("the publisher was thrown out: {why:?}")),
            Role::Trickler => {
                if let Some(at) = self.tricklers.iter().position(|trickler| *trickler == id) {
                    self.tricklers.swap_remove(at);
                }
                self.comebacks.push_back(role);
            }
            Role::Reader => self.comebacks.push_back(role),
            Role::Nobody => {}
        }
    }

    fn turn(&mut self, net: &mut Net, now: u64) -> bool {
        let done = self.come_back(net, now).and_then(|()| self.publish(net, now));
        if let Err(error) = done {
            self.fault = Some(error.to_string());
        }
        self.trickle(net, now);
        // thrown-out tricklers come back all the time: nearly all there is "up"
        if !self.up && self.tricklers.len() * 20 >= self.options.slow_handshakes * 19 {
            self.up = true;
            self.end = now + clock::seconds(self.options.seconds);
            self.publish_from = Some(now);
            let _ = announce("up");
        }
        self.fault.is_some() || now > self.end
    }
}

/// Plays the hostile side.
///
/// # Errors
/// The readers or the publisher could not get in, or the publisher was thrown out.
pub fn run(options: &Attack) -> Outcome<()> {
    let mut net = options.aim.net()?;
    let plan = |heads: Vec<Vec<u8>>, receive_buffer| Plan {
        heads: heads.into(),
        dialect: options.aim.dialect,
        concurrency: options.aim.concurrency,
        rooms: Box::new(|_| ROOM.to_owned()),
        ping: false,
        receive_buffer,
        patience: clock::seconds(options.aim.patience),
    };
    let publisher = bring_up(&mut net, plan(options.aim.heads("loud", 1)?, None))?;
    let publisher = publisher.first().ok_or("no publisher")?;
    let readers = bring_up(&mut net, plan(options.aim.heads("deaf", options.slow_readers)?, Some(READER_BUFFER)))?;
    let now = clock::now_ns();
    let mut pressure = Pressure {
        options,
        roles: Vec::new(),
        publisher,
        tricklers: Vec::new(),
        next_trickle: 0,
        trickled: 0,
        trickle_from: now,
        comebacks: std::iter::repeat_n(Role::Trickler, options.slow_handshakes).collect(),
        comeback_credit_at: now,
        reader_heads: options.aim.heads("again", options.slow_readers * 4)?,
        published: 0,
        publish_from: None,
        thrown_out: BTreeMap::new(),
        up: false,
        end: now + clock::seconds(60.0),
        fault: None,
    };
    *pressure.role(publisher.id) = Role::Publisher;
    for reader in &readers {
        *pressure.role(reader.id) = Role::Reader;
        net.mute(reader.id);
    }
    net.play(&mut pressure, Duration::from_millis(5))?;
    if let Some(fault) = pressure.fault {
        return Err(fault.into());
    }
    if !pressure.up {
        return Err("the slow handshakes were never all there at once".into());
    }
    print_line(&json!({
        "event": "attack", "published": pressure.published, "trickled": pressure.trickled,
        "thrown_out": pressure.thrown_out,
    }))
}
