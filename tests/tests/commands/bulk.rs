//! Many bans at once, and new rules for all nodes at once.

use std::collections::BTreeSet;

use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{knock, lives, open};
use portcullis_tests::gatectl::{Gatectl, Who, operators};
use portcullis_tests::tokens;
use serde_json::{Value, json};

use super::{Three, column, end, texts};

/// Bans of networks that nobody here is in.
pub(super) fn networks(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("10.{}.{}.{}/32", n >> 16, n >> 8 & 255, n & 255).replace("/32", "")).collect()
}

#[test]
fn a_file_of_bans_holds_on_every_node_closes_live_sockets_and_is_exported_as_it_was() {
    let three = Three::start();
    let gatectl = Gatectl::of(Who::Operator, &three.fleet.redis);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bans.txt");
    let (eves, mut adas) = (three.on_all("eve"), three.on_all("ada"));
    let jim = Raw::open(three.c.public, &tokens::with("jim", &json!({"jti": "jti-7"})));
    // a blank in a token's id, an end, reasons, comments
    let mut lines = networks(600);
    lines.extend(
        ["user app:eve reason=spam, again", "token jti-7", "token \"a b\" until=4102444800000"].map(String::from),
    );
    let text = format!("# a list\n{}\nuser app:late until=1\n", lines.join("\n"));
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();

    let (code, rows) = gatectl.json(&["ban", "import", path, "--reason", "by list"]);
    assert_eq!((code, texts(&rows, "node")), (0, vec!["gw-a", "gw-b", "gw-c"]), "{rows:?}");
    assert_eq!((texts(&rows, "outcome"), column(&rows, "bans")), (vec!["done"; 3], vec![&json!(603); 3]));
    assert_eq!(eves.map(end), [(); 3].map(|()| ("banned".to_owned(), Some(4403))));
    assert_eq!(end(jim), ("unauthenticated".to_owned(), Some(4401)));
    for node in three.nodes() {
        assert_eq!(knock(node, "eve").err().unwrap().code(), "banned");
    }
    assert!(adas.iter_mut().all(lives));

    let out = dir.path().join("out.txt");
    assert_eq!(gatectl.run(&["ban", "export", "--out", out.to_str().unwrap(), "--timeout", "20s"]).code, 0);
    let exported = std::fs::read_to_string(&out).unwrap();
    let expected =
        lines.iter().map(|line| if line.contains("reason=") { line.clone() } else { format!("{line} reason=by list") });
    assert_eq!(exported.lines().map(str::to_owned).collect::<BTreeSet<_>>(), expected.collect::<BTreeSet<_>>());
    // what was exported can be imported: nothing new
    assert_eq!(gatectl.json(&["ban", "import", out.to_str().unwrap()]).0, 0);
    assert_eq!(gatectl.json(&["ban", "remove", "user", "app:eve"]).0, 0);
    assert!(knock(&three.c, "eve").is_ok());

    std::fs::write(&file, "10.0.0.1\nwhat is this\n").unwrap();
    let said = gatectl.run(&["ban", "import", path]);
    assert!(said.code == 64 && said.err.contains("line 2: "), "{said:?}");
    let viewer = Gatectl::of(Who::Viewer, &three.fleet.redis);
    assert_eq!(viewer.json(&["ban", "import", out.to_str().unwrap()]).0, 4);
}

#[test]
fn a_reload_is_acknowledged_by_each_node_with_its_version_or_the_reason() {
    let three = Three::start();
    let redis = &three.fleet.redis;
    let gatectl = Gatectl::of(Who::Admin, redis);
    let mut ada = open(&three.fleet.a, "ada");
    assert_eq!(gatectl.json(&["reload"]).1.iter().map(|row| &row["version"]).collect::<Vec<_>>(), [2; 3]);
    let banned = |id| three.fleet.setup(id).toml("[bans]\nfile = \"bans.txt\"\n").file("bans.txt", "user app:eve\n");
    three.fleet.a.rewrite(&banned("gw-a"));
    three.fleet.b.rewrite(&banned("gw-b").replace("workers = 2", "workers = 3"));
    let (code, rows) = gatectl.json(&["reload"]);
    assert_eq!((code, texts(&rows, "outcome")), (3, vec!["done", "failed", "done"]), "{rows:?}");
    assert_eq!(column(&rows, "version"), [&json!(3), &json!(2), &json!(3)]);
    assert!(rows[1]["detail"].as_str().unwrap().contains("node.workers: cannot be changed"), "{rows:?}");
    assert_eq!(knock(&three.fleet.a, "eve").err().unwrap().code(), "banned");
    assert!(knock(&three.fleet.b, "eve").is_ok(), "the old rules hold");
    assert!(lives(&mut ada));
    let operator = Gatectl::of(Who::Operator, redis);
    assert_eq!(operator.json(&["reload"]), (4, refused()));
}

#[test]
fn whoever_a_reload_takes_from_the_operators_is_refused_and_the_new_one_is_obeyed() {
    let three = Three::start();
    let redis = &three.fleet.redis;
    let (admin, operator) = (Gatectl::of(Who::Admin, redis), Gatectl::of(Who::Operator, redis));
    assert_eq!(operator.json(&["kick", "user", "app:nobody"]).0, 0);
    let kept = operators().split("[[operator]]").nth(1).map(|block| format!("[[operator]]{block}")).unwrap();
    let stranger = Who::Stranger.key().public();
    let new = format!("{kept}[[operator]]\nname = \"new\"\nrole = \"operator\"\npublic_key = \"{stranger}\"\n");
    for (node, id) in three.nodes().into_iter().zip(["gw-a", "gw-b", "gw-c"]) {
        node.rewrite(&three.fleet.setup(id).replace(&operators(), &new));
    }
    assert_eq!(admin.json(&["reload"]).0, 0);
    let (code, rows) = operator.json(&["kick", "user", "app:nobody"]);
    assert_eq!((code, texts(&rows, "detail")), (4, vec!["unknown_key"; 3]), "{rows:?}");
    assert_eq!(Gatectl::of(Who::Stranger, redis).json(&["kick", "user", "app:nobody"]).0, 0);
}

fn refused() -> Vec<Value> {
    let row = |node: &str| json!({"node": node, "outcome": "refused", "version": null, "detail": "role"});
    ["gw-a", "gw-b", "gw-c"].map(row).into()
}

#[test]
fn a_session_is_shown_with_its_rooms_and_what_speaks_against_it() {
    let three = Three::start();
    let viewer = Gatectl::of(Who::Viewer, &three.fleet.redis);
    let mut ada = open(&three.c, "ada");
    ada.join("lobby");
    ada.join("quiet.1");
    assert_eq!(ada.refused(json!({"type": "nonsense", "id": "1"})), "type_unknown");
    let (code, shown) = viewer.json(&["sessions", "show", ada.session()]);
    assert_eq!((code, &shown[0]["rooms"]), (0, &json!(["lobby", "quiet.1"])), "{shown:?}");
    assert!(shown[0]["score"].as_f64().is_some_and(|score| score > 0.0 && score <= 0.5), "{shown:?}");
    assert!(shown[0]["evidence"][0].as_str().unwrap().starts_with("type_unknown 0.5 "), "{shown:?}");
}
