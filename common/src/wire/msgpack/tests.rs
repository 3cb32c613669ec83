use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn json_of(bytes: &[u8]) -> Result<String, String> {
    let mut out = String::new();
    to_json(bytes, Bounds::default(), 1 << 20, &mut out).map(|()| out).map_err(|r| r.detail.into_owned())
}

fn pack(json: &str) -> Result<Vec<u8>, Rule> {
    let mut out = Vec::new();
    from_json(json, Bounds::default(), &mut out).map(|()| out)
}

#[test]
fn each_kind_has_its_json() {
    for (bytes, json) in [
        (&b"\xc0"[..], "null"),
        (b"\xc2", "false"),
        (b"\x7f", "127"),
        (b"\xff", "-1"),
        (b"\xcc\xff", "255"),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
        (b"\xd0\x80", "-128"),
        (b"\xd1\x80\x00", "-32768"),
        (b"\xd2\x80\x00\x00\x00", "-2147483648"),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
        (b"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", "1.5"),
        (b"\xca\x3f\xc0\x00\x00", "1.5"),
        (b"\xcb\x42\x78\xbc\xfe\x56\x80\x00\x00", "1700000000000"),
        (b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00", "-0.0"),
        (b"\xa3a\"\n", "\"a\\\"\\n\""),
        (b"\xd9\x01\x00", "\"\\u0000\""),
        (b"\x92\x01\x90", "[1,[]]"),
        (b"\x82\xa1a\x01\xa1b\x80", "{\"a\":1,\"b\":{}}"),
        (b"\xc4\x02\x00\xff", "{\"$bin\":\"AP8=\"}"),
    ] {
        assert_eq!(json_of(bytes).as_deref(), Ok(json), "{bytes:x?}");
    }
}

#[test]
fn what_json_does_not_have_is_refused() {
    for (bytes, rule) in [
        (&b""[..], "msgpack: ends too early"),
        (b"\x01\x01", "msgpack: something after the value"),
        (b"\x92\x01", "msgpack: ends too early"),
        (b"\xa5abc", "msgpack: ends too early"),
        (b"\xdd\xff\xff\xff\xff", "msgpack: ends too early"),
        (b"\xdf\xff\xff\xff\xff\xa0", "msgpack: ends too early"),
        (b"\xc6\xff\xff\xff\xff", "msgpack: ends too early"),
        (b"\xa1\xff", "msgpack: text that is not UTF-8"),
        (b"\xa3\xed\xa0\x80", "msgpack: text that is not UTF-8"),
        (b"\x81\x01\x01", "msgpack: a key that is not text"),
        (b"\x81\xc4\x01a\x01", "msgpack: a key that is not text"),
        (b"\x81\xc0\x01", "msgpack: a key that is not text"),
        (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "msgpack: not a finite number"),
        (b"\xca\xff\x80\x00\x00", "msgpack: not a finite number"),
        (b"\xd6\xff\x00\x00\x00\x00", "msgpack: a type that JSON does not have"),
        (b"\xc7\x00\x01", "msgpack: a type that JSON does not have"),
        (b"\xc1", "msgpack: a type that JSON does not have"),
    ] {
        assert_eq!(json_of(bytes), Err(rule.into()), "{bytes:x?}");
    }
}

#[test]
fn the_bounds_are_those_of_json() {
    let nested = |n: usize| [vec![0x91; n], vec![0x90]].concat();
    assert!(json_of(&nested(15)).is_ok());
    assert_eq!(json_of(&nested(16)), Err("msgpack: nested too deep".into()));
    assert_eq!(json_of(&vec![0x91; 65_536]), Err("msgpack: nested too deep".into()));
    let bin_at = |n: usize| [vec![0x91; n], b"\xc4\x00".to_vec()].concat();
    assert!(json_of(&bin_at(15)).is_ok());
    assert!(json_of(&bin_at(16)).is_err(), "binary is an object in JSON");
    let wide = |n: u16| [&[0xdc][..], &n.to_be_bytes(), &vec![0xc0; n.into()]].concat();
    assert!(json_of(&wide(4_095)).is_ok());
    assert_eq!(json_of(&wide(4_096)), Err("msgpack: too many values".into()));
    let mut out = String::new();
    let text = [&b"\xd9\x05"[..], b"\0\0\0\0\0"].concat();
    assert_eq!(to_json(&text, Bounds::default(), 31, &mut out).unwrap_err().code, Code::TooLarge);
    out.clear();
    assert!(to_json(&text, Bounds::default(), 32, &mut out).is_ok());
}

#[test]
fn only_exactly_a_bin_object_is_binary() {
    assert_eq!(pack(r#" { "$bin" : "AP8=" } "#).unwrap(), b"\xc4\x02\x00\xff");
    for text in
        [r#"{"$bin":"AP8"}"#, r#"{"$bin":"AP9="}"#, r#"{"$bin":1}"#, r#"{"$bin":"","x":1}"#, r#"{"x":1,"$bin":""}"#]
    {
        let packed = pack(text).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&json_of(&packed).unwrap()).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
        assert_eq!(packed[0] & 0xf0, 0x80, "{text} stays a map");
    }
}

#[test]
fn large_containers_get_their_long_headers() {
    for n in [0usize, 15, 16, 300, 4_000] {
        let list = Value::from(vec![7; n]);
        assert_eq!(pack(&list.to_string()).unwrap(), rmp_serde::to_vec(&list).unwrap());
    }
}

#[test]
fn broken_json_is_an_error_at_exit_too() {
    for bad in ["", "[1,]", "{\"a\"}", "{1:2}", "[1 2]", "nul", "1 1", "[", "{\"a\":1"] {
        assert!(pack(bad).is_err(), "{bad}");
    }
    assert!(pack(&"[".repeat(100_000)).is_err(), "bounded recursion");
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // halves: serde_json, the judge here, reads other fractions with an error of one unit in the last place
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 2.0)),
        "\\PC{0,40}|[\\x00-\\x22\\x5c]{0,4}".prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|b| json!({"$bin": STANDARD.encode(b)})),
    ];
    leaf.prop_recursive(6, 64, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            proptest::collection::btree_map("\\PC{0,4}", inner, 0..20)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Numbers as doubles, where a whole double and an integer are one number in JSON.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || (x.as_f64() == y.as_f64() && (x.is_f64() || y.is_f64())),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}

