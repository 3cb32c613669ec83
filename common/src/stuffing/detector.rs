//! Who is shut out: what all nodes reported, judged by whoever leads.
//!
//! Four things are looked for, each within the window and each weighed against the users who got in from the same place:
//!
//! | [`Why`] | what |
//! | --- | --- |
//! | [`Why::Stuffing`] | refused tokens of many accounts from one address |
//! | [`Why::Scanning`] | many refused logins from one address, whosever |
//! | [`Why::Siege`] | one account, or one family of tokens, is tried from many addresses: each of them is held against a quarter of the numbers |
//! | [`Why::Network`] | refused tokens of many accounts from several addresses of an IPv4 /24 from which nobody got in |
//!
//! Whoever was shut out before is held against half of the numbers, and stays out for twice as long.
//!
//! **Bound.** [`SOURCES`] addresses with refused logins, [`GOOD_SOURCES`] with users, [`TARGETS`] accounts and as many families, [`NETS`] networks; at the bound whatever was
//! not heard of for the longest is forgotten, a sixteenth at a time. Some 60 MB when all of it is full of attackers who are
//! not shut out.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;

use super::fading::{Fading, Recent};
use super::verdict::{Decision, Evidence, Judgement, Why};
use super::{Mark, Report, Seen};
use crate::clock::{UnixMs, millis};
use crate::config::model::{Limit, Stuffing};
use crate::gcra::{Gcra, Tat};
use crate::penalty::network_of;

/// Addresses that are known.
pub const SOURCES: usize = 16_384;
/// Addresses from which users are known to have got in.
pub const GOOD_SOURCES: usize = 65_536;
/// Accounts that are known to be tried; families of tokens too.
pub const TARGETS: usize = 16_384;
/// IPv4 /24 networks that are known.
pub const NETS: usize = 16_384;

/// Accounts remembered of one address; more than any threshold.
const ACCOUNTS: usize = 128;
/// Accounts remembered of one /24.
const NET_ACCOUNTS: usize = 256;
/// Users remembered of one address, over all nodes.
const USERS: usize = 64;
/// Addresses remembered of one account, family or network.
const PLACES: usize = 48;
/// Addresses of a /24 that have to take part before all of it is shut out.
const TOGETHER: u32 = 4;
/// How long a user who got in counts.
const GOOD: Duration = Duration::from_secs(3_600);
/// Refused logins that go on for so long after a decision mean that it did not arrive.
const ARRIVES: Duration = Duration::from_secs(5);
/// What is not heard of for so long has begun anew.
const FORGIVEN: Duration = Duration::from_secs(6 * 3_600);
/// Doublings of the time for which somebody is shut out.
const DOUBLINGS: u32 = 16;

/// When somebody was shut out, and how often.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    strikes: u32,
    decided: UnixMs,
    until: UnixMs,
}

impl Record {
    /// Whether it is out as far as anybody knows.
    fn is_out(&self, now: UnixMs, dry_run: bool) -> bool {
        now < self.until && (dry_run || now < self.decided.after(ARRIVES))
    }

    fn strike(&mut self, rules: &Stuffing, now: UnixMs) -> UnixMs {
        if self.decided.after(FORGIVEN) < now {
            self.strikes = 0;
        }
        // what did not arrive is no further strike
        if now >= self.until {
            self.strikes = (self.strikes + 1).min(DOUBLINGS);
        }
        let longest = millis(rules.max_keep_out);
        let keep = millis(rules.keep_out).saturating_mul(1 << (self.strikes.max(1) - 1)).min(longest);
        (self.decided, self.until) = (now, UnixMs(now.0.saturating_add(keep)));
        self.until
    }
}

#[derive(Debug, Default)]
struct Source {
    accounts: Fading,
    families: Fading,
    refused: Recent,
    heard: UnixMs,
    record: Record,
}

#[derive(Debug, Default)]
struct Net {
    accounts: Fading,
    /// Addresses that took part.
    bad: Fading,
    refused: Recent,
    /// When somebody got in from it.
    good: UnixMs,
    heard: UnixMs,
    record: Record,
}

#[derive(Debug, Default)]
struct Good {
    users: Fading,
    heard: UnixMs,
}

#[derive(Debug, Default)]
struct Target {
    places: Fading,
    heard: UnixMs,
}

/// What can be forgotten.
trait Heard {
    fn heard(&self) -> UnixMs;
}

macro_rules! heard {
    ($($kind:ident),*) => {$(
        impl Heard for $kind {
            fn heard(&self) -> UnixMs {
                self.heard
            }
        }
    )*};
}
heard!(Source, Net, Good, Target);

/// The entry of a key, made where there is none; at the bound what was not heard of for the longest goes.
fn entry<K: Copy + Eq + Hash, V: Heard + Default>(map: &mut HashMap<K, V>, key: K, bound: usize) -> &mut V {
    if map.len() >= bound && !map.contains_key(&key) {
        let mut times: Vec<UnixMs> = map.values().map(Heard::heard).collect();
        let excess = (bound / 16).min(times.len().saturating_sub(1));
        let (_, last, _) = times.select_nth_unstable(excess);
        let floor = *last;
        map.retain(|_, value| value.heard() > floor);
    }
    map.entry(key).or_default()
}

