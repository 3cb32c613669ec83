//! The control log: what an operator says is done on every node, what somebody else says is not.

use portcullis_common::ids::UserId;
use portcullis_common::store::control::{ControlEntry, Target};
use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{FORGED_KEY, Fleet, Operator, knock, lives, open};

use super::{banned, end, terminated};

fn user(name: &str) -> Target {
    Target::User(UserId::parse(name).unwrap())
}

fn kick(name: &str) -> ControlEntry {
    ControlEntry::Kick { target: user(name), reason: "test".to_owned() }
}

fn ban(name: &str) -> ControlEntry {
    ControlEntry::Ban { target: user(name), until: None, reason: "test".to_owned() }
}

fn on_both(fleet: &Fleet, name: &str) -> [Raw; 2] {
    [open(&fleet.a, name), open(&fleet.b, name)]
}

/// Status and code with which both nodes refuse a user.
fn refusals(fleet: &Fleet, name: &str) -> Vec<(u16, String)> {
    let answers = [&fleet.a, &fleet.b].map(|node| knock(node, name).expect_err("refused"));
    answers.iter().map(|refusal| (refusal.status, refusal.code().to_owned())).collect()
}

#[test]
fn kicks_and_bans_of_another_process_are_carried_out_on_every_node() {
    let fleet = Fleet::start(|setup| setup);
    let operator = fleet.operator();
    let (anns, bobs, mut others) = (on_both(&fleet, "ann"), on_both(&fleet, "bob"), on_both(&fleet, "cem"));

    operator.append(kick("app:ann"));
    assert_eq!(anns.map(end), [terminated(), terminated()]);
    let mut anns = on_both(&fleet, "ann");
    assert!(anns.iter_mut().all(lives), "a kick refuses nobody");

    operator.append(ban("app:bob"));
    assert_eq!(bobs.map(end), [banned(), banned()]);
    let forbidden = (403, "banned".to_owned());
    assert_eq!(refusals(&fleet, "bob"), [forbidden.clone(), forbidden.clone()]);
    // a node that comes later knows it too
    let late = fleet.node("gw-c");
    assert_eq!(knock(&late, "bob").expect_err("refused").code(), "banned");

    // whoever lifts it waits until a kick behind it was carried out: then the lift was, too
    operator.append(ControlEntry::Lift { target: user("app:bob") });
    operator.append(kick("app:ann"));
    assert_eq!(anns.map(end), [terminated(), terminated()]);
    assert!(on_both(&fleet, "bob").iter_mut().all(lives));
    assert!(others.iter_mut().all(lives));
}

#[test]
fn entries_that_the_cluster_did_not_sign_and_entries_written_again_do_nothing() {
    let fleet = Fleet::start(|setup| setup);
    let operator = fleet.operator();
    let (anns, fences) = (on_both(&fleet, "ann"), on_both(&fleet, "fence"));
    operator.append(kick("app:ann"));
    assert_eq!(anns.map(end), [terminated(), terminated()]);
    let mut anns = on_both(&fleet, "ann");

    let keys = fleet.redis.cli(&["--scan", "--pattern", "*:control"]);
    let [log] = keys.lines().collect::<Vec<_>>()[..] else { panic!("which is the log? {keys}") };
    // a key of the attacker's own
    let forger = Operator::with_keys(&fleet.redis, FORGED_KEY);
    forger.append(ban("app:ann"));
    forger.append(kick("app:ann"));
    // noise in each place
    fleet.redis.cli(&["XADD", log, "*", "d", "garbage"]);
    fleet.redis.cli(&["XADD", log, "*", "d", ""]);
    fleet.redis.cli(&["XADD", log, "*", "e", "no such field"]);
    // the kick that was obeyed before, as it was signed
    let again = "local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1] \
                 return redis.call('XADD', KEYS[1], '*', unpack(first[2]))";
    fleet.redis.cli(&["EVAL", again, "1", log]);

    // the log goes on behind all that, in order: whatever stood before this was read
    operator.append(kick("app:fence"));
    assert_eq!(fences.map(end), [terminated(), terminated()]);
    assert!(anns.iter_mut().all(lives));
    assert!(on_both(&fleet, "ann").iter_mut().all(lives), "and nobody is banned");
}
