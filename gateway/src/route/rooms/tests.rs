use portcullis_common::ids::{TenantId, UserId};
use proptest::prelude::*;

use super::*;

fn rule(pattern: &str, condition: Option<&str>) -> RoomRule {
    RoomRule {
        pattern: pattern.to_owned(),
        condition: condition.map(str::to_owned),
        join: vec!["member".into()],
        publish: vec!["writer".into()],
        presence: false,
        history: None,
    }
}

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn book(patterns: &[&str]) -> RoomBook {
    RoomBook::new(&patterns.iter().map(|p| rule(p, None)).collect::<Vec<_>>()).unwrap()
}

/// Whether a member `ada` of tenant `acme` with these claims may join.
fn joins(pattern: &str, condition: &str, name: &str, claims: &str) -> bool {
    let book = RoomBook::new(&[rule(pattern, Some(condition))]).unwrap();
    let (user, tenant) = (UserId::parse("ada").unwrap(), TenantId::parse("acme").unwrap());
    let who = Subject { user: &user, tenant: Some(&tenant), roles: &["member".into()], claims };
    book.may_join(&room(name), &who).is_ok()
}

#[test]
fn the_most_specific_pattern_decides() {
    let book = book(&["*.*", "team.*", "team.{t}.*", "team.*.staff", "*.red", "team.red", "a.*.c.*", "a.*.*.d"]);
    for (name, pattern) in [
        ("team.red", Some("team.red")),
        ("team.blue", Some("team.*")),
        ("club.red", Some("*.red")),
        ("club.blue", Some("*.*")),
        ("team.red.staff", Some("team.*.staff")),
        ("team.red.fans", Some("team.{t}.*")),
        ("a.b.c.d", Some("a.*.c.*")),
        ("team", None),
        ("team.", None),
        (".red", None),
        ("team..staff", None),
        ("team.red.staff.x", None),
        ("Team.red", Some("*.red")),
    ] {
        assert_eq!(book.find(&room(name)).map(|m| m.rule.pattern.as_str()), pattern, "{name}");
    }
    assert_eq!(book.find(&room("team.red.fans")).unwrap().captures, [("t", "red")]);
}

#[test]
fn what_no_rule_allows_is_refused() {
    let user = UserId::parse("ada").unwrap();
    let who = |roles: &'static [Arc<str>]| Subject { user: &user, tenant: None, roles, claims: "{}" };
    let member: &'static [Arc<str>] = Box::leak(Box::new(["member".into()]));
    let open = RoomRule { join: vec!["*".into()], publish: vec![], ..rule("open", None) };
    let book = RoomBook::new(&[rule("team.*", None), open]).unwrap();
    assert!(book.may_join(&room("team.red"), &who(member)).is_ok());
    assert_eq!(book.may_publish(&room("team.red"), &who(member)).unwrap_err().code, Code::Forbidden);
    assert!(book.may_join(&room("team.red"), &who(&[])).is_err());
    assert!(book.may_join(&room("open"), &who(&[])).is_ok());
    assert!(book.may_publish(&room("open"), &who(member)).is_err(), "no role named is nobody");
    assert!(book.may_join(&room("other"), &who(member)).is_err());
    assert!(RoomBook::new(&[]).unwrap().may_join(&room("open"), &who(member)).is_err());
}

#[test]
fn conditions_see_claims_captures_and_names() {
    let claims = r#"{"teams":["red","blue"],"level":3,"org":{"id":"o1"}}"#;
    for (condition, name, expected) in [
        ("t in claims.teams", "team.red", true),
        ("t in claims.teams", "team.green", false),
        ("claims.level >= 3", "team.red", true),
        ("claims.level > 3", "team.red", false),
        ("claims.level + 1 == 4", "team.red", true),
        ("claims.org.id == 'o1' && user == 'ada' && tenant == 'acme'", "team.red", true),
        ("room == 'team.' + t", "team.red", true),
        ("'member' in roles", "team.red", true),
        ("'admin' in roles", "team.red", false),
        ("claims.teams.exists(x, x == t)", "team.blue", true),
        ("claims.teams.filter(x, x != 'red').exists(x, x == t)", "team.blue", true),
        ("has(claims.missing) && claims.missing", "team.red", false),
    ] {
        assert_eq!(joins("team.{t}", condition, name, claims), expected, "{condition} {name}");
    }
}

#[test]
fn whatever_is_not_true_is_a_refusal() {
    for condition in [
        "claims.missing == 1",
        "1 / 0 == 1",
        "'true'",
        "1",
        "null",
        "claims",
        "nosuch(user)",
        "claims.n.x",
        "t + 1 == 2",
    ] {
        assert!(!joins("team.{t}", condition, "team.red", r#"{"n":1}"#), "{condition}");
    }
    for claims in ["", "{", "[]", r#"{"a":1,"a":1}"#, r#"{"__proto__":1}"#] {
        assert!(!joins("team.{t}", "size(claims) >= 0", "team.red", claims), "{claims}");
    }
    let large = format!(r#"{{"teams":[{}]}}"#, vec!["1"; 1_100].join(","));
    assert!(!joins("team.{t}", "size(claims.teams) > 0", "team.red", &large), "claims beyond the bound");
    assert!(joins("team.{t}", "user == 'ada'", "team.red", &large), "not looked at where not asked for");
}

#[test]
fn every_mistake_is_told_with_its_path() {
    let long = format!("user == '{}'", "x".repeat(1_024));
    let nested = "claims.a.exists(x, claims.b.exists(y, x == y))";
    let cases = [
        ("team..x", None, "room[0].pattern"),
        ("", None, "room[1].pattern"),
        ("team.{}", None, "room[2].pattern"),
        ("team.{T}", None, "room[3].pattern"),
        ("team.{t}.{t}", None, "room[4].pattern"),
        ("team.{user}", None, "room[5].pattern"),
        ("te*m", None, "room[6].pattern"),
        ("a.{t}", Some("t =="), "room[7].where"),
        ("b.{t}", Some("u == t"), "room[8].where"),
        ("c.{t}", Some(long.as_str()), "room[9].where"),
        ("d.{t}", Some(nested), "room[10].where"),
        ("e.{t}", None, ""),
        ("e.*", None, "room[12].pattern"),
    ];
    let rules: Vec<_> = cases.iter().map(|(p, c, _)| rule(p, *c)).collect();
    let paths: Vec<_> = RoomBook::new(&rules).unwrap_err().into_iter().map(|(path, _)| path).collect();
    let expected: Vec<_> = cases.iter().map(|(_, _, path)| (*path).to_owned()).filter(|p| !p.is_empty()).collect();
    assert_eq!(paths, expected);
}

#[test]
fn the_book_is_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<RoomBook>();
}

proptest! {
    #[test]
    fn a_pattern_with_captures_matches_exactly_its_segments(segments in proptest::collection::vec("[a-z0-9:@_-]{1,6}", 1..6)) {
        let name = room(&segments.join("."));
        let pattern = (0..segments.len()).map(|i| format!("{{x{i}}}")).collect::<Vec<_>>().join(".");
        let book = book(&[&pattern]);
        let found: Vec<_> = book.find(&name).unwrap().captures.into_iter().map(|(_, s)| s.to_owned()).collect();
        prop_assert_eq!(&found, &segments);
        let longer = room(&format!("{name}.x"));
        prop_assert!(book.find(&longer).is_none());
    }

    #[test]
    fn noise_as_a_condition_never_panics(source in "[a-z().'+&|!<=\\[\\]{}?: 0-9]{0,40}") {
        let _ = RoomBook::new(&[rule("team.{t}", Some(&source))]);
    }
}