/// The first three bytes of an IPv4 address.
fn around(from: IpAddr) -> Option<[u8; 3]> {
    match from {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Some([a, b, c])
        }
        IpAddr::V6(_) => None,
    }
}

/// A name of an address where marks are kept.
fn mark_of(from: IpAddr) -> Mark {
    let bits = match from {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() >> 64,
    };
    Mark(u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0))
}

/// See the module.
pub struct Detector {
    rules: Stuffing,
    sources: HashMap<IpAddr, Source>,
    good: HashMap<IpAddr, Good>,
    nets: HashMap<[u8; 3], Net>,
    accounts: HashMap<Mark, Target>,
    families: HashMap<Mark, Target>,
    /// Whom something new is known of.
    fresh: HashSet<IpAddr>,
    spent: Tat,
}

impl Detector {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(rules: Stuffing) -> Self {
        Self {
            rules,
            sources: HashMap::new(),
            good: HashMap::new(),
            nets: HashMap::new(),
            accounts: HashMap::new(),
            families: HashMap::new(),
            fresh: HashSet::new(),
            spent: Tat::default(),
        }
    }

    /// Other rules from now on; what is known stays known.
    pub fn set_rules(&mut self, rules: Stuffing) {
        self.rules = rules;
    }

    /// Addresses that are known.
    #[must_use]
    pub fn known(&self) -> usize {
        self.sources.len()
    }

    /// The control log says that a door is shut, whoever decided it: what was seen before that is settled.
    pub fn is_shut(&mut self, network: IpNet, since: UnixMs, until: UnixMs) {
        let Some(record) = self.record(network, until) else { return };
        record.decided = record.decided.max(since);
        record.until = record.until.max(until);
        record.strikes = record.strikes.max(1);
    }

    /// An operator lifted what stood against a network: it begins anew.
    pub fn pardon(&mut self, network: IpNet) {
        if let Some(record) = self.record(network, UnixMs(0)) {
            *record = Record::default();
        }
        if let Some(source) = self.sources.get_mut(&network.addr()) {
            (source.accounts, source.refused) = (Fading::default(), Recent::default());
        }
    }

    /// What is known of the doors of an address or a /24; `heard`: it is to be remembered for so long at least.
    fn record(&mut self, network: IpNet, heard: UnixMs) -> Option<&mut Record> {
        let from = network.addr();
        if network == network_of(from) {
            let source = entry(&mut self.sources, from, SOURCES);
            source.heard = source.heard.max(heard);
            return Some(&mut source.record);
        }
        let around = around(from).filter(|_| network.prefix_len() == 24)?;
        let net = entry(&mut self.nets, around, NETS);
        net.heard = net.heard.max(heard);
        Some(&mut net.record)
    }

    /// Takes what a node saw at `at` (the store's time).
    pub fn take(&mut self, report: &Report, at: UnixMs) {
        report.seen.iter().for_each(|seen| self.see(seen, at));
    }

    fn see(&mut self, seen: &Seen, at: UnixMs) {
        let (from, window) = (seen.from, millis(self.rules.window));
        if !seen.users.is_empty() {
            let good = entry(&mut self.good, from, GOOD_SOURCES);
            seen.users.iter().for_each(|user| good.users.add(*user, at, USERS));
            good.heard = good.heard.max(at);
        }
        if let Some(network) = around(from) {
            let net = entry(&mut self.nets, network, NETS);
            net.heard = net.heard.max(at);
            if !seen.users.is_empty() {
                net.good = net.good.max(at);
            }
            if seen.refused > 0 && !net.record.is_out(at, self.rules.dry_run) {
                seen.accounts.iter().for_each(|account| net.accounts.add(*account, at, NET_ACCOUNTS));
                net.bad.add(mark_of(from), at, PLACES);
                net.refused.add(seen.refused, at, window);
            }
        }
        if seen.refused == 0 {
            return;
        }
        let source = entry(&mut self.sources, from, SOURCES);
        source.heard = source.heard.max(at);
        if source.record.is_out(at, self.rules.dry_run) {
            // what was under way when it was shut out
            return;
        }
        source.refused.add(seen.refused, at, window);
        for account in &seen.accounts {
            source.accounts.add(*account, at, ACCOUNTS);
        }
        for family in &seen.families {
            source.families.add(*family, at, super::FAMILIES);
        }
        if users(&self.good, from, at) == 0 {
            let of = |map: &mut HashMap<Mark, Target>, mark: Mark| {
                let target = entry(map, mark, TARGETS);
                target.places.add(mark_of(from), at, PLACES);
                target.heard = target.heard.max(at);
            };
            seen.accounts.iter().for_each(|account| of(&mut self.accounts, *account));
            seen.families.iter().for_each(|family| of(&mut self.families, *family));
        }
        if self.fresh.len() < SOURCES {
            self.fresh.insert(from);
        }
    }