proptest! {
    #[test]
    fn a_double_survives_both_ways_to_the_last_bit(value in any::<f64>().prop_filter("finite", |f| f.is_finite())) {
        let packed = rmp_serde::to_vec(&value).unwrap();
        let json = json_of(&packed).unwrap();
        prop_assert_eq!(json.parse::<f64>().unwrap().to_bits(), value.to_bits());
        prop_assert_eq!(json_of(&pack(&json).unwrap()).unwrap(), json);
    }

    #[test]
    fn json_to_msgpack_to_json_is_the_identity(value in tree()) {
        let back = json_of(&pack(&serde_json::to_string_pretty(&value).unwrap()).unwrap()).unwrap();
        let back: Value = serde_json::from_str(&back).unwrap();
        prop_assert!(same(&value, &back), "{value} became {back}");
    }

    #[test]
    fn rmp_serde_reads_what_is_written(value in tree()) {
        prop_assume!(!value.to_string().contains("$bin"));
        let packed = pack(&value.to_string()).unwrap();
        prop_assert_eq!(rmp_serde::from_slice::<Value>(&packed).unwrap(), value);
    }

    #[test]
    fn what_rmp_serde_writes_is_read(value in tree()) {
        let packed = rmp_serde::to_vec(&value).unwrap();
        let read: Value = serde_json::from_str(&json_of(&packed).unwrap()).unwrap();
        prop_assert!(same(&value, &read), "{value} became {read}");
    }

    #[test]
    fn noise_never_panics_never_grows_beyond_sixfold_and_is_always_json(bytes in proptest::collection::vec(prop_oneof![
        any::<u8>(), Just(0x91), Just(0x82), Just(0xa0), Just(0xc4), Just(0xc2)], 0..200)) {
        let mut out = String::new();
        if to_json(&bytes, Bounds::default(), usize::MAX, &mut out).is_ok() {
            prop_assert!(out.len() <= bytes.len() * 6, "{} from {}", out.len(), bytes.len());
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&out).is_ok(), "{}", out);
        }
    }
}
