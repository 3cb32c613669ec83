//! Which ends leave something to resume.

use portcullis_gateway::session::manager::tell;
use portcullis_gateway::session::talk::Stop;
use portcullis_tests::blocking::{BINARY, CLOSE, Raw, TEXT};
use portcullis_tests::inside::{Inside, until};
use portcullis_tests::tokens;

use super::{end, goes_on, grant, lose, open, resumes_nothing, show, slots, terminated};

/// Ends a session of `ann` in some way and says whether it can be resumed. Its slot is not live any more either way.
fn outlives(inside: &Inside, raw: Raw, end: impl FnOnce(Raw)) -> bool {
    let (sid, token) = (raw.session().to_owned(), grant(&raw));
    end(raw);
    until("the session ends", || slots(inside, "ann").1 == 0);
    let kept = slots(inside, "ann").0 == 1;
    let raw = show(inside.public, "ann", &token).expect("let in");
    assert_eq!((goes_on(&raw), raw.session() == sid), (kept, kept), "the ledger and the gateway agree");
    assert_eq!(raw.close(1000), Some(1000));
    until("nothing is left", || slots(inside, "ann") == (0, 0));
    kept
}

fn closing(code: Option<u16>) -> impl FnOnce(Raw) {
    move |mut raw| {
        raw.send(CLOSE, &code.map(|code| code.to_be_bytes().to_vec()).unwrap_or_default());
        assert!(raw.ending().errors().is_empty());
    }
}

#[test]
fn a_clients_close_ends_the_session_unless_it_says_that_it_goes_away() {
    let inside = Inside::start(&[]);
    for code in [None, Some(1000), Some(1002), Some(1011), Some(3000), Some(4999)] {
        assert!(!outlives(&inside, open(&inside, "ann"), closing(code)), "{code:?}");
    }
    assert!(outlives(&inside, open(&inside, "ann"), closing(Some(1001))));
    assert!(outlives(&inside, open(&inside, "ann"), drop));
}

#[test]
fn a_peer_that_breaks_rules_ends_its_session() {
    let inside = Inside::start(&[]);
    // a reserved opcode, text that is not UTF-8, binary where text is spoken
    for (first, payload) in [(0x83, &b""[..]), (TEXT, &[0xff]), (BINARY, b"{}")] {
        let kept = outlives(&inside, open(&inside, "ann"), |mut raw| {
            assert!(raw.send(first, payload));
            raw.ending();
        });
        assert!(!kept, "{first:x}");
    }
}

#[test]
fn a_session_that_used_up_its_time_is_over() {
    let old = Inside::start(&[("session.absolute_timeout", "1s")]);
    assert!(!outlives(&old, open(&old, "ann"), |raw| assert_eq!(raw.ending().code, Some(4408))));
    let idle = Inside::start(&[("session.idle_timeout", "300ms")]);
    assert!(!outlives(&idle, open(&idle, "ann"), |raw| assert_eq!(raw.ending().code, Some(4408))));
}

#[test]
fn a_session_whose_token_expires_is_over_with_it_connected_or_not() {
    let inside = Inside::start(&[]);
    let raw = Raw::open(inside.public, &tokens::lasting("ann", 2));
    assert!(!outlives(&inside, raw, |raw| assert_eq!(raw.ending().code, Some(4401))));
    let raw = Raw::open(inside.public, &tokens::lasting("ann", 2));
    let (sid, token) = (raw.session().to_owned(), grant(&raw));
    lose(&inside, "ann", raw);
    until("its token ends before the window does", || slots(&inside, "ann") == (0, 0));
    resumes_nothing(inside.public, "ann", &token, &sid);
}

#[test]
fn a_client_that_answers_no_ping_may_come_back() {
    let inside = Inside::start(&[("session.ping_interval", "100ms"), ("session.pong_timeout", "100ms")]);
    let kept = outlives(&inside, open(&inside, "ann"), |mut raw| {
        raw.answers_pings = false;
        assert_eq!(raw.ending().code, Some(4408));
    });
    assert!(kept);
}

#[test]
fn a_session_whose_actor_panicked_may_come_back() {
    let inside = Inside::start(&[]);
    for stop in [Stop::Panic, Stop::PanicNext] {
        let kept = outlives(&inside, open(&inside, "ann"), |raw| {
            tell(&[inside.entry(raw.session()).unwrap()], &stop);
            assert_eq!(raw.ending().code, Some(1011));
        });
        assert!(kept);
    }
}

#[test]
fn a_session_that_gave_its_slot_to_a_newcomer_is_over() {
    let inside = Inside::start(&[("session.max_per_user", "1"), ("session.on_limit", "evict_oldest")]);
    let first = open(&inside, "ann");
    let (sid, token) = (first.session().to_owned(), grant(&first));
    let second = open(&inside, "ann");
    assert_eq!(end(first), terminated());
    let third = show(inside.public, "ann", &token).expect("a new session, which evicts the second");
    assert!(!goes_on(&third) && third.session() != sid);
    assert_eq!(end(second), terminated());
}
