//! Rates, durations and sizes as text, and what counts against a rate.
//!
//! The judge of the counter is a leaky bucket with the level written down, in whole nanoseconds.

use std::path::Path;
use std::time::Duration;

use portcullis_common::config::model::{Config, Limit, Rate};
use portcullis_common::gcra::{Gcra, Tat};

use crate::rules::RULES;

/// Keys and how each line of an input is meant, in order.
const KEYS: [&str; 6] = [
    "LIMIT__MESSAGE__RATE",
    "LIMIT__BYTES__RATE",
    "LIMIT__BYTES__BURST",
    "SESSION__ABSOLUTE_TIMEOUT",
    "SIZE__MESSAGE",
    "ANOMALY__HALF_LIFE",
];

/// Six lines of text, then the steps of a counter: pairs of time passed and cost.
pub fn limits(data: &[u8]) {
    let mut lines = data.splitn(KEYS.len() + 1, |b| *b == b'\n');
    let texts: Vec<Option<&str>> =
        lines.by_ref().take(KEYS.len()).map(|line| std::str::from_utf8(line).ok().filter(|t| !t.is_empty())).collect();
    let steps = lines.next().unwrap_or_default();
    for (key, text) in KEYS.iter().zip(&texts) {
        if let Some(text) = text {
            one(key, text);
        }
    }
    if let [count, period, burst, steps @ ..] = steps {
        let rate = Rate { count: u32::from(*count) + 1, period: Duration::from_secs(1 + u64::from(*period)) };
        counts(Limit { rate, burst: u32::from(*burst) }, steps);
    }
}

/// One value: read, written out, read again.
fn one(key: &str, text: &str) {
    let load = |toml: &str, env: Option<(String, String)>| {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        Config::parse(Some(toml), env.into_iter(), &base)
    };
    let Ok(config) = load(RULES, Some((format!("PORTCULLIS__{key}"), text.to_owned()))) else { return };
    let rates = [config.limit.message, config.limit.bytes];
    assert!(rates.iter().all(|limit| limit.rate.count > 0 && !limit.rate.period.is_zero()));
    let printed = config.to_toml().replace("[secret]", "0123456789abcdef0123456789abcdef");
    let again = load(&printed, None).unwrap_or_else(|errors| panic!("{key} = {text:?}: {errors}"));
    assert_eq!(again.to_toml(), config.to_toml(), "{key} = {text:?}");
    assert_eq!([again.limit.message, again.limit.bytes], rates);
    assert_eq!(again.session.absolute_timeout, config.session.absolute_timeout);
    assert_eq!(again.anomaly.half_life, config.anomaly.half_life);
}

/// Both counters through the same steps.
fn counts(limit: Limit, steps: &[u8]) {
    let gcra = Gcra::new(limit);
    let interval = u128::from(1_000_000_000 * limit.rate.period.as_secs() / u64::from(limit.rate.count));
    let depth = interval * u128::from(limit.burst.max(1));
    let (mut tat, mut now, mut level) = (Tat::default(), 1_000_000_000_000_u64, 0_u128);
    let (began, mut taken) = (now, 0_u128);
    for step in steps.chunks_exact(3) {
        let passed = u64::from(u16::from_le_bytes([step[0], step[1]])) * 1_000_003;
        let cost = u64::from(step[2] % 8);
        now += passed;
        level = level.saturating_sub(u128::from(passed));
        let price = interval * u128::from(cost);
        let before = tat;
        match gcra.take(&mut tat, now, cost) {
            Ok(()) => {
                assert!(level + price.min(depth) <= depth, "took too much");
                level += price;
                taken += price.min(depth);
            }
            Err(wait) => {
                assert_eq!(tat, before, "a refusal changes nothing");
                assert!(level + price.min(depth) > depth, "took too little");
                let wait = u64::try_from(wait.as_nanos()).expect("short");
                assert!(gcra.take(&mut { tat }, now + wait, cost).is_ok(), "told to come back too early");
                assert!(gcra.take(&mut { tat }, now + wait - 1, cost).is_err(), "told to come back too late");
            }
        }
        assert!(taken <= depth + u128::from(now - began) + depth, "more than rate and burst");
        if level == 0 {
            assert!(gcra.idle(tat, now));
        }
    }
}
