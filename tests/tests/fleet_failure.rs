//! What a fleet does when a part of it fails: a node that is gone, a store that forgets, pauses, dies and comes back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::time::Duration;

use portcullis_common::ids::UserId;
use portcullis_common::store::control::{ControlEntry, Target};
use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{Fleet, Operator, knock, lives, open, refused_for_the_cap, says_when};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::say::so_far;
use portcullis_tests::wait;
use serde_json::{Value, json};

const CAP: usize = 3;
/// From the end of a node to its slots being free: the lease, and the proof that it is over.
const BURIED: Duration = Duration::from_secs(15);
/// From an empty store to every session's slot being in it again.
const REMEMBERED: Duration = Duration::from_secs(8);

fn capped(on_limit: &'static str) -> impl FnOnce(Setup) -> Setup {
    move |setup| setup.set("session.max_per_user", &CAP.to_string()).set("session.on_limit", on_limit)
}

fn chat(room: &str, payload: impl Into<Value>) -> Value {
    json!({"type": "chat", "to": {"room": room}, "payload": payload.into()})
}

/// The first session that the node lets in; until then every refusal is for the cap, and says when to try again.
fn let_in(node: &Gateway, name: &str) -> Raw {
    wait::until_within(BURIED, "the slots of a dead node to be free", || match knock(node, name) {
        Ok(raw) => Some(raw),
        Err(refusal) => {
            assert!(refused_for_the_cap(&refusal), "{refusal:?}");
            None
        }
    })
}

/// Waits until the ledger holds exactly these sessions.
fn remembered(operator: &Operator, user: &str, sessions: &[Raw]) {
    let mut ours: Vec<String> = sessions.iter().map(|raw| raw.session().to_owned()).collect();
    ours.sort();
    wait::until_within(REMEMBERED, "the ledger to have every session", || {
        let mut theirs: Vec<String> =
            operator.slots(user).ok()?.iter().map(|slot| slot.holder.sid.to_string()).collect();
        theirs.sort();
        (theirs == ours).then_some(())
    });
}

/// Says something new on `from` until it is heard on `to` with its place in the order.
fn heard_across(from: &mut Raw, to: &mut Raw, room: &str) {
    let mut n = 0;
    wait::until("a message from node to node", || {
        n += 1;
        from.ask(chat(room, format!("across {n}")));
        let heard = so_far(to);
        heard.iter().any(|m| m["type"] == "chat" && m["offset"].is_u64() && m.get("degraded").is_none()).then_some(())
    });
}

#[test]
fn the_slots_of_a_node_that_was_killed_are_free_within_fifteen_seconds() {
    let fleet = Fleet::start(capped("reject"));
    let _lost = [open(&fleet.a, "ann"), open(&fleet.a, "ann")];
    let mut kept = open(&fleet.b, "ann");
    assert!(fleet.is_full("ann"));
    fleet.a.signal("KILL");
    assert!(knock(&fleet.b, "ann").is_err_and(|refusal| refused_for_the_cap(&refusal)), "not proved dead yet");
    let mut first = let_in(&fleet.b, "ann");
    let mut second = open(&fleet.b, "ann");
    assert!(knock(&fleet.b, "ann").is_err_and(|refusal| refused_for_the_cap(&refusal)), "the dead one's and no more");
    assert!(lives(&mut kept) && lives(&mut first) && lives(&mut second));
}

#[test]
fn with_eviction_too_the_slots_of_a_node_that_was_killed_are_free() {
    let fleet = Fleet::start(capped("evict_oldest"));
    let _lost = [open(&fleet.a, "ann"), open(&fleet.a, "ann"), open(&fleet.a, "ann")];
    fleet.a.signal("KILL");
    let mut all = vec![let_in(&fleet.b, "ann")];
    all.extend((1..CAP).map(|_| open(&fleet.b, "ann")));
    assert!(all.iter_mut().all(lives), "nobody who lives was evicted for room that the dead had");
}

#[test]
fn a_node_that_was_killed_and_is_started_again_under_its_id_is_another_life() {
    let fleet = Fleet::start(capped("reject"));
    let _lost: Vec<Raw> = (0..CAP).map(|_| open(&fleet.a, "ann")).collect();
    fleet.a.signal("KILL");
    let again = fleet.node("gw-a");
    let mut all = vec![let_in(&again, "ann")];
    all.extend((1..CAP).map(|_| open(&again, "ann")));
    assert!(knock(&fleet.b, "ann").is_err_and(|refusal| refused_for_the_cap(&refusal)));
    assert!(all.iter_mut().all(lives));
}