    /// Whom to shut out, of those of whom something new is known. Cost: for each, a look at what is known of it.
    pub fn judge(&mut self, now: UnixMs) -> Judgement {
        let mut fresh: Vec<IpAddr> = self.fresh.drain().collect();
        // whatever the order of a hash map is, a schedule has one outcome
        fresh.sort_unstable();
        let mut judgement = Judgement::default();
        let nets: HashSet<[u8; 3]> = fresh.iter().filter_map(|from| around(*from)).collect();
        let mut nets: Vec<[u8; 3]> = nets.into_iter().collect();
        nets.sort_unstable();
        for network in nets {
            if let Some((why, evidence)) = self.of_net(network, now) {
                let [a, b, c] = network;
                let whole = IpNet::new(IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), 24);
                if let (Ok(whole), Some(net)) = (whole, self.nets.get_mut(&network)) {
                    let record = &mut net.record;
                    if decide(&self.rules, &mut self.spent, record, whole, (why, evidence), now, &mut judgement) {
                        net.accounts.clear();
                        net.bad.clear();
                        net.refused.clear();
                    }
                }
            }
        }
        for from in fresh {
            let shut = around(from).and_then(|net| self.nets.get(&net)).is_some_and(|net| net.record.decided == now);
            if shut {
                continue;
            }
            if let Some(found) = self.of_source(from, now)
                && let Some(source) = self.sources.get_mut(&from)
            {
                let (record, network) = (&mut source.record, network_of(from));
                if decide(&self.rules, &mut self.spent, record, network, found, now, &mut judgement) {
                    source.accounts.clear();
                    source.refused.clear();
                }
            }
        }
        judgement
    }

    fn of_source(&mut self, from: IpAddr, now: UnixMs) -> Option<(Why, Evidence)> {
        let rules = &self.rules;
        let since = since(now, rules.window);
        let source = self.sources.get_mut(&from)?;
        let users = users(&self.good, from, now);
        let (accounts, refused) = (source.accounts.count(since), source.refused.count(now, millis(rules.window)));
        let forgiven = rules.per_user.saturating_mul(users);
        let part = if source.record.strikes > 0 { 2 } else { 1 };
        let over = |part: u32| {
            let many = accounts >= (rules.accounts / part).max(3).saturating_add(forgiven);
            let often = refused >= (rules.refusals / part).saturating_add(forgiven.saturating_mul(10));
            many.then_some(Why::Stuffing).or(often.then_some(Why::Scanning))
        };
        let evidence = Evidence { accounts, refused, addresses: 1, users, window: rules.window };
        if let Some(why) = over(part) {
            return Some((why, evidence));
        }
        over(4)?;
        let tried =
            |map: &HashMap<Mark, Target>, mark: Mark| map.get(&mark).map_or(0, |target| target.places.count(since));
        let account = source.accounts.since(since).map(|mark| tried(&self.accounts, mark)).max();
        let family = source.families.since(since).map(|mark| tried(&self.families, mark)).max();
        let addresses = account.max(family).unwrap_or(0);
        (addresses >= rules.addresses).then_some((Why::Siege, Evidence { addresses, ..evidence }))
    }

    fn of_net(&mut self, network: [u8; 3], now: UnixMs) -> Option<(Why, Evidence)> {
        let rules = &self.rules;
        let since = since(now, rules.window);
        let net = self.nets.get_mut(&network)?;
        let is_good = net.good.0 > 0 && net.good.after(GOOD) > now;
        let (accounts, addresses) = (net.accounts.count(since), net.bad.count(since));
        let part = if net.record.strikes > 0 { 2 } else { 1 };
        let found = !is_good && addresses >= TOGETHER && accounts >= rules.network_accounts / part;
        let refused = net.refused.count(now, millis(rules.window));
        found.then_some((Why::Network, Evidence { accounts, refused, addresses, users: 0, window: rules.window }))
    }
}

/// Users who got in from there lately.
fn users(good: &HashMap<IpAddr, Good>, from: IpAddr, now: UnixMs) -> u32 {
    good.get(&from).map_or(0, |good| good.users.count(since(now, GOOD)))
}

fn since(now: UnixMs, window: Duration) -> UnixMs {
    // what never was is not in any window
    UnixMs(now.0.saturating_sub(millis(window)).max(1))
}

/// Adds the decision, if it may be made. True: it is made.
fn decide(
    rules: &Stuffing,
    spent: &mut Tat,
    record: &mut Record,
    network: IpNet,
    (why, evidence): (Why, Evidence),
    now: UnixMs,
    judgement: &mut Judgement,
) -> bool {
    if record.is_out(now, rules.dry_run) {
        return false;
    }
    let touches = |never: &IpNet| never.contains(&network) || network.contains(never);
    if rules.never.iter().any(touches) {
        judgement.spared += 1;
        return false;
    }
    let budget = Gcra::new(Limit { rate: rules.budget, burst: rules.budget.count });
    if budget.take(spent, now.0.saturating_mul(1_000_000), 1).is_err() {
        judgement.withheld += 1;
        return false;
    }
    let until = record.strike(rules, now);
    judgement.decisions.push(Decision { network, until, why, evidence });
    true
}
