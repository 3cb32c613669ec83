//! Penalties over three nodes and a real Redis: they follow whoever earned them, and nobody else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::time::Duration;

use portcullis_tests::blocking::{Knock, Raw, Refusal};
use portcullis_tests::fleet::{Fleet, knock, lives, open, says_when};
use portcullis_tests::gatectl::{Gatectl, Who, operators};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::{tokens, wait};
use serde_json::{Value, json};

/// Half a point for each message that is refused.
const REFUSED: f64 = 0.5;

struct Three {
    fleet: Fleet,
    c: Gateway,
}

impl Three {
    /// Penalties on, with these thresholds for users, out of reach for the one address that all tests come from.
    fn start(keys: &[(&str, &str)]) -> Self {
        let set = |setup: Setup| {
            let on = setup.toml(&operators()).set("penalty.enabled", "true").set("penalty.network_factor", "1000");
            keys.iter().fold(on, |setup, (key, value)| setup.set(&format!("penalty.{key}"), value))
        };
        let fleet = Fleet::start(set);
        let c = fleet.node("gw-c");
        Self { fleet, c }
    }

    fn nodes(&self) -> [&Gateway; 3] {
        [&self.fleet.a, &self.fleet.b, &self.c]
    }

    fn explained(&self, who: &str) -> Vec<Value> {
        let (code, rows) = Gatectl::of(Who::Viewer, &self.fleet.redis).json(&["policy", "explain", who]);
        assert_eq!((code, rows.len()), (0, 3), "{rows:?}");
        rows
    }
}

/// Messages of a type that nobody declared, worth so many points.
fn misbehave(raw: &mut Raw, points: f64) {
    for n in 0..(points / REFUSED) as usize {
        raw.say(json!({"type": "nonsense", "id": format!("bad-{n}")}));
    }
}

fn chat(raw: &mut Raw) -> Value {
    raw.ask(json!({"type": "chat", "to": {"room": "lobby"}, "payload": "hi"}))
}

fn code(answer: &Value) -> &str {
    answer["payload"]["code"].as_str().unwrap_or_default()
}

/// Waits until a message of this session is answered `restricted`; the answer.
fn restricted(raw: &mut Raw) -> Value {
    wait::until("the restriction", || {
        let answer = chat(raw);
        assert!(answer["type"] == "ack" || code(&answer) == "restricted", "{answer}");
        (answer["type"] == "error").then_some(answer)
    })
}

fn refused(node: &Gateway, token: &str) -> Refusal {
    Knock::at(node.public, token, None).answer().expect_err("refused")
}

fn member(user: &str, node: &Gateway) -> Raw {
    let mut raw = open(node, user);
    raw.join("lobby");
    raw
}

#[test]
fn a_restriction_follows_over_nodes_sessions_and_tokens_and_ends_exactly_when_it_was_told() {
    let three = Three::start(&[("restrict", "10"), ("half_life", "1s"), ("delay", "3s")]);
    let mut eve = member("eve", &three.fleet.a);
    let mut other = member("eve", &three.fleet.b);
    let mut ada = member("ada", &three.fleet.b);
    misbehave(&mut eve, 11.0);
    let first = restricted(&mut other);
    let until =
        |answer: &Value| answer["timestamp"].as_u64().unwrap() + answer["payload"]["retryAfter"].as_u64().unwrap();
    // another node, another token, no session at all
    let again = refused(&three.c, &tokens::with("eve", &json!({"jti": "another"})));
    assert_eq!((again.status, again.code(), says_when(&again)), (403, "restricted", true));
    assert_eq!(code(&chat(&mut eve)), "restricted");
    assert_eq!(chat(&mut ada)["type"], "ack", "nobody else is meant");
    assert!(three.nodes().iter().all(|node| knock(node, "ada").is_ok()));
    assert!(lives(&mut other), "it may still leave and ask");
    let mut last = first.clone();
    let freed = wait::until("the end", || {
        // fifty refusals a minute would end the connection
        std::thread::sleep(Duration::from_millis(100));
        let answer = chat(&mut other);
        if answer["type"] == "ack" {
            return Some(answer);
        }
        last = answer;
        None
    });
    // by the node's own clock: every refusal names the one moment, and that is when it ends
    assert!(until(&first).abs_diff(until(&last)) <= 2, "{first} {last}");
    assert!(
        last["timestamp"].as_u64().unwrap() < until(&first)
            && freed["timestamp"].as_u64().unwrap() >= until(&first) - 2
    );
    // the second strike takes twice as long
    misbehave(&mut member("eve", &three.c), 11.0);
    let second = restricted(&mut other)["payload"]["retryAfter"].as_u64().unwrap();
    assert!((3_500..=6_000).contains(&second), "{second}");
}

