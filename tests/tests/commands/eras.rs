//! What operators decided outlives what the store forgets.

use portcullis_tests::fleet::knock;
use portcullis_tests::gatectl::{Gatectl, Who};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::wait;
use serde_json::json;

use super::{Three, column};

fn is_banned(node: &Gateway, name: &str) -> Option<()> {
    knock(node, name).err().filter(|refusal| refusal.code() == "banned").map(|_| ())
}

#[test]
fn what_was_lifted_stays_lifted_when_the_store_forgets_even_for_a_node_that_slept_through_it() {
    let three = Three::start();
    let gatectl = Gatectl::of(Who::Operator, &three.fleet.redis);
    for who in ["app:eve", "app:jim"] {
        assert_eq!(gatectl.json(&["ban", "add", "user", who]).0, 0);
    }
    for node in three.nodes() {
        wait::until("both are banned", || is_banned(node, "eve").and(is_banned(node, "jim")));
    }
    // it knows of the ban, and not that it was lifted
    three.c.signal("STOP");
    let said = gatectl.run(&["ban", "remove", "user", "app:eve", "--json", "--timeout", "2s"]);
    assert_eq!((said.code, said.rows().len()), (3, 3), "{said:?}");
    three.fleet.redis.cli(&["FLUSHALL"]);
    three.c.signal("CONT");
    for node in three.nodes() {
        wait::until("the new era", || (node.metric("portcullis_store_eras_total") >= 1.0).then_some(()));
    }
    // one that knows nothing but what the others wrote anew
    let late = three.fleet.node("gw-d");
    for node in three.nodes().into_iter().chain([&late]) {
        wait::until("who is banned is refused", || is_banned(node, "jim"));
        wait::until("who was pardoned is let in", || knock(node, "eve").ok());
    }
    let listed = wait::until("all agree", || {
        let (_, rows) = gatectl.json(&["ban", "list"]);
        (rows.len() == 1 && rows[0]["nodes"].as_array().is_some_and(|nodes| nodes.len() == 4)).then_some(rows)
    });
    assert_eq!(column(&listed, "target"), [&json!("app:jim")]);
    // and again, by those who learnt it from others
    three.fleet.redis.cli(&["FLUSHALL"]);
    for node in [&three.c, &late] {
        let eras = if node.public == late.public { 1.0 } else { 2.0 };
        wait::until("the next era", || (node.metric("portcullis_store_eras_total") >= eras).then_some(()));
        wait::until("who is banned is refused", || is_banned(node, "jim"));
        wait::until("who was pardoned is let in", || knock(node, "eve").ok());
    }
}
