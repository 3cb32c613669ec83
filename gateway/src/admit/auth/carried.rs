//! What a token says of its bearer's limits, where the issuer's `limits_claim` names the claim.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use portcullis_common::config::model::{Limit, Rate};
use portcullis_common::config::parse_rate;
use serde_json::Value;

use super::failures::BadToken;

/// The most limits that one token may carry.
pub const MAX_LIMITS: usize = 16;
/// The largest burst, as in the configuration.
const MAX_BURST: u64 = 1_000_000;

/// Limits by name, as a token carries them: at most [`MAX_LIMITS`]. What exceeds the operator's `claim_max` is cut down
/// where it is applied; names of no limit say nothing.
pub struct CarriedLimits(BTreeMap<Box<str>, Limit>);

/// Shows no claim.
impl fmt::Debug for CarriedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} limits]", self.0.len())
    }
}

impl CarriedLimits {
    /// Reads `{"heavy": "50/s", "other": {"rate": "10/min", "burst": 3}}`.
    ///
    /// # Errors
    /// A claim of another form, with too many limits, or with one that is none: an issuer that is trusted to set limits
    /// and fails to is not obeyed by chance.
    pub(super) fn read(claim: &Value) -> Result<Self, BadToken> {
        let Value::Object(all) = claim else { return Err(BadToken("the limits are not an object")) };
        if all.len() > MAX_LIMITS {
            return Err(BadToken("the token carries too many limits"));
        }
        let one = |(name, value): (&String, &Value)| Ok((Box::from(name.as_str()), limit(value)?));
        all.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// The limit of this name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<Limit> {
        self.0.get(name).copied()
    }
}

fn limit(value: &Value) -> Result<Limit, BadToken> {
    let bad = || BadToken("a limit of the token is none");
    let (rate, burst) = match value {
        Value::String(rate) => (rate.as_str(), None),
        Value::Object(parts) if parts.keys().all(|key| key == "rate" || key == "burst") => {
            let burst = parts.get("burst").map(|burst| burst.as_u64().ok_or_else(bad)).transpose()?;
            (parts.get("rate").and_then(Value::as_str).ok_or_else(bad)?, burst)
        }
        _ => return Err(bad()),
    };
    let rate: Rate = parse_rate(rate).map_err(|_| bad())?;
    let burst = burst.unwrap_or(u64::from(rate.count));
    if burst == 0 || burst > MAX_BURST || rate.period > Duration::from_secs(86_400) {
        return Err(bad());
    }
    Ok(Limit { rate, burst: u32::try_from(burst).map_err(|_| bad())? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_a_rate_or_a_rate_and_a_burst_by_name() {
        let carried = CarriedLimits::read(&json!({"a": "50/s", "b": {"rate": "10/min", "burst": 3}})).unwrap();
        assert_eq!(carried.of("a").unwrap().burst, 50);
        assert_eq!(
            carried.of("b").unwrap(),
            Limit { rate: Rate { count: 10, period: Duration::from_secs(60) }, burst: 3 }
        );
        assert_eq!(carried.of("c"), None);
    }

    #[test]
    fn whatever_else_it_is_makes_the_token_bad() {
        let many: serde_json::Map<_, _> = (0..17).map(|n| (n.to_string(), json!("1/s"))).collect();
        for claim in [
            json!("50/s"),
            json!(["50/s"]),
            json!({"a": 50}),
            json!({"a": "much"}),
            json!({"a": "0/s"}),
            json!({"a": {"burst": 5}}),
            json!({"a": {"rate": "1/s", "burst": 0}}),
            json!({"a": {"rate": "1/s", "burst": -1}}),
            json!({"a": {"rate": "1/s", "burst": 1_000_001}}),
            json!({"a": {"rate": "1/s", "bursts": 5}}),
            Value::Object(many),
        ] {
            assert!(CarriedLimits::read(&claim).is_err(), "{claim}");
        }
    }
}
