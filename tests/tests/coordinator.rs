//! The coordinator beside a fleet: who leads, who is there, and what is left of those who are not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::process::Output;
use std::time::Duration;

use portcullis_common::store::StoreFault;
use portcullis_tests::blocking::Raw;
use portcullis_tests::coordinator::{Coordinator, command};
use portcullis_tests::fleet::{CLUSTER_KEY, Fleet, lives, open};
use portcullis_tests::gateway::Setup;
use portcullis_tests::wait;
use serde_json::json;

/// From the end of a node to its slots being free: the lease, and the proof that it is over.
const BURIED: Duration = Duration::from_secs(15);
const LEASE: Duration = Duration::from_secs(3);

fn quick(setup: Setup) -> Setup {
    setup.set("coordinator.lease", &format!("{}s", LEASE.as_secs()))
}

/// The leader of two, and the other, once one leads and the other knows.
fn settled([one, two]: [Coordinator; 2]) -> (Coordinator, Coordinator) {
    wait::until("a leader that both know", || {
        let known = |c: &Coordinator| c.health()["leader"]["term"].as_u64();
        (known(&one).is_some() && known(&one) == known(&two) && (one.term().is_some() || two.term().is_some()))
            .then_some(())
    });
    if one.term().is_some() { (one, two) } else { (two, one) }
}

fn role(coordinator: &Coordinator) -> String {
    coordinator.health()["role"].as_str().unwrap().to_owned()
}

fn named(name: &str, state: &str) -> (String, String) {
    (name.to_owned(), state.to_owned())
}

/// What was freed: slots, memberships, lives.
fn reaped(coordinator: &Coordinator) -> [f64; 3] {
    let metrics = coordinator.metrics();
    ["slots", "memberships", "lives"]
        .map(|kind| metrics[&format!("portcullis_coordinator_reaped_total{{kind=\"{kind}\"}}")])
}

#[test]
fn of_two_coordinators_one_leads_and_when_it_is_killed_the_other_does_within_its_lease() {
    let fleet = Fleet::start(quick);
    let (leader, standby) = settled(["c-1", "c-2"].map(|id| fleet.coordinator(id)));
    assert_eq!((role(&leader).as_str(), role(&standby).as_str()), ("leader", "standby"));
    assert_eq!(standby.health()["leader"]["id"], leader.health()["coordinator"]);
    for coordinator in [&leader, &standby] {
        wait::until("both nodes to be seen", || {
            (coordinator.members() == [named("gw-a", "joined"), named("gw-b", "joined")]).then_some(())
        });
    }
    assert_eq!(leader.metric("portcullis_coordinator_leading"), 1.0);
    assert_eq!(standby.metric("portcullis_coordinator_leading"), 0.0);
    let first = leader.term().expect("it leads");
    leader.signal("KILL");
    let slack = Duration::from_secs(2);
    let second = wait::until_within(LEASE + slack, "the other to lead", || standby.term());
    assert!(second > first, "{second} after {first}");
    assert_eq!(standby.metric("portcullis_coordinator_leader_changes_total"), 2.0);
}

#[test]
fn what_a_leader_that_was_stopped_past_its_lease_writes_is_refused() {
    let fleet = Fleet::start(quick);
    let (leader, standby) = settled(["c-1", "c-2"].map(|id| fleet.coordinator(id)));
    let operator = fleet.operator();
    let _session = open(&fleet.a, "ann");
    let old = leader.term().expect("it leads");
    let nobody = "00000000000000000000000001";
    operator.reap_as(old, "gw-x", nobody).expect("it leads");
    leader.signal("STOP");
    let new = wait::until("the other to lead", || standby.term());
    let epoch = fleet.a.health()["epoch"].as_str().unwrap().to_owned();
    let refused = operator.reap_as(old, "gw-a", &epoch);
    assert!(matches!(refused, Err(StoreFault::Fenced)), "{refused:?}");
    assert_eq!(operator.slots("app:ann").unwrap().len(), 1, "nothing was freed");
    leader.signal("CONT");
    wait::until("the old leader to follow", || (leader.health()["leader"]["term"] == new).then_some(()));
    assert_eq!((role(&leader).as_str(), leader.term()), ("standby", None));
    assert_eq!(leader.events("leadership_lost")[0]["term"], old);
    assert_eq!(standby.term(), Some(new), "the new one leads on");
}

