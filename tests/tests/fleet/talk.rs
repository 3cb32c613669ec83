//! Messages and presence over two nodes.

use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{Fleet, open};
use portcullis_tests::gateway::Setup;
use portcullis_tests::say::{so_far, to_room, to_user};
use portcullis_tests::{tokens, wait};
use serde_json::{Value, json};

/// A room that keeps everything that a test says.
fn with_history(setup: Setup) -> Setup {
    setup.toml(
        "[[room]]\npattern = \"kept.*\"\njoin = [\"member\"]\npublish = [\"member\"]\n\
         history = { count = 500, age = \"10m\" }\n",
    )
}

#[test]
fn members_on_both_nodes_get_every_message_once_and_in_one_order() {
    const EACH: usize = 50;
    let fleet = Fleet::start(with_history);
    let nodes = [&fleet.a, &fleet.b, &fleet.a, &fleet.b];
    let mut members: Vec<Raw> = nodes.iter().enumerate().map(|(n, node)| open(node, &format!("m{n}"))).collect();
    for (n, member) in members.iter_mut().enumerate() {
        assert_eq!(member.join("kept.order")["members"], n + 1, "members of both nodes are counted");
    }
    // nobody waits for anybody: all senders at once, on both nodes
    for n in 0..EACH {
        for (m, member) in members.iter_mut().enumerate() {
            member.say(to_room("chat", "kept.order", format!("{m}/{n}")));
        }
    }
    let all = members.len() * EACH;
    let heard: Vec<Vec<Value>> =
        members.iter_mut().map(|member| (0..all).map(|_| member.message_of("chat")).collect()).collect();
    let first = &heard[0];
    for (n, message) in first.iter().enumerate() {
        assert_eq!(message["offset"], json!(n + 1), "no gap");
        assert_eq!(message["epoch"], first[0]["epoch"]);
    }
    for sender in 0..members.len() {
        let from = format!("app:m{sender}");
        let texts: Vec<&Value> = first.iter().filter(|m| m["from"]["user"] == from).map(|m| &m["payload"]).collect();
        let sent: Vec<Value> = (0..EACH).map(|n| json!(format!("{sender}/{n}"))).collect();
        assert_eq!(texts, sent.iter().collect::<Vec<_>>(), "each sender's order is kept");
    }
    for other in &heard {
        assert_eq!(other, first, "the same messages in the same order for everybody");
    }
    // what is sent last comes last: nothing has come twice before it
    for sender in [0, 1] {
        members[sender].say(to_room("chat", "kept.order", "fence"));
        for member in &mut members {
            assert_eq!(member.message()["payload"], "fence");
        }
    }
}

#[test]
fn who_comes_back_to_the_other_node_gets_what_was_missed() {
    let fleet = Fleet::start(with_history);
    let (mut ann, mut bob) = (open(&fleet.a, "ann"), open(&fleet.a, "bob"));
    ann.join("kept.a");
    bob.join("kept.a");
    ann.ask(to_room("chat", "kept.a", 0));
    let seen = bob.message_of("chat");
    drop(bob);
    for n in 1..=5 {
        assert_eq!(ann.ask(to_room("chat", "kept.a", n))["type"], "ack");
    }
    let mut bob = open(&fleet.b, "bob");
    let since = json!({"since": {"offset": seen["offset"], "epoch": seen["epoch"]}});
    bob.say(json!({"type": "join", "id": "back", "to": {"room": "kept.a"}, "payload": since}));
    for n in 1..=5 {
        let missed = bob.message();
        assert_eq!((&missed["type"], &missed["payload"]), (&json!("chat"), &json!(n)));
        assert_eq!(missed["offset"].as_u64(), seen["offset"].as_u64().map(|offset| offset + n));
    }
    let ack = bob.message();
    assert_eq!((&ack["id"], &ack["payload"]["recovered"]), (&json!("back"), &json!(true)), "{ack}");
    assert_eq!(ack["payload"]["epoch"], seen["epoch"], "one order, whichever node");
    ann.ask(to_room("chat", "kept.a", "live"));
    assert_eq!(bob.message()["payload"], "live");

    // a place in another room's order is none: the client is told that something may be missing
    let mut cem = open(&fleet.b, "cem");
    let other = cem.join("kept.b");
    assert_ne!(other["epoch"], seen["epoch"]);
    let stale = json!({"since": {"offset": 0, "epoch": other["epoch"]}});
    let ack = cem.ask(json!({"type": "join", "to": {"room": "kept.a"}, "payload": stale}));
    assert_eq!(ack["payload"]["recovered"], false);
}

