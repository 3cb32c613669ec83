//! Exit codes: 0 all, 3 some, 4 none in time, 64 usage.

use portcullis_tests::gatectl::{Gatectl, Who};

use super::{Three, texts};

#[test]
fn the_exit_code_says_how_many_nodes_did_it() {
    let mut three = Three::start();
    let gatectl = Gatectl::of(Who::Operator, &three.fleet.redis);
    let asked = |patience: &str| {
        let said = gatectl.run(&["kick", "user", "app:nobody", "--json", "--timeout", patience]);
        let rows = said.rows();
        let outcomes: Vec<String> = texts(&rows, "outcome").iter().map(|outcome| (*outcome).to_owned()).collect();
        (said.code, outcomes, said.err)
    };
    assert_eq!(asked("20s"), (0, vec!["done".to_owned(); 3], String::new()));

    three.c.signal("STOP");
    let (code, outcomes, err) = asked("2s");
    assert_eq!((code, outcomes), (3, ["done", "done", "silent"].map(str::to_owned).to_vec()));
    assert_eq!(err, "gw-c: silent\n");
    let said = gatectl.run(&["nodes", "--json", "--timeout", "2s"]);
    let rows = said.rows();
    assert_eq!((said.code, texts(&rows, "state")), (3, vec!["ready", "ready", "silent"]));
    assert!(rows[2]["sessions"].is_null());

    three.fleet.a.signal("STOP");
    three.fleet.b.signal("STOP");
    let (code, outcomes, _) = asked("1s");
    assert_eq!((code, outcomes), (4, vec!["silent".to_owned(); 3]));
    for node in [&three.fleet.a, &three.fleet.b, &three.c] {
        node.signal("CONT");
    }
    // the one that was asked while it was away does not act on it afterwards: its time was over
    let late = "portcullis_commands_total{outcome=\"expired\"}";
    portcullis_tests::wait::until("gw-c to read on", || (three.c.metric(late) >= 1.).then_some(()));

    three.fleet.redis.kill();
    let gone = gatectl.run(&["nodes"]);
    assert!(gone.code == 4 && gone.err.contains("the store could not be opened"), "{gone:?}");
}
