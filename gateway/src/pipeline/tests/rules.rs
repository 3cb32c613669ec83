//! What the operator's own rules do: named limits, conditions, schemas, dry runs, reloads.

use std::sync::Mutex;

use portcullis_common::gcra::Gcra;

use super::super::rate::{Allowance, Key, Taken};
use super::*;

const CHAT: &str = r#"{"type":"chat","to":{"room":"r"},"csrfToken":"TOKEN","payload":{"text":"hi"},"id":"m-1"}"#;

/// Two users of one node: the second shares the first one's counts.
fn neighbour(bench: &Bench, more: &str, user: &str) -> Bench {
    let mut other = Bench::on(more, Arc::clone(&bench.allowance));
    other.user = UserId::parse(user).unwrap();
    other
}

#[test]
fn a_limit_counts_whom_it_says_and_no_one_else() {
    let of = |per: &str| format!("[limit.few]\nrate = \"1/min\"\nburst = 1\nper = \"{per}\"\ntypes = [\"chat\"]");
    for (per, same_user, same_tenant, stranger) in [
        ("connection", true, true, true),
        ("user", false, true, true),
        ("tenant", false, false, true),
        ("ip", false, false, false),
        ("node", false, false, false),
    ] {
        let more = of(per);
        let mut first = Bench::with(&more);
        first.tenant = TenantId::parse("acme").ok();
        assert!(first.text(CHAT).is_ok());
        let wait = first.text(CHAT).unwrap_err().retry_after;
        assert_eq!(wait, Some(Duration::from_secs(60)), "{per}");
        for (user, tenant, passes) in
            [("ada", "acme", same_user), ("bob", "acme", same_tenant), ("cy", "other", stranger)]
        {
            let mut other = neighbour(&first, &more, user);
            other.tenant = TenantId::parse(tenant).ok();
            assert_eq!(other.text(CHAT).is_ok(), passes, "{per}: {user} of {tenant}");
        }
        first.wait(Duration::from_secs(60));
        assert!(first.text(CHAT).is_ok(), "{per}: as told");
    }
}

