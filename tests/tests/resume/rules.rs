//! What a resumed session is.

use portcullis_common::ids::UserId;
use portcullis_tests::blocking::Raw;
use portcullis_tests::inside::{Inside, until};
use portcullis_tests::stall::Stall;
use portcullis_tests::wait;
use serde_json::json;

use super::{end, goes_on, grant, lives, lose, open, resumes_nothing, show, slots, terminated};

#[test]
fn a_session_goes_on_where_its_connection_broke() {
    let inside = Inside::start(&[]);
    let first = open(&inside, "ann");
    assert!(!goes_on(&first));
    let (sid, csrf, token) = (first.session().to_owned(), first.csrf.clone(), grant(&first));
    lose(&inside, "ann", first);
    assert!(inside.counts(0), "nobody is counted who is not there");

    let mut second = show(inside.public, "ann", &token).unwrap();
    assert!(goes_on(&second));
    assert_eq!(second.session(), sid);
    assert_ne!(grant(&second), token, "each connection has a token of its own");
    assert_eq!(slots(&inside, "ann"), (0, 1));
    assert!(inside.counts(1));
    let mut stale = json!({"type": "join", "to": {"room": "lobby"}});
    stale["csrfToken"] = json!(csrf);
    assert_eq!(second.refused(stale), "csrf_invalid", "the CSRF token is the connection's");
    second.join("lobby");
    assert_eq!(second.close(1000), Some(1000));
    until("the slot is free", || slots(&inside, "ann") == (0, 0) && inside.counts(0));
}

#[test]
fn a_connection_that_still_lives_is_replaced_and_hears_why() {
    let inside = Inside::start(&[("session.max_per_user", "2")]);
    let (first, mut other) = (open(&inside, "ann"), open(&inside, "ann"));
    let (sid, token) = (first.session().to_owned(), grant(&first));
    let mut second = show(inside.public, "ann", &token).unwrap();
    assert_eq!((second.session(), goes_on(&second)), (&*sid, true), "at the cap: it takes no second slot");
    assert_eq!(end(first), terminated());
    assert!(lives(&mut second) && lives(&mut other));
    assert_eq!(slots(&inside, "ann"), (0, 2));
    assert!(inside.counts(2));
    assert!(inside.metric("portcullis_resumes_total{outcome=\"resumed\"}") >= 1.0);
}

#[test]
fn a_session_is_resumed_again_and_again_and_keeps_its_age() {
    let inside = Inside::start(&[("session.max_per_user", "1")]);
    let mut raw = open(&inside, "ann");
    let sid = raw.session().to_owned();
    let since =
        |inside: &Inside| Inside::store(inside.node.stores.ledger.slots(UserId::parse("ann").unwrap()))[0].since;
    let begun = since(&inside);
    for round in 0..10 {
        let token = grant(&raw);
        if round % 2 == 0 {
            lose(&inside, "ann", raw);
            raw = show(inside.public, "ann", &token).unwrap();
        } else {
            let next = show(inside.public, "ann", &token).unwrap();
            assert_eq!(end(std::mem::replace(&mut raw, next)), terminated());
        }
        assert_eq!((raw.session(), goes_on(&raw), since(&inside)), (&*sid, true, begun));
        assert!(lives(&mut raw));
    }
}

#[test]
fn a_session_ends_when_it_would_have_however_often_it_is_resumed() {
    let inside = Inside::start(&[("session.absolute_timeout", "1m")]);
    let ends = |raw: &Raw| raw.welcome["payload"]["expiresAt"].as_u64().unwrap();
    let mut raw = open(&inside, "ann");
    let end = ends(&raw);
    for _ in 0..3 {
        let now = wait::wall();
        wait::until("the clock to go on", || (wait::wall().0 > now.0 + 20).then_some(()));
        let token = grant(&raw);
        lose(&inside, "ann", raw);
        raw = show(inside.public, "ann", &token).unwrap();
        assert!(goes_on(&raw) && ends(&raw) <= end, "{} after {end}", ends(&raw));
    }
}

