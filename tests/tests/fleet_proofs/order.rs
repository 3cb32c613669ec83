//! Messages of one room over two nodes while members come and go: every member hears one order, nothing twice, and
//! nothing is missing that it was not told of.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{Fleet, open};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::length::{length, seed};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::churn::Churner;

pub const ROOM: &str = "kept.proof";
const SENDERS: usize = 4;
const CHURNERS: usize = 6;
/// Messages of one sender that are not answered yet.
const WINDOW: usize = 8;

/// What somebody heard: at this place in the room's order stood this.
pub type Heard = (u64, Value);

/// A room message with its place; anything else is none. One without a place was not in the order (`degraded`).
pub fn placed(message: &Value) -> Option<Heard> {
    (message["type"] == "chat").then(|| Some((message["offset"].as_u64()?, message["payload"].clone())))?
}

struct Sender {
    raw: Raw,
    name: usize,
    heard: Vec<Heard>,
    /// Where each message was taken.
    taken: BTreeMap<usize, u64>,
}

impl Sender {
    fn new(node: &Gateway, name: usize) -> Self {
        let mut raw = open(node, &format!("sender-{name}"));
        raw.join(ROOM);
        Self { raw, name, heard: Vec::new(), taken: BTreeMap::new() }
    }

    fn say(&mut self, n: usize) {
        let text = format!("{}/{n}", self.name);
        let id = format!("m-{n}");
        assert!(self.raw.say(json!({"type": "chat", "id": id, "to": {"room": ROOM}, "payload": text})));
    }

    /// Hears one message; what was answered without a place is said again under its id, which the store knows.
    fn hear(&mut self) {
        let message = self.raw.message();
        if let Some(heard) = placed(&message) {
            self.heard.push(heard);
        } else if let Some(n) = message["id"].as_str().and_then(|id| id.strip_prefix("m-")?.parse().ok()) {
            match message["payload"]["offset"].as_u64() {
                Some(offset) => drop(self.taken.insert(n, offset)),
                None => self.say(n),
            }
        }
    }

    fn run(mut self, messages: usize) -> Self {
        let mut said = 0;
        while self.taken.len() < messages {
            while said < messages && said - self.taken.len() < WINDOW {
                self.say(said);
                said += 1;
            }
            self.hear();
        }
        self
    }

    fn hear_out(mut self, fence: u64) -> Self {
        while self.heard.last().is_none_or(|(offset, _)| *offset < fence) {
            self.hear();
        }
        self
    }
}

/// Offsets one after the other from `first`, each once.
fn without_a_gap(heard: &[Heard], first: u64) -> bool {
    heard.iter().zip(first..).all(|((offset, _), expected)| *offset == expected)
}

#[test]
fn nothing_is_lost_or_said_twice_in_one_order_for_all_while_members_come_and_go() {
    let each = length(400, 15_000);
    let seed = seed("order");
    let fleet = Fleet::start(|setup| {
        setup
            .set("limit.bytes.rate", "64MiB/s")
            .set("limit.bytes.burst", "1GiB")
            .set("size.outbox", "4MiB")
            .set("session.max_per_user", "2")
            .toml("[[room]]\npattern = \"kept.*\"\njoin = [\"member\"]\npublish = [\"member\"]\nhistory = { count = 5000, age = \"10m\" }\n")
    });
    let nodes = [&fleet.a, &fleet.b];
    let senders: Vec<Sender> = (0..SENDERS).map(|n| Sender::new(nodes[n % 2], n)).collect();
    // nothing but messages has a place in this room, and each has one
    let all = (SENDERS * each + 1) as u64;
    let strays = Mutex::new(Vec::new());
    let senders = thread::scope(|scope| {
        for n in 0..CHURNERS {
            let rng = StdRng::seed_from_u64(seed.wrapping_add(n as u64));
            let churner = Churner::new([fleet.a.public, fleet.b.public], &format!("churner-{n}"), rng, all);
            let strays = &strays;
            scope.spawn(move || {
                let done = churner.run();
                strays.lock().unwrap().push(done);
            });
        }
        let senders: Vec<_> = senders.into_iter().map(|sender| scope.spawn(move || sender.run(each))).collect();
        let mut senders: Vec<Sender> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
        // the last message, which whoever is away may hear of by its place only
        assert!(senders[0].raw.say(json!({"type": "chat", "to": {"room": ROOM}, "payload": "fence"})));
        let senders = senders.drain(..).map(|sender| scope.spawn(move || sender.hear_out(all)));
        senders.collect::<Vec<_>>().into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
    });

    let reference = &senders[0].heard;
    let first = reference[0].0;
    assert!(without_a_gap(reference, first), "one who stays misses nothing and hears nothing twice");
    assert_eq!((first, reference.len() as u64), (1, all));
    for sender in &senders {
        assert_eq!(&sender.heard, reference, "one order for all");
        for (n, offset) in &sender.taken {
            let at = usize::try_from(offset - first).unwrap();
            assert_eq!(reference[at].1, format!("{}/{n}", sender.name), "it stands where its sender was told");
        }
    }
    let strays = strays.into_inner().unwrap();
    let (mut moves, mut gaps, mut heard) = (0, 0, 0);
    for stray in &strays {
        stray.judge(reference);
        (moves, gaps, heard) = (moves + stray.moves, gaps + stray.gaps, heard + stray.heard());
    }
    eprintln!("{all} messages, {CHURNERS} churners: {moves} moves, {gaps} gaps, all of them told; {heard} heard");
    assert!(moves - gaps > CHURNERS, "hardly anybody came back and missed nothing: {moves} moves, {gaps} gaps");
}
