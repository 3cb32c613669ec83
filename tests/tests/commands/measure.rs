//! How long a kick and a ban take over three nodes: printed, never asserted. A few rounds in `make test`, which prove that
//! every socket is closed each time; the figure is that of `make chaos` on a quiet machine.

#![allow(clippy::print_stdout, reason = "its result")]

use std::time::Duration;

use portcullis_common::clock::{Clock as _, SystemClock};
use portcullis_common::control::command::Command;
use portcullis_common::control::sign::Nonce;
use portcullis_common::ids::UserId;
use portcullis_common::store::control::Target;
use portcullis_tests::gatectl::{Scribe, Who};
use portcullis_tests::length::length;

use super::Three;

fn rounds() -> u32 {
    length(3, 200)
}

/// Nodes take a hundred commands a second; a node whose pace is used up would refuse, and the figure would be nonsense.
const PAUSE: Duration = Duration::from_millis(20);

struct Stand {
    three: Three,
    scribe: Scribe,
    clock: SystemClock,
    said: u32,
}

impl Stand {
    fn say(&mut self, command: &Command) -> Nonce {
        self.said += 1;
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.said.to_be_bytes());
        let nonce = Nonce(bytes);
        let signed = self.scribe.sign(Who::Admin, 0, 10_000, nonce, command);
        self.scribe.write(signed);
        nonce
    }

    /// From the moment at which the command is written until the last of three clients, one a node, sees the end of its
    /// connection.
    fn round(&mut self, command: &Command) -> u64 {
        let sessions = self.three.on_all("ada");
        let began = self.clock.nanos();
        let nonce = self.say(command);
        for session in sessions {
            let _ = session.ending();
        }
        let took = self.clock.nanos() - began;
        assert_eq!(self.scribe.answers(nonce, 3).len(), 3);
        std::thread::sleep(PAUSE);
        took
    }
}

fn print(what: &str, mut took: Vec<u64>) {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize] as f64 / 1e6;
    let (rounds, p50, p99, worst) = (took.len(), at(0.5), at(0.99), at(1.0));
    println!(
        "{rounds} rounds of {what} over three nodes: p50 {p50:.1} ms, p99 {p99:.1} ms, worst {worst:.1} ms (budget: p99 250 ms)"
    );
}

#[test]
fn a_kick_and_a_ban_close_every_socket_each_time_and_how_long_it_takes_is_told() {
    let three = Three::start();
    let scribe = Scribe::at(&three.fleet.redis);
    let mut stand = Stand { three, scribe, clock: SystemClock::default(), said: 0 };
    let target = Target::User(UserId::parse("app:ada").unwrap());
    // the first command finds a reader that does not wait for commands yet
    let first = stand.say(&Command::Nodes);
    let _ = stand.scribe.answers(first, 3);

    let kick = Command::Kick { target: target.clone(), reason: String::new() };
    let took = (0..rounds()).map(|_| stand.round(&kick)).collect();
    print("kick", took);

    let ban = Command::Ban { target: target.clone(), until: None, reason: String::new() };
    let took = (0..rounds()).map(|_| {
        let took = stand.round(&ban);
        let lifted = stand.say(&Command::Lift { target: target.clone() });
        let _ = stand.scribe.answers(lifted, 3);
        took
    });
    let took = took.collect();
    print("ban", took);
}