#[test]
fn a_node_that_is_drained_leaves_nothing_behind() {
    let mut fleet = Fleet::start(capped("reject"));
    let leaving: Vec<Raw> = (0..CAP).map(|_| open(&fleet.a, "ann")).collect();
    let (mut bob, mut cem) = (open(&fleet.a, "bob"), open(&fleet.b, "cem"));
    bob.join("lobby");
    cem.join("lobby");
    assert_eq!(cem.message()["payload"], json!({"joined": "app:cem"}));
    let ends = std::thread::spawn(move || leaving.into_iter().chain([bob]).map(Raw::ending).collect::<Vec<_>>());
    assert!(fleet.a.terminate().success());
    for end in ends.join().unwrap() {
        assert_eq!((end.said("reconnect"), end.code), (true, Some(1012)), "{end:?}");
    }
    // not one of them waits for a lease to run out
    let mut all: Vec<Raw> = (0..CAP).map(|_| open(&fleet.b, "ann")).collect();
    assert!(all.iter_mut().all(lives));
    assert_eq!(cem.message()["payload"], json!({"left": "app:bob"}));
    let again = fleet.node("gw-a");
    let mut bob = open(&again, "bob");
    bob.join("lobby");
    assert_eq!(cem.message()["payload"], json!({"joined": "app:bob"}));
}

#[test]
fn members_that_died_with_their_node_are_not_present_for_ever() {
    let fleet = Fleet::start(|setup| setup);
    let (mut bob, mut cem) = (open(&fleet.a, "bob"), open(&fleet.b, "cem"));
    bob.join("lobby");
    cem.join("lobby");
    fleet.a.signal("KILL");
    let list = json!({"type": "presence", "to": {"room": "lobby"}});
    wait::until("the dead to be gone", || {
        (cem.ask(list.clone())["payload"] == json!({"users": ["app:cem"], "sessions": 1})).then_some(())
    });
}

#[test]
fn mail_between_nodes_and_to_users_goes_on_after_a_new_store() {
    let mut fleet = Fleet::start(capped("evict_oldest"));
    let mut anns = vec![open(&fleet.a, "ann"), open(&fleet.b, "ann"), open(&fleet.b, "ann")];
    fleet.redis.restart();
    remembered(&fleet.operator(), "app:ann", &anns);
    let mut bob = wait::until("a new session", || knock(&fleet.b, "bob").ok());
    let hello = json!({"type": "direct", "to": {"user": "app:ann"}, "payload": "hello"});
    let mut waiting: Vec<&mut Raw> = anns.iter_mut().collect();
    wait::until("a direct message to each session", || {
        bob.ask(hello.clone());
        waiting.retain_mut(|raw| so_far(raw).iter().all(|message| message["payload"] != "hello"));
        waiting.is_empty().then_some(())
    });
    let ages = |operator: &Operator| {
        let mut slots = operator.slots("app:ann").unwrap();
        slots.sort_by_key(|slot| slot.since);
        slots.iter().map(|slot| slot.holder.sid.to_string()).collect::<Vec<_>>()
    };
    let operator = fleet.operator();
    for node in [&fleet.b, &fleet.a, &fleet.b] {
        let oldest = ages(&operator).remove(0);
        let newcomer = open(node, "ann");
        let at = anns.iter().position(|raw| raw.session() == oldest).unwrap();
        let end = anns.remove(at).ending();
        assert_eq!((end.errors(), end.code), (vec!["session_terminated"], Some(4409)));
        anns.push(newcomer);
    }
    assert!(anns.iter_mut().all(lives));
}

#[test]
fn a_store_that_forgets_everything_is_told_it_again_and_no_session_notices() {
    let fleet = Fleet::start(capped("reject"));
    let operator = fleet.operator();
    let mut anns = [&fleet.a, &fleet.b, &fleet.a].map(|node| open(node, "ann"));
    let (mut bob, mut cem) = (open(&fleet.a, "bob"), open(&fleet.b, "cem"));
    bob.join("lobby");
    cem.join("lobby");
    heard_across(&mut bob, &mut cem, "lobby");
    let target = Target::User(UserId::parse("app:eve").unwrap());
    operator.append(ControlEntry::Ban { target, until: None, reason: "test".to_owned() });
    for node in [&fleet.a, &fleet.b] {
        wait::until("the ban", || knock(node, "eve").is_err_and(|refusal| refusal.code() == "banned").then_some(()));
    }

    assert_eq!(fleet.redis.cli(&["FLUSHALL"]).trim(), "OK");
    remembered(&operator, "app:ann", &anns);
    wait::until("the cap to be told to newcomers again", || fleet.is_full("ann").then_some(()));
    assert!(anns.iter_mut().all(lives));
    heard_across(&mut bob, &mut cem, "lobby");
    heard_across(&mut cem, &mut bob, "lobby");
    let list = json!({"type": "presence", "to": {"room": "lobby"}});
    wait::until("both members to be present again", || {
        let mut users = cem.ask(list.clone())["payload"]["users"].as_array()?.clone();
        users.sort_by_key(Value::to_string);
        (users == [json!("app:bob"), json!("app:cem")]).then_some(())
    });
    // the nodes remember the ban, and tell the store: who comes later knows it too
    wait::until("the control log to be written again", || {
        let keys = fleet.redis.cli(&["--scan", "--pattern", "*}:control"]);
        (!keys.trim().is_empty()).then_some(())
    });
    let late = fleet.node("gw-c");
    for node in [&fleet.a, &fleet.b, &late] {
        assert_eq!(knock(node, "eve").expect_err("banned").code(), "banned");
    }
}

