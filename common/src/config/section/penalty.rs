//! `[penalty]`: what users and networks have on their account over the fleet, and what it leads to.

use config::Value;

use super::super::model::{Penalty, Rate};
use super::super::read::Section;
use super::super::unit::{duration, rate};
use super::super::value::{boolean, integer, text};
use super::stuffing::network;
use super::{DAY, HOUR, once, secs};
use crate::ids::UserId;

fn user(value: &Value) -> Result<UserId, String> {
    UserId::parse(text(value)?).map_err(|bad| format!("is not a user id: it {bad}"))
}

pub(super) fn penalty(mut s: Section<'_>) -> Penalty {
    let points = || integer(1..=1_000_000);
    let penalty = Penalty {
        enabled: s.or("enabled", false, boolean),
        dry_run: s.or("dry_run", false, boolean),
        half_life: s.or("half_life", secs(600), duration(secs(1)..=DAY)),
        restrict: s.or("restrict", 200, points()),
        disconnect: s.or("disconnect", 400, points()),
        ban: s.or("ban", 1_000, points()),
        network_factor: s.or("network_factor", 5, integer(1..=1_000)),
        delay: s.or("delay", secs(10), duration(secs(1)..=HOUR)),
        max_delay: s.or("max_delay", HOUR, duration(secs(1)..=DAY)),
        memory: s.or("memory", HOUR * 6, duration(secs(1)..=DAY * 30)),
        ban_for: s.or("ban_for", HOUR, duration(secs(1)..=DAY * 30)),
        auto_bans: s.or("auto_bans", Rate { count: 10, period: secs(60) }, rate),
        never_ban: s.list("never_ban", network).unwrap_or_default(),
        never_ban_users: s.list("never_ban_users", user).unwrap_or_default(),
    };
    once(&penalty.never_ban, &s.key("never_ban"), s.report());
    once(&penalty.never_ban_users, &s.key("never_ban_users"), s.report());
    if penalty.disconnect < penalty.restrict {
        s.report().refuse_together(&[&s.key("restrict")], &s.key("disconnect"), "is less than `restrict`");
    }
    if penalty.ban < penalty.disconnect {
        s.report().refuse_together(&[&s.key("disconnect")], &s.key("ban"), "is less than `disconnect`");
    }
    if penalty.max_delay < penalty.delay {
        s.report().refuse_together(&[&s.key("delay")], &s.key("max_delay"), "is less than `delay`");
    }
    penalty
}
