//! Tokens in the wrong hands, and what is shown as one.

use portcullis_tests::blocking::{Knock, Raw};
use portcullis_tests::inside::{Inside, logged};
use portcullis_tests::tokens;
use serde_json::json;

use super::{end, goes_on, grant, lives, lose, open, resumes_nothing, show, show_with, slots, terminated};

#[test]
fn what_is_no_resume_token_begins_a_new_session() {
    let inside = Inside::start(&[]);
    let first = open(&inside, "ann");
    let (sid, token) = (first.session().to_owned(), grant(&first));
    lose(&inside, "ann", first);
    let guesses = [
        tokens::b64([0; 32]),
        tokens::b64([0xff; 32]),
        tokens::b64([7; 31]),
        tokens::b64([7; 33]),
        sid.clone(),
        token[1..].to_owned(),
        format!("{token}A"),
        token.to_lowercase(),
        "x".repeat(512),
    ];
    for guess in guesses {
        resumes_nothing(inside.public, "ann", &guess, &sid);
    }
    let refusal = show(inside.public, "ann", &"x".repeat(513)).expect_err("too long for one");
    assert_eq!((refusal.status, refusal.code()), (400, "malformed"));
    let raw = show(inside.public, "ann", &token).unwrap();
    assert!(goes_on(&raw) && raw.session() == sid, "guesses cost nothing");
}

#[test]
fn a_token_is_worth_nothing_without_a_bearer_token_of_its_user_and_tenant() {
    let inside = Inside::start(&[]);
    let first = open(&inside, "ann");
    let (sid, token) = (first.session().to_owned(), grant(&first));
    lose(&inside, "ann", first);
    let entries = Some(&*format!("portcullis.v1.json, resume.{token}"));
    for bearer in
        ["", "x.y.z", &tokens::with("ann", &json!({"exp": tokens::now() - 3_600, "iat": tokens::now() - 7_200}))]
    {
        let refusal = Knock::at(inside.public, bearer, entries).answer().expect_err("no credential");
        assert_eq!((refusal.status, refusal.code()), (401, "unauthenticated"));
    }
    resumes_nothing(inside.public, "eve", &token, &sid);
    for tenant in [json!("other"), json!(null)] {
        let raw = show_with(inside.public, &tokens::with("ann", &json!({"tenant": tenant})), &token).unwrap();
        assert!(!goes_on(&raw) && raw.session() != sid, "the same user in another tenant");
        assert_eq!(raw.close(1000), Some(1000));
    }
    let raw = show(inside.public, "ann", &token).unwrap();
    assert!(goes_on(&raw) && raw.session() == sid);
}

#[test]
fn a_stolen_token_that_is_used_first_is_noticed_and_used_second_is_worthless() {
    let inside = Inside::start(&[]);
    let mut victim = open(&inside, "ann");
    let (sid, token) = (victim.session().to_owned(), grant(&victim));
    assert!(lives(&mut victim));
    // the thief has the bearer token too, and could begin sessions as it likes: the victim hears that it was replaced
    let mut thief = show(inside.public, "ann", &token).unwrap();
    assert!(lives(&mut thief));
    assert_eq!(end(victim), terminated());
    resumes_nothing(inside.public, "ann", &token, &sid);
    assert_eq!(thief.close(1000), Some(1000));
}

#[test]
fn resume_tokens_are_never_echoed_or_logged() {
    let inside = Inside::start(&[]);
    let first = Raw::open(inside.public, &tokens::good("echo-ann"));
    let token = grant(&first);
    lose(&inside, "echo-ann", first);
    let wrong = tokens::b64([9; 32]);
    for shown in [&wrong, &token] {
        let raw = show(inside.public, "echo-ann", shown).unwrap();
        assert!(!raw.head.contains(shown.as_str()), "{}", raw.head);
        assert_eq!(raw.close(1000), Some(1000));
    }
    let told = logged("resume_shown").into_iter().filter(|event| event["user"] == "echo-ann");
    let outcomes: Vec<String> = told.map(|event| event["outcome"].as_str().unwrap().to_owned()).collect();
    assert_eq!(outcomes, ["unknown", "resumed"]);
    for event in ["resume_shown", "session_opened", "slot_taken", "slot_detached", "handshake_refused"] {
        let text = logged(event).iter().map(ToString::to_string).collect::<String>();
        assert!(!text.contains(&token) && !text.contains(&wrong), "{event}");
    }
    assert_eq!(slots(&inside, "echo-ann").1, 0);
}