#[test]
fn a_store_that_pauses_for_longer_than_a_lease_costs_nobody_a_session() {
    let fleet = Fleet::start(capped("reject"));
    let mut anns = [&fleet.a, &fleet.b, &fleet.a].map(|node| open(node, "ann"));
    fleet.redis.pause();
    let paused = wait::mono();
    wait::until("the leases to lapse", || {
        assert!(anns.iter_mut().all(lives));
        (wait::mono().since(paused) > Duration::from_secs(15)).then_some(())
    });
    fleet.redis.go_on();
    for node in [&fleet.a, &fleet.b] {
        wait::until("a new life", || node.log().contains("\"lease_lapsed\"").then_some(()));
    }
    let operator = fleet.operator();
    remembered(&operator, "app:ann", &anns);
    // in the name of a life that is over they would be anybody's
    let lives_now = [&fleet.a, &fleet.b].map(|node| node.health()["epoch"].as_str().unwrap().to_owned());
    wait::until_within(REMEMBERED, "every slot to be held by a present life", || {
        let slots = operator.slots("app:ann").ok()?;
        slots.iter().all(|slot| lives_now.contains(&slot.holder.epoch.to_string())).then_some(())
    });
    wait::until("the store to answer both nodes", || fleet.is_full("ann").then_some(()));
    assert!(anns.iter_mut().all(lives), "the same sessions in the same slots");
}

#[test]
fn without_a_store_rooms_go_on_within_a_node_and_a_new_store_heals_everything() {
    let mut fleet = Fleet::start(capped("reject"));
    let (mut ann, mut bob, mut cem) = (open(&fleet.a, "ann"), open(&fleet.a, "bob"), open(&fleet.b, "cem"));
    let mut dans = [&fleet.a, &fleet.b, &fleet.b].map(|node| open(node, "dan"));
    for raw in [&mut ann, &mut bob, &mut cem] {
        raw.join("quiet.a");
    }
    heard_across(&mut ann, &mut cem, "quiet.a");
    so_far(&mut bob);
    so_far(&mut ann);
    fleet.redis.kill();

    let answer = ann.ask(chat("quiet.a", "alone"));
    assert_eq!(answer["type"], "ack", "{answer}");
    assert!(answer["payload"].get("offset").is_none_or(Value::is_null), "{answer}");
    for raw in [&mut ann, &mut bob] {
        // what the store still carried across may come first
        let heard = loop {
            let heard = raw.message_of("chat");
            if heard["payload"] == "alone" {
                break heard;
            }
            assert!(heard["offset"].is_u64(), "{heard}");
        };
        assert_eq!(heard["degraded"], true, "{heard}");
        assert_eq!(heard["from"]["user"], "app:ann");
        assert!(heard.get("offset").is_none() && heard.get("epoch").is_none(), "{heard}");
    }
    assert_eq!(ann.refused(json!({"type": "join", "to": {"room": "quiet.b"}})), "store_unavailable");
    for node in [&fleet.a, &fleet.b] {
        let refusal = knock(node, "eve").expect_err("no ledger");
        assert_eq!((refusal.status, refusal.code()), (503, "store_unavailable"));
        assert!(says_when(&refusal), "{}", refusal.head);
        assert!(node.ready(), "live sessions are worth keeping");
        wait::until("health to tell", || {
            node.health()["degraded"].as_array().is_some_and(|reasons| !reasons.is_empty()).then_some(())
        });
    }
    assert!(dans.iter_mut().all(lives));

    fleet.redis.restart();
    heard_across(&mut ann, &mut cem, "quiet.a");
    heard_across(&mut cem, &mut bob, "quiet.a");
    let mut newcomers = [&fleet.a, &fleet.b].map(|node| wait::until("a new session", || knock(node, "eve").ok()));
    remembered(&fleet.operator(), "app:dan", &dans);
    assert!(fleet.is_full("dan"));
    newcomers[0].join("quiet.a");
    newcomers[1].join("quiet.a");
    let [here, there] = &mut newcomers;
    heard_across(here, there, "quiet.a");
    for node in [&fleet.a, &fleet.b] {
        assert!(node.ready());
        assert_eq!(node.health()["degraded"], json!([]));
    }
    assert!(dans.iter_mut().all(lives) && lives(&mut ann) && lives(&mut bob) && lives(&mut cem));
}