#[test]
fn a_coordinator_that_is_stopped_gives_its_leadership_back() {
    let fleet = Fleet::start(|setup| setup.set("coordinator.lease", "60s"));
    let (mut leader, standby) = settled(["c-1", "c-2"].map(|id| fleet.coordinator(id)));
    assert_eq!(leader.terminate().code(), Some(0));
    assert_eq!(leader.events("leadership_resigned")[0]["told"], true);
    // its lease would have run for a minute
    wait::until("the other to lead", || standby.term());
}

#[test]
fn what_nodes_leave_behind_is_freed_by_the_leader_when_no_node_is_there_to_do_it() {
    let fleet = Fleet::start(quick);
    let (leader, standby) = settled(["c-1", "c-2"].map(|id| fleet.coordinator(id)));
    let operator = fleet.operator();
    let _anns: Vec<Raw> = [&fleet.a, &fleet.b, &fleet.a].map(|node| open(node, "ann")).into();
    let mut bob = open(&fleet.b, "bob");
    bob.join("lobby");
    bob.join("quiet.b");
    assert_eq!((operator.slots("app:ann").unwrap().len(), operator.slots("app:bob").unwrap().len()), (3, 1));
    fleet.a.signal("KILL");
    fleet.b.signal("KILL");
    wait::until_within(BURIED, "every slot of the dead to be free", || {
        let left = ["app:ann", "app:bob"].map(|user| operator.slots(user).unwrap().len());
        (left == [0, 0]).then_some(())
    });
    wait::until("the lives to be buried", || leader.members().is_empty().then_some(()));
    assert_eq!(reaped(&leader), [4.0, 2.0, 2.0]);
    assert_eq!(reaped(&standby), [0.0; 3]);
    let states = leader.events("member_changed");
    let states: Vec<&str> =
        states.iter().filter(|e| e["node"] == "gw-a").map(|e| e["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["joined", "suspect", "gone"]);
}

#[test]
fn lives_that_ended_while_no_coordinator_ran_are_found_and_cleared_up() {
    let fleet = Fleet::start(quick);
    let operator = fleet.operator();
    let _ann = open(&fleet.a, "ann");
    fleet.b.signal("KILL");
    fleet.a.signal("KILL");
    assert_eq!(operator.slots("app:ann").unwrap().len(), 1);
    let late = fleet.coordinator("c-late");
    wait::until_within(BURIED + Duration::from_secs(5), "the slot of the dead to be free", || {
        operator.slots("app:ann").unwrap().is_empty().then_some(())
    });
    wait::until("the lives to be buried", || (reaped(&late)[2] == 2.0).then_some(()));
}

#[test]
fn a_node_that_stops_in_order_leaves_nothing_to_clear_up() {
    let mut fleet = Fleet::start(quick);
    let coordinator = fleet.coordinator("c-1");
    let session = open(&fleet.a, "ann");
    wait::until("both nodes to be seen", || (coordinator.members().len() == 2).then_some(()));
    let end = std::thread::spawn(move || session.ending());
    assert!(fleet.a.terminate().success());
    end.join().unwrap();
    wait::until("the life to be forgotten", || (coordinator.members() == [named("gw-b", "joined")]).then_some(()));
    assert_eq!(reaped(&coordinator), [0.0, 0.0, 1.0]);
}

#[test]
fn a_store_that_pauses_for_longer_than_every_lease_gets_nobody_reaped() {
    let fleet = Fleet::start(quick);
    let (leader, standby) = settled(["c-1", "c-2"].map(|id| fleet.coordinator(id)));
    let operator = fleet.operator();
    let mut anns = [&fleet.a, &fleet.b, &fleet.a].map(|node| open(node, "ann"));
    fleet.redis.pause();
    let paused = wait::mono();
    wait::until_within(Duration::from_secs(30), "the leases to run out", || {
        assert!(anns.iter_mut().all(lives));
        (wait::mono().since(paused) > Duration::from_secs(15)).then_some(())
    });
    assert_eq!(leader.health()["degraded"], json!(["the store does not answer"]));
    assert!(leader.ready() && standby.ready(), "restarting them would not bring the store back");
    fleet.redis.go_on();
    let both = [named("gw-a", "joined"), named("gw-b", "joined")];
    wait::until("both nodes to be back", || {
        let members = leader.members();
        both.iter().all(|node| members.contains(node)).then_some(())
    });
    wait::until("a leader", || (leader.term().is_some() || standby.term().is_some()).then_some(()));
    // long enough for whoever would take the paused for dead
    let polls = || leader.metric("portcullis_coordinator_polls_total{outcome=\"answered\"}");
    let before = polls();
    wait::until("ten answered polls", || (polls() >= before + 10.0).then_some(()));
    assert_eq!([reaped(&leader)[0], reaped(&standby)[0]], [0.0, 0.0]);
    assert_eq!(operator.slots("app:ann").unwrap().len(), anns.len());
    assert!(anns.iter_mut().all(lives));
}

fn ask(arguments: &[&str], file: Option<&std::path::Path>) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command().args(arguments).args(file).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn of_a_fleet(url: &str) -> Setup {
    let store = format!("[store]\nurl = \"{url}\"\ncluster_key_file = \"c.key\"\nnaming_key_file = \"naming.key\"\n");
    let keys = Setup::bare(&store).file("naming.key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    keys.file("c.key", CLUSTER_KEY)
}

#[test]
fn its_command_line_tells_what_is_wrong_with_its_part_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let good = of_a_fleet("redis://:swordfish@127.0.0.1:1").write(dir.path());
    let (code, out, err) = ask(&["check-config"], Some(&good));
    assert_eq!((code, out.ends_with("portcullis.toml: good\n")), (Some(0), true), "{out}{err}");
    let (code, out, err) = ask(&["print-config"], Some(&good));
    assert_eq!(
        (code, out.contains("lease = \"10s\""), out.contains("swordfish")),
        (Some(0), true, false),
        "{out}{err}"
    );
    // nobody listens there: the machine's fault and not the file's
    let (code, out, err) = ask(&["run", "--config"], Some(&good));
    assert_eq!((code, out.as_str()), (Some(70), ""), "{err}");
    assert!(!err.contains("swordfish"), "{err}");

    let setup = of_a_fleet("redis://127.0.0.1:1").file("naming.key", "short").toml("[coordinator]\nlease = \"1h\"\n");
    let bad = setup.write(dir.path());
    for verb in [&["check-config"][..], &["run", "--config"], &["print-config"]] {
        let (code, out, err) = ask(verb, Some(&bad));
        assert_eq!((code, out.as_str(), err.contains("coordinator.lease")), (Some(64), "", true), "{verb:?}: {err}");
    }
    let key = of_a_fleet("redis://127.0.0.1:1").file("naming.key", "short").write(dir.path());
    for verb in [&["check-config"][..], &["run", "--config"]] {
        let (code, _, err) = ask(verb, Some(&key));
        assert_eq!((code, err.contains("store.naming_key_file")), (Some(64), true), "{verb:?}: {err}");
    }
    // it is what shuts doors
    let unsigned = of_a_fleet("redis://127.0.0.1:1").file("c.key", "short");
    let (code, _, err) = ask(&["check-config"], Some(&unsigned.clone().write(dir.path())));
    assert_eq!((code, err.contains("store.cluster_key_file")), (Some(64), true), "{err}");
    let (code, _, err) =
        ask(&["check-config"], Some(&unsigned.toml("[stuffing]\nenabled = false\n").write(dir.path())));
    assert_eq!(code, Some(0), "{err}");
    let memory = Setup::bare("").write(dir.path());
    let (code, _, err) = ask(&["check-config"], Some(&memory));
    assert_eq!((code, err.contains("store.url")), (Some(64), true), "{err}");
    assert_eq!(ask(&["lead"], None).0, Some(64));
    assert_eq!(ask(&["--version"], None).0, Some(0));
}
