//! Every verb, and what it does to live sockets.

use portcullis_tests::fleet::{knock, lives, open};
use portcullis_tests::gatectl::{Gatectl, Who};
use portcullis_tests::wait;
use serde_json::{Value, json};

use super::{Three, column, end, names, texts};

#[test]
fn nodes_and_sessions_are_listed_from_what_the_nodes_answer() {
    let three = Three::start();
    let gatectl = Gatectl::of(Who::Viewer, &three.fleet.redis);
    let adas = three.on_all("ada");
    let ada = &adas[0];
    let bob = open(&three.c, "bob");

    let (code, rows) = gatectl.json(&["nodes"]);
    assert_eq!(code, 0);
    assert_eq!(column(&rows, "id"), ["gw-a", "gw-b", "gw-c"]);
    assert_eq!(column(&rows, "state"), ["ready"; 3]);
    assert_eq!(column(&rows, "sessions"), [&json!(1), &json!(1), &json!(2)]);
    let stable =
        ["bans", "connections", "degraded", "epoch", "id", "reasons", "sessions", "state", "uptime_ms", "version"];
    assert_eq!(names(&rows[0]), stable);

    let (code, rows) = gatectl.json(&["sessions", "list"]);
    assert_eq!((code, rows.len()), (0, 4));
    assert_eq!(names(&rows[0]), ["client", "created", "node", "session", "tenant", "user", "user_agent"]);
    let ids = texts(&rows, "session");
    assert!(ids.is_sorted() && ids.contains(&ada.session()) && ids.contains(&bob.session()));
    let (_, of_bob) = gatectl.json(&["sessions", "list", "--user", "app:bob"]);
    assert_eq!(column(&of_bob, "session"), [bob.session()]);
    let (_, of_c) = gatectl.json(&["sessions", "list", "--node", "gw-c"]);
    assert_eq!(column(&of_c, "node"), ["gw-c"; 2]);

    // page by page it is the same list
    let mut paged: Vec<Value> = Vec::new();
    loop {
        let last = paged.last().map(|row| row["session"].as_str().unwrap().to_owned());
        let after = last.iter().flat_map(|last| ["--after", last]);
        let words: Vec<&str> = ["sessions", "list", "--limit", "1"].into_iter().chain(after).collect();
        let (_, page) = gatectl.json(&words);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, rows);

    let (code, shown) = gatectl.json(&["sessions", "show", ada.session()]);
    assert_eq!((code, &shown[0]["user"], &shown[0]["node"]), (0, &json!("app:ada"), &json!("gw-a")));
    assert!(shown[0]["generation"].is_u64() && shown[0]["epoch"].is_string(), "{shown:?}");
    let nobody = gatectl.run(&["sessions", "show", "0123456789ABCDEFGHJKMNPQRS", "--json", "--timeout", "20s"]);
    assert_eq!((nobody.code, nobody.out.trim()), (4, "[]"));

    let table = gatectl.run(&["nodes"]);
    let lines: Vec<&str> = table.out.lines().collect();
    assert!(lines[0].starts_with("ID    STATE  SESSIONS  "), "{table:?}");
    assert!(lines[3].starts_with("gw-c  ready  2         "), "{table:?}");
}

#[test]
fn a_kick_closes_live_sockets_on_every_node_and_refuses_nobody() {
    let three = Three::start();
    let gatectl = Gatectl::of(Who::Operator, &three.fleet.redis);
    let (adas, mut bobs) = (three.on_all("ada"), three.on_all("bob"));
    let terminated = ("session_terminated".to_owned(), Some(4409));

    let (code, rows) = gatectl.json(&["kick", "user", "app:ada", "--reason", "test"]);
    assert_eq!(code, 0);
    assert_eq!(names(&rows[0]), ["detail", "node", "outcome", "sessions"]);
    assert_eq!(column(&rows, "outcome"), ["done"; 3]);
    assert_eq!(column(&rows, "sessions"), [1; 3]);
    assert_eq!(adas.map(end), [(); 3].map(|()| terminated.clone()));
    assert!(three.on_all("ada").iter_mut().all(lives), "they may come back");

    let (code, rows) = gatectl.json(&["kick", "session", bobs[1].session()]);
    assert_eq!((code, column(&rows, "sessions")), (0, vec![&json!(0), &json!(1), &json!(0)]));
    let [one, two, three] = &mut bobs;
    assert_eq!(two.hear().and_then(|_| two.hear()).unwrap_err(), Some(4409));
    assert!(lives(one) && lives(three));
}

