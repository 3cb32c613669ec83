//! What is played in which size. On a quiet machine `Standard` takes some ten minutes,
//! `Quick` four, `Full` forty.

use super::What;
use super::config::{Policies, Profile};

/// How long the windows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Does it work, roughly how fast.
    Quick,
    /// What `make bench` does.
    Standard,
    /// For figures that are published: `make bench-full`.
    Full,
}

impl Depth {
    /// The option of `run` that asks for it, with a blank before it.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Quick => " --quick",
            Self::Standard => "",
            Self::Full => " --full",
        }
    }

    pub(super) fn pick<T>(self, quick: T, standard: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Standard => standard,
            Self::Full => full,
        }
    }
}

/// Who else plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// Nobody.
    None,
    /// The first that was named: the one that a budget is a ratio to.
    First,
    /// All of them.
    All,
}

impl Peers {
    /// How many of `count` those are.
    #[must_use]
    pub fn of(self, count: usize) -> usize {
        match self {
            Self::None => 0,
            Self::First => count.min(1),
            Self::All => count,
        }
    }
}

/// One gateway's life, or in rounds several, each beside the peers' where those are asked for.
#[derive(Debug, Clone)]
pub enum Play {
    /// One generator with these arguments after `gen`, a gateway over the memory store.
    Alone {
        /// The arguments.
        words: Vec<String>,
        /// How the gateway is set up.
        profile: Profile,
        /// Who does the same, in turn.
        peers: Peers,
    },
    /// Two generators and their phases, in seconds.
    Hostile {
        /// Arguments of the healthy one.
        healthy: Vec<String>,
        /// Arguments of the attacker.
        attack: Vec<String>,
        /// Length of the quiet phase.
        quiet: f64,
        /// Length of the measured attack.
        up: f64,
    },
    /// Nodes over one Redis, and one generator.
    Fleet {
        /// The arguments after `gen`; where the second node and Redis are is appended.
        words: Vec<String>,
        /// One or two.
        nodes: u16,
        /// How they are set up.
        profile: Profile,
    },
    /// Three nodes, one of which is killed.
    Storm {
        /// Arguments of the healthy clients, on a node that stays.
        healthy: Vec<String>,
        /// Arguments of those that lose theirs.
        storm: Vec<String>,
        /// Length of the quiet phase, in seconds.
        quiet: f64,
    },
}

/// Stands for the EdDSA key's path until the driver knows it.
pub const ED25519_FILE: &str = "@ed25519";

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Words that may hold blanks: `--what` takes all that follows it.
fn titled(text: &str, what: &str) -> Vec<String> {
    let mut words = words(text);
    words.extend(["--what".to_owned(), what.to_owned()]);
    words
}

const TLS: Profile = Profile { policies: Policies::Defaults, tls: true };

const fn policies(policies: Policies) -> Profile {
    Profile { policies, tls: false }
}

fn alone(text: &str) -> Play {
    Play::Alone { words: words(text), profile: Profile::default(), peers: Peers::None }
}

fn over_tls(text: &str) -> Play {
    Play::Alone { words: words(text), profile: TLS, peers: Peers::None }
}

/// The plays of one scenario, each on a fresh gateway. Figures of one id that come several times become one: rounds, in which
/// what is compared takes turns.
#[must_use]
pub fn of(what: What, depth: Depth) -> Vec<Play> {
    match what {
        What::Idle => idle(depth),
        What::Handshake => handshake(depth),
        What::Echo => echo(depth),
        What::Fanout => fanout(depth),
        What::Nodes => nodes(depth),
        What::Load => load(depth),
        What::Policy => policy(depth),
        What::Churn => vec![alone(&format!(
            "churn --sources 64 --count {} --rounds {}",
            depth.pick("5000", "100000", "100000"),
            depth.pick("2", "2", "6")
        ))],
        What::Hostile => hostile(depth),
        What::Relay => {
            // a p99 that is more than somebody's fourth worst message asks for seconds
            let (rounds, seconds) = (depth.pick("3", "7", "11"), depth.pick("0.7", "2", "3"));
            let (members, counted) = (depth.pick("1,400", "1,400", "1,100,1000"), depth.pick("200", "300", "600"));
            let words =
                words(&format!("relay --rounds {rounds} --seconds {seconds} --members {members} --counted {counted}"));
            vec![Play::Fleet { words, nodes: 2, profile: Profile::default() }]
        }
        What::Storm => vec![Play::Storm {
            healthy: words(&format!("healthy --clients {}", depth.pick("300", "1000", "1000"))),
            storm: words(&format!(
                "storm --prefix storm --first-source 300 --sources 32 --clients {} --watch {}",
                depth.pick("2000", "10000", "15000"),
                depth.pick("16", "16", "25"),
            )),
            quiet: depth.pick(3.0, 6.0, 10.0),
        }],
        What::Overload => overload(depth),
    }
}