#[test]
fn a_limit_counts_only_what_fits_all_its_lists() {
    let message =
        |kind: &str, room: &str| format!(r#"{{"type":"{kind}","to":{{"room":"{room}"}},"csrfToken":"TOKEN"}}"#);
    for (attached, kind, room, role, counted) in [
        ("types = [\"chat\"]", "chat", "r", "member", true),
        ("types = [\"chat\"]", "open", "r", "member", false),
        ("rooms = [\"team.{t}\"]", "chat", "team.red", "member", true),
        ("rooms = [\"team.{t}\"]", "chat", "r", "member", false),
        ("roles = [\"guest\"]", "chat", "r", "guest", true),
        ("roles = [\"guest\"]", "chat", "r", "member", false),
        ("issuers = [\"app\"]", "chat", "r", "member", true),
        ("", "chat", "r", "member", true),
        ("types = [\"chat\"]\nrooms = [\"team.{t}\"]", "chat", "r", "member", false),
    ] {
        let mut bench = Bench::with(&format!("[limit.few]\nrate = \"1/min\"\nburst = 1\nper = \"user\"\n{attached}"));
        bench.roles = vec!["member".into(), "writer".into(), role.into()];
        assert!(bench.text(&message(kind, room)).is_ok(), "{attached}");
        assert_eq!(bench.text(&message(kind, room)).is_err(), counted, "{attached}: {kind} in {room} by {role}");
        assert!(bench.text(r#"{"type":"health-check"}"#).is_ok(), "the gateway's own types are not counted");
    }
}

#[test]
fn a_refusal_takes_from_no_limit_and_says_when_all_of_them_pass() {
    let mut bench = Bench::with(
        "[limit.fast]\nrate = \"1/s\"\nburst = 5\nper = \"user\"\n\
         [limit.slow]\nrate = \"1/min\"\nburst = 1\nper = \"tenant\"",
    );
    let typing = r#"{"type":"typing","to":{"room":"r"},"csrfToken":"TOKEN"}"#;
    assert!(bench.text(typing).is_ok());
    for _ in 0..10 {
        let refused = bench.text(typing).unwrap_err();
        assert_eq!(refused.retry_after, Some(Duration::from_secs(60)));
    }
    bench.wait(Duration::from_secs(60));
    assert!(bench.text(typing).is_ok(), "ten refusals took nothing of the fast one");
}

#[test]
fn a_condition_on_a_type_decides_with_the_roles_until_the_token_changes() {
    let mut bench = Bench::with(
        "[message.vote]\nroles = [\"member\"]\nroute = \"room\"\nwhere = \"claims.level > 3 && user == 'ada'\"",
    );
    let vote = r#"{"type":"vote","to":{"room":"r"},"csrfToken":"TOKEN"}"#;
    assert_eq!(bench.code(vote), Code::Forbidden);
    bench.claims = r#"{"level":4}"#.to_owned();
    assert_eq!(bench.code(vote), Code::Forbidden, "the answer is remembered");
    bench.state.memo.forget();
    assert!(bench.text(vote).is_ok(), "a new token is looked at anew");
    bench.roles.clear();
    assert_eq!(bench.code(vote), Code::Forbidden);
}

#[test]
fn joining_and_publishing_have_rules_apart() {
    let mut bench = Bench::new();
    let join = |room: &str| format!(r#"{{"type":"join","to":{{"room":"{room}"}},"csrfToken":"TOKEN"}}"#);
    let chat = |room: &str| format!(r#"{{"type":"chat","to":{{"room":"{room}"}},"csrfToken":"TOKEN"}}"#);
    assert!(bench.text(&join("team.red")).is_ok());
    assert_eq!(bench.code(&chat("team.red")), Code::Forbidden);
    bench.roles.push("writer".into());
    assert!(bench.text(&chat("team.red")).is_ok());
    assert_eq!(bench.code(&chat("team.blue")), Code::Forbidden);
    assert_eq!(bench.code(&join("team.blue")), Code::Forbidden);
    assert_eq!(bench.code(&join("no.such.room")), Code::Forbidden);
}

#[test]
fn conditions_that_cannot_be_compiled_and_schemas_that_cannot_be_used_stop_the_start() {
    let more = "[message.a]\nroles = [\"*\"]\nroute = \"room\"\nwhere = \"room == 'x'\"\n\
                [message.b]\nroles = [\"*\"]\nroute = \"room\"\nschema = \"broken.json\"\nversions = [\"2:chat.json\", \"3:broken.json\"]\n";
    let problems = compile(more, 1, Arc::new(Buckets::default())).unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["message.a.where", "message.b.schema", "message.b.versions[1]"], "{problems:?}");
    assert!(problems[1].1.contains("broken.json") && problems[1].1.contains("/properties/text"), "{problems:?}");
}

#[test]
fn a_reload_keeps_what_was_used_and_the_new_rule_holds_on_the_next_message() {
    let limit = |per: &str| format!("[limit.few]\nrate = \"1/min\"\nburst = 2\nper = \"{per}\"");
    for per in ["user", "connection"] {
        let mut bench = Bench::with(&limit(per));
        assert!(bench.text(CHAT).is_ok());
        bench.reload(&limit(per));
        assert!(bench.text(CHAT).is_ok());
        assert_eq!(bench.code(CHAT), Code::RateLimited, "{per}: a reload resets nothing");
        bench.reload("");
        assert!(bench.text(CHAT).is_ok(), "{per}: the limit is gone");
        bench.reload("[message.other]\nroles = [\"*\"]\nroute = \"room\"\n[[room]]\npattern = \"r\"");
        assert_eq!(bench.code(CHAT), Code::Forbidden, "{per}: the room has a stricter rule now");
    }
}

#[test]
fn a_stage_in_dry_run_counts_and_refuses_nothing() {
    let vote = "[message.vote]\nroles = [\"nobody\"]\nroute = \"room\"\nschema = \"chat.json\"\nrate = \"1/min\"\nburst = 1\nmax_size = 64\n";
    let bad = r#"{"type":"vote","to":{"room":"r"},"csrfToken":"wrong","timestamp":1,"payload":{"nope":1}}"#;
    let every = "dry_run = [\"size\", \"decode\", \"csrf\", \"role\", \"rate\", \"schema\"]\n";
    let mut bench = Bench::with(&format!("{vote}{every}"));
    let notes = |bench: &mut Bench| {
        let checked = bench.check(Frame::Text(bad));
        assert!(matches!(checked.verdict, Verdict::Pass(_)), "{checked:?}");
        checked.notes.iter().map(|note| (note.stage, note.reject.code)).collect::<Vec<_>>()
    };
    let mut expected = vec![
        (Stage::Size, Code::TooLarge),
        (Stage::Decode, Code::Malformed),
        (Stage::Csrf, Code::CsrfInvalid),
        (Stage::Role, Code::Forbidden),
        (Stage::Schema, Code::SchemaInvalid),
    ];
    assert_eq!(notes(&mut bench), expected);
    expected.insert(4, (Stage::Rate, Code::RateLimited));
    assert_eq!(notes(&mut bench), expected, "the second is over the limit too");
    let mut all = Bench::with(&format!("{vote}[pipeline]\n{every}"));
    assert_eq!(notes(&mut all).len(), 5, "for all types at once");
    for left in ["size", "decode", "csrf", "role", "schema"] {
        let mut bench = Bench::with(&format!("{vote}{}", every.replace(&format!("\"{left}\""), "\"flow\"")));
        let Verdict::Reject { stage, .. } = bench.check(Frame::Text(bad)).verdict else { panic!("{left} is enforced") };
        assert_eq!(stage.name(), left);
    }
}

#[test]
fn a_dry_limit_reports_what_it_would_refuse_and_takes_nothing_from_the_others() {
    let mut bench = Bench::with("[limit.few]\nrate = \"1/min\"\nburst = 1\nper = \"user\"\ndry_run = true");
    let chat = CHAT.replace("TOKEN", &bench.token);
    assert!(bench.check(Frame::Text(&chat)).notes.is_empty());
    let checked = bench.check(Frame::Text(&chat));
    assert!(matches!(checked.verdict, Verdict::Pass(_)));
    assert_eq!(checked.notes.len(), 1);
    assert_eq!(checked.notes[0].reject.detail, "rate: over limit.few");
}

#[test]
fn flow_in_dry_run_lets_a_flood_pass_and_notes_each_of_it() {
    let mut bench = Bench::with("[pipeline]\ndry_run = [\"flow\"]");
    let chat = CHAT.replace("TOKEN", &bench.token);
    let notes: usize = (0..30).map(|_| bench.check(Frame::Text(&chat)).notes.len()).sum();
    assert_eq!(notes, 10, "twenty are the burst");
}

#[test]
fn what_nobody_could_carry_is_refused_in_any_dry_run() {
    let mut bench =
        Bench::with("[pipeline]\ndry_run = [\"size\", \"flow\", \"decode\", \"csrf\", \"role\", \"rate\", \"schema\"]");
    for (text, code) in [
        (r#"{"type":"chat""#, Code::Malformed),
        (r#"{"type":"nope"}"#, Code::TypeUnknown),
        (r#"{"type":"chat"}"#, Code::Malformed),
        (r#"{"type":"chat","to":{"user":"u"}}"#, Code::Malformed),
        (r#"{"type":"token_refresh"}"#, Code::SchemaInvalid),
        (r#"{"type":"chat","to":{"room":"r"},"payload":{"__proto__":1}}"#, Code::Malformed),
    ] {
        assert_eq!(bench.code(text), code, "{text}");
    }
    assert_eq!(bench.text(&" ".repeat(65_537)).unwrap_err().close, Some(Close::TooBig));
}

/// An allowance that has to ask about everybody.
#[derive(Default)]
struct Distant(Mutex<Vec<Key>>);

impl Allowance for Distant {
    fn take(&self, key: &Key, _: &Gcra, _: u64, _: bool) -> Taken {
        self.0.lock().unwrap().push(key.clone());
        Taken::Ask
    }

    fn wait(&self, _: &Key, _: &Gcra, _: u64) -> Duration {
        Duration::ZERO
    }

    fn give_back(&self, _: &Key, _: &Gcra, _: u64) {}
}

#[test]
fn a_limit_that_has_to_be_asked_parks_the_message_and_takes_nothing() {
    let distant = Arc::new(Distant::default());
    let more = "[limit.fleet]\nrate = \"1/s\"\nper = \"user\"\ntypes = [\"typing\"]";
    let mut bench = Bench::on(more, distant.clone());
    let typing = r#"{"type":"typing","to":{"room":"r"},"csrfToken":"TOKEN"}"#.replace("TOKEN", &bench.token);
    for _ in 0..3 {
        let Verdict::Park(key) = bench.check(Frame::Text(&typing)).verdict else { panic!("not parked") };
        assert_eq!(&*key.limit, "fleet");
    }
    assert_eq!(distant.0.lock().unwrap().len(), 3, "the type's own limit of one had nothing taken");
}