#[test]
fn the_ladder_ends_in_a_ban_that_an_operator_explains_and_pardons() {
    let three = Three::start(&[("restrict", "5"), ("disconnect", "8"), ("ban", "16"), ("half_life", "10m")]);
    let (mut eve, idle) = (member("eve", &three.fleet.a), open(&three.c, "eve"));
    misbehave(&mut eve, 9.0);
    let end = idle.ending();
    assert_eq!((end.errors(), end.code), (vec!["restricted"], Some(4403)), "the other session, on another node, ends");
    let rows = three.explained("app:eve");
    for row in &rows {
        let (account, held) = (&row["account"], &row["restricted"]);
        assert!(account["points"].as_f64().unwrap() > 8.0 && account["step"] == "disconnect", "{row}");
        assert!(held["close"] == true && held["reason"].as_str().unwrap().contains("type_unknown"), "{row}");
        let fact = &account["facts"][0];
        assert!(fact["node"] == "gw-a" && fact["what"] == "type_unknown" && fact["at"].is_u64(), "{row}");
        assert_eq!(account["next"]["what"], "let in");
    }
    // whoever comes back by the same door for more does not even get in; what is on its account is there already
    assert_eq!(refused(&three.c, &tokens::good("eve")).code(), "restricted");
    let operator = Gatectl::of(Who::Operator, &three.fleet.redis);
    assert_eq!(operator.json(&["ban", "remove", "user", "app:eve"]).0, 0);
    let mut eve = wait::until("the pardon", || knock(&three.fleet.b, "eve").ok());
    assert!(three.explained("app:eve").iter().all(|row| row["account"].is_null() && row["restricted"].is_null()));
    misbehave(&mut eve, 24.0);
    let banned = |node: &Gateway| wait::until("the ban", || knock(node, "eve").err().filter(|r| r.code() == "banned"));
    let _refusals = three.nodes().map(banned);
    let (_, bans) = operator.json(&["ban", "list"]);
    assert!(bans[0]["target"] == "app:eve" && bans[0]["until"].is_u64(), "{bans:?}");
    assert!(bans[0]["reason"].as_str().unwrap().starts_with("automatic: "), "{bans:?}");
    let text = operator.run(&["policy", "explain", "app:eve", "--timeout", "20s"]);
    assert!(text.code == 0 && text.out.contains("type_unknown") && text.out.contains("step ban"), "{text:?}");
    let (code, policy) = operator.json(&["policy", "show"]);
    assert_eq!((code, &policy[0]["mode"], &policy[0]["ban"]), (0, &json!("on"), &json!(16)));
}

#[test]
fn failed_logins_in_somebodys_name_are_the_addresss_and_never_the_users() {
    let three = Three::start(&[("restrict", "20"), ("disconnect", "1000"), ("ban", "1000"), ("network_factor", "1")]);
    let mut ada = member("ada", &three.c);
    let mut forged = tokens::good("ada");
    forged.truncate(forged.len() - 4);
    forged.push_str("AAAA");
    for node in [&three.fleet.a, &three.fleet.b] {
        for _ in 0..3 {
            assert_eq!(refused(node, &forged).code(), "unauthenticated");
        }
    }
    // six of five points: the address is kept out, also on a node that never saw one of them
    let rows = wait::until("the address is restricted", || {
        let rows = three.explained("127.0.0.1");
        rows.iter().all(|row| row["restricted"].is_object()).then_some(rows)
    });
    assert_eq!(knock(&three.c, "bob").expect_err("refused").code(), "restricted");
    assert!(rows.iter().all(|row| row["account"]["facts"][0]["what"] == "failed login"), "{rows:?}");
    assert!(three.explained("app:ada").iter().all(|row| row["account"].is_null()), "nothing is ada's");
    let elsewhere = Knock::on(
        portcullis_tests::blocking::dial([127, 0, 0, 9].into(), three.c.public, 65_536),
        &tokens::good("ada"),
        None,
    );
    assert!(elsewhere.answer().is_ok(), "a valid token from elsewhere is welcome");
    assert!(lives(&mut ada));
}

#[test]
fn an_address_answers_for_its_users_once_enough_of_them_were_restricted() {
    let three = Three::start(&[("restrict", "5"), ("disconnect", "500"), ("ban", "500"), ("network_factor", "2")]);
    let restrict = |name: &str| {
        let mut raw = member(name, &three.fleet.a);
        misbehave(&mut raw, 6.0);
        restricted(&mut raw);
    };
    restrict("eve");
    assert!(knock(&three.c, "bob").is_ok(), "one is not many");
    restrict("mal");
    wait::until("the address is restricted", || knock(&three.c, "bob").err().filter(|r| r.code() == "restricted"));
    let rows = three.explained("127.0.0.1");
    assert_eq!(rows[0]["account"]["facts"][0]["what"], "a user of it was restricted", "{rows:?}");
}

