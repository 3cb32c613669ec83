//! The cap of sessions, counted over all nodes.

use std::collections::VecDeque;

use portcullis_tests::blocking::{Knock, Raw};
use portcullis_tests::fleet::{Fleet, knock, lives, open, refused_for_the_cap};
use portcullis_tests::gateway::Setup;
use portcullis_tests::{tokens, wait};

use super::{end, terminated};

const CAP: usize = 3;

fn capped(on_limit: &'static str) -> impl FnOnce(Setup) -> Setup {
    move |setup| setup.set("session.max_per_user", &CAP.to_string()).set("session.on_limit", on_limit)
}

#[test]
fn a_user_has_as_many_sessions_as_the_cap_on_all_nodes_together() {
    let fleet = Fleet::start(capped("reject"));
    let operator = fleet.operator();
    let (here, mut too, mut there) = (open(&fleet.a, "ann"), open(&fleet.a, "ann"), open(&fleet.b, "ann"));
    assert!(fleet.is_full("ann"));
    assert_eq!(operator.slots("app:ann").unwrap().len(), CAP);
    assert!(lives(&mut open(&fleet.b, "bob")), "another user's cap is another one");

    assert_eq!(here.close(1000), Some(1000));
    let mut next = wait::until("the slot of a session on the other node", || knock(&fleet.b, "ann").ok());
    assert!(fleet.is_full("ann"));
    drop(there);
    there = wait::until("the slot of a connection that broke", || knock(&fleet.a, "ann").ok());
    assert!(fleet.is_full("ann"));
    assert!(lives(&mut too) && lives(&mut next) && lives(&mut there), "a refusal costs nobody a session");
}

#[test]
fn a_crowd_at_both_nodes_at_once_gets_exactly_the_cap() {
    const CROWD: usize = 40;
    let fleet = Fleet::start(capped("reject"));
    let operator = fleet.operator();
    let token = tokens::good("crowd");
    for round in 0..5 {
        let nodes = [&fleet.a, &fleet.b];
        let knocks: Vec<Knock> = (0..CROWD).map(|n| Knock::at(nodes[n % 2].public, &token, None)).collect();
        let (live, refused): (Vec<_>, Vec<_>) = knocks.into_iter().map(Knock::answer).partition(Result::is_ok);
        assert_eq!((live.len(), refused.len()), (CAP, CROWD - CAP), "round {round}");
        assert!(refused.into_iter().all(|answer| answer.is_err_and(|refusal| refused_for_the_cap(&refusal))));
        assert_eq!(operator.slots("app:crowd").unwrap().len(), CAP);
        live.into_iter().flatten().for_each(|raw| assert_eq!(raw.close(1000), Some(1000)));
        wait::until("every slot is free", || operator.slots("app:crowd").unwrap().is_empty().then_some(()));
    }
}

#[test]
fn with_eviction_a_newcomer_takes_the_place_of_the_oldest_on_the_other_node() {
    let fleet = Fleet::start(capped("evict_oldest"));
    let operator = fleet.operator();
    let mut open_ones: VecDeque<Raw> = [&fleet.a, &fleet.b, &fleet.a].map(|node| open(node, "ann")).into();
    // the oldest is on the other node each time: a, b, a, b …
    for node in [&fleet.b, &fleet.a].iter().cycle().take(6) {
        let newcomer = open(node, "ann");
        let oldest = open_ones.pop_front().unwrap();
        let slots = operator.slots("app:ann").unwrap();
        assert_eq!(slots.len(), CAP);
        assert!(slots.iter().all(|slot| slot.holder.sid.to_string() != oldest.session()), "{slots:?}");
        assert_eq!(end(oldest), terminated());
        open_ones.push_back(newcomer);
        assert!(open_ones.iter_mut().all(lives), "only the oldest goes");
    }
}
