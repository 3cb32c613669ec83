use proptest::prelude::*;

use super::*;

fn rule(text: &str) -> Result<(), String> {
    scan(text, Bounds::default(), &mut Scratch::default()).map(|_| ()).map_err(|r| r.detail.into_owned())
}

const BAD: &[&str] = &[
    "",
    " ",
    "{",
    "[",
    "[1,]",
    "{\"a\":1,}",
    "{a:1}",
    "{'a':1}",
    "[1 2]",
    "NaN",
    "Infinity",
    "-",
    "01",
    "-01",
    "1.",
    ".5",
    "1e",
    "1e+",
    "+1",
    "0x1",
    "1e999",
    "tru",
    "nul",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\ud800\"",
    "\"\\udc00\"",
    "\"\\ud800\\u0041\"",
    "\"\\ud800x\"",
    "\"a\nb\"",
    "\"\t\"",
    "\"abc",
    "1 2",
    "{}x",
    "[]]",
    "{]",
    "[}",
    "//x\n1",
    "{\"a\" 1}",
    "{\"a\":}",
    "{,}",
    "[,]",
    "\u{feff}1",
    "\u{a0}1",
    "{\"a\":1 \"b\":2}",
];

#[test]
fn strict_grammar_refuses_what_lax_parsers_take() {
    for &bad in BAD {
        assert!(rule(bad).is_err(), "{bad:?} must be refused");
        assert!(bad == "1e999" || serde_json::from_str::<serde_json::Value>(bad).is_err(), "{bad:?}: serde agrees");
    }
    for good in [
        "0",
        "-0",
        "1.5e-7",
        " {\"a\" : [ 1 , {} , [] ] }\n",
        "\"\\ud83d\\ude00\"",
        "null",
        "\"\u{7f}\u{2028}\"",
        "1e308",
    ] {
        assert_eq!(rule(good), Ok(()), "{good:?}");
    }
}

#[test]
fn the_bounds_are_inclusive() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert_eq!(rule(&nested(16)), Ok(()));
    assert_eq!(rule(&nested(17)), Err("json: nested too deep".into()));
    assert_eq!(rule(&nested(60_000)), Err("json: nested too deep".into()));
    let wide = |n: usize| format!("[{}]", vec!["0"; n - 1].join(","));
    assert_eq!(rule(&wide(4_096)), Ok(()));
    assert_eq!(rule(&wide(4_097)), Err("json: too many values".into()));
}

#[test]
fn duplicate_keys_are_refused_at_every_depth_and_in_every_spelling() {
    for bad in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"\u0061":1,"a":2}"#,
        r#"[{"x":{"k":1,"y":{},"k":2}}]"#,
        r#"{"😀":1,"\ud83d\ude00":2}"#,
        r#"{"":1,"":2}"#,
    ] {
        assert_eq!(rule(bad), Err("json: duplicate key".into()), "{bad}");
    }
    assert_eq!(rule(r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#), Ok(()), "other objects may use the key");
}

#[test]
fn keys_that_poison_prototypes_are_refused_in_every_spelling() {
    for key in ["__proto__", "constructor", "prototype", r"\u005f_proto__", r"__proto\u005F\u005f", r"const\u0072uctor"]
    {
        let text = format!(r#"{{"payload":[{{"deep":{{"{key}":1}}}}]}}"#);
        assert_eq!(rule(&text), Err("json: forbidden key".into()), "{key}");
    }
    assert_eq!(rule(r#"{"a":"__proto__","proto":"constructor"}"#), Ok(()), "as a value it is only text");
}

#[test]
fn a_duplicate_is_found_among_thousands_with_objects_between() {
    let mut members: Vec<String> = (0..1_000).map(|i| format!(r#""k{i}":{{"k0":0,"k{i}x":1}}"#)).collect();
    assert_eq!(rule(&format!("{{{}}}", members.join(","))), Ok(()));
    members.push(r#""k7":0"#.into());
    assert_eq!(rule(&format!("{{{}}}", members.join(","))), Err("json: duplicate key".into()));
    let wide =
        |o: usize| format!("{{{}}}", (0..12).map(|i| format!(r#""w{}":0"#, i % o)).collect::<Vec<_>>().join(","));
    assert_eq!(rule(&format!("[{},{}]", wide(12), wide(12))), Ok(()), "two wide objects with the same keys");
    assert_eq!(rule(&format!("[{},{}]", wide(12), wide(11))), Err("json: duplicate key".into()));
}

#[test]
fn thousands_of_keys_cost_a_few_probes_each() {
    let text = format!("{{{}}}", (0..4_095).map(|i| format!(r#""k{i}":0"#)).collect::<Vec<_>>().join(","));
    let mut scratch = Scratch::default();
    scan(&text, Bounds::default(), &mut scratch).unwrap();
    assert!(scratch.table.probes < 4_095 * 6, "{} probes", scratch.table.probes);
    assert!(scratch.table.slots.len() <= 16_384);
}

#[test]
fn members_are_where_the_outline_says() {
    let text = r#" { "type" : "chat" ,"p\u0061yload":{"a":[1]}, "n":12 } "#;
    let mut scratch = Scratch::default();
    let outline = scan(text, Bounds::default(), &mut scratch).unwrap();
    let seen: Vec<_> =
        outline.members.iter().map(|m| (&text[m.key.clone()], m.escaped, &text[m.value.clone()])).collect();
    assert_eq!(seen, [("type", false, r#""chat""#), (r"p\u0061yload", true, r#"{"a":[1]}"#), ("n", false, "12")]);
    assert!(!scan("[1]", Bounds::default(), &mut scratch).unwrap().object);
}

#[test]
fn a_hostile_message_leaves_nothing_for_the_next() {
    let mut scratch = Scratch::default();
    let wide = format!("{{{}", (0..100).map(|i| format!(r#""k{i}":[{{"#)).collect::<Vec<_>>().join("}],"));
    assert!(scan(&wide, Bounds::default(), &mut scratch).is_err());
    assert!(scan(r#"{"k1":1,"k2":2}"#, Bounds::default(), &mut scratch).is_ok());
    let again = format!("{{{}}}", (0..100).map(|i| format!(r#""k{i}":0"#)).collect::<Vec<_>>().join(","));
    assert!(scan(&again, Bounds::default(), &mut scratch).is_ok());
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        "\\PC{0,8}|[\\x00-\\x22\\x5c]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 12, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
            proptest::collection::btree_map("\\PC{0,4}", inner, 0..12)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_writes_is_taken(value in tree()) {
        prop_assert_eq!(rule(&value.to_string()), Ok(()));
        prop_assert_eq!(rule(&serde_json::to_string_pretty(&value).unwrap()), Ok(()));
    }

    #[test]
    fn whatever_is_taken_serde_takes_too_and_the_other_way_round(
        text in "[\\[\\]{}:,\"\\\\ a10.eE+u-]{0,24}|\\{(\"[ab]\":[01{}\\[\\]],?){0,4}\\}"
    ) {
        let serde = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        match rule(&text) {
            Ok(()) => prop_assert!(serde, "{}", text),
            Err(r) if r.contains("duplicate") || r.contains("deep") => {}
            Err(_) => prop_assert!(!serde, "{}", text),
        }
    }

    #[test]
    fn a_cut_text_never_panics(value in tree(), cut in 0usize..200) {
        let text = value.to_string();
        let cut = (0..=cut.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        let _ = rule(&text[..cut]);
    }
}
