//! Durations, sizes, rates: read, and written so that they read back the same.

use std::ops::RangeInclusive;
use std::time::Duration;

use config::{Value, ValueKind};

use super::model::Rate;
use super::read::of_environment;
use super::value::{kind, text, whole};

const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];
const PERIODS: &[(&str, u64)] = &[("s", 1), ("min", 60), ("h", 3_600)];

/// A number with a unit behind it; at most one blank between.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A duration with its unit, within bounds.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Value) -> Result<Duration, String> {
    move |value| {
        let written = match &value.kind {
            ValueKind::I64(_) => return Err("needs a unit, as in \"10s\": ms, s, m, h or d".into()),
            _ => text(value)?,
        };
        let millis = with_unit(written, DURATIONS)
            .ok_or("must be a duration: a whole number and ms, s, m, h or d, as in \"250ms\" or \"10s\"")?;
        let found = Duration::from_millis(millis);
        let (low, high) = (range.start(), range.end());
        if range.contains(&found) {
            Ok(found)
        } else {
            Err(format!("must be between {} and {}", write_duration(*low), write_duration(*high)))
        }
    }
}

/// Bytes: an integer, or a number with a unit, within bounds.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Value) -> Result<u64, String> {
    move |value| {
        let bytes = bytes(value)?;
        if range.contains(&bytes) {
            Ok(bytes)
        } else {
            Err(format!("must be between {} and {}", write_size(*range.start()), write_size(*range.end())))
        }
    }
}

/// [`size`], for what is measured in memory.
pub(super) fn length(range: RangeInclusive<u64>) -> impl Fn(&Value) -> Result<usize, String> {
    let size = size(range);
    move |value| usize::try_from(size(value)?).map_err(|_| "does not fit into memory".to_owned())
}

fn bytes(value: &Value) -> Result<u64, String> {
    const LEGAL: &str = "must be a size: bytes as a whole number, or with a unit, as in \"64KiB\" or \"1MB\"";
    match &value.kind {
        ValueKind::I64(number) => u64::try_from(*number).map_err(|_| LEGAL.to_owned()),
        ValueKind::String(text) if of_environment(value) && text.parse::<u64>().is_ok() => {
            whole(value).ok().and_then(|n| u64::try_from(n).ok()).ok_or_else(|| LEGAL.to_owned())
        }
        ValueKind::String(text) => with_unit(text, SIZES).ok_or_else(|| LEGAL.to_owned()),
        other => Err(format!("{LEGAL}, not {}", kind(other))),
    }
}

/// The most events in one second that a rate may allow: below 1 µs an event the limiter's nanoseconds get coarse.
const FASTEST: u64 = 1_000_000;

/// The same for bytes, which are cheaper to be coarse about.
const FASTEST_BYTES: u64 = 64 << 20;

/// `"100/min"`
pub(super) fn rate(value: &Value) -> Result<Rate, String> {
    const LEGAL: &str = "must be a rate, as in \"10/s\", \"100/min\" or \"5/h\"";
    let (count, period) = halves(value).ok_or(LEGAL)?;
    let count: u32 = count.parse().map_err(|_| LEGAL)?;
    checked(u64::from(count), period, FASTEST).ok_or_else(|| format!("{LEGAL}; from 1 in its period to 1000000/s"))
}

/// The same from another place than the configuration: what [`rate`] reads, and nothing else.
///
/// # Errors
/// What a rate looks like.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    rate(&Value::from(text))
}

/// `"1MiB/min"`, or a number of bytes.
pub(super) fn byte_rate(value: &Value) -> Result<Rate, String> {
    const LEGAL: &str = "must be a rate of bytes, as in \"1MiB/min\" or \"64KB/s\"";
    let (size, period) = halves(value).ok_or(LEGAL)?;
    let bytes = size.parse().ok().or_else(|| with_unit(size, SIZES)).ok_or(LEGAL)?;
    checked(bytes, period, FASTEST_BYTES).ok_or_else(|| format!("{LEGAL}; from 1 byte in its period to 64MiB/s"))
}

fn halves(value: &Value) -> Option<(&str, u64)> {
    let (count, period) = text(value).ok()?.split_once('/')?;
    let period = PERIODS.iter().find(|(name, _)| *name == period.trim())?.1;
    Some((count.trim(), period))
}

fn checked(count: u64, period: u64, fastest: u64) -> Option<Rate> {
    let legal = count >= 1 && count / period.max(1) <= fastest;
    let count = u32::try_from(count).ok().filter(|_| legal)?;
    Some(Rate { count, period: Duration::from_secs(period) })
}

/// A duration in its largest exact unit.
pub(super) fn write_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let exact = DURATIONS.iter().rev().find(|(_, factor)| millis > 0 && millis.is_multiple_of(*factor));
    let (unit, factor) = exact.copied().unwrap_or(("s", 1_000));
    format!("{}{unit}", millis / factor)
}

/// A size in its largest exact binary unit; bytes as they are.
pub(super) fn write_size(bytes: u64) -> String {
    let binary = SIZES.iter().rev().take(3);
    match binary.clone().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// A rate as it is read; bytes with their unit.
pub(super) fn write_rate(rate: Rate, of_bytes: bool) -> String {
    let seconds = rate.period.as_secs();
    let period = PERIODS.iter().find(|(_, factor)| *factor == seconds).map_or("s", |(name, _)| name);
    if of_bytes {
        format!("{}/{period}", write_size(u64::from(rate.count)))
    } else {
        format!("{}/{period}", rate.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Value {
        Value::new(None, text)
    }

    #[test]
    fn units_mean_what_they_say() {
        let any = duration(Duration::ZERO..=Duration::MAX);
        assert_eq!(any(&of("250ms")), Ok(Duration::from_millis(250)));
        assert_eq!(any(&of("2m")), Ok(Duration::from_secs(120)));
        assert_eq!(any(&of("1d")), Ok(Duration::from_secs(86_400)));
        assert_eq!(bytes(&of("64KiB")), Ok(65_536));
        assert_eq!(bytes(&of("64 KB")), Ok(64_000));
        assert_eq!(bytes(&Value::new(None, 7_i64)), Ok(7));
        assert_eq!(rate(&of("5/h")), Ok(Rate { count: 5, period: Duration::from_secs(3_600) }));
        assert_eq!(byte_rate(&of("1MiB/min")), Ok(Rate { count: 1 << 20, period: Duration::from_secs(60) }));
    }

    #[test]
    fn what_overflows_or_has_no_unit_is_refused() {
        let any = duration(Duration::ZERO..=Duration::MAX);
        for bad in ["10", "s", "", "-1s", "1.5s", "1h30m", "10  s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(any(&of(bad)).is_err(), "{bad}");
        }
        for bad in ["0/s", "1/fortnight", "x/s", "1", "1/s/s", "4294967296/h", "2000000/s"] {
            assert!(rate(&of(bad)).is_err(), "{bad}");
        }
        assert!(byte_rate(&of("1GiB/s")).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis: u32, size: u32, count in 1_u32..1_000_000, period in 0_usize..3) {
            let any = duration(Duration::ZERO..=Duration::MAX);
            let length = Duration::from_millis(u64::from(millis));
            prop_assert_eq!(any(&of(&write_duration(length))), Ok(length));
            prop_assert_eq!(bytes(&of(&write_size(u64::from(size)))), Ok(u64::from(size)));
            let each = Rate { count, period: Duration::from_secs(PERIODS[period].1) };
            prop_assert_eq!(rate(&of(&write_rate(each, false))), Ok(each));
            prop_assert_eq!(byte_rate(&of(&write_rate(each, true))), Ok(each));
        }
    }
}
