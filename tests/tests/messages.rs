//! Messages between clients: rooms over both workers, users, what is refused and what comes back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use portcullis_tests::blocking::{BINARY, Raw, TEXT};
use portcullis_tests::inside::Inside;
use portcullis_tests::say::{so_far, to_room, to_user};
use portcullis_tests::tokens;
use serde_json::{Value, json};

fn open(inside: &Inside, user: &str) -> Raw {
    Raw::open(inside.public, &tokens::good(user))
}

#[test]
fn members_on_both_workers_get_every_message_once_and_in_one_order() {
    const MEMBERS: usize = 6;
    const EACH: usize = 50;
    let inside = Inside::start(&[]);
    let mut members: Vec<Raw> = (0..MEMBERS).map(|n| open(&inside, &format!("m{n}"))).collect();
    let workers = members.iter().map(|m| inside.entry(m.session()).unwrap().peer.worker);
    assert_eq!(workers.collect::<std::collections::BTreeSet<_>>().len(), 2, "members on both workers");
    for member in &mut members {
        member.join("plain.order");
    }
    // nobody waits for anybody: all senders at once, on both workers
    for n in 0..EACH {
        for (m, member) in members.iter_mut().enumerate() {
            member.say(to_room("chat", "plain.order", format!("{m}/{n}")));
        }
    }
    let mut heard =
        members.iter_mut().map(|member| (0..MEMBERS * EACH).map(|_| member.message_of("chat")).collect::<Vec<_>>());
    let first = heard.next().unwrap();
    for (n, message) in first.iter().enumerate() {
        assert_eq!(message["offset"], json!(n + 1), "no gap");
        assert_eq!(message["room"], "plain.order");
        assert_eq!(message["epoch"], first[0]["epoch"]);
    }
    for sender in 0..MEMBERS {
        let own = first.iter().filter(|m| m["from"]["user"] == format!("m{sender}"));
        let texts: Vec<_> = own.map(|m| m["payload"].as_str().unwrap().to_owned()).collect();
        assert_eq!(
            texts,
            (0..EACH).map(|n| format!("{sender}/{n}")).collect::<Vec<_>>(),
            "each sender's order is kept"
        );
    }
    for other in heard {
        assert_eq!(other, first, "the same messages in the same order for everybody");
    }
    for member in &mut members {
        assert_eq!(so_far(member), Vec::<Value>::new(), "and nothing twice");
    }
}

#[test]
fn the_sender_hears_itself_unless_the_type_says_otherwise_and_an_ack_has_the_place() {
    let inside = Inside::start(&[]);
    let (mut ann, mut bob) = (open(&inside, "ann"), open(&inside, "bob"));
    let joined = ann.join("plain.a");
    assert_eq!((&joined["recovered"], &joined["members"]), (&json!(false), &json!(1)));
    assert_eq!(bob.join("plain.a")["members"], 2);

    let ack = ann.ask(to_room("chat", "plain.a", "loud"));
    assert_eq!(
        (&ack["type"], &ack["room"], &ack["payload"]["duplicate"]),
        (&json!("ack"), &json!("plain.a"), &json!(false))
    );
    let own = ann.message();
    assert_eq!((&own["offset"], &own["epoch"]), (&ack["payload"]["offset"], &ack["payload"]["epoch"]));
    assert_eq!(own["from"], json!({"user": "ann", "session": ann.session()}));
    assert_eq!(bob.message(), own, "one message, whoever gets it");

    let quiet = ann.ask(to_room("quiet", "plain.a", Value::Null));
    assert_eq!(quiet["payload"]["offset"].as_u64(), own["offset"].as_u64().map(|n| n + 1));
    assert_eq!(bob.message()["type"], "quiet");
    // another session of the same user is not the sender
    let mut twin = open(&inside, "ann");
    twin.join("plain.a");
    ann.ask(to_room("quiet", "plain.a", "again"));
    assert_eq!(twin.message()["payload"], "again");
    assert_eq!(so_far(&mut ann), Vec::<Value>::new());
}

#[test]
fn the_same_id_is_taken_once_also_on_another_session_of_the_user() {
    let inside = Inside::start(&[]);
    let (mut ann, mut twin, mut bob) = (open(&inside, "ann"), open(&inside, "ann"), open(&inside, "bob"));
    for raw in [&mut ann, &mut twin, &mut bob] {
        raw.join("plain.a");
    }
    let mut message = to_room("quiet", "plain.a", "once");
    message["id"] = json!("m-1");
    let first = ann.ask(message.clone())["payload"].clone();
    assert_eq!(first["duplicate"], false);
    for again in [ann.ask(message.clone()), twin.ask(message.clone())] {
        assert_eq!(again["payload"], json!({"duplicate": true, "offset": first["offset"], "epoch": first["epoch"]}));
    }
    // another user's id is another id, another room too
    assert_eq!(bob.ask(message.clone())["payload"]["duplicate"], false);
    twin.join("plain.b");
    message["to"]["room"] = json!("plain.b");
    assert_eq!(twin.ask(message)["payload"]["duplicate"], false);

    let heard = so_far(&mut bob);
    assert_eq!(heard.iter().filter(|m| m["from"]["user"] == "ann").count(), 1, "{heard:?}");

    let mut direct = to_user("bob", "once");
    direct["id"] = json!("d-1");
    assert_eq!(ann.ask(direct.clone())["payload"], json!({"duplicate": false}));
    assert_eq!(ann.ask(direct)["payload"], json!({"duplicate": true}));
    bob.message_of("direct");
    assert_eq!(so_far(&mut bob), Vec::<Value>::new());
}

