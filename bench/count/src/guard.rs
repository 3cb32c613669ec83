//! What a chat message costs once more on its way out: nothing where nothing is asked for, and with every check.

use std::hint::black_box;

use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{RoomName, SessionId, UserId};
use portcullis_common::wire::envelope;
use portcullis_common::wire::reply::{Published, Reply};
use portcullis_common::wire::scan::{Bounds, Scratch as ScanScratch};
use portcullis_gateway::pipeline::outbound::{Outcome, Scratch, check};

use crate::case::Case;
use crate::message::{Bench, chat};

/// The rows of the guard.
pub fn cases() -> Vec<Case> {
    vec![
        case("guard on the way out, nothing asked", "chat", "the", |outcome| outcome.is_none()),
        case("guard on the way out, all checks", "out", "the", |outcome| outcome.is_none()),
        case("guard on the way out, a secret", "out", "AKIAIOSFODNN7EXAMPLE the", |outcome| {
            matches!(outcome, Some(Outcome::Changed(_)))
        }),
    ]
}

/// A message of 300 bytes of this type, as it goes to clients, with its first word replaced.
fn body(kind: &str, word: &str) -> Vec<u8> {
    let text = chat("chat", "").replacen("the", word, 1);
    let mut scratch = ScanScratch::default();
    let message = envelope::decode(&text, Bounds::default(), &mut scratch).expect("legal");
    let (user, room) = (UserId::parse("ada").expect("legal"), RoomName::parse("team.red").expect("legal"));
    let session = SessionId(1);
    let published =
        Published { kind, payload: message.payload, user: &user, session, room: Some(&room), now: UnixMs(1) };
    published.to_bytes().to_vec()
}

fn case(name: &str, kind: &str, word: &str, right: fn(Option<Outcome>) -> bool) -> Case {
    let (policy, body) = (Bench::new().policy(), body(kind, word));
    let mut scratch = Scratch::default();
    Case::one(name, move || {
        let checked = check(policy, black_box(&body), &mut scratch);
        assert!(right(checked.map(|checked| checked.outcome)));
    })
}
