//! A rolling upgrade: nodes of two versions are one fleet, and each node of the old one can be replaced in turn.
//!
//! `PREVIOUS_GATEWAY_BIN` names the old version's program, as `make chaos` does with that of an earlier commit;
//! without it both are the same, and this is a rolling restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::path::PathBuf;

use portcullis_tests::blocking::{Knock, Raw, Refusal};
use portcullis_tests::fleet::{Fleet, knock, lives, open, refused_for_the_cap};
use portcullis_tests::gatectl::{Gatectl, Who, operators};
use portcullis_tests::gateway::{self, Gateway};
use portcullis_tests::say::{to_room, to_user};
use portcullis_tests::{tokens, wait};
use serde_json::{Value, json};

fn previous() -> PathBuf {
    std::env::var_os("PREVIOUS_GATEWAY_BIN").map_or_else(|| gateway::binary().to_owned(), PathBuf::from)
}

/// Everybody says something in the room; everybody hears all of it once, in one order and without a gap.
fn talk(members: &mut [Raw], text: &str) {
    for member in members.iter_mut() {
        member.say(to_room("chat", "lobby", text));
    }
    let count = members.len();
    let heard: Vec<Vec<Value>> =
        members.iter_mut().map(|member| (0..count).map(|_| member.message_of("chat")).collect()).collect();
    let offsets: Vec<u64> = heard[0].iter().map(|message| message["offset"].as_u64().expect("an offset")).collect();
    assert!(offsets.windows(2).all(|pair| pair[1] == pair[0] + 1), "{offsets:?}");
    let mut from: Vec<&str> = heard[0].iter().map(|message| message["from"]["user"].as_str().unwrap()).collect();
    from.sort_unstable();
    from.dedup();
    assert_eq!(from.len(), count);
    assert!(heard.iter().all(|other| other == &heard[0]), "one order for all");
}

fn resume(at: &Gateway, name: &str, of: &Raw) -> Result<Raw, Refusal> {
    let token = of.welcome["payload"]["resume"]["token"].as_str().expect("a resume token");
    Knock::at(at.public, &tokens::good(name), Some(&format!("portcullis.v1.json, resume.{token}"))).answer()
}

#[test]
fn nodes_of_two_versions_are_one_fleet_and_the_old_ones_can_be_replaced_in_turn() {
    let old = previous();
    let mut fleet = Fleet::start(|setup| setup.toml(&operators()).set("session.max_per_user", "2").program(&old));
    let new = fleet.node_as(|setup| setup.program(gateway::binary()), "gw-c");

    // rooms and users
    let mut members = [open(&fleet.a, "ann"), open(&fleet.b, "bob"), open(&new, "cat")];
    for (n, member) in members.iter_mut().enumerate() {
        assert_eq!(member.join("lobby")["members"], n + 1, "members of both versions are counted");
    }
    talk(&mut members, "all");
    for (from, to, name) in [(0, 2, "cat"), (2, 1, "bob")] {
        assert_eq!(members[from].ask(to_user(&format!("app:{name}"), name))["type"], "ack");
        assert_eq!(members[to].message_of("direct")["payload"], name);
    }

    // the cap
    let _two = [open(&fleet.a, "dan"), open(&new, "dan")];
    for node in [&fleet.a, &fleet.b, &new] {
        assert!(refused_for_the_cap(&knock(node, "dan").expect_err("two are the cap")));
    }

    // sessions go from the old version to the new one and back
    let mut eve = open(&fleet.a, "eve");
    let session = eve.session().to_owned();
    for node in [&new, &fleet.b, &new] {
        let next = resume(node, "eve", &eve).unwrap();
        assert_eq!((next.session(), &next.welcome["payload"]["resume"]["resumed"]), (&*session, &json!(true)));
        eve = next;
    }
    assert!(lives(&mut eve));

    // operators
    let gatectl = Gatectl::of(Who::Admin, &fleet.redis);
    let (code, nodes) = gatectl.json(&["nodes"]);
    assert_eq!((code, nodes.len()), (0, 3), "{nodes:?}");
    let (code, answers) = gatectl.json(&["ban", "add", "user", "app:dan"]);
    assert_eq!(code, 0, "{answers:?}");
    for node in [&fleet.a, &fleet.b, &new] {
        wait::until("the ban at every node", || {
            knock(node, "dan").err().filter(|refusal| refusal.code() == "banned").map(drop)
        });
    }
    let (code, answers) = gatectl.json(&["kick", "user", "app:eve"]);
    assert_eq!(code, 0, "{answers:?}");
    assert_eq!(eve.ending().code, Some(4409));

    // an old node goes, its client goes on at the new one, and a new node takes the old one's place
    fleet.a.signal("TERM");
    assert!(fleet.a.wait_exit(wait::PATIENCE).success());
    let [ann, bob, cat] = members;
    let mut ann = resume(&new, "ann", &ann).unwrap();
    assert_eq!(ann.welcome["payload"]["resume"]["resumed"], true);
    ann.join("lobby");
    let again = fleet.node_as(|setup| setup.program(gateway::binary()), "gw-a");
    let mut fay = open(&again, "fay");
    assert_eq!(fay.join("lobby")["members"], 4);
    talk(&mut [ann, bob, cat, fay], "replaced");
}