#[test]
fn the_first_frame_of_the_new_connection_spends_the_old_token() {
    let inside = Inside::start(&[]);
    let first = open(&inside, "ann");
    let (sid, token) = (first.session().to_owned(), grant(&first));
    lose(&inside, "ann", first);
    // welcomes that are never read: the old token wins each time
    for _ in 0..3 {
        let lost = show(inside.public, "ann", &token).unwrap();
        assert!(goes_on(&lost) && lost.session() == sid);
        lose(&inside, "ann", lost);
    }
    let mut read = show(inside.public, "ann", &token).unwrap();
    assert!(lives(&mut read));
    resumes_nothing(inside.public, "ann", &token, &sid);
    assert!(lives(&mut read), "a replay hurts nobody");
    let next = grant(&read);
    lose(&inside, "ann", read);
    resumes_nothing(inside.public, "ann", &token, &sid);
    let mut raw = show(inside.public, "ann", &next).unwrap();
    assert!(goes_on(&raw) && raw.session() == sid && lives(&mut raw));
}

#[test]
fn an_answer_to_a_ping_is_a_first_frame_too() {
    let inside = Inside::start(&[("session.ping_interval", "100ms"), ("session.pong_timeout", "100ms")]);
    let first = open(&inside, "ann");
    let (sid, token) = (first.session().to_owned(), grant(&first));
    let mut second = show(inside.public, "ann", &token).unwrap();
    // a listener says nothing, but its WebSocket answers pings
    until("a pong spends the token", || {
        assert!(second.frame().is_some_and(|ping| second.send(portcullis_tests::blocking::PONG, &ping.payload)));
        inside.metric("portcullis_round_trip_seconds_count") >= 1.0
    });
    resumes_nothing(inside.public, "ann", &token, &sid);
}

#[test]
fn a_detached_session_keeps_nobody_out() {
    let inside = Inside::start(&[("session.max_per_user", "2")]);
    let (first, mut second) = (open(&inside, "ann"), open(&inside, "ann"));
    let token = grant(&first);
    lose(&inside, "ann", first);
    let mut third = open(&inside, "ann");
    assert_eq!(slots(&inside, "ann"), (0, 2), "its slot was given away");
    let refusal = show(inside.public, "ann", &token).expect_err("a new session, and the cap is reached");
    assert_eq!((refusal.status, refusal.code()), (429, "session_limit"));
    assert!(lives(&mut second) && lives(&mut third));
}

#[test]
fn nothing_is_resumed_after_the_window() {
    let inside = Inside::start(&[("session.resume_window", "300ms")]);
    let first = open(&inside, "ann");
    let (sid, token) = (first.session().to_owned(), grant(&first));
    drop(first);
    until("the window ends", || slots(&inside, "ann") == (0, 0));
    resumes_nothing(inside.public, "ann", &token, &sid);
}

#[test]
fn without_a_window_there_are_no_tokens_and_slots_are_free_at_once() {
    let inside = Inside::start(&[("session.resume_window", "0s")]);
    let first = open(&inside, "ann");
    assert_eq!(first.welcome["payload"]["resume"], json!(null));
    drop(first);
    until("the slot is free", || slots(&inside, "ann") == (0, 0));
    let raw = show(inside.public, "ann", &"A".repeat(43)).expect("the entry is passed over");
    assert_eq!(raw.welcome["payload"]["resume"], json!(null));
}

#[test]
fn a_handshake_makes_two_store_calls_whether_it_begins_a_session_or_goes_on_with_one() {
    let stall = Stall::default();
    let over = stall.clone();
    let inside = Inside::start_on(&[], move |stores| over.over(stores));
    let ledger = |stall: &Stall| -> Vec<_> {
        stall.made().into_iter().filter(|(call, _)| call.starts_with("ledger.")).collect()
    };
    ledger(&stall);
    let first = open(&inside, "ann");
    assert_eq!(ledger(&stall), [("ledger.acquire", 1), ("ledger.arm", 1)]);
    let token = grant(&first);
    lose(&inside, "ann", first);
    ledger(&stall);
    let second = show(inside.public, "ann", &token).unwrap();
    assert_eq!(ledger(&stall), [("ledger.arm", 1), ("ledger.resume", 1)]);
    assert!(goes_on(&second));
}
