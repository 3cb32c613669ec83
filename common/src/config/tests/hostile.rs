//! Files and variables that nobody would write.

use proptest::prelude::*;

use super::*;

#[test]
fn keys_that_look_like_orders_to_allocate_are_only_unknown() {
    let text = format!("\"room[99999999999]\" = 1\n\"node.id\" = 2\n{BASE}");
    let errors = load(&text).unwrap_err();
    let paths: Vec<&str> = errors.0.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(paths, ["\"node.id\"", "\"room[99999999999]\""], "{errors}");
    let deep = format!("{}a = 1", "a.".repeat(100_000));
    assert!(load(&deep).is_err());
    let nested = format!("a = {}", "[".repeat(100_000));
    assert!(load(&nested).is_err());
}

/// Keys and values from the vocabulary, so that random files get past the surface.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(super::super::known_keys());
    let value = prop_oneof![
        Just("\"\"".to_owned()),
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("[[1], {}]".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("nan".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        "[-a-z0-9:/.*{}@\\[\\] é]{0,20}".prop_map(|t| format!("{t:?}")),
        "[0-9]{1,20}(ms|s|m|h|d|KiB|MB|/s|/min)".prop_map(|t| format!("{t:?}")),
        "https?://[*.a-z:0-9\\[\\]]{0,12}/?".prop_map(|t| format!("[{t:?}, {t:?}]")),
    ];
    let table = "(\\[\\[?)(auth\\.issuer|room|message\\.[a-z]{0,3}|limit\\.bytes|session)(\\]\\]?)";
    let last = (key, value).prop_map(|(key, value)| format!("{} = {value}", key.rsplit('.').next().unwrap_or("x")));
    prop_oneof![4 => last, 2 => table, 1 => "\\PC{0,12}"]
}

proptest! {
    #[test]
    fn no_file_makes_the_loader_panic(lines in prop::collection::vec(line(), 0..12)) {
        let text = lines.join("\n");
        if let Err(errors) = Config::parse(Some(&text), std::iter::empty(), Path::new("/nowhere")) {
            prop_assert!(!errors.0.is_empty());
        }
        // One line at a time gets past the syntax more often.
        for line in &lines {
            let _ = Config::parse(Some(line), std::iter::empty(), Path::new("/nowhere"));
        }
    }

    #[test]
    fn no_environment_makes_the_loader_panic(
        vars in prop::collection::btree_map("PORTCULLIS__?(AUTH|ROOM|NODE|[A-Z]{1,3})(__([A-Z]{1,6}|[0-9]{1,20})){0,4}", "\\PC{0,12}", 0..6),
    ) {
        let _ = Config::parse(Some(BASE), vars.into_iter(), Path::new("/nowhere"));
    }
}