#[test]
fn a_direct_message_reaches_the_users_sessions_on_every_node_and_no_other_tenant() {
    let fleet = Fleet::start(|setup| setup);
    let other = |name: &str| tokens::with(name, &json!({"tenant": "other"}));
    let mut ann = open(&fleet.a, "ann");
    let mut bobs: Vec<Raw> = [&fleet.a, &fleet.b, &fleet.b].map(|node| open(node, "bob")).into();
    let mut foreign: Vec<Raw> = [&fleet.a, &fleet.b].map(|node| Raw::open(node.public, &other("bob"))).into();
    let answer = ann.ask(to_user("app:bob", "hi"));
    assert_eq!((&answer["type"], &answer["payload"]), (&json!("ack"), &json!({"duplicate": false})));
    for bob in &mut bobs {
        let message = bob.message();
        assert_eq!((&message["payload"], &message["from"]["user"]), (&json!("hi"), &json!("app:ann")));
        assert!(message.get("offset").is_none() && message.get("room").is_none(), "{message}");
    }
    // what is sent last comes last, so nothing has come before it
    let mut zack = Raw::open(fleet.a.public, &other("zack"));
    assert_eq!(zack.ask(to_user("app:bob", "the first"))["type"], "ack");
    for raw in &mut foreign {
        assert_eq!(raw.message()["payload"], "the first");
    }
    assert_eq!(open(&fleet.b, "eve").ask(to_user("app:bob", "again"))["type"], "ack");
    for bob in &mut bobs {
        assert_eq!(bob.message()["payload"], "again", "one tenant's user is not the other's, and once is once");
    }
    assert_eq!(so_far(&mut ann), Vec::<Value>::new());
}

#[test]
fn presence_names_users_of_both_nodes_and_tells_who_comes_and_goes_on_the_other() {
    let fleet = Fleet::start(|setup| setup);
    let list = json!({"type": "presence", "to": {"room": "lobby"}});
    let (mut ann, mut bob, mut twin) = (open(&fleet.a, "ann"), open(&fleet.b, "bob"), open(&fleet.a, "bob"));
    ann.join("lobby");
    assert_eq!(ann.message()["payload"], json!({"joined": "app:ann"}));
    assert_eq!(bob.join("lobby")["members"], 2);
    assert_eq!(ann.message()["payload"], json!({"joined": "app:bob"}));
    assert_eq!(bob.message()["payload"], json!({"joined": "app:bob"}));
    assert_eq!(twin.join("lobby")["members"], 3);
    for raw in [&mut ann, &mut bob, &mut twin] {
        let mut answer = raw.ask(list.clone());
        answer["payload"]["users"].as_array_mut().unwrap().sort_by_key(Value::to_string);
        assert_eq!(answer["payload"], json!({"users": ["app:ann", "app:bob"], "sessions": 3}));
    }
    // bob stays as long as one of his sessions does, wherever that is
    assert_eq!(bob.close(1000), Some(1000));
    wait::until("the other node's session is gone", || {
        (ann.ask(list.clone())["payload"]["sessions"] == 2).then_some(())
    });
    let mut cem = open(&fleet.b, "cem");
    cem.join("lobby");
    assert_eq!(ann.message()["payload"], json!({"joined": "app:cem"}), "no word of bob, who is still there");
    drop(twin);
    assert_eq!(ann.message()["payload"], json!({"left": "app:bob"}));
    assert_eq!(cem.message()["payload"], json!({"joined": "app:cem"}));
    assert_eq!(cem.message()["payload"], json!({"left": "app:bob"}), "a broken connection, heard on the other node");
}