#[test]
fn a_ban_closes_live_sockets_on_every_node_and_refuses_until_it_is_removed() {
    let three = Three::start();
    let gatectl = Gatectl::of(Who::Operator, &three.fleet.redis);
    let (adas, mut bobs) = (three.on_all("ada"), three.on_all("bob"));

    let (code, rows) = gatectl.json(&["ban", "add", "user", "app:ada", "--for", "1h", "--reason", "spam and lies"]);
    assert_eq!((code, column(&rows, "sessions")), (0, vec![&json!(1); 3]));
    assert_eq!(adas.map(end), [(); 3].map(|()| ("banned".to_owned(), Some(4403))));
    for node in three.nodes() {
        assert_eq!(knock(node, "ada").unwrap_err().code(), "banned");
    }
    assert!(bobs.iter_mut().all(lives));

    let ban = |words: &[&str]| assert_eq!(gatectl.json(&[&["ban", "add"], words].concat()).0, 0, "{words:?}");
    ban(&["ip", "203.0.113.0/24"]);
    ban(&["network", "2001:db8::1"]);
    ban(&["session", "0123456789ABCDEFGHJKMNPQRS"]);
    ban(&["token", "some-jti"]);
    let (code, rows) = gatectl.json(&["ban", "list"]);
    assert_eq!(code, 0);
    assert_eq!(names(&rows[0]), ["kind", "nodes", "reason", "since", "target", "until"]);
    let listed: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {}", row["kind"].as_str().unwrap(), row["target"].as_str().unwrap()))
        .collect();
    let all = [
        "network 2001:db8::1",
        "network 203.0.113.0/24",
        "session 0123456789ABCDEFGHJKMNPQRS",
        "token some-jti",
        "user app:ada",
    ];
    assert_eq!(listed, all);
    assert_eq!(column(&rows, "nodes"), [&json!(["gw-a", "gw-b", "gw-c"]); 5]);
    assert_eq!((&rows[4]["reason"], rows[4]["until"].is_u64()), (&json!("spam and lies"), true));
    assert!(rows[3]["until"].is_null());

    assert_eq!(gatectl.json(&["ban", "remove", "user", "app:ada"]).0, 0);
    assert!(three.on_all("ada").iter_mut().all(lives));
    let again = gatectl.run(&["ban", "remove", "user", "app:ada"]);
    assert!(again.code == 0 && again.err.contains("no node knew such a ban"), "{again:?}");
    assert_eq!(gatectl.json(&["ban", "list"]).1.len(), 4);
    // a node that comes later knows what the others know
    let late = three.fleet.node("gw-d");
    let (_, rows) = gatectl.json(&["ban", "list"]);
    assert_eq!(rows[0]["nodes"].as_array().unwrap().len(), 4);
    drop(late);
}

#[test]
fn a_broadcast_reaches_every_session_once_and_comes_from_nobody() {
    let three = Three::start();
    let gatectl = Gatectl::of(Who::Operator, &three.fleet.redis);
    let mut all: Vec<_> = three.on_all("ada").into_iter().chain(three.on_all("bob")).collect();
    let (code, rows) = gatectl.json(&["broadcast", "maintenance", r#"{"at": 5}"#]);
    assert_eq!((code, column(&rows, "sessions")), (0, vec![&json!(2); 3]));
    for session in &mut all {
        let message = session.message_of("maintenance");
        assert_eq!(message["payload"], json!({"at": 5}));
        assert!(message["timestamp"].is_u64() && message.get("from").is_none() && message.get("room").is_none());
        session.say(json!({"type": "health-check", "id": "fence"}));
        assert_eq!(session.message()["type"], "health-check", "once");
    }
    for (kind, payload, code) in [("welcome", "1", 64), ("note", "not json", 64), ("note", r#"{"__proto__":1}"#, 4)] {
        assert_eq!(gatectl.run(&["broadcast", kind, payload]).code, code, "{kind} {payload}");
    }
}

#[test]
fn a_drained_node_sends_its_clients_away_and_leaves() {
    let mut three = Three::start();
    let gatectl = Gatectl::of(Who::Admin, &three.fleet.redis);
    let [mut one, mut two, going] = three.on_all("ada");
    let (code, rows) = gatectl.json(&["drain", "gw-c", "--wait", "20s"]);
    assert_eq!((code, texts(&rows, "node"), column(&rows, "sessions")), (0, vec!["gw-c"], vec![&json!(1)]));
    let ending = going.ending();
    assert!(ending.said("reconnect") && ending.code == Some(1012), "{ending:?}");
    assert!(three.c.wait_exit(wait::PATIENCE).success());
    assert!(lives(&mut one) && lives(&mut two));
    assert_eq!(column(&gatectl.json(&["nodes"]).1, "id"), ["gw-a", "gw-b"]);
    assert_eq!(gatectl.json(&["drain", "gw-c"]), (4, vec![]), "there is no such node any more");
}

#[test]
fn whoever_watches_is_told_what_happens_on_all_nodes() {
    let three = Three::start();
    let redis = &three.fleet.redis;
    let watching = Gatectl::of(Who::Viewer, redis);
    let operator = Gatectl::of(Who::Operator, redis);
    let running = watching.start(&["watch", "--json"]);
    // nobody can know when the nodes have begun; a viewer's own question is seen once they have
    wait::until("the watch to begin", || {
        let _ = operator.json(&["nodes"]);
        let nodes = ["gw-a", "gw-b", "gw-c"];
        nodes.iter().all(|node| running.lines().iter().any(|line| line["node"] == *node)).then_some(())
    });
    let ada = open(&three.c, "ada");
    let session = ada.session().to_owned();
    assert_eq!(operator.json(&["kick", "user", "app:ada"]).0, 0);
    let _ = ada.ending();
    let seen = |event: &str, node: &str, name: &str, value: &str| {
        wait::until(event, || {
            let line = |line: &Value| line["event"] == event && line["node"] == node && line[name] == value;
            running.lines().iter().any(line).then_some(())
        });
    };
    seen("session_opened", "gw-c", "session", &session);
    seen("session_closed", "gw-c", "session", &session);
    for node in ["gw-a", "gw-b", "gw-c"] {
        seen("command", node, "operator", "the-operator");
    }
}
