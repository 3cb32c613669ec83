use std::path::PathBuf;
use std::sync::Arc;

use portcullis_common::wire::scan::{Bounds, Scratch, scan};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn compiled(schema: &Value) -> Result<Validator<TapeJson>, String> {
    compile(&SchemaFile { path: PathBuf::from("x.json"), json: Arc::new(schema.clone()) })
}

fn valid(schema: &Value, text: &str) -> bool {
    let mut scratch = Scratch::default();
    scan(text, Bounds::default(), &mut scratch).unwrap();
    let root = scratch.tape(text).root();
    compiled(schema).unwrap().is_valid(Instance::payload(root, &Work::of(usize::MAX)))
}

#[test]
fn a_schema_that_cannot_be_used_says_why_and_where() {
    for (schema, why) in [
        (json!({"type": "strnig"}), "type"),
        (json!({"pattern": "(a"}), "pattern"),
        (json!({"pattern": "(?=a)b"}), "pattern"),
        (json!({"pattern": "(a)\\1"}), "pattern"),
        (json!({"pattern": "(?:[a-z]{1000}){1000}"}), "pattern"),
        (json!({"$ref": "https://example.com/schema.json"}), "example.com"),
        (json!({"$ref": "file:///etc/passwd"}), "file:"),
        (json!({"$ref": "other.json"}), "other.json"),
        (json!({"$ref": "#/$defs/missing"}), "missing"),
        (json!({"format": "telephone"}), "telephone"),
        (json!({"minimum": "1"}), "minimum"),
        (json!({"propertis": {}}), "propertis"),
    ] {
        let error = compiled(&schema).map(|_| ()).unwrap_err();
        assert!(error.starts_with("x.json: ") && error.contains(why), "{schema}: {error}");
    }
}

#[test]
fn what_the_schema_does_not_name_is_refused_at_every_depth() {
    let schema = json!({
        "type": "object",
        "required": ["text"],
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": 5},
            "to": {"type": "array", "maxItems": 2, "uniqueItems": true, "items": {"$ref": "#/$defs/who"}},
            "mood": {"enum": ["good", 7, null]},
            "age": {"type": "integer", "minimum": 0, "maximum": 18_446_744_073_709_551_615u64},
            "at": {"type": "string", "format": "date-time"},
        },
        "$defs": {"who": {"type": "object", "properties": {"id": {"type": "string", "pattern": "^[a-z]+$"}}}},
    });
    for good in [
        r#"{"text":"hi"}"#,
        r#"{"text":"ééééé"}"#,
        r#"{"text":"\u00e9\u00e9\u00e9\u00e9\u00e9"}"#,
        r#"{"t\u0065xt":"x","to":[{"id":"a"},{"id":"b"}],"mood":7.0,"age":18446744073709551615}"#,
        r#"{"text":"x","age":3.0,"mood":null,"at":"2026-11-23T07:00:00Z"}"#,
    ] {
        assert!(valid(&schema, good), "{good}");
    }
    for bad in [
        "null",
        "[]",
        "{}",
        r#"{"text":""}"#,
        r#"{"text":"éééééé"}"#,
        r#"{"text":"x","extra":1}"#,
        r#"{"text":"x","to":[{"id":"a","extra":1}]}"#,
        r#"{"text":"x","to":[{"id":"a"},{"id":"\u0061"}]}"#,
        r#"{"text":"x","to":[{"id":"A"}]}"#,
        r#"{"text":"x","to":[{},{"id":"a"},{"id":"b"}]}"#,
        r#"{"text":"x","mood":"bad"}"#,
        r#"{"text":"x","age":-1}"#,
        r#"{"text":"x","age":1.5}"#,
        r#"{"text":"x","age":9007199254740993.5}"#,
        r#"{"text":"x","at":"yesterday"}"#,
    ] {
        assert!(!valid(&schema, bad), "{bad}");
    }
}

#[test]
fn whole_numbers_are_compared_to_the_last_digit() {
    let schema = json!({"type": "integer", "maximum": 9_007_199_254_740_992u64});
    assert!(valid(&schema, "9007199254740992"));
    assert!(!valid(&schema, "9007199254740993"), "as doubles they would be equal");
    assert!(valid(&json!({"const": 9_007_199_254_740_993u64}), "9007199254740993"));
    assert!(!valid(&json!({"const": 9_007_199_254_740_993u64}), "9007199254740992"));
}