#[test]
fn the_same_id_is_taken_once_whichever_node_it_comes_through() {
    let fleet = Fleet::start(|setup| setup);
    let (mut here, mut there, mut bob) = (open(&fleet.a, "ann"), open(&fleet.b, "ann"), open(&fleet.b, "bob"));
    for raw in [&mut here, &mut there, &mut bob] {
        raw.join("quiet.a");
    }
    let mut message = to_room("whisper", "quiet.a", "once");
    message["id"] = json!("m-1");
    let first = here.ask(message.clone())["payload"].clone();
    assert_eq!(first["duplicate"], false);
    let again = json!({"duplicate": true, "offset": first["offset"], "epoch": first["epoch"]});
    assert_eq!(there.ask(message.clone())["payload"], again, "its place too");
    assert_eq!(here.ask(message.clone())["payload"], again);
    assert_eq!(bob.ask(message.clone())["payload"]["duplicate"], false, "another user's id is another id");

    let mut direct = to_user("app:bob", "once");
    direct["id"] = json!("d-1");
    assert_eq!(there.ask(direct.clone())["payload"], json!({"duplicate": false}));
    assert_eq!(here.ask(direct)["payload"], json!({"duplicate": true}));

    // behind everything that there could be: the room's fence and the user's
    here.ask(to_room("whisper", "quiet.a", "fence"));
    let heard: Vec<Value> = std::iter::repeat_with(|| bob.message()).take_while(|m| m["payload"] != "fence").collect();
    let mut payloads: Vec<(&Value, &Value)> = heard.iter().map(|m| (&m["type"], &m["payload"])).collect();
    here.ask(to_user("app:bob", "fence"));
    let rest: Vec<Value> = std::iter::repeat_with(|| bob.message()).take_while(|m| m["payload"] != "fence").collect();
    payloads.extend(rest.iter().map(|m| (&m["type"], &m["payload"])));
    payloads.sort_by_key(|(kind, _)| kind.to_string());
    let once = json!("once");
    assert_eq!(payloads, [(&json!("direct"), &once), (&json!("whisper"), &once)]);
}

#[test]
fn what_a_node_of_other_rules_took_is_guarded_by_the_one_that_delivers_it() {
    let fleet = Fleet::start(with_history);
    let strict = |setup: Setup| {
        setup
            .toml("[leaks]\ndefault = \"as_written\"\n")
            .replace("[message.chat]\n", "[message.chat]\nschema = \"chat.json\"\noutbound = [\"schema\"]\n")
            .file("chat.json", r#"{"type": ["object", "string"], "properties": {"text": {"type": "string"}}}"#)
    };
    let guarded = fleet.node_with("gw-c", strict);
    let (mut ann, mut bob, mut cy) = (open(&fleet.a, "ann"), open(&fleet.b, "bob"), open(&guarded, "cy"));
    for member in [&mut ann, &mut bob, &mut cy] {
        member.join("kept.a");
    }
    let hidden = "*".repeat(19);
    ann.say(to_room("chat", "kept.a", json!({"text": "card 4111 1111 1111 1111"})));
    ann.say(to_room("chat", "kept.a", json!({"text": 7})));
    ann.say(to_room("chat", "kept.a", "-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----"));
    ann.say(to_room("chat", "kept.a", "fence"));
    let first = cy.message_of("chat");
    assert_eq!(first["payload"], json!({ "text": format!("card {hidden}") }));
    let fence = cy.message();
    assert_eq!((&fence["payload"], &fence["offset"]), (&json!("fence"), &json!(4)), "a jump tells what is missing");
    assert_eq!(bob.message_of("chat")["payload"]["text"], "card 4111 1111 1111 1111", "its node says nothing of it");
    ann.say(to_user("app:cy", "4111-1111-1111-1111"));
    assert_eq!(cy.message_of("direct")["payload"], hidden);

    let mut late = open(&guarded, "late");
    let since = json!({"since": {"offset": 0, "epoch": first["epoch"]}});
    late.say(json!({"type": "join", "id": "back", "to": {"room": "kept.a"}, "payload": since}));
    assert_eq!([late.message(), late.message()], [first, fence], "the history is no way around");
    assert_eq!(late.message()["payload"]["recovered"], true);
    let log = guarded.log();
    assert!(log.contains("outbound_blocked") && log.contains("key.private") && !log.contains("MC4CAQ"), "{log}");
}
