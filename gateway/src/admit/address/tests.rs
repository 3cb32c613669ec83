use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis_common::config::model::{Limit, Rate};

use super::*;

const SECOND: u64 = 1_000_000_000;

fn limits(connect: (u32, u32), login: (u32, u32)) -> Limits {
    let minute = |(count, burst)| Limit { rate: Rate { count, period: Duration::from_secs(60) }, burst };
    let connect = minute(connect);
    Limits {
        message: connect,
        bytes: connect,
        control: connect,
        connect,
        login: minute(login),
        named: std::collections::BTreeMap::new(),
    }
}

fn v4(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

#[test]
fn the_attempt_after_the_burst_is_told_exactly_when_to_come_back() {
    let table = AddressTable::new(&limits((30, 3), (10, 10)));
    let now = 77 * SECOND;
    for _ in 0..3 {
        assert!(table.connect(v4(1), now).is_ok());
    }
    let reject = table.connect(v4(1), now).unwrap_err();
    assert_eq!((reject.code, reject.retry_after), (Code::RateLimited, Some(Duration::from_secs(2))));
    assert!(table.connect(v4(2), now).is_ok(), "another address is not affected");
    assert!(table.connect(v4(1), now + 2 * SECOND - 1).is_err());
    assert!(table.connect(v4(1), now + 2 * SECOND).is_ok());
}

#[test]
fn one_ipv6_network_is_one_address_and_mapped_addresses_are_ipv4() {
    let table = AddressTable::new(&limits((30, 1), (10, 10)));
    let v6 = |text: &str| -> IpAddr { text.parse::<Ipv6Addr>().unwrap().into() };
    assert!(table.connect(v6("2001:db8::1"), 0).is_ok());
    assert!(table.connect(v6("2001:db8::ffff:1"), 0).is_err(), "the same /64");
    assert!(table.connect(v6("2001:db8:0:1::1"), 0).is_ok(), "the next /64");
    assert!(table.connect(v4(1), 0).is_ok());
    assert!(table.connect(v6("::ffff:10.0.0.1"), 0).is_err());
}

#[test]
fn only_failures_count_as_failed_logins() {
    let table = AddressTable::new(&limits((30, 30), (10, 2)));
    for _ in 0..50 {
        assert!(table.login_allowed(v4(1), 0).is_ok(), "asking charges nothing");
    }
    assert_eq!(table.len(), 0, "and remembers nobody");
    table.login_failed(v4(1), 0);
    assert!(table.login_allowed(v4(1), 0).is_ok());
    table.login_failed(v4(1), 0);
    let reject = table.login_allowed(v4(1), 0).unwrap_err();
    assert_eq!((reject.code, reject.retry_after), (Code::RateLimited, Some(Duration::from_secs(6))));
    table.login_failed(v4(1), 0);
    assert!(table.login_allowed(v4(1), 6 * SECOND).is_ok(), "a failure beyond the limit adds nothing");
    assert!(table.connect(v4(1), 0).is_ok(), "the two limits are apart");
}

#[test]
fn at_the_bound_idle_addresses_give_way_and_busy_ones_stay() {
    let table = AddressTable::with_room(&limits((60, 1), (10, 10)), 64);
    let total: u32 = 5_000;
    for n in 0..total {
        let _ = table.connect(v4(n), 0);
    }
    assert!(table.len() <= 64);
    let busy: Vec<u32> = (0..total).filter(|n| table.connect(v4(*n), SECOND - 1).is_ok()).collect();
    assert!(busy.is_empty(), "every address, remembered or in the overflow, is still charged: {busy:?}");
    let later = 2 * SECOND;
    let served = (total..2 * total).filter(|n| table.connect(v4(*n), later).is_ok()).count();
    assert!(
        (64..=128).contains(&served),
        "slots that fell idle serve newcomers, the rest share the overflow: {served}"
    );
    assert!(table.len() <= 64);
}

#[test]
fn addresses_without_room_share_one_bucket_a_shard() {
    let table = AddressTable::with_room(&limits((60, 2), (10, 10)), 64);
    let passed = (0..20_000).filter(|n| table.connect(v4(*n), 0).is_ok()).count();
    assert_eq!(passed, 64 + 64 * 2, "one attempt of each remembered address, and 64 overflow buckets of two");
}

#[test]
fn failed_logins_of_addresses_without_room_still_count() {
    let table = AddressTable::with_room(&limits((60, 60), (10, 1)), 64);
    for n in 0..5_000 {
        table.login_failed(v4(n), 0);
    }
    assert!((5_000..6_000).all(|n| table.login_allowed(v4(n), 0).is_err()));
}

#[test]
fn connections_are_capped_for_each_address_and_in_total() {
    let caps = ConnectionCaps::new(5, 2);
    let first = caps.take(v4(1)).unwrap();
    let second = caps.take(v4(1)).unwrap();
    let third = caps.take(v4(1)).err().unwrap();
    assert_eq!((third.code, third.status), (Code::RateLimited, None));
    assert_eq!((caps.total(), caps.of(v4(1))), (2, 2), "a refusal counts nothing");
    let others: Vec<_> = (2..5).map(|n| caps.take(v4(n)).unwrap()).collect();
    let full = caps.take(v4(9)).err().unwrap();
    assert_eq!((full.code, full.status), (Code::RateLimited, Some(503)));
    drop(second);
    assert_eq!((caps.total(), caps.of(v4(1))), (4, 1));
    assert!(caps.take(v4(1)).is_ok());
    drop((first, others));
    assert_eq!((caps.total(), caps.of(v4(1))), (0, 0));
    assert!(caps.shards.iter().all(|shard| lock(shard).is_empty()), "an address with none is forgotten");
}

#[test]
fn a_connection_of_a_proxy_counts_for_its_client_once_that_is_known() {
    let caps = ConnectionCaps::new(5, 2);
    let mut one = caps.enter().unwrap();
    let mut two = caps.enter().unwrap();
    let mut three = caps.enter().unwrap();
    assert_eq!((caps.total(), caps.of(v4(1))), (3, 0));
    one.count_for(v4(1)).unwrap();
    two.count_for(v4(1)).unwrap();
    two.count_for(v4(1)).unwrap();
    assert_eq!(caps.of(v4(1)), 2, "the same again counts once");
    assert_eq!(three.count_for(v4(1)).unwrap_err().code, Code::RateLimited);
    three.count_for(v4(2)).unwrap();
    two.count_for(v4(3)).unwrap();
    assert_eq!([1, 2, 3].map(|n| caps.of(v4(n))), [1, 1, 1]);
    let held = [caps.enter(), caps.enter()];
    assert!(caps.enter().is_err_and(|full| full.status == Some(503)));
    drop((one, two, three, held));
    assert_eq!(caps.total(), 0);
    assert!(caps.shards.iter().all(|shard| lock(shard).is_empty()), "an address with none is forgotten");
}

#[test]
fn counts_hold_when_threads_come_and_go() {
    let caps = ConnectionCaps::new(40, 10);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let caps = &caps;
            scope.spawn(move || {
                for round in 0..2_000_u32 {
                    let held: Vec<_> = (0..12).filter_map(|n| caps.take(v4((round + thread + n) % 3)).ok()).collect();
                    assert!(caps.total() <= 40 && (0..3).all(|n| caps.of(v4(n)) <= 10));
                    drop(held);
                }
            });
        }
    });
    assert_eq!(caps.total(), 0);
}