fn idle(depth: Depth) -> Vec<Play> {
    let plateaus = depth.pick("1000,2000,3000", "5000,10000,15000", "3000,6000,9000,12000,15000");
    let settle = depth.pick("1", "2", "4");
    let peers = depth.pick("1000,2000", "5000,15000", "5000,10000,15000");
    vec![
        alone(&format!("idle --plateaus {plateaus} --settle {settle}")),
        over_tls(&format!("idle --plateaus {plateaus} --settle {settle} --id idle-tls")),
        // beside the peers, at counts that all of them reach: what a process keeps in reserve hides the first thousands
        Play::Alone {
            words: words(&format!("idle --plateaus {peers} --settle {} --id idle-small", depth.pick("1", "1", "3"))),
            profile: Profile::default(),
            peers: Peers::All,
        },
    ]
}

fn handshake(depth: Depth) -> Vec<Play> {
    let count = depth.pick("3000", "8000", "14000");
    let hold = format!("handshake --count {count}");
    let tls = format!("handshake --count {} --id handshake.tls", depth.pick("1000", "4000", "8000"));
    let cycles = depth.pick("3000", "15000", "60000");
    vec![
        alone(&format!("{hold} --id handshake.hs256")),
        alone(&format!("{hold} --id handshake.eddsa --issuer https://ed.bench.invalid --ed25519-file {ED25519_FILE}")),
        alone(&format!("handshake --count {cycles} --after cycle --id handshake.cycle")),
        over_tls(&tls),
    ]
}

fn echo(depth: Depth) -> Vec<Play> {
    let (rounds, seconds) = (depth.pick("3", "5", "9"), depth.pick("0.6", "1", "2"));
    let (few, short) = (depth.pick("2", "2", "7"), depth.pick("0.4", "0.4", "1"));
    vec![
        alone(&format!("echo --rounds {rounds} --seconds {seconds}")),
        alone(&format!("echo --windows 64 --rounds {few} --seconds {short}")),
        alone(&format!("echo --bytes 1024 --windows 1,8 --rounds {few} --seconds {short} --id echo-1k")),
        alone(&format!("echo --bytes 16384 --windows 1,8 --rounds {few} --seconds {short} --id echo-16k")),
        over_tls(&format!("echo --windows 1,8 --rounds {few} --seconds {short} --id echo-tls")),
    ]
}

/// Every round has the first peer in it; in a full run, all. Then what grows with the members, in rounds of its own, since
/// a machine is not always as fast.
fn fanout(depth: Depth) -> Vec<Play> {
    let headline = format!("fanout --members 1000,5000 --seconds {} --warm-up 0.5", depth.pick("1", "1.5", "3"));
    let many = depth.pick("3000", "10000", "10000");
    let wide =
        format!("fanout --members 1000,{many} --seconds {} --warm-up 0.5 --id wide", depth.pick("1", "1.5", "3"));
    let round = |words: &str, peers| Play::Alone { words: self::words(words), profile: Profile::default(), peers };
    let mut plays = vec![round(&headline, Peers::All)];
    plays.extend(vec![round(&headline, depth.pick(Peers::None, Peers::First, Peers::All)); depth.pick(0, 2, 6)]);
    plays.extend(vec![round(&wide, depth.pick(Peers::None, Peers::None, Peers::First)); depth.pick(1, 3, 7)]);
    plays.push(alone(&format!("fanout --members 100 --seconds {}", depth.pick("1", "1", "3"))));
    plays
}

/// One node with the memory store and two nodes over Redis in turn; one node over Redis, in a full run; and what Redis does for rooms of two
/// sizes when as much is said in both.
fn nodes(depth: Depth) -> Vec<Play> {
    let seconds = depth.pick("1", "1.5", "3");
    let many = |id: &str| format!("fanout --members 1000,5000 --seconds {seconds} --warm-up 0.5 --id {id}");
    let over = |nodes: u16, text: &str| Play::Fleet { words: words(text), nodes, profile: Profile::default() };
    let round = [alone(&many("nodes0")), over(2, &many("nodes2"))];
    let rounds: usize = depth.pick(1, 2, 7);
    let mut plays: Vec<Play> = std::iter::repeat_n(round, rounds).flatten().collect();
    if depth == Depth::Full {
        plays.push(over(1, &many("nodes1")));
    }
    let even =
        format!("fanout --members 10,400 --messages 100 --seconds {} --id nodes2-even", depth.pick("2", "2", "5"));
    plays.extend(vec![over(2, &even); depth.pick(1, 2, 5)]);
    plays
}

fn load(depth: Depth) -> Vec<Play> {
    let seconds = depth.pick("1", "2", "10");
    let play = |words| Play::Alone { words, profile: Profile::default(), peers: Peers::None };
    let rooms =
        format!("load --sessions 4000 --room-size 4 --mix room=1 --rate 6000 --seconds {seconds} --id load.rooms");
    let direct = format!("load --sessions 2000 --mix direct=1 --rate 8000 --seconds {seconds} --id load.direct");
    let mixed = format!(
        "load --sessions 3000 --room-size 20 --mix room=12,direct=5,join=2,connect=1 --rate 1500 --seconds {seconds} --id load.mixed"
    );
    let mixed =
        titled(&mixed, "mixed: 60 % to rooms of 20, 25 % direct, 10 % joins and leaves, 5 % newcomers; 1,500/s");
    let pair = mixed.iter().map(|word| {
        word.replace("load.mixed", "load.mixed-two").replace("mixed:", "the same over two nodes and Redis:")
    });
    let pair = Play::Fleet { words: pair.collect(), nodes: 2, profile: Profile::default() };
    vec![
        play(titled(&rooms, "1,000 rooms of 4, 6,000 messages/s")),
        play(titled(&direct, "direct messages, 8,000/s among 2,000 users")),
        play(mixed),
        pair,
    ]
}