#[test]
fn a_version_chooses_its_schema_and_an_unknown_one_none() {
    let file = |schema: Value| SchemaFile { path: "x.json".into(), json: Arc::new(schema) };
    let of = |value: u32| file(json!({"properties": {"v": {"const": value}, "n": {"const": value}}}));
    let rule = |schema: Option<SchemaFile>| MessageRule {
        roles: vec![],
        route: portcullis_common::config::model::Route::Room,
        echo: true,
        low_priority: false,
        rate: None,
        max_size: None,
        condition: None,
        schema,
        versions: [(2, of(2)), (30, of(30))].into(),
        version_field: "v".to_owned(),
        html: vec![],
        path_fields: vec![],
        controls: portcullis_common::config::model::Controls::Keep,
        nfc: false,
        signatures: portcullis_common::config::model::SignatureUse::Off,
        outbound: portcullis_common::stage::Stages::NONE,
        leaks: None,
        dry_run: portcullis_common::stage::Stages::NONE,
    };
    let judge = |schemas: &Schemas, text: &str| {
        let mut scratch = Scratch::default();
        scan(text, Bounds::default(), &mut scratch).unwrap();
        let root = scratch.tape(text).root();
        schemas.of(root).is_ok_and(|schema| schema.unwrap().is_valid(Instance::payload(root, &Work::of(usize::MAX))))
    };
    let with = Schemas::compile(&rule(Some(of(1)))).unwrap();
    let without = Schemas::compile(&rule(None)).unwrap();
    assert_eq!((with.len(), without.len()), (3, 2));
    for (text, base, none) in [
        (r#"{"n":1}"#, true, false),
        (r#"{"n":2}"#, false, false),
        (r#"{"v":2,"n":2}"#, true, true),
        (r#"{"v":2,"n":1}"#, false, false),
        (r#"{"v":30,"n":30}"#, true, true),
        (r#"{"v":3,"n":2}"#, false, false),
        (r#"{"v":"2","n":2}"#, false, false),
        (r#"{"v":2.0,"n":2}"#, false, false),
        (r#"{"v":null,"n":1}"#, false, false),
        (r#"{"v":4294967298,"n":2}"#, false, false),
        ("null", true, false),
    ] {
        assert_eq!((judge(&with, text), judge(&without, text)), (base, none), "{text}");
    }
}

fn payload() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..4).prop_map(Value::from),
        (-3i32..4).prop_map(|n| json!(f64::from(n) / 2.0)),
        "[ab\"é]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[abc]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_tape_is_judged_as_a_tree_would_be(value in payload()) {
        let text = serde_json::to_string(&value).unwrap();
        for schema in [
            json!({"type": ["object", "string", "integer"], "properties": {"a": {"type": "number"}, "b": {}}}),
            json!({"type": "array", "uniqueItems": true, "items": {"anyOf": [{"type": "string", "maxLength": 2}, {"minimum": 0.5}]}}),
            json!({"enum": [null, true, 1, 0.5, "a", [], {}, {"a": 1}]}),
            json!({"propertyNames": {"pattern": "^[ab]$"}, "minProperties": 1, "additionalProperties": {"multipleOf": 0.5}}),
            json!({"oneOf": [{"required": ["a"], "properties": {"a": {}}}, {"required": ["b"], "properties": {"b": {}}}], "type": "object"}),
        ] {
            let tree = jsonschema::options().with_draft(Draft::Draft202012).build(&strict::closed(&schema).unwrap()).unwrap();
            prop_assert_eq!(valid(&schema, &text), tree.is_valid(&value), "{} {}", schema, text);
        }
    }
}

/// How often a payload is looked at, and whether it passes.
fn looks(schema: &Value, text: &str) -> (u32, bool) {
    let validator = compiled(schema).unwrap();
    let mut scratch = Scratch::default();
    scan(text, Bounds::default(), &mut scratch).unwrap();
    let (work, why) = (Work::of(WORK.0 + WORK.1 * text.len()), Work::of(WHY));
    let passed = held(&validator, scratch.tape(text).root(), &work, &why).is_ok();
    (work.used() + why.used(), passed)
}

/// As many values as the bounds let in: arrays of `leaf` in arrays, so deep.
fn nested(depth: usize, leaf: &str) -> String {
    let branch = format!("{}{leaf}{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    format!("[{}]", vec![branch; (4_000 / depth).min(1_000)].join(","))
}

/// Schemas that ask about the same value in more than one way, at every level.
fn recursive() -> Vec<Value> {
    let node = json!({"$ref": "#/$defs/n"});
    let root = |n: Value| json!({"$ref": "#/$defs/n", "$defs": {"n": n}});
    let array = |key: &str, bound: usize| json!({"type": "array", "items": node, key: bound});
    let text = json!({"type": "string"});
    vec![
        root(json!({"anyOf": [array("minItems", 0), array("maxItems", 1_000), text]})),
        root(json!({"oneOf": [array("minItems", 2), array("maxItems", 1), text]})),
        root(json!({"type": ["array", "string"], "allOf": [{"items": node}, {"items": node}]})),
        root(
            json!({"type": ["array", "string"], "if": {"items": node}, "then": {"items": node}, "else": {"items": node}}),
        ),
        root(json!({"anyOf": [text, {"not": {"not": {"type": "array", "items": node}}}, array("minItems", 0)]})),
    ]
}

#[test]
fn no_payload_makes_a_schema_that_refers_to_itself_look_ten_times_as_often_as_another_of_its_size() {
    const SIZE: usize = 64 << 10;
    for schema in recursive() {
        let pair = |leaf: &str| [leaf; 3].join(",");
        let benign = format!("[{}]", vec![format!("[{}]", pair(r#""twelve bytes""#)); 1_000].join(","));
        let benign = format!("{benign}{}", " ".repeat(SIZE - benign.len()));
        let (plain, passed) = looks(&schema, &benign);
        assert!(passed, "{schema}");
        for depth in [2, 4, 8, 12, 15] {
            for leaf in [r#""x""#, "1"] {
                let hostile = nested(depth, leaf);
                let hostile = format!("{hostile}{}", " ".repeat(SIZE - hostile.len()));
                let (looks, _) = looks(&schema, &hostile);
                assert!(looks <= 10 * plain, "{schema} at depth {depth}, {leaf}: {looks}, benign {plain}");
            }
        }
    }
}

#[test]
fn what_would_be_looked_at_too_often_is_refused_and_says_so() {
    let forms: Vec<Value> = (0..64).map(|n| json!({"type": "array", "items": {"const": n}})).collect();
    let validator = compiled(&json!({"type": "array", "items": {"anyOf": forms}})).unwrap();
    let judged = |leaf: &str, work| {
        let text = format!("[{}]", vec![leaf; 1_000].join(","));
        let mut scratch = Scratch::default();
        scan(&text, Bounds::default(), &mut scratch).unwrap();
        let root = scratch.tape(&text).root();
        held(&validator, root, &Work::of(work), &Work::of(WHY)).map_err(|reject| reject.detail.into_owned())
    };
    let too_often = Err("schema: asks about the payload too often".to_owned());
    assert_eq!(judged("[63]", 1_000), too_often);
    assert_eq!(judged("[63]", 1_000_000), Ok(()));
    assert_eq!(judged("[64]", 1_000_000), Err("schema: against /items/anyOf".to_owned()));
}

#[test]
fn a_union_of_many_forms_is_well_within_the_bound() {
    let form = |n: usize| {
        let text = json!({"type": "string"});
        json!({"properties": {"op": {"const": format!("op{n}")}, "at": {"type": "integer"}, "text": text}, "required": ["op", "at"]})
    };
    let schema = json!({"type": "array", "items": {"type": "object", "oneOf": (0..10).map(form).collect::<Vec<_>>()}});
    let text = format!("[{}]", vec![r#"{"at":12345678,"text":"a little","op":"op9"}"#; 800].join(","));
    let (looks, passed) = looks(&schema, &text);
    assert!(passed && looks as usize * 2 < WORK.0 + WORK.1 * text.len(), "{looks}");
}