#[test]
fn rooms_are_for_those_whom_their_rules_let_in() {
    let inside = Inside::start(&[("session.max_rooms", "3")]);
    let mut red = Raw::open(inside.public, &tokens::with("rose", &json!({"teams": ["red"]})));
    red.join("team.red");
    let join = |room: &str| json!({"type": "join", "to": {"room": room}});
    assert_eq!(red.refused(join("team.blue")), "forbidden");
    assert_eq!(red.refused(join("no.such.room")), "forbidden", "what no rule matches");
    assert_eq!(open(&inside, "ben").refused(join("team.red")), "forbidden", "a token without teams");
    let mut guest = Raw::open(inside.public, &tokens::with("gus", &json!({"roles": ["guest"]})));
    assert_eq!(guest.refused(join("plain.a")), "forbidden");

    assert_eq!(red.refused(to_room("chat", "plain.a", 1)), "not_member");
    assert_eq!(red.refused(json!({"type": "leave", "to": {"room": "plain.a"}})), "not_member");
    red.join("news.today");
    assert_eq!(red.refused(to_room("chat", "news.today", 1)), "forbidden", "may join, may not publish");
    assert_eq!(red.refused(to_room("notice", "team.red", 1)), "forbidden", "a type for editors");
    let mut editor = Raw::open(inside.public, &tokens::with("eve", &json!({"roles": ["member", "editor"]})));
    editor.join("news.today");
    assert_eq!(editor.ask(to_room("notice", "news.today", "hear"))["type"], "ack");
    assert_eq!(red.message()["payload"], "hear");

    red.join("plain.a");
    assert_eq!(red.refused(join("plain.b")), "conflict", "as many as a session may be in");
    red.join("plain.a");
    assert_eq!(red.ask(json!({"type": "leave", "to": {"room": "plain.a"}}))["payload"], json!({}));
    red.join("plain.b");
    assert_eq!(red.refused(to_room("chat", "plain.a", 1)), "not_member", "left is left");
}

