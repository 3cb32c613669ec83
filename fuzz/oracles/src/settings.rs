//! Whole configurations: a file says all that is wrong with it, or is written out as it was meant.

use std::path::Path;

use portcullis_common::config::model::Config;

use crate::rules::RULES;

/// One file; what begins with `+` goes behind a good one.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let whole = text.strip_prefix('+').map_or_else(|| text.to_owned(), |more| format!("{RULES}\n{more}"));
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let load = |text: &str| Config::parse(Some(text), std::iter::empty(), &base);
    match load(&whole) {
        Err(errors) => assert!(!errors.0.is_empty()),
        Ok(config) => {
            let printed = config.to_toml();
            let filled = printed.replace("[secret]", "0123456789abcdef0123456789abcdef");
            let again = load(&filled).unwrap_or_else(|errors| panic!("{errors}\n{filled}"));
            assert_eq!(again.to_toml(), printed);
        }
    }
}
