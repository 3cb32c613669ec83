//! Never a session more than the cap over three nodes, whoever comes at once and whichever node dies: judged from the
//! ledger's sequence, which orders the steps of all nodes.

use std::collections::BTreeSet;

use portcullis_common::store::session::SlotState;
use portcullis_tests::blocking::{Knock, Raw};
use portcullis_tests::evidence::{Evidence, Replay, Silent};
use portcullis_tests::fleet::{Fleet, Operator, knock, lives, refused_for_the_cap};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::length::{is_chaos, length};
use portcullis_tests::{tokens, wait};

const CAP: usize = 5;
const USER: &str = "app:crowd";
/// A lease is renewed at least so long before it may be over, and three seconds prove that a life is.
const NOT_DEAD_YET_US: u64 = 7_000_000;

fn start(on_limit: &'static str) -> (Fleet, Gateway) {
    let fleet = Fleet::start(|setup| {
        setup
            .set("session.max_per_user", &CAP.to_string())
            .set("session.on_limit", on_limit)
            .set("log.filter", "info,portcullis_gateway=debug")
    });
    let third = fleet.node("gw-c");
    (fleet, third)
}

fn replay(nodes: &[&Gateway], silent: &Silent) -> Replay {
    Evidence::of(USER, nodes.iter().flat_map(|node| node.events())).replay(silent)
}

/// Who of a crowd was let in.
struct Crowd {
    came: Vec<Raw>,
    /// Nobody was told that the store did not answer: on a busy machine it may not in its half second, and then a slot
    /// may be nobody's for a moment.
    clean: bool,
}

/// A crowd at all of these nodes at once. Whoever is not let in is refused for the cap, or because the store is slow.
fn crowd(nodes: &[&Gateway], size: usize) -> Crowd {
    let token = tokens::good("crowd");
    let knocks: Vec<Knock> = (0..size).map(|n| Knock::at(nodes[n % nodes.len()].public, &token, None)).collect();
    let mut crowd = Crowd { came: Vec::new(), clean: true };
    for answer in knocks.into_iter().map(Knock::answer) {
        match answer {
            Ok(raw) => crowd.came.push(raw),
            Err(refusal) if refusal.code() == "store_unavailable" => crowd.clean = false,
            Err(refusal) => assert!(refused_for_the_cap(&refusal), "{refusal:?}"),
        }
    }
    crowd
}

/// Everybody goes, and the ledger is empty.
fn clear(operator: &Operator, came: Vec<Raw>) {
    for raw in came {
        raw.close(1000);
    }
    wait::until("every slot is free", || operator.slots(USER).unwrap().is_empty().then_some(()));
}

/// The nodes' logs tell of every slot that was given and taken.
fn settled(nodes: &[&Gateway]) -> Replay {
    wait::until("the logs to be whole", || {
        let replay = replay(nodes, &Silent::new());
        replay.holders.is_empty().then_some(replay)
    })
}

#[test]
fn a_crowd_at_three_nodes_gets_exactly_the_cap_round_after_round() {
    let (fleet, third) = start("reject");
    let nodes = [&fleet.a, &fleet.b, &third];
    let operator = fleet.operator();
    let (size, rounds) = length((60, 3), (200, 50));
    let (mut exact, mut let_in) = (0, 0);
    for round in 0..rounds {
        let Crowd { mut came, clean } = crowd(&nodes, size);
        assert!(came.len() == CAP || (!clean && came.len() < CAP), "round {round}: {}", came.len());
        assert!(came.iter_mut().all(lives));
        exact += usize::from(clean);
        let_in += came.len();
        clear(&operator, came);
    }
    let replay = settled(&nodes);
    assert_eq!((replay.peak, replay.given), (CAP, let_in));
    eprintln!("{rounds} rounds of {size}, in {exact} of them the store was always in time: exactly {CAP} each");
    assert!(exact * 2 > rounds, "the machine is too busy for a proof: {exact} of {rounds}");
}

#[test]
fn a_crowd_that_evicts_at_three_nodes_never_has_more_than_the_cap() {
    let (fleet, third) = start("evict_oldest");
    let nodes = [&fleet.a, &fleet.b, &third];
    let operator = fleet.operator();
    let (size, rounds) = length((60, 3), (200, 50));
    for round in 0..rounds {
        let came = crowd(&nodes, size).came;
        let holders = wait::until("nobody is on the way", || {
            let slots = operator.slots(USER).unwrap();
            assert!(slots.len() <= CAP, "round {round}: {slots:?}");
            let holders: BTreeSet<String> = slots.iter().map(|slot| slot.holder.sid.to_string()).collect();
            let here = holders.iter().all(|sid| came.iter().any(|raw| raw.session() == sid));
            (here && slots.iter().all(|slot| slot.state == SlotState::Live)).then_some(holders)
        });
        let (mut stay, go): (Vec<Raw>, Vec<Raw>) = came.into_iter().partition(|raw| holders.contains(raw.session()));
        for raw in go {
            let end = raw.ending();
            assert_eq!((end.errors(), end.code), (vec!["session_terminated"], Some(4409)), "round {round}");
        }
        assert!(stay.iter_mut().all(lives) && stay.len() == holders.len(), "round {round}");
        clear(&operator, stay);
    }
    let replay = settled(&nodes);
    assert_eq!(replay.peak, CAP);
    assert!(replay.passed > 0, "nobody made room for anybody");
}

/// Kills the third node while it holds two slots and a crowd wants them.
fn killed(on_limit: &'static str) {
    let (fleet, third) = start(on_limit);
    let operator = fleet.operator();
    let mut there: Vec<Raw> = (0..2).map(|_| wait::until("to be let in", || knock(&third, "crowd").ok())).collect();
    assert!(there.iter_mut().all(lives));
    // what it has logged is all that it will log of them
    let theirs = wait::until("its log", || {
        let holders = replay(&[&third], &Silent::new()).holders;
        (holders.len() == there.len()).then_some(holders)
    });
    let mut kept: Vec<Raw> = Vec::new();
    while kept.len() < CAP - 2 {
        kept.extend(crowd(&[&fleet.a, &fleet.b], 1).came);
    }
    third.signal("KILL");
    let until = wait::wall().0 * 1_000 + NOT_DEAD_YET_US;
    let silent: Silent = theirs.iter().map(|session| (session.clone(), until)).collect();
    let mut came = Vec::new();
    wait::until_within(std::time::Duration::from_secs(20), "the slots of the dead", || {
        came.extend(crowd(&[&fleet.a, &fleet.b], 8).came);
        let slots = operator.slots(USER).unwrap();
        assert!(slots.len() <= CAP, "{slots:?}");
        let dead = slots.iter().any(|slot| theirs.contains(&slot.holder.sid.to_string()));
        (!dead && slots.len() == CAP).then_some(())
    });
    drop((kept, came));
    let nodes = [&fleet.a, &fleet.b, &third];
    wait::until("the ledger and the logs know that all are gone", || {
        let here = replay(&nodes, &silent).holders.into_iter().filter(|session| !theirs.contains(session)).count();
        let live = operator.slots(USER).unwrap().into_iter();
        let live = live.filter(|slot| !matches!(slot.state, SlotState::Detached { .. })).count();
        (here == 0 && live == 0).then_some(())
    });
    let replay = replay(&nodes, &silent);
    assert_eq!(replay.peak, CAP, "those of the killed node count until they are proved dead");
}

#[test]
fn a_killed_node_gives_nobody_a_slot_too_many() {
    killed("reject");
    if is_chaos() {
        killed("evict_oldest");
    }
}
