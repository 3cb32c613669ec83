use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::model::Rate;
use crate::wire::envelope::RawJson;
use crate::wire::scan::{Bounds, Scratch};

const NOW: UnixMs = UnixMs(1_700_000_000_123);

fn read(reply: &dyn Reply) -> Value {
    let bytes = reply.to_bytes();
    RawJson::check(std::str::from_utf8(&bytes).unwrap(), Bounds::default(), &mut Scratch::default())
        .expect("what we say would pass our own scan");
    serde_json::from_slice(&bytes).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

#[test]
fn welcome_has_every_field_of_the_contract() {
    let limit = |count, burst| Limit { rate: Rate { count, period: Duration::from_secs(60) }, burst };
    let welcome = Welcome {
        session: SessionId(7),
        user: &user("ada\"x"),
        csrf_token: "c",
        expires_at: UnixMs(5),
        heartbeat: Duration::from_secs(25),
        resume: Some(ResumeGrant { token: "r", resumed: false }),
        limits: WelcomeLimits { message_bytes: 65_536, rooms: 64, messages: limit(100, 20), bytes: limit(9, 3) },
        node: &NodeId::parse("gw-1").unwrap(),
        now: NOW,
    };
    let expected = json!({"type": "welcome", "timestamp": NOW.0, "payload": {
        "sessionId": SessionId(7).to_string(), "userId": "ada\"x", "csrfToken": "c", "expiresAt": 5, "heartbeat": 25_000,
        "resume": {"token": "r", "resumed": false}, "node": "gw-1",
        "limits": {"messageBytes": 65_536, "rooms": 64, "messages": {"count": 100, "period": 60_000, "burst": 20},
            "bytes": {"count": 9, "period": 60_000, "burst": 3}}}});
    assert_eq!(read(&welcome), expected);
    assert_eq!(read(&Welcome { resume: None, ..welcome })["payload"]["resume"], Value::Null);
}

#[test]
fn acks_say_what_became_of_the_request() {
    let room = RoomName::parse("team.red").unwrap();
    let position = Position { offset: 9, epoch: 0xbeef };
    let users = [user("a"), user("b")];
    for (done, kind, payload) in [
        (Acked::Done, "ack", json!({})),
        (Acked::Sent { duplicate: true }, "ack", json!({"duplicate": true})),
        (Acked::Taken { position: None, duplicate: false }, "ack", json!({"duplicate": false})),
        (
            Acked::Taken { position: Some(position), duplicate: false },
            "ack",
            json!({"duplicate": false, "offset": 9, "epoch": "beef"}),
        ),
        (
            Acked::Joined { recovered: true, position, members: 3 },
            "ack",
            json!({"recovered": true, "offset": 9, "epoch": "beef", "members": 3}),
        ),
        (Acked::Refreshed { expires_at: UnixMs(8) }, "ack", json!({"expiresAt": 8})),
        (Acked::Present { users: &users, sessions: 5 }, "presence", json!({"users": ["a", "b"], "sessions": 5})),
    ] {
        let ack = Ack { id: Some("m\"1"), room: Some(&room), done, now: NOW };
        let expected = json!({"type": kind, "payload": payload, "room": "team.red", "id": "m\"1", "timestamp": NOW.0});
        assert_eq!(read(&ack), expected);
    }
    let bare = Ack { id: None, room: None, done: Acked::Done, now: NOW };
    assert_eq!(read(&bare), json!({"type": "ack", "payload": {}, "timestamp": NOW.0}));
}

#[test]
fn errors_have_fixed_texts_and_never_ask_too_early() {
    let error = ErrorReply {
        code: Code::RateLimited,
        request: RequestId(3),
        retry_after: Some(Duration::from_nanos(100_000_001)),
        id: None,
        now: NOW,
    };
    assert_eq!(
        read(&error),
        json!({"type": "error", "timestamp": NOW.0, "payload": {"code": "rate_limited",
        "message": "Too many requests.", "requestId": RequestId(3).to_string(), "retryAfter": 101}})
    );
    let exact = ErrorReply { retry_after: Some(Duration::from_millis(100)), ..error };
    assert_eq!(read(&exact)["payload"]["retryAfter"], 100);
    assert!(read(&ErrorReply { retry_after: None, ..error })["payload"].get("retryAfter").is_none());
}

#[test]
fn the_small_ones() {
    let room = RoomName::parse("r").unwrap();
    let ada = user("ada");
    let t = NOW.0;
    for (reply, expected) in [
        (
            &Csrf { token: "x", now: NOW } as &dyn Reply,
            json!({"type": "csrf", "payload": {"token": "x"}, "timestamp": t}),
        ),
        (
            &PresenceEvent { room: &room, user: &ada, joined: true, now: NOW },
            json!({"type": "presence", "payload": {"joined": "ada"}, "room": "r", "timestamp": t}),
        ),
        (
            &PresenceEvent { room: &room, user: &ada, joined: false, now: NOW },
            json!({"type": "presence", "payload": {"left": "ada"}, "room": "r", "timestamp": t}),
        ),
        (
            &Reconnect { after: Duration::from_millis(1_500), now: NOW },
            json!({"type": "reconnect", "payload": {"after": 1_500}, "timestamp": t}),
        ),
        (
            &TokenExpiring { expires_at: UnixMs(9), now: NOW },
            json!({"type": "token_expiring", "payload": {"expiresAt": 9}, "timestamp": t}),
        ),
        (
            &HealthCheck { id: Some("h"), now: NOW },
            json!({"type": "health-check", "payload": {"serverTime": t}, "id": "h", "timestamp": t}),
        ),
    ] {
        assert_eq!(read(reply), expected);
    }
}

#[test]
fn what_the_store_knows_is_spliced_before_the_last_brace() {
    let mut out = Vec::new();
    put_placed(&mut out, br#"{"type":"chat"}"#, Position { offset: 12, epoch: u64::MAX });
    assert_eq!(out, br#"{"type":"chat","offset":12,"epoch":"ffffffffffffffff"}"#);
    out.clear();
    put_degraded(&mut out, br#"{"type":"chat"}"#);
    assert_eq!(out, br#"{"type":"chat","degraded":true}"#);
}

#[test]
fn an_epoch_has_one_spelling() {
    for bad in ["", "00", "0a", "A", "+1", "-1", "1g", "10000000000000000", " 1"] {
        assert_eq!(parse_epoch(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn an_epoch_reads_back(epoch: u64) {
        prop_assert_eq!(parse_epoch(&epoch_text(epoch)), Some(epoch));
    }

    #[test]
    fn a_published_message_holds_what_was_sent(name in "[!-~é]{1,20}", text in "\\PC*", offset: u64, epoch: u64) {
        let payload = json!({"text": text}).to_string();
        let mut scratch = Scratch::default();
        let sender = user(&name);
        let room = RoomName::parse("team.red").unwrap();
        let body = Published {
            kind: "chat",
            payload: Some(RawJson::check(&payload, Bounds::default(), &mut scratch).unwrap()),
            user: &sender,
            session: SessionId(1),
            room: Some(&room),
            now: NOW,
        }
        .to_bytes();
        let mut out = Vec::new();
        put_placed(&mut out, &body, Position { offset, epoch });
        let expected = json!({"type": "chat", "payload": {"text": text}, "timestamp": NOW.0, "room": "team.red",
            "from": {"user": name, "session": SessionId(1).to_string()}, "offset": offset, "epoch": epoch_text(epoch)});
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
    }
}