/// The same messages and handshakes with as little policy as can be, the defaults and all there is, in memory and, in a full
/// run, over Redis, else there the defaults alone; then what shared limits ask of the store.
fn policy(depth: Depth) -> Vec<Play> {
    let levels = [("off", Policies::Off), ("defaults", Policies::Defaults), ("all", Policies::All)];
    let mut plays = Vec::new();
    for (store, over_redis) in [("memory", false), ("redis", true)] {
        for (name, level) in levels {
            if over_redis && depth != Depth::Full && level != Policies::Defaults {
                continue;
            }
            for words in costs(depth, store, name) {
                let profile = policies(level);
                plays.push(match over_redis {
                    true => Play::Fleet { words, nodes: 1, profile },
                    false => Play::Alone { words, profile, peers: Peers::None },
                });
            }
        }
    }
    plays.extend(shared_limits(depth));
    plays
}

/// A message among many in a row, a message of a thousand users who each say something now and then, and a handshake.
fn costs(depth: Depth, store: &str, level: &str) -> Vec<Vec<String>> {
    let (rounds, seconds, count) =
        (depth.pick(2, 2, 7), depth.pick("0.4", "0.6", "1"), depth.pick("1000", "3000", "8000"));
    let id = format!("policy.{store}.{level}");
    let echo = format!("echo --windows 8 --rounds {rounds} --seconds {seconds} --id {id}");
    let spread = format!(
        "load --sessions 1000 --room-size 1 --bytes 200 --rate 2000 --warm-up 4 --seconds {} --id {id}.users",
        depth.pick("1", "3", "10")
    );
    let spread = titled(&spread, &format!("1,000 users, 2 messages/s each, {store} store, policies {level}"));
    let handshake = words(&format!("handshake --count {count} --id {id}.handshakes"));
    // what users who say little cost is of interest where a store is asked, and takes long
    let users = store == "redis" && depth == Depth::Full;
    if users { vec![words(&echo), spread, handshake] } else { vec![words(&echo), handshake] }
}

/// A connection that is refused fifty times in a minute ends, so that one user presses through many.
fn shared_limits(depth: Depth) -> [Play; 2] {
    let saturated = format!(
        "load --sessions 300 --room-size 1 --one-user --rate 400 --warm-up 4 --seconds {} --id policy.saturated",
        depth.pick("3", "5", "15")
    );
    let quiet = format!(
        "load --sessions 1000 --room-size 1 --rate 200 --warm-up 4 --seconds {} --id policy.quiet",
        depth.pick("3", "6", "30")
    );
    [
        Play::Fleet {
            words: titled(&saturated, "one user, 300 connections on two nodes, 400/s against 100/s"),
            nodes: 2,
            profile: policies(Policies::Heavy),
        },
        Play::Fleet {
            words: titled(&quiet, "1,000 users, 0.2 messages/s each, limit 100/min"),
            nodes: 1,
            profile: policies(Policies::Quiet),
        },
    ]
}

fn overload(depth: Depth) -> Vec<Play> {
    let (capacity, quiet, after) =
        (depth.pick("2", "2", "6"), depth.pick("2", "3", "10"), depth.pick("11", "11", "20"));
    let play = |seconds: &str, text: &str, what: &str| {
        let text = format!("overload --capacity {capacity} --quiet {quiet} --seconds {seconds} --after {after} {text}");
        Play::Alone { words: titled(&text, what), profile: policies(Policies::Overload), peers: Peers::None }
    };
    vec![
        play(depth.pick("10", "12", "60"), "", "three times its capacity"),
        play(depth.pick("6", "6", "20"), "--low 0 --id overload-flat", "the same, nothing of low priority"),
    ]
}

fn hostile(depth: Depth) -> Vec<Play> {
    let (quiet, up, seconds) = match depth {
        Depth::Quick => (3.0, 4.0, "4.5"),
        Depth::Standard => (6.0, 10.0, "11"),
        Depth::Full => (15.0, 30.0, "31"),
    };
    let attack = format!(
        "attack --prefix attack --first-source 300 --sources 32 --slow-handshakes {} --slow-readers {} --seconds {seconds}",
        depth.pick("1000", "5000", "5000"),
        depth.pick("300", "2000", "2000"),
    );
    let healthy = format!("healthy --clients {}", depth.pick("500", "2000", "2000"));
    vec![Play::Hostile { healthy: words(&healthy), attack: words(&attack), quiet, up }]
}
