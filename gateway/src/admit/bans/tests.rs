use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_hours(24);

fn at(table: &BanTable, id: u64, at: u64, entry: ControlEntry) {
    table.apply(&Logged { id: LogId(id), at: UnixMs(at), entry });
}

fn ban(target: Target, until: Option<u64>) -> ControlEntry {
    ControlEntry::Ban { target, until: until.map(UnixMs), reason: "test".into() }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn net(text: &str) -> Target {
    Target::Network(text.parse().unwrap())
}

fn banned_at(table: &BanTable, ip: &str, now: u64) -> bool {
    match table.check_address(ip.parse().unwrap(), UnixMs(now)) {
        Ok(()) => false,
        Err(reject) => {
            assert_eq!(reject.code, Code::Banned);
            true
        }
    }
}

fn identity(table: &BanTable, name: &str, token: Option<&str>, issued: u64, now: u64) -> Result<(), Code> {
    table.check_identity(&user(name), token, UnixMs(issued), UnixMs(now)).map_err(|r| r.code)
}

#[test]
fn networks_of_every_length_are_found_and_end() {
    let table = BanTable::new(DAY);
    at(&table, 1, 0, ban(net("192.0.2.7/32"), Some(100)));
    at(&table, 2, 0, ban(net("198.51.100.77/24"), None));
    at(&table, 3, 0, ban(net("2001:db8:1::/48"), Some(100)));
    at(&table, 4, 0, ban(net("2001:db8:2::5/128"), None));
    at(&table, 5, 0, ban(net("::ffff:203.0.113.0/120"), None));
    for (ip, now, want) in [
        ("192.0.2.7", 99, true),
        ("192.0.2.7", 100, false),
        ("192.0.2.8", 0, false),
        ("198.51.100.1", 1 << 50, true),
        ("198.51.101.1", 0, false),
        ("::ffff:192.0.2.7", 0, true),
        ("2001:db8:1:ffff::1", 0, true),
        ("2001:db8:1:ffff::1", 100, false),
        ("2001:db8:2::5", 0, true),
        ("2001:db8:2::6", 0, false),
        ("203.0.113.200", 0, true),
        ("203.0.114.0", 0, false),
    ] {
        assert_eq!(banned_at(&table, ip, now), want, "{ip} at {now}");
    }
}

#[test]
fn a_wider_ban_holds_when_a_narrower_one_has_ended_or_was_lifted() {
    let table = BanTable::new(DAY);
    at(&table, 1, 0, ban(net("10.0.0.0/8"), None));
    at(&table, 2, 0, ban(net("10.1.1.1/32"), Some(10)));
    at(&table, 3, 1, ControlEntry::Lift { target: net("10.1.1.1/32") });
    assert!(banned_at(&table, "10.1.1.1", 5) && banned_at(&table, "10.1.1.1", 50));
    at(&table, 4, 2, ban(net("::/0"), None));
    assert!(!banned_at(&table, "192.0.2.1", 5), "all of IPv6 is not IPv4 too");
    assert!(banned_at(&table, "2001:db8::1", 5));
}

#[test]
fn users_sessions_and_tokens_are_told_apart() {
    let table = BanTable::new(DAY);
    at(&table, 1, 0, ban(Target::User(user("ada")), Some(100)));
    at(&table, 2, 0, ban(Target::Token("jti-1".into()), Some(100)));
    at(&table, 3, 0, ban(Target::Session(SessionId(7)), Some(100)));
    assert_eq!(identity(&table, "ada", None, 50, 99), Err(Code::Banned));
    assert_eq!(identity(&table, "ada", None, 50, 100), Ok(()));
    assert_eq!(identity(&table, "bob", None, 50, 99), Ok(()));
    assert_eq!(identity(&table, "bob", Some("jti-1"), 50, 99), Err(Code::Unauthenticated), "a bad token, no oracle");
    assert_eq!(identity(&table, "bob", Some("jti-1"), 50, 100), Ok(()));
    assert_eq!(identity(&table, "bob", Some("jti-2"), 50, 99), Ok(()));
    assert!(table.check_session(SessionId(7), UnixMs(99)).is_err());
    assert!(table.check_session(SessionId(7), UnixMs(100)).is_ok());
    assert!(table.check_session(SessionId(8), UnixMs(0)).is_ok());
}

#[test]
fn a_revocation_refuses_tokens_issued_until_then_and_reaches_only_further() {
    let table = BanTable::new(DAY);
    let revoke = |t| ControlEntry::Revoke { user: user("ada"), issued_until: UnixMs(t) };
    at(&table, 1, 1_000, revoke(1_000));
    assert_eq!(identity(&table, "ada", None, 1_000, 2_000), Err(Code::Unauthenticated));
    assert_eq!(identity(&table, "ada", None, 1_001, 2_000), Ok(()));
    assert_eq!(identity(&table, "bob", None, 1_000, 2_000), Ok(()));
    at(&table, 2, 1_500, revoke(500));
    assert_eq!(identity(&table, "ada", None, 900, 2_000), Err(Code::Unauthenticated), "nothing is taken back");
    at(&table, 1, 1_200, revoke(1_900));
    assert_eq!(identity(&table, "ada", None, 1_900, 2_000), Err(Code::Unauthenticated), "nor does order matter");
}

#[test]
fn a_lift_ends_a_ban_and_a_log_read_again_bans_nobody_anew() {
    let table = BanTable::new(DAY);
    let target = || Target::User(user("ada"));
    at(&table, 1, 10, ban(target(), None));
    at(&table, 2, 20, ControlEntry::Lift { target: target() });
    assert_eq!(identity(&table, "ada", None, 0, 30), Ok(()));
    at(&table, 1, 10, ban(target(), None));
    assert_eq!(identity(&table, "ada", None, 0, 30), Ok(()), "the first entry again");
    at(&table, 3, 40, ban(target(), Some(100)));
    assert_eq!(identity(&table, "ada", None, 0, 50), Err(Code::Banned), "a new ban");
    at(&table, 2, 20, ControlEntry::Lift { target: target() });
    assert_eq!(identity(&table, "ada", None, 0, 50), Err(Code::Banned), "the old lift again");
}

#[test]
fn a_later_ban_replaces_an_earlier_one_shorter_or_longer() {
    let table = BanTable::new(DAY);
    at(&table, 1, 0, ban(Target::User(user("ada")), None));
    at(&table, 2, 1, ban(Target::User(user("ada")), Some(10)));
    assert_eq!(identity(&table, "ada", None, 0, 10), Ok(()));
}

#[test]
fn at_the_bound_the_ended_go_first_and_then_what_ends_soonest() {
    let table = BanTable::with_room(DAY, 3);
    let target = |n: &str| Target::User(user(n));
    at(&table, 1, 0, ban(target("a"), Some(10)));
    at(&table, 2, 0, ban(target("b"), Some(1_000)));
    at(&table, 3, 0, ban(target("c"), None));
    at(&table, 4, 50, ban(target("d"), Some(2_000)));
    assert_eq!((table.len(), table.lost()), (3, 0), "`a` had ended");
    at(&table, 5, 60, ban(target("e"), None));
    assert_eq!((table.len(), table.lost()), (3, 1), "`b` ended soonest");
    assert_eq!(identity(&table, "b", None, 0, 70), Ok(()));
    at(&table, 6, 60, ban(target("f"), Some(100)));
    assert_eq!((table.len(), table.lost()), (3, 2), "the newcomer ends soonest itself");
    for name in ["c", "d", "e"] {
        assert_eq!(identity(&table, name, None, 0, 70), Err(Code::Banned), "{name}");
    }
    at(&table, 7, 70, ControlEntry::Lift { target: target("c") });
    assert_eq!(identity(&table, "c", None, 0, 80), Ok(()), "a lift of what is known needs no room");
}

fn restrict(target: Target, until: u64, close: bool) -> ControlEntry {
    ControlEntry::Restrict { target, until: UnixMs(until), close, reason: "test".into() }
}

#[test]
fn restrictions_are_found_by_user_and_by_the_network_of_an_address_and_are_no_bans() {
    let table = BanTable::new(DAY);
    let ip = |text: &str| -> Option<IpAddr> { Some(text.parse().unwrap()) };
    at(&table, 1, 0, restrict(Target::User(user("ada")), 100, false));
    at(&table, 2, 0, restrict(net("192.0.2.7/32"), 200, true));
    at(&table, 3, 0, restrict(net("2001:db8:1:2::/64"), 200, false));
    let of = |who: Option<&str>, address: Option<IpAddr>, now| {
        let user = who.map(user);
        table.restriction(user.as_ref(), address, UnixMs(now)).map(|r| (r.until.0, r.close))
    };
    assert_eq!(of(Some("ada"), None, 99), Some((100, false)));
    assert_eq!(of(Some("ada"), None, 100), None);
    assert_eq!(
        of(Some("ada"), ip("::ffff:192.0.2.7"), 50),
        Some((200, true)),
        "the longer one, and whatever ends sessions"
    );
    assert_eq!(of(Some("bob"), ip("2001:db8:1:2:ffff::9"), 50), Some((200, false)));
    assert_eq!(of(Some("bob"), ip("2001:db8:1:3::"), 50), None);
    assert_eq!(table.restricted(UnixMs(50)), 3);
    assert!(!banned_at(&table, "192.0.2.7", 50) && identity(&table, "ada", None, 0, 50).is_ok());
    at(&table, 4, 10, ControlEntry::Lift { target: Target::User(user("ada")) });
    assert_eq!(of(Some("ada"), None, 50), None, "a lift ends it");
    at(&table, 5, 5, restrict(Target::User(user("ada")), 1_000, false));
    assert_eq!(of(Some("ada"), None, 50), None, "an older one does not come back");
}

#[test]
fn doors_are_shut_to_newcomers_of_any_network_and_to_nobody_else() {
    let table = BanTable::new(DAY);
    let shut = |id, network: &str, until| {
        let network = network.parse().unwrap();
        at(&table, id, id, ControlEntry::Shut { network, until: UnixMs(until), reason: format!("why {id}") });
    };
    let found =
        |ip: &str, now| table.shut(ip.parse().unwrap(), UnixMs(now)).map(|shut| shut.reason.unwrap().to_string());
    shut(1, "192.0.2.7/32", 100);
    shut(2, "198.51.100.0/24", 200);
    shut(3, "2001:db8:1:2::/64", 200);
    at(&table, 4, 4, restrict(net("192.0.2.7/32"), 500, false));
    assert_eq!(found("::ffff:192.0.2.7", 99).as_deref(), Some("why 1"));
    assert_eq!(found("192.0.2.7", 100), None);
    assert_eq!(found("192.0.2.8", 0), None);
    assert_eq!(found("198.51.100.255", 199).as_deref(), Some("why 2"));
    assert_eq!(found("2001:db8:1:2:9::9", 0).as_deref(), Some("why 3"));
    assert_eq!((table.doors_shut(UnixMs(150)), table.restricted(UnixMs(150))), (2, 1));
    let address = "198.51.100.1".parse().unwrap();
    assert!(table.restriction(None, Some(address), UnixMs(0)).is_none() && !banned_at(&table, "198.51.100.1", 0));
    at(&table, 5, 50, ControlEntry::Lift { target: net("198.51.100.0/24") });
    assert_eq!(found("198.51.100.1", 60), None, "a lift opens it");
    shut(6, "198.51.100.0/24", 300);
    at(&table, 7, 5, ControlEntry::Lift { target: net("192.0.2.7/32") });
    assert_eq!(table.restriction(None, "192.0.2.7".parse().ok(), UnixMs(10)), None);
}

#[test]
fn what_the_log_has_not_brought_yet_holds_and_whatever_it_brings_takes_its_place() {
    let table = BanTable::new(DAY);
    let ada = || Target::User(user("ada"));
    let held = |at, entry| table.apply_provisionally(&Logged { id: LogId::default(), at: UnixMs(at), entry });
    at(&table, 1, 1_000, ban(ada(), None));
    at(&table, 2, 1_001, ControlEntry::Lift { target: ada() });
    // this node's clock is behind the store's
    held(5, ban(ada(), None));
    assert!(table.is_banned(&ada(), UnixMs(5)));
    at(&table, 3, 1_002, ControlEntry::Lift { target: ada() });
    assert!(!table.is_banned(&ada(), UnixMs(5)));
    held(9_000, ban(net("10.0.0.0/8"), None));
    assert!(banned_at(&table, "10.1.1.1", 0));
    at(&table, 4, 1_003, ControlEntry::Lift { target: net("10.0.0.0/8") });
    assert!(!banned_at(&table, "10.1.1.1", 0), "nor may it be ahead");
}

#[test]
fn kicks_and_drains_are_not_state() {
    let table = BanTable::new(DAY);
    at(&table, 1, 0, ControlEntry::Kick { target: Target::User(user("ada")), reason: String::new() });
    at(&table, 2, 0, ControlEntry::Drain { node: portcullis_common::ids::NodeId::parse("gw-1").unwrap() });
    assert!(table.is_empty());
}

proptest! {
    #[test]
    fn look_ups_agree_with_a_scan_of_all_networks(
        nets in proptest::collection::vec((any::<bool>(), any::<u8>(), 0u8..=128), 0..20),
        ips in proptest::collection::vec((any::<bool>(), any::<u8>(), 0u8..128), 0..20),
    ) {
        // few distinct bits, so that prefixes nest and addresses fall into them
        let address = |v4: bool, seed: u8| -> IpAddr {
            if v4 {
                std::net::Ipv4Addr::from_bits(u32::from(seed).wrapping_mul(0x0100_0101)).into()
            } else {
                std::net::Ipv6Addr::from_bits(0x2001_u128 << 112 | u128::from(seed).wrapping_mul(1 << 100 | 1 << 40 | 1)).into()
            }
        };
        let table = BanTable::new(DAY);
        let nets: Vec<IpNet> = nets
            .into_iter()
            .map(|(v4, seed, len)| IpNet::new(address(v4, seed), if v4 { len % 33 } else { len }).unwrap())
            .collect();
        for (id, net) in nets.iter().enumerate() {
            at(&table, id as u64, 0, ban(Target::Network(*net), None));
        }
        for (v4, seed, flip) in ips {
            let ip = match address(v4, seed) {
                IpAddr::V4(a) => IpAddr::V4((a.to_bits() ^ 1 << (flip % 32)).into()),
                IpAddr::V6(a) => IpAddr::V6((a.to_bits() ^ 1 << flip).into()),
            };
            let scan = nets.iter().any(|net| net.contains(&ip));
            prop_assert_eq!(table.check_address(ip, UnixMs(0)).is_err(), scan, "{}", ip);
        }
    }
}

/// The users of a page, and whether there are more.
fn page(table: &BanTable, after: Option<usize>, limit: usize, now: u64) -> (Vec<String>, bool) {
    let after = after.map(|n| format!("user:u{n:04}"));
    let (rows, more) = table.page(after.as_deref(), limit, UnixMs(now));
    (rows.into_iter().map(|row| portcullis_common::control::command::target_words(&row.target).1).collect(), more)
}

#[test]
fn a_list_is_read_page_by_page_and_only_its_first_page_looks_at_every_ban() {
    let table = BanTable::new(Duration::ZERO);
    let target = |n: usize| Target::User(user(&format!("u{n:04}")));
    let say = |id: u64, entry| at(&table, id, id, entry);
    for n in (0..100).rev() {
        say(n as u64 + 1, ban(target(n), None));
    }
    let names = |range: std::ops::Range<usize>| range.map(|n| format!("u{n:04}")).collect::<Vec<_>>();
    assert_eq!(page(&table, None, 40, 200), (names(0..40), true));
    // what is lifted meanwhile is left out, what comes meanwhile comes with the next list
    say(201, ControlEntry::Lift { target: target(41) });
    say(202, ban(target(5_000), None));
    assert_eq!(page(&table, Some(39), 40, 210), ([names(40..41), names(42..81)].concat(), true));
    assert_eq!(page(&table, Some(80), 40, 220), (names(81..100), false));
    assert_eq!(page(&table, Some(98), 40, 230), ([names(99..100), vec!["u5000".to_owned()]].concat(), false));
    assert_eq!(
        page(&table, None, 100, 240),
        ([names(0..41), names(42..100), vec!["u5000".to_owned()]].concat(), false)
    );
    // a list that nobody went on with for a minute begins anew
    assert!(page(&table, None, 10, 300).1);
    say(301, ban(target(20), None));
    say(302, ban(target(6_000), None));
    assert_eq!(page(&table, Some(4_000), 10, 60_300), (vec!["u5000".to_owned()], false));
    assert!(page(&table, None, 10, 60_400).1);
    say(60_401, ban(target(7_000), None));
    let late = ["u5000", "u6000", "u7000"].map(str::to_owned).to_vec();
    assert_eq!(page(&table, Some(4_000), 10, 120_401), (late, false));
}
