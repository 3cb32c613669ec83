//! What every stage does on the simplest messages, and what holds for all of them.

use portcullis_common::ids::{RoomName, UserId};
use portcullis_common::store::bus::Position;
use proptest::prelude::*;

use super::*;

const CHAT: &str = r#"{"type":"chat","to":{"room":"r"},"csrfToken":"TOKEN","payload":{"text":"hi"},"id":"m-1"}"#;

#[test]
fn a_good_message_passes_as_text_and_as_messagepack() {
    let mut bench = Bench::new();
    assert_eq!(bench.text(CHAT).unwrap(), r#"Publish { to: Room("r"), .. }"#);
    let mut packed = Vec::new();
    let text = CHAT.replace("TOKEN", &bench.token);
    portcullis_common::wire::msgpack::from_json(&text, Bounds::default(), &mut packed).unwrap();
    assert_eq!(bench.send(Frame::Binary(&packed)).unwrap(), r#"Publish { to: Room("r"), .. }"#);
}

#[test]
fn each_stage_has_its_code() {
    for (text, code) in [
        (r#"{"type":"chat""#, Code::Malformed),
        (r#"{"type":"chat","to":{"room":"r"},"csrfToken":"TOKEN","timestamp":1}"#, Code::Malformed),
        (r#"{"type":"chat","to":{"room":"r"}}"#, Code::CsrfInvalid),
        (r#"{"type":"nope","csrfToken":"TOKEN"}"#, Code::TypeUnknown),
        (r#"{"type":"nope"}"#, Code::CsrfInvalid),
        (r#"{"type":"chat","csrfToken":"TOKEN"}"#, Code::Malformed),
        (r#"{"type":"chat","to":{"user":"u"},"csrfToken":"TOKEN"}"#, Code::Malformed),
        (r#"{"type":"direct","to":{"room":"r"},"csrfToken":"TOKEN"}"#, Code::Malformed),
        (r#"{"type":"join","csrfToken":"TOKEN"}"#, Code::Malformed),
        (r#"{"type":"ack","csrfToken":"TOKEN"}"#, Code::Malformed),
        (r#"{"type":"health-check","to":{"room":"r"}}"#, Code::Malformed),
        (
            r#"{"type":"join","to":{"room":"r"},"csrfToken":"TOKEN","payload":{"since":{"offset":1}}}"#,
            Code::SchemaInvalid,
        ),
        (r#"{"type":"join","to":{"room":"r"},"csrfToken":"TOKEN","payload":{"sinse":1}}"#, Code::SchemaInvalid),
        (r#"{"type":"token_refresh"}"#, Code::SchemaInvalid),
        (r#"{"type":"token_refresh","payload":{"token":1}}"#, Code::SchemaInvalid),
    ] {
        assert_eq!(Bench::new().code(text), code, "{text}");
    }
    let mut stranger = Bench::new();
    stranger.roles.clear();
    assert_eq!(stranger.code(CHAT), Code::Forbidden);
}

#[test]
fn built_in_types_are_typed() {
    for (text, action) in [
        (r#"{"type":"join","to":{"room":"r"},"csrfToken":"TOKEN"}"#, r#"Join { room: "r", since: None }"#),
        (
            r#"{"type":"join","to":{"room":"r"},"csrfToken":"TOKEN","payload":null}"#,
            r#"Join { room: "r", since: None }"#,
        ),
        (r#"{"type":"leave","to":{"room":"r"},"csrfToken":"TOKEN"}"#, r#"Leave { room: "r" }"#),
        (r#"{"type":"presence","to":{"room":"r"},"csrfToken":"TOKEN"}"#, r#"Presence { room: "r" }"#),
        (r#"{"type":"ack","id":"7","csrfToken":"TOKEN"}"#, "Ack"),
        (r#"{"type":"health-check"}"#, "HealthCheck"),
        (r#"{"type":"token_refresh","payload":{"token":"a.b.c"}}"#, "TokenRefresh"),
        (r#"{"type":"direct","to":{"user":"bob"},"csrfToken":"TOKEN"}"#, r#"Publish { to: User("bob"), .. }"#),
        (r#"{"type":"open","to":{"room":"r"}}"#, r#"Publish { to: Room("r"), .. }"#),
    ] {
        assert_eq!(Bench::new().text(text).as_deref(), Ok(action), "{text}");
    }
    let mut bench = Bench::new();
    let since =
        r#"{"type":"join","to":{"room":"r"},"csrfToken":"TOKEN","payload":{"since":{"offset":9,"epoch":"beef"}}}"#
            .replace("TOKEN", &bench.token);
    match bench.check(Frame::Text(&since)).verdict {
        Verdict::Pass(Passed { action: Action::Join { room, since, .. }, .. }) => {
            assert_eq!(room, RoomName::parse("r").unwrap());
            assert_eq!(since, Some(Position { offset: 9, epoch: 0xbeef }));
        }
        other => panic!("{other:?}"),
    }
    assert!(UserId::parse("bob").is_ok());
}

#[test]
fn a_refusal_answers_the_id_where_there_is_one() {
    let bench = &mut Bench::new();
    bench.roles.clear();
    let text = CHAT.replace("TOKEN", &bench.token);
    match bench.check(Frame::Text(&text)).verdict {
        Verdict::Reject { reject, id, stage: Stage::Role } => {
            assert_eq!((reject.code, id.as_deref()), (Code::Forbidden, Some("m-1")))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn sizes_are_inclusive_and_only_the_general_one_ends_the_connection() {
    let mut bench = Bench::new();
    let small = |len: usize, token: &str| {
        let head = format!(r#"{{"type":"small","to":{{"room":"r"}},"csrfToken":"{token}","payload":""#);
        format!("{head}{}\"}}", "x".repeat(len - head.len() - 2))
    };
    let token = bench.token.clone();
    assert!(bench.send(Frame::Text(&small(150, &token))).is_ok());
    let reject = bench.send(Frame::Text(&small(151, &token))).unwrap_err();
    assert_eq!((reject.code, reject.close), (Code::TooLarge, None));
    assert_eq!(bench.text(&" ".repeat(65_536)).unwrap_err().code, Code::Malformed);
    let reject = bench.text(&" ".repeat(65_537)).unwrap_err();
    assert_eq!((reject.code, reject.close), (Code::TooLarge, Some(Close::TooBig)));
}

#[test]
fn a_malformed_message_counts_as_five() {
    let mut bench = Bench::new();
    for _ in 0..4 {
        assert_eq!(bench.code("{"), Code::Malformed);
    }
    assert_eq!(bench.code("{"), Code::RateLimited, "four malformed ones are the burst of twenty");
    let mut stale = Bench::new();
    for _ in 0..20 {
        assert_eq!(
            stale.code(r#"{"type":"health-check","timestamp":1}"#),
            Code::Malformed,
            "a wrong clock is no attack"
        );
    }
}

#[test]
fn retry_after_is_exact_for_the_connection_and_for_the_type() {
    let typing = r#"{"type":"typing","to":{"room":"r"},"csrfToken":"TOKEN"}"#;
    let mut bench = Bench::new();
    assert!(bench.text(typing).is_ok());
    let wait = bench.text(typing).unwrap_err().retry_after.unwrap();
    assert_eq!(wait, Duration::from_millis(500));
    bench.wait(wait - Duration::from_nanos(1));
    assert_eq!(bench.code(typing), Code::RateLimited);
    bench.wait(Duration::from_nanos(1));
    assert!(bench.text(typing).is_ok());

    let mut bench = Bench::new();
    while bench.text(CHAT).is_ok() {}
    let wait = bench.text(CHAT).unwrap_err().retry_after.unwrap();
    assert_eq!(wait, Duration::from_millis(600));
    bench.wait(wait);
    assert!(bench.text(CHAT).is_ok());
}

#[test]
fn a_typed_refusal_waits_for_the_connection_too() {
    let typing = r#"{"type":"typing","to":{"room":"r"},"csrfToken":"TOKEN"}"#;
    let mut bench = Bench::with("[limit.message]\nrate = \"1/min\"\nburst = 2");
    assert!(bench.text(typing).is_ok());
    let wait = bench.text(typing).unwrap_err().retry_after.unwrap();
    assert_eq!(wait, Duration::from_secs(60), "the type alone would say half a second");
    bench.wait(wait);
    assert!(bench.text(typing).is_ok());
}

#[test]
fn bytes_are_limited_and_a_refused_message_takes_nothing() {
    let mut bench = Bench::with("[limit.bytes]\nrate = \"1000/s\"\nburst = 1000");
    let long = format!(r#"{{"type":"health-check","payload":"{}"}}"#, "x".repeat(764));
    assert_eq!(long.len(), 800);
    assert!(bench.text(&long).is_ok());
    for _ in 0..30 {
        let wait = bench.text(&long).unwrap_err().retry_after.unwrap();
        assert_eq!(wait, Duration::from_millis(600));
    }
    bench.wait(Duration::from_millis(600));
    assert!(bench.text(&long).is_ok(), "thirty refusals took no message tokens");
}

#[test]
fn the_fifty_first_refusal_in_a_minute_ends_the_connection() {
    let mut bench = Bench::with("[limit.message]\nrate = \"1000000/s\"\nburst = 1000");
    let nope = r#"{"type":"nope","csrfToken":"TOKEN"}"#;
    for n in 0..50 {
        assert_eq!(bench.text(nope).unwrap_err().close, None, "refusal {n}");
    }
    let last = bench.text(nope).unwrap_err();
    assert_eq!((last.code, last.close), (Code::TypeUnknown, Some(Close::RateLimited)));
    bench.wait(Duration::from_secs(60));
    assert_eq!(bench.text(nope).unwrap_err().close, None, "a minute later all is forgiven");
}

#[test]
fn control_frames_have_a_limit_of_their_own() {
    let mut bench = Bench::new();
    for _ in 0..30 {
        assert!(check_control(&bench.policy, &mut bench.state, bench.now).is_ok());
    }
    let reject = check_control(&bench.policy, &mut bench.state, bench.now).unwrap_err();
    assert_eq!((reject.close, reject.retry_after), (Some(Close::RateLimited), Some(Duration::from_secs(1))));
    assert!(bench.text(CHAT).is_ok());
}

#[test]
fn a_connection_carries_little() {
    assert!(size_of::<ConnState>() <= 128, "{}", size_of::<ConnState>());
}

#[test]
fn debug_of_a_verdict_shows_no_token() {
    let mut bench = Bench::new();
    let text = r#"{"type":"token_refresh","payload":{"token":"hush.hush"},"csrfToken":"hush"}"#;
    let verdict = bench.check(Frame::Text(text)).verdict;
    assert!(matches!(verdict, Verdict::Pass(_)));
    assert!(!format!("{verdict:?}").contains("hush"));
}

proptest! {
    #[test]
    fn noise_never_panics_and_never_passes(bytes: Vec<u8>, text in "\\PC{0,60}") {
        let mut bench = Bench::new();
        prop_assert!(bench.send(Frame::Binary(&bytes)).is_err());
        prop_assert!(bench.send(Frame::Text(&text)).is_err());
    }

    #[test]
    fn whatever_comes_no_more_passes_than_the_limit_allows(gaps in proptest::collection::vec(0u64..2_000, 1..200)) {
        let mut bench = Bench::with("[limit.message]\nrate = \"60/min\"\nburst = 5");
        let (mut passed, mut elapsed) = (0, 0);
        for gap in gaps {
            bench.wait(Duration::from_millis(gap));
            elapsed += gap;
            passed += u64::from(bench.text(CHAT).is_ok());
        }
        prop_assert!(passed <= elapsed / 1_000 + 5);
    }
}

#[test]
fn an_overloaded_node_looks_at_nothing_of_what_it_turns_away_but_its_type() {
    let bulk = "[message.bulk]\nroles = [\"writer\"]\nroute = \"room\"\npriority = \"low\"\n";
    let mut bench = Bench::with(&format!("{bulk}[limit.message]\nrate = \"100/s\"\nburst = 100\n"));
    let low = r#"{"type":"bulk","to":{"room":"r"},"payload":{"text":"<script>"},"id":"b-1"}"#;
    assert_eq!(bench.code(low), Code::CsrfInvalid, "it is looked at while there is time");
    bench.sheds = Sheds::Low;
    let Checked { verdict, notes } = bench.check(Frame::Text(low));
    assert!(matches!(&verdict, Verdict::Shed { id: Some(id) } if id == "b-1") && notes.is_empty(), "{verdict:?}");
    for _ in 0..=REFUSALS_PER_MINUTE {
        assert!(matches!(bench.check(Frame::Text(low)).verdict, Verdict::Shed { .. }), "nothing counts against it");
    }
    assert!(bench.text(CHAT).is_ok(), "of normal priority");
    assert_eq!(bench.code(&low[..40]), Code::Malformed, "its type is not known");
    let oversized = format!("{low}{}", " ".repeat(70_000));
    assert_eq!(bench.code(&oversized), Code::TooLarge);
    bench.sheds = Sheds::All;
    for text in [low, CHAT] {
        assert!(matches!(bench.check(Frame::Text(text)).verdict, Verdict::Shed { .. }), "{text}");
    }
    let join = r#"{"type":"join","to":{"room":"r"},"csrfToken":"TOKEN"}"#;
    assert!(bench.text(join).is_ok() && bench.text(r#"{"type":"health-check"}"#).is_ok(), "the gateway's own");
}
