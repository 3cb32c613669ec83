//! A store that does not answer while a session is resumed.

use portcullis_tests::blocking::{Knock, Refusal};
use portcullis_tests::inside::{Inside, until};
use portcullis_tests::stall::Stall;
use portcullis_tests::tokens;

use super::{end, goes_on, grant, lives, lose, open, show, slots, terminated};

fn start() -> (Inside, Stall) {
    let stall = Stall::default();
    let over = stall.clone();
    (Inside::start_on(&[], move |stores| over.over(stores)), stall)
}

fn unavailable(refusal: &Refusal) {
    assert_eq!((refusal.status, refusal.code()), (503, "store_unavailable"), "{refusal:?}");
}

#[test]
fn a_resume_that_the_store_does_not_take_is_refused_and_can_be_repeated() {
    let (inside, stall) = start();
    let first = open(&inside, "ann");
    let (sid, token) = (first.session().to_owned(), grant(&first));
    lose(&inside, "ann", first);
    for call in ["ledger.resume", "ledger.arm"] {
        stall.refuse(call);
        unavailable(&show(inside.public, "ann", &token).expect_err("no store"));
        stall.lift(call);
        until("the session waits again", || slots(&inside, "ann") == (1, 0));
    }
    let mut raw = show(inside.public, "ann", &token).unwrap();
    assert!(goes_on(&raw) && raw.session() == sid && lives(&mut raw));
    assert!(inside.counts(1));
}

#[test]
fn a_detach_that_the_store_does_not_take_is_told_again() {
    let (inside, stall) = start();
    let first = open(&inside, "ann");
    let (sid, token) = (first.session().to_owned(), grant(&first));
    stall.refuse("ledger.detach");
    drop(first);
    until("the session is gone from the node", || inside.counts(0));
    assert_eq!(slots(&inside, "ann"), (0, 1));
    stall.lift("ledger.detach");
    until("the store is told", || slots(&inside, "ann") == (1, 0));
    let raw = show(inside.public, "ann", &token).unwrap();
    assert!(goes_on(&raw) && raw.session() == sid);
}

#[test]
fn a_resume_whose_answer_never_came_leaves_no_slot_that_nobody_has() {
    let (inside, stall) = start();
    let first = open(&inside, "ann");
    let token = grant(&first);
    lose(&inside, "ann", first);
    stall.late("ledger.resume");
    let knock = Knock::at(inside.public, &tokens::good("ann"), Some(&format!("portcullis.v1.json, resume.{token}")));
    until("the store has carried it out", || slots(&inside, "ann") == (0, 1));
    unavailable(&knock.answer().expect_err("no answer"));
    stall.lift("ledger.resume");
    until("the slot is found", || slots(&inside, "ann") == (0, 0));
    assert!(inside.counts(0));
}

#[test]
fn the_new_connection_enters_rooms_only_when_the_old_one_has_left_them() {
    let (inside, stall) = start();
    let mut first = open(&inside, "ann");
    first.join("lobby");
    let token = grant(&first);
    stall.hold("presence.exit");
    unavailable(&show(inside.public, "ann", &token).expect_err("the room is not left yet"));
    assert_eq!(end(first), terminated());
    until("the session waits again", || slots(&inside, "ann") == (1, 0));
    stall.lift("presence.exit");
    let mut second = show(inside.public, "ann", &token).unwrap();
    assert!(goes_on(&second));
    assert_eq!(second.join("lobby")["members"], 1);
}