#[test]
fn reconnecting_is_no_way_out_but_evidence_itself() {
    let three = Three::start(&[("restrict", "30"), ("half_life", "10m")]);
    let mut opened = 0;
    let refusal = wait::until("the churn is seen", || {
        let node = three.nodes()[opened % 3];
        opened += 1;
        assert!(opened < 200, "never");
        match knock(node, "eve") {
            Ok(raw) => {
                let _ = raw.close(1000);
                None
            }
            Err(refusal) => Some(refusal),
        }
    });
    assert_eq!(refusal.code(), "restricted");
    assert!(opened > 7, "eight brief connections, four points each: {opened}");
    let rows = three.explained("app:eve");
    assert!(
        rows[0]["account"]["facts"].as_array().unwrap().iter().all(|fact| fact["what"] == "reconnect churn"),
        "{rows:?}"
    );
    assert!(knock(&three.c, "ada").is_ok());
}

#[test]
fn with_the_store_paused_it_holds_where_it_happened_and_everywhere_when_it_is_back() {
    let three = Three::start(&[("restrict", "10"), ("half_life", "10m"), ("delay", "10m"), ("max_delay", "1h")]);
    let mut eve = open(&three.fleet.a, "eve");
    let mut other = member("eve", &three.fleet.b);
    three.fleet.redis.pause();
    misbehave(&mut eve, 11.0);
    wait::until("it holds here", || {
        std::thread::sleep(Duration::from_millis(300));
        // it is in no room: while nobody restricts it, it is refused for that
        let code = code(&chat(&mut eve)).to_owned();
        assert!(code == "restricted" || code == "not_member", "{code}");
        (code == "restricted").then_some(())
    });
    three.fleet.redis.go_on();
    let answer = restricted(&mut other);
    assert!(answer["payload"]["retryAfter"].as_u64().unwrap() > 60_000, "{answer}");
    wait::until("the third node knows", || knock(&three.c, "eve").err().filter(|r| r.code() == "restricted"));
}

#[test]
fn with_the_store_paused_a_ban_closes_where_it_happened_and_everywhere_when_it_is_back() {
    let three = Three::start(&[("restrict", "7"), ("disconnect", "7"), ("ban", "7"), ("half_life", "10m")]);
    let (mut eve, mut other, mut ada) =
        (member("eve", &three.fleet.a), member("eve", &three.fleet.b), member("ada", &three.fleet.b));
    three.fleet.redis.pause();
    misbehave(&mut eve, 8.0);
    let here = eve.ending();
    assert_eq!((here.errors().last().copied(), here.code), (Some("banned"), Some(4403)), "{here:?}");
    assert_eq!(refused(&three.fleet.a, &tokens::good("eve")).code(), "banned");
    assert!(lives(&mut other), "the others cannot know yet");
    three.fleet.redis.go_on();
    let there = other.ending();
    assert_eq!((there.errors().last().copied(), there.code), (Some("banned"), Some(4403)), "{there:?}");
    wait::until("the third node knows", || knock(&three.c, "eve").err().filter(|r| r.code() == "banned"));
    assert!(lives(&mut ada));
}

#[test]
fn a_dry_run_counts_and_does_nothing_and_who_is_never_banned_is_restricted_at_most() {
    let three = Three::start(&[("restrict", "5"), ("disconnect", "6"), ("ban", "7"), ("dry_run", "true")]);
    let mut eve = member("eve", &three.fleet.a);
    misbehave(&mut eve, 8.0);
    let counted = |step: &str, mode: &str| {
        three.fleet.a.metric(&format!("portcullis_penalties_total{{step=\"{step}\",mode=\"{mode}\"}}"))
    };
    wait::until("it is counted", || (counted("ban", "dry_run") + counted("restrict", "dry_run") > 0.0).then_some(()));
    assert_eq!(chat(&mut eve)["type"], "ack");
    assert!(knock(&three.c, "eve").is_ok());
    drop(three);

    let spared = [("restrict", "5"), ("disconnect", "6"), ("ban", "7"), ("never_ban_users", "app:eve")];
    let three = Three::start(&spared);
    let (mut eve, mut idle) = (member("eve", &three.fleet.a), member("eve", &three.c));
    misbehave(&mut eve, 8.0);
    assert_eq!(code(&restricted(&mut idle)), "restricted");
    assert_eq!(refused(&three.fleet.b, &tokens::good("eve")).code(), "restricted");
    assert!(lives(&mut idle) && lives(&mut eve), "restricted at most");
}

#[test]
fn automatic_bans_have_a_budget_and_beyond_it_there_is_an_alarm() {
    let three = Three::start(&[("restrict", "3"), ("disconnect", "3"), ("ban", "3"), ("auto_bans", "1/h")]);
    let banned = |name: &str| {
        let mut raw = open(&three.fleet.a, name);
        misbehave(&mut raw, 4.0);
        let _ = raw.ending();
        wait::until("it is kept out", || knock(&three.c, name).err()).code().to_owned()
    };
    assert_eq!((banned("eve"), banned("mal")), ("banned".to_owned(), "restricted".to_owned()));
    assert!(three.fleet.a.metric("portcullis_auto_bans_withheld_total") >= 1.0);
    assert!(three.fleet.a.events().iter().any(|e| e["event"] == "auto_ban_withheld" && e["subject"] == "app:mal"));
}
