//! `[stuffing]`: when the fleet shuts its doors to addresses that try tokens of many people.

use config::Value;
use ipnet::IpNet;

use super::super::model::{Rate, Stuffing};
use super::super::read::Section;
use super::super::unit::{duration, rate};
use super::super::value::{boolean, integer, text};
use super::{DAY, HOUR, once, secs};
use crate::trie::parse_network;

pub(super) fn network(value: &Value) -> Result<IpNet, String> {
    parse_network(text(value)?).ok_or_else(|| "is neither an address nor a network".to_owned())
}

pub(super) fn stuffing(mut s: Section<'_>) -> Stuffing {
    let stuffing = Stuffing {
        enabled: s.or("enabled", true, boolean),
        dry_run: s.or("dry_run", false, boolean),
        window: s.or("window", secs(120), duration(secs(10)..=HOUR)),
        accounts: s.or("accounts", 8, integer(3..=48)),
        refusals: s.or("refusals", 120, integer(10..=100_000)),
        network_accounts: s.or("network_accounts", 40, integer(8..=100_000)),
        addresses: s.or("addresses", 12, integer(3..=48)),
        per_user: s.or("per_user", 3, integer(1..=100)),
        keep_out: s.or("keep_out", secs(300), duration(secs(1)..=DAY)),
        max_keep_out: s.or("max_keep_out", HOUR, duration(secs(1)..=DAY)),
        budget: s.or("budget", Rate { count: 1_000, period: secs(60) }, rate),
        never: s.list("never", network).unwrap_or_default(),
    };
    once(&stuffing.never, &s.key("never"), s.report());
    if stuffing.max_keep_out < stuffing.keep_out {
        s.report().refuse_together(&[&s.key("keep_out")], &s.key("max_keep_out"), "is less than `keep_out`");
    }
    if stuffing.network_accounts < stuffing.accounts {
        s.report().refuse_together(&[&s.key("accounts")], &s.key("network_accounts"), "is less than `accounts`");
    }
    stuffing
}
