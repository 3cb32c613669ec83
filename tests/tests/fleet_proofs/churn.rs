//! A member that does not stay: it leaves and joins, loses its connection and resumes, moves to the other node, begins
//! anew, and asks for what it missed each time.

use std::net::SocketAddr;

use portcullis_tests::blocking::{Knock, Raw};
use portcullis_tests::{tokens, wait};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::order::{Heard, ROOM, placed};

/// What was heard without anybody having said that something may be missing.
struct Stretch {
    /// It had forgotten what it heard before: the other node may still be behind that.
    afresh: bool,
    heard: Vec<Heard>,
}

pub struct Churner {
    nodes: [SocketAddr; 2],
    name: String,
    rng: StdRng,
    /// The place of the last message.
    fence: u64,
    stretches: Vec<Stretch>,
    /// The last place heard, or told by a join.
    seen: Option<(u64, Value)>,
    /// How often it came back, and how often it was told that something may be missing.
    pub moves: usize,
    pub gaps: usize,
    asked: usize,
}

impl Churner {
    pub fn new(nodes: [SocketAddr; 2], name: &str, rng: StdRng, fence: u64) -> Self {
        let name = name.to_owned();
        Self { nodes, name, rng, fence, stretches: Vec::new(), seen: None, moves: 0, gaps: 0, asked: 0 }
    }

    pub fn run(mut self) -> Self {
        let mut raw = self.begin();
        let mut over = self.join(&mut raw);
        while !over {
            for _ in 0..self.rng.random_range(1..40) {
                over = over || self.hear(&mut raw);
            }
            if over {
                break;
            }
            raw = self.go(raw);
            self.moves += 1;
            over = self.join(&mut raw);
        }
        self
    }

    fn node(&mut self) -> SocketAddr {
        self.nodes[self.rng.random_range(0..2)]
    }

    fn begin(&mut self) -> Raw {
        let (node, bearer) = (self.node(), tokens::good(&self.name));
        wait::until("to be let in", || Knock::at(node, &bearer, None).answer().ok())
    }

    /// Shows the resume token; a session that could not go on is another one, and that is allowed.
    fn resume(&mut self, token: &str) -> Raw {
        let (node, bearer) = (self.node(), tokens::good(&self.name));
        let entries = format!("portcullis.v1.json, resume.{token}");
        wait::until("to be let in again", || Knock::at(node, &bearer, Some(&entries)).answer().ok())
    }

    fn go(&mut self, mut raw: Raw) -> Raw {
        let token = raw.welcome["payload"]["resume"]["token"].as_str().expect("a token").to_owned();
        match self.rng.random_range(0..5) {
            0 => {
                let id = self.id();
                assert!(raw.say(json!({"type": "leave", "id": id, "to": {"room": ROOM}})));
                self.until_answered(&mut raw, &id);
                raw
            }
            1 => {
                drop(raw);
                self.resume(&token)
            }
            2 => {
                // the connection still is there, and is replaced
                let next = self.resume(&token);
                drop(raw);
                next
            }
            3 => {
                raw.close(1000);
                self.begin()
            }
            _ => {
                drop(raw);
                self.begin()
            }
        }
    }

    fn id(&mut self) -> String {
        self.asked += 1;
        format!("c-{}", self.asked)
    }

    fn until_answered(&mut self, raw: &mut Raw, id: &str) -> Value {
        loop {
            let message = raw.message();
            if message["id"] == id {
                return message;
            }
            self.take(&message);
        }
    }

    /// Joins with what it has seen; true when the last message is behind it.
    fn join(&mut self, raw: &mut Raw) -> bool {
        loop {
            if self.rng.random_range(0..12) == 0 {
                // a client that remembers nothing
                self.seen = None;
            }
            let id = self.id();
            let mut join = json!({"type": "join", "id": id, "to": {"room": ROOM}});
            if let Some((offset, epoch)) = &self.seen {
                join["payload"] = json!({"since": {"offset": offset, "epoch": epoch}});
            }
            assert!(raw.say(join));
            let mut missed = Vec::new();
            let answer = loop {
                let message = raw.message();
                if message["id"] == id {
                    break message;
                }
                missed.extend(placed(&message));
            };
            if answer["type"] == "error" {
                assert_eq!(answer["payload"]["code"], "store_unavailable", "{answer}");
                continue;
            }
            let told = &answer["payload"];
            let position = told["offset"].as_u64().expect("a place");
            // what was kept may reach beyond the place that the room had when it was joined
            let seen = missed.last().map_or(position, |(offset, _)| position.max(*offset));
            if told["recovered"] == true {
                missed.into_iter().for_each(|one| self.push(one));
            } else {
                self.gaps += usize::from(!self.stretches.is_empty());
                // something may be missing before and among these: each of them is judged by itself
                let mut afresh = self.seen.is_none();
                for one in missed {
                    self.stretches.push(Stretch { afresh: std::mem::take(&mut afresh), heard: vec![one] });
                }
                self.stretches.push(Stretch { afresh, heard: Vec::new() });
            }
            self.seen = Some((seen, told["epoch"].clone()));
            return seen >= self.fence;
        }
    }

    /// Hears one message; true when it was the last.
    fn hear(&mut self, raw: &mut Raw) -> bool {
        let message = raw.message();
        self.take(&message);
        self.seen.as_ref().is_some_and(|(offset, _)| *offset >= self.fence)
    }

    fn take(&mut self, message: &Value) {
        if let Some(heard) = placed(message) {
            self.seen = Some((heard.0, message["epoch"].clone()));
            self.push(heard);
        }
    }

    fn push(&mut self, heard: Heard) {
        self.stretches.last_mut().expect("a join").heard.push(heard);
    }

    /// What it heard is what stands in the order, once, in order, and without a hole wherever nobody told of one.
    pub fn judge(&self, reference: &[Heard]) {
        let first = reference[0].0;
        let mut before = 0;
        for Stretch { afresh, heard } in &self.stretches {
            before = if *afresh { 0 } else { before };
            for (at, (offset, payload)) in heard.iter().enumerate() {
                assert!(*offset > before, "{}: {offset} after {before}", self.name);
                let next = at == 0 || *offset == before + 1;
                assert!(next, "{}: a hole from {before} to {offset} that nobody told of", self.name);
                let place = usize::try_from(offset - first).unwrap();
                assert_eq!(&reference[place].1, payload, "{}: another order at {offset}", self.name);
                before = *offset;
            }
        }
    }

    pub fn heard(&self) -> usize {
        self.stretches.iter().map(|stretch| stretch.heard.len()).sum()
    }
}
