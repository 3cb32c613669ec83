//! What an operator has ended stays ended, whether a connection was there to be told or not.

use portcullis_common::clock::UnixMs;
use portcullis_common::ids::{SessionId, UserId};
use portcullis_common::store::control::{ControlEntry, Target};
use portcullis_tests::inside::Inside;
use portcullis_tests::wait;

use super::{end, goes_on, grant, lives, lose, open, resumes_nothing, show, slots, terminated};

fn user(name: &str) -> Target {
    Target::User(UserId::parse(name).unwrap())
}

fn kick(target: Target) -> ControlEntry {
    ControlEntry::Kick { target, reason: "test".to_owned() }
}

/// A session of `ann` that is waiting for its client: its id and token.
fn detached(inside: &Inside) -> (String, String) {
    let raw = open(inside, "ann");
    let known = (raw.session().to_owned(), grant(&raw));
    lose(inside, "ann", raw);
    known
}

#[test]
fn a_kick_ends_detached_sessions_of_its_user_and_no_others() {
    let inside = Inside::start(&[]);
    let (sid, token) = detached(&inside);
    let bob = open(&inside, "bob");
    let (bobs, bobs_token) = (bob.session().to_owned(), grant(&bob));
    lose(&inside, "bob", bob);
    inside.control(kick(user("ann")));
    assert_eq!(slots(&inside, "ann"), (0, 0), "the record is gone");
    resumes_nothing(inside.public, "ann", &token, &sid);
    let bob = show(inside.public, "bob", &bobs_token).unwrap();
    assert!(goes_on(&bob) && bob.session() == bobs);
    // a session that begins afterwards is none of the kick's
    let (sid, token) = detached(&inside);
    let raw = show(inside.public, "ann", &token).unwrap();
    assert!(goes_on(&raw) && raw.session() == sid);
}

#[test]
fn a_kick_of_a_session_or_of_its_network_is_remembered_where_no_record_could_be_deleted() {
    let inside = Inside::start(&[]);
    for by_network in [false, true] {
        let (sid, token) = detached(&inside);
        let target = if by_network {
            Target::Network("127.0.0.0/8".parse().unwrap())
        } else {
            Target::Session(SessionId::parse(&sid).unwrap())
        };
        inside.control(kick(target));
        assert_eq!(slots(&inside, "ann"), (1, 0), "nobody knows whose it is");
        resumes_nothing(inside.public, "ann", &token, &sid);
        assert_eq!(slots(&inside, "ann"), (0, 0), "whoever shows the token tells");
    }
    assert_eq!(inside.metric("portcullis_resumes_total{outcome=\"ended\"}"), 2.0);
}

#[test]
fn a_connection_that_is_kicked_leaves_nothing_to_resume() {
    let inside = Inside::start(&[]);
    let raw = open(&inside, "ann");
    let (sid, token) = (raw.session().to_owned(), grant(&raw));
    inside.control(kick(user("ann")));
    assert_eq!(end(raw), terminated());
    resumes_nothing(inside.public, "ann", &token, &sid);
}

#[test]
fn a_ban_outlives_its_own_end() {
    let inside = Inside::start(&[]);
    let (sid, token) = detached(&inside);
    inside.control(ControlEntry::Ban { target: user("ann"), until: None, reason: "test".to_owned() });
    let refusal = show(inside.public, "ann", &token).expect_err("banned");
    assert_eq!((refusal.status, refusal.code()), (403, "banned"));
    inside.control(ControlEntry::Lift { target: user("ann") });
    resumes_nothing(inside.public, "ann", &token, &sid);

    let (sid, token) = detached(&inside);
    let target = Target::Session(SessionId::parse(&sid).unwrap());
    inside.control(ControlEntry::Ban { target, until: None, reason: "test".to_owned() });
    let refusal = show(inside.public, "ann", &token).expect_err("a banned session");
    assert_eq!((refusal.status, refusal.code()), (403, "banned"));
    resumes_nothing(inside.public, "ann", &token, &sid);
    let mut raw = open(&inside, "ann");
    assert!(lives(&mut raw), "its user is not banned");
}

#[test]
fn a_revocation_ends_what_began_before_the_moment_that_it_names() {
    let inside = Inside::start(&[]);
    let ann = UserId::parse("ann").unwrap();
    let (sid, token) = detached(&inside);
    let revoke = |issued_until| ControlEntry::Revoke { user: ann.clone(), issued_until };
    // of a time when neither the session nor its token was there
    inside.control(revoke(UnixMs(wait::wall().0 - 600_000)));
    assert_eq!(slots(&inside, "ann"), (1, 0));
    inside.control(revoke(wait::wall()));
    assert_eq!(slots(&inside, "ann"), (0, 0));
    let refusal = show(inside.public, "ann", &token).expect_err("the bearer token is revoked");
    assert_eq!((refusal.status, refusal.code(), sid.len()), (401, "unauthenticated", 26));
}
