//! Ten thousand sessions of people who mean no harm, through the real pipeline and onto accounts: none may be ended, and
//! next to none restricted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::Config;
use portcullis_common::config::secret::Secret;
use portcullis_common::ids::UserId;
use portcullis_common::penalty::{Account, Step, Subject};
use portcullis_common::wire::code::Code;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::CHURN;
use crate::pipeline::buckets::Buckets;
use crate::pipeline::{ConnState, Frame, Now, Policy, Scratch, Verdict, Who, check};
use crate::route::rooms::Subject as Sender;

const USERS: usize = 2_500;
const SESSIONS: usize = 4;

const WORDS: &[&str] = &[
    "hello",
    "naïve",
    "σήμερα",
    "こんにちは",
    "👍",
    "meeting",
    "tomorrow",
    "3 < 5",
    "O'Brien",
    "https://example.org/a?b=1",
    "select",
    "union",
];

/// What developers paste: it fits signatures, and passes.
const CODE: &[&str] = &[
    "SELECT name FROM users UNION SELECT pass FROM admin",
    "<script>alert(1)</script> does not run here",
    "cd ../../etc && cat passwd",
    "{{ user.name }} and ${HOME}",
];

fn text(rng: &mut StdRng, developer: bool) -> String {
    if developer && rng.random_bool(0.2) {
        return CODE[rng.random_range(0..CODE.len())].to_owned();
    }
    (0..rng.random_range(1..20)).map(|_| WORDS[rng.random_range(0..WORDS.len())]).collect::<Vec<_>>().join(" ")
}

fn message(rng: &mut StdRng, developer: bool, token: &str, wall: UnixMs) -> String {
    let (mut kind, mut room, mut token) = ("chat", "team.red", token);
    let mut payload = serde_json::json!({"text": text(rng, developer), "lang": "en", "reply": false, "tags": ["a"]});
    // a bug in an application, a stale page, a link to a room of another team
    match rng.random_range(0..1_000) {
        0..7 => payload = serde_json::json!({"body": 1}),
        7..10 => room = "team.blue",
        10..12 => kind = "unheard-of",
        12..14 => token = "stale",
        _ => {}
    }
    serde_json::json!({
        "type": kind, "to": {"room": room}, "csrfToken": token, "timestamp": wall.0, "payload": payload,
    })
    .to_string()
}

/// A pause of so many ms on average.
fn pause(rng: &mut StdRng, mean: f64) -> u64 {
    (-mean * (1.0 - rng.random::<f64>()).ln()) as u64 + 200
}

#[test]
fn ten_thousand_benign_sessions_are_not_ended_and_hardly_one_is_restricted() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline/tests/data");
    let rules = include_str!("../pipeline/tests/data/chat.toml");
    let config = Config::parse(Some(rules), std::iter::empty(), &base).unwrap();
    let policy = Policy::compile(&config, Arc::new(Buckets::default()), 1).unwrap();
    let penalty = Config::dev(Secret::new(vec![7; 32]), 0, 0).unwrap().penalty;
    let (mut rng, mut scratch) = (StdRng::seed_from_u64(20_261_123), Scratch::default());
    let (mut restricted, mut ended, mut evidence) = (0, 0, 0_u32);
    let roles = ["member".into()];
    for n in 0..USERS {
        let user = UserId::parse(&format!("u{n}")).unwrap();
        let ladder = penalty.ladder(&Subject::User(user.clone()));
        let sender = Sender { user: &user, tenant: None, roles: &roles, claims: r#"{"teams":["red"]}"# };
        let who = Who { subject: sender, issuer: 0, address: [192, 0, 2, 1].into(), limits: None };
        let (developer, mobile) = (rng.random_bool(0.1), rng.random_bool(0.2));
        let (mut account, mut ms) = (Account::default(), rng.random_range(0..86_400_000_u64));
        for _ in 0..SESSIONS {
            let (mut state, began) = (ConnState::default(), ms);
            let at = |ms: u64| Now { mono_ns: (1_000_000_000 + ms) * 1_000_000, wall: UnixMs(1_800_000_000_000 + ms) };
            let token = state.csrf.rotate(policy.csrf(), &mut rng, at(ms));
            let brief = mobile && rng.random_bool(0.3);
            let mut refused = false;
            for _ in 0..if brief { 1 } else { rng.random_range(2..30) } {
                ms += pause(&mut rng, if brief { 500.0 } else { 12_000.0 });
                let text = message(&mut rng, developer, &token, at(ms).wall);
                let checked = check(&policy, &mut state, &who, Frame::Text(&text), at(ms), &mut scratch);
                if let Verdict::Reject { reject, .. } = &checked.verdict {
                    refused |= reject.code == Code::Restricted;
                    ended += usize::from(reject.close.is_some());
                }
                drop(checked);
                if let Some(score) = state.score.as_mut() {
                    score.take_fresh(|found| {
                        evidence += 1;
                        let step = account.charge(&ladder, f64::from(found.weight), at(ms).wall);
                        refused |= step >= Step::Restrict;
                        ended += usize::from(step >= Step::Disconnect);
                    });
                }
            }
            if ms - began < 5_000 {
                refused |= account.charge(&ladder, CHURN, at(ms).wall) >= Step::Restrict;
            }
            restricted += usize::from(refused);
            ms += pause(&mut rng, if mobile { 20_000.0 } else { 600_000.0 });
        }
    }
    assert!(evidence > 1_000, "people do make mistakes: {evidence}");
    assert_eq!(ended, 0);
    assert!(restricted * 1_000 < USERS * SESSIONS, "{restricted} of {}", USERS * SESSIONS);
}

#[test]
fn the_same_measure_stops_somebody_who_means_harm() {
    let penalty = Config::dev(Secret::new(vec![7; 32]), 0, 0).unwrap().penalty;
    let ladder = penalty.ladder(&Subject::User(UserId::parse("eve").unwrap()));
    let (mut account, mut at, mut attempts) = (Account::default(), UnixMs(1_800_000_000_000), 0);
    // three points a message, one a second, each on a connection of its own
    while account.step_at(at) < Step::Restrict {
        attempts += 1;
        assert!(attempts < 100, "{account:?}");
        account.charge(&ladder, 3.0 + CHURN, at);
        at = at.after(Duration::from_secs(1));
    }
}
