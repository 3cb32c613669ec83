//! The nonces of commands: a node obeys each at most once and only in its time, whatever comes again, in whatever order,
//! and wherever the store's clock is set to.

use std::collections::HashSet;

use bytes::Bytes;
use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::{Operator, OperatorRole};
use portcullis_common::control::command::Command;
use portcullis_common::control::key::OperatorKey;
use portcullis_common::control::sign::{AHEAD, LIFE, Nonce, Verifier, sign};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::machine::START;

/// How a node's memory can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgets {
    /// A reload of the operators begins a new memory.
    AtAReload,
    /// The memory begins anew every so often.
    NowAndThen,
    /// A command is judged by its own time, not by the store's.
    TheTime,
}

impl Forgets {
    pub const ALL: [Self; 3] = [Self::AtAReload, Self::NowAndThen, Self::TheTime];
}

const STEPS: usize = 60;

struct Sent {
    bytes: Bytes,
    issued: u64,
    expires: u64,
    nonce: Nonce,
}

/// One schedule of one node's life.
pub fn run(seed: u64, keys: &[OperatorKey; 2], forgets: Option<Forgets>) -> Result<u64, String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let operator = |(name, key): (&str, &OperatorKey)| Operator {
        name: name.to_owned(),
        role: OperatorRole::Admin,
        public_key: key.public(),
    };
    let operators: Vec<Operator> = ["ada", "eve"].into_iter().zip(keys).map(operator).collect();
    let mut now = START;
    let mut node = Verifier::new("blue", &operators, UnixMs(now));
    let mut obeyed = HashSet::new();
    let mut sent: Vec<Sent> = Vec::new();
    for step in 0..STEPS {
        match rng.random_range(0..100) {
            0..30 => {
                // an operator's clock is the store's, or wrong
                let skew = if rng.random_ratio(1, 4) { rng.random_range(-90_000..=90_000) } else { 0 };
                let issued = now.saturating_add_signed(skew);
                let expires = issued + rng.random_range(0..=40_000);
                let nonce = Nonce::random(&mut rng);
                let key = keys.choose(&mut rng).unwrap();
                let bytes = sign(key, "blue", (UnixMs(issued), UnixMs(expires)), nonce, &Command::Nodes);
                sent.push(Sent { bytes, issued, expires, nonce });
            }
            30..50 => now += rng.random_range(0..20_000),
            // another server, whose clock is wrong
            50..53 => now = now.saturating_add_signed(rng.random_range(-90_000..=90_000)),
            53..56 if forgets == Some(Forgets::AtAReload) => node = Verifier::new("blue", &operators, UnixMs(START)),
            53..56 => node.know(&operators),
            _ => {
                let Some(command) = sent.choose(&mut rng) else { continue };
                let mut bytes = command.bytes.to_vec();
                let forged = rng.random_ratio(1, 10);
                if forged {
                    let at = rng.random_range(0..bytes.len());
                    bytes[at] ^= 1 << rng.random_range(0..8);
                }
                if forgets == Some(Forgets::NowAndThen) && rng.random_ratio(1, 20) {
                    node = Verifier::new("blue", &operators, UnixMs(START));
                }
                let at = if forgets == Some(Forgets::TheTime) { command.issued } else { now };
                if node.verify(&bytes, UnixMs(at)).is_err() {
                    continue;
                }
                let ahead = u64::try_from(AHEAD.as_millis()).unwrap();
                let life = u64::try_from(LIFE.as_millis()).unwrap();
                if forged {
                    return Err(format!("step {step}: a changed command was obeyed"));
                }
                if now + ahead < command.issued || command.expires.min(command.issued + life) < now {
                    return Err(format!("step {step}: obeyed {} at {now}, not in its time", command.nonce));
                }
                if !obeyed.insert(command.nonce) {
                    return Err(format!("step {step}: {} was obeyed twice", command.nonce));
                }
            }
        }
    }
    Ok(obeyed.len() as u64)
}
