//! How long a kick and a ban take over three nodes: printed, never asserted. A few rounds in `make test`, which prove that
//! every socket is closed each time; the figure is that of `make chaos` on a quiet machine.

#![allow(clippy::print_stdout, reason = "its result")]

use std::time::Duration;

use portcullis_common::clock::{Clock as _, SystemClock};
use portcullis_common::control::command::Command;
use portcullis_common::control::sign::Nonce;
use portcullis_common::ids::UserId;
use portcullis_common::store::control::Target;
use portcullis_tests::fleet::{lives, open};
use portcullis_tests::gatectl::{Gatectl, Scribe, Who};
use portcullis_tests::length::length;
use portcullis_tests::wait;
use serde_json::json;

use super::bulk::networks;
use super::{Three, column};

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

    /// Rounds of a ban of this target, each lifted again.
    fn bans(&mut self, target: &Target) -> Vec<u64> {
        let ban = Command::Ban { target: target.clone(), until: None, reason: String::new() };
        let round = |_| {
            let took = self.round(&ban);
            let lifted = self.say(&Command::Lift { target: target.clone() });
            let _ = self.scribe.answers(lifted, 3);
            took
        };
        (0..rounds()).map(round).collect()
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

    let took = stand.bans(&target);
    print("ban", took);
}

#[test]
fn a_long_list_is_known_to_late_nodes_exported_and_no_burden_to_a_ban_and_how_long_it_takes_is_told() {
    let three = Three::start();
    let gatectl = Gatectl::of(Who::Operator, &three.fleet.redis);
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("bans.txt"), dir.path().join("out.txt"));
    let count = length(2_000, 100_000) as usize;
    let list = networks(count);
    std::fs::write(&file, list.join("\n")).unwrap();
    let clock = SystemClock::default();
    let timed = |what: &mut dyn FnMut()| {
        let began = clock.nanos();
        what();
        (clock.nanos() - began) as f64 / 1e9
    };
    let imports = timed(&mut || {
        let (code, rows) = gatectl.json(&["ban", "import", file.to_str().unwrap()]);
        assert_eq!((code, column(&rows, "bans")), (0, vec![&json!(count); 3]));
    });
    // one that was there before and answers no pings would be gone by now
    assert!(lives(&mut open(&three.c, "ada")));
    let exports = timed(&mut || {
        let said = gatectl.run(&["ban", "export", "--out", out.to_str().unwrap(), "--timeout", "20s"]);
        assert_eq!(said.code, 0, "{said:?}");
    });
    let starts = timed(&mut || {
        let late = three.fleet.node("gw-d");
        wait::until("the late node knows them", || (late.health()["bans"] == count).then_some(()));
    });
    let mut exported: Vec<String> = std::fs::read_to_string(&out).unwrap().lines().map(str::to_owned).collect();
    let mut expected = list;
    exported.sort();
    expected.sort();
    assert_eq!(exported, expected);
    println!(
        "{count} bans: imported over three nodes in {imports:.1} s; a node that comes later starts in {starts:.1} s; \
         exported in {exports:.1} s"
    );
    let scribe = Scribe::at(&three.fleet.redis);
    let mut stand = Stand { three, scribe, clock, said: 0 };
    let first = stand.say(&Command::Nodes);
    let _ = stand.scribe.answers(first, 3);
    let took = stand.bans(&Target::User(UserId::parse("app:ada").unwrap()));
    print(&format!("ban of a user beside {count} others"), took);
    let took = stand.bans(&Target::Network("127.0.0.1/32".parse().unwrap()));
    print(&format!("ban of a network beside {count} others"), took);
}