#[test]
fn what_is_not_a_legal_message_is_refused_by_its_code() {
    let inside = Inside::start(&[]);
    let mut raw = open(&inside, "ann");
    raw.join("plain.a");
    let csrf = raw.csrf.clone();
    let now = portcullis_tests::wait::wall().0;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let with = |rest: &str| format!(r#"{{"type":"chat","to":{{"room":"plain.a"}},"csrfToken":"{csrf}"{rest}}}"#);
    let cases = [
        ("no JSON", "{".to_owned(), "malformed"),
        ("an unknown member", with(r#","extra":1"#), "malformed"),
        ("a key twice", with(r#","payload":{"a":1,"a":2}"#), "malformed"),
        ("a key twice, once escaped", with(r#","payload":{"a":1,"\u0061":2}"#), "malformed"),
        ("a top-level key twice", with(r#","type":"chat""#), "malformed"),
        ("__proto__", with(r#","payload":{"x":[{"__proto__":{}}]}"#), "malformed"),
        ("an escaped constructor", with(r#","payload":{"c\u006fnstructor":1}"#), "malformed"),
        ("prototype", with(r#","payload":{"prototype":1}"#), "malformed"),
        ("depth 17", with(&format!(",\"payload\":{}", nested(16))), "malformed"),
        ("a stale timestamp", with(&format!(",\"timestamp\":{}", now - 121_000)), "malformed"),
        ("a timestamp of tomorrow", with(&format!(",\"timestamp\":{}", now + 130_000)), "malformed"),
        ("no token", r#"{"type":"chat","to":{"room":"plain.a"}}"#.to_owned(), "csrf_invalid"),
        ("an empty token", r#"{"type":"chat","to":{"room":"plain.a"},"csrfToken":""}"#.to_owned(), "csrf_invalid"),
        ("null for a token", r#"{"type":"chat","to":{"room":"plain.a"},"csrfToken":null}"#.to_owned(), "malformed"),
        ("an undeclared type", with("").replace("chat", "nonsense"), "type_unknown"),
        ("a type of the gateway's own", with("").replace("chat", "welcome"), "type_unknown"),
        ("a room's type to a user", with("").replace(r#""room":"plain.a""#, r#""user":"bob""#), "malformed"),
        ("no address", with("").replace(r#""to":{"room":"plain.a"},"#, ""), "malformed"),
        ("an impossible room", with("").replace("plain.a", "plain a"), "malformed"),
        ("an illegal id", with(r#","id":"with space""#), "malformed"),
    ];
    for (what, text, code) in cases {
        assert!(raw.send(TEXT, text.as_bytes()));
        let answer = raw.message();
        assert_eq!((&answer["type"], &answer["payload"]["code"]), (&json!("error"), &json!(code)), "{what}");
        assert!(answer["payload"]["requestId"].as_str().is_some_and(|id| id.len() == 26));
    }
    let other = open(&inside, "bob").csrf;
    let mut foreign = to_room("chat", "plain.a", 1);
    foreign["csrfToken"] = json!(other);
    assert_eq!(raw.refused(foreign), "csrf_invalid", "another session's token");
    // the bounds themselves are good
    for text in [with(&format!(",\"payload\":{}", nested(15))), with(&format!(",\"timestamp\":{}", now - 100_000))] {
        assert!(raw.send(TEXT, text.as_bytes()));
        assert_eq!(raw.message()["type"], "chat", "{text}");
    }
}

#[test]
fn a_direct_message_reaches_every_session_of_the_user_and_no_other_tenant() {
    let inside = Inside::start(&[]);
    let mut ann = open(&inside, "ann");
    let mut bobs: Vec<Raw> = (0..4).map(|_| open(&inside, "bob")).collect();
    let mut foreign = Raw::open(inside.public, &tokens::with("zoe", &json!({"tenant": "other"})));
    let mut foreign_bob = Raw::open(inside.public, &tokens::with("bob", &json!({"tenant": "other"})));
    let mut homeless = Raw::open(inside.public, &tokens::with("hal", &json!({"tenant": null})));

    let answer = ann.ask(to_user("bob", "hi"));
    for bob in &mut bobs {
        let message = bob.message();
        assert_eq!((&message["payload"], &message["from"]["user"]), (&json!("hi"), &json!("ann")));
        assert!(message.get("offset").is_none() && message.get("room").is_none(), "{message}");
    }
    // connected elsewhere, or nobody: the sender cannot tell
    let shape = |mut answer: Value| {
        answer["timestamp"] = json!(0);
        answer["id"] = json!("");
        answer
    };
    let (other, nobody) = (ann.ask(to_user("zoe", "hi")), ann.ask(to_user("nobody", "hi")));
    assert_eq!((shape(other), shape(nobody)), (shape(answer.clone()), shape(answer)));
    assert_eq!(so_far(&mut ann), Vec::<Value>::new());
    assert_eq!(homeless.refused(to_user("bob", "hi")), "forbidden", "a sender without a tenant");

    // what is sent last comes last, so nothing has come before it
    let mut zack = Raw::open(inside.public, &tokens::with("zack", &json!({"tenant": "other"})));
    zack.ask(to_user("zoe", "the first"));
    zack.ask(to_user("bob", "the first"));
    assert_eq!(foreign.message()["payload"], "the first");
    assert_eq!(foreign_bob.message()["payload"], "the first");
    for bob in &mut bobs {
        assert_eq!(so_far(bob), Vec::<Value>::new(), "one tenant's user is not the other's");
    }
}

#[test]
fn presence_tells_members_who_comes_who_goes_and_who_is_there() {
    let inside = Inside::start(&[]);
    let list = json!({"type": "presence", "to": {"room": "lobby"}});
    let mut ann = open(&inside, "ann");
    assert_eq!(ann.refused(list.clone()), "not_member");
    ann.join("lobby");
    assert_eq!(ann.message()["payload"], json!({"joined": "ann"}));
    let (mut bob, mut twin) = (open(&inside, "bob"), open(&inside, "bob"));
    assert_eq!(bob.join("lobby")["members"], 2);
    assert_eq!(twin.join("lobby")["members"], 3);
    assert_eq!(ann.message()["payload"], json!({"joined": "bob"}), "once, not for each session");
    let mut answer = ann.ask(list.clone());
    assert_eq!(answer["type"], "presence");
    answer["payload"]["users"].as_array_mut().unwrap().sort_by_key(Value::to_string);
    assert_eq!(answer["payload"], json!({"users": ["ann", "bob"], "sessions": 3}));

    assert_eq!(twin.close(1000), Some(1000));
    bob.ask(json!({"type": "leave", "to": {"room": "lobby"}}));
    assert_eq!(ann.message()["payload"], json!({"left": "bob"}), "with the last session");
    bob.join("lobby");
    assert_eq!(ann.message()["payload"], json!({"joined": "bob"}));
    drop(bob);
    assert_eq!(ann.message()["payload"], json!({"left": "bob"}), "a broken connection leaves too");
    assert_eq!(ann.ask(list)["payload"], json!({"users": ["ann"], "sessions": 1}));
    ann.join("plain.a");
    assert_eq!(ann.refused(json!({"type": "presence", "to": {"room": "plain.a"}})), "forbidden");
}

#[test]
fn who_comes_back_gets_what_was_missed_or_is_told_that_something_is_missing() {
    let inside = Inside::start(&[]);
    let (mut ann, mut bob) = (open(&inside, "ann"), open(&inside, "bob"));
    ann.join("kept.a");
    bob.join("kept.a");
    ann.ask(to_room("quiet", "kept.a", 0));
    let seen = bob.message();
    let since = |message: &Value| json!({"since": {"offset": message["offset"], "epoch": message["epoch"]}});
    let back = |payload: Value| json!({"type": "join", "to": {"room": "kept.a"}, "payload": payload, "id": "back"});
    drop(bob);
    for n in 1..=5 {
        ann.ask(to_room("quiet", "kept.a", n));
    }
    let mut bob = open(&inside, "bob");
    let ack = bob.ask(back(since(&seen)));
    assert_eq!((&ack["payload"]["recovered"], &ack["payload"]["offset"]), (&json!(true), &json!(6)));
    let mut missed = so_far(&mut bob);
    assert_eq!(missed.iter().map(|m| m["payload"].clone()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    ann.ask(to_room("quiet", "kept.a", 6));
    missed.push(bob.message());
    assert_eq!(missed.iter().map(|m| m["offset"].as_u64().unwrap()).collect::<Vec<_>>(), (2..=7).collect::<Vec<_>>());

    // five are kept: one that saw only the first has lost one
    let mut late = open(&inside, "late");
    let ack = late.ask(back(since(&seen)));
    assert_eq!(ack["payload"]["recovered"], false);
    assert_eq!(so_far(&mut late).iter().map(|m| m["payload"].clone()).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    // another life of the room, a place that is still to come, a room that keeps nothing
    let mut odd = open(&inside, "odd");
    let position = json!({"offset": 1, "epoch": "1"});
    assert_eq!(odd.ask(back(json!({"since": position})))["payload"]["recovered"], false);
    assert_eq!(so_far(&mut odd), Vec::<Value>::new());
    let mut ahead = since(&seen);
    ahead["since"]["offset"] = json!(1_000);
    assert_eq!(odd.ask(back(ahead))["payload"]["recovered"], false);
    let mut plain = back(since(&seen));
    plain["to"]["room"] = json!("plain.a");
    assert_eq!(odd.ask(plain)["payload"]["recovered"], false);
    assert_eq!(odd.refused(back(json!({"since": {"offset": -1, "epoch": "1"}}))), "schema_invalid");
}

#[test]
fn messagepack_and_json_clients_talk_and_bytes_survive() {
    let inside = Inside::start(&[]);
    let mut json = open(&inside, "json");
    let mut packed = Raw::open_msgpack(inside.public, &tokens::good("pack"));
    json.join("plain.a");
    packed.join("plain.a");
    let payload =
        json!({"text": "grüß", "n": -7, "big": u64::MAX, "half": 0.5, "list": [null, true, {"$bin": "AP8="}]});
    packed.say(to_room("chat", "plain.a", payload.clone()));
    json.ask(to_room("chat", "plain.a", payload.clone()));
    for raw in [&mut json, &mut packed] {
        let both = [raw.message(), raw.message()];
        assert!(both.iter().all(|m| m["payload"] == payload), "{both:?}");
    }
    // bytes as they are on the wire: a map of type, to, csrfToken and a payload of bin 8
    let csrf = packed.csrf.clone();
    let mut bytes = b"\x84\xa4type\xa4chat\xa2to\x81\xa4room\xa7plain.a\xa9csrfToken\xd9".to_vec();
    bytes.push(u8::try_from(csrf.len()).unwrap());
    bytes.extend_from_slice(csrf.as_bytes());
    bytes.extend_from_slice(b"\xa7payload\xc4\x03\x00\x01\xfe");
    assert!(packed.send(BINARY, &bytes));
    assert_eq!(json.message()["payload"], json!({"$bin": "AAH+"}));
    let frame = packed.frame().unwrap();
    assert_eq!(frame.first, BINARY);
    assert!(frame.payload.windows(5).any(|w| w == b"\xc4\x03\x00\x01\xfe"), "bytes again, not text");

    // a message of the other kind ends the connection
    assert!(json.send(BINARY, b"\x80"));
    assert_eq!(json.ending().code, Some(1003));
    assert!(packed.send(TEXT, b"{}"));
    assert_eq!(packed.ending().code, Some(1003));
}
