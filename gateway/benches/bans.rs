//! What it costs to ask whether somebody is banned, with 100,000 bans in force, and what a feed of 100,000 networks says of
//! an address; beside it the memory that they take.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark's own input is legal, and it prints"
)]

use std::hint::black_box;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ipnet::IpNet;
use portcullis_common::clock::UnixMs;
use portcullis_common::control::command::ban_key;
use portcullis_common::control::key::OperatorKey;
use portcullis_common::feed::Reputation as _;
use portcullis_common::feed::file::{Feed, Head, write};
use portcullis_common::ids::{FeedName, UserId};
use portcullis_common::store::control::{ControlEntry, LogId, Logged, Target};
use portcullis_common::trie::NetworkMarks;
use portcullis_gateway::admit::bans::BanTable;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const BANS: usize = 100_000;

/// Networks as lists have them: most are addresses, some wider, of both families.
fn network(rng: &mut StdRng) -> Target {
    let (ip, len): (IpAddr, u8) = match rng.random_range(0..10) {
        0..5 => (rng.random::<[u8; 4]>().into(), 32),
        5..7 => (rng.random::<[u8; 4]>().into(), 24),
        7 => (rng.random::<[u8; 4]>().into(), rng.random_range(12..32)),
        8 => (rng.random::<[u8; 16]>().into(), 64),
        _ => (rng.random::<[u8; 16]>().into(), rng.random_range(32..=128)),
    };
    Target::Network(IpNet::new(ip, len).expect("legal").trunc())
}

fn ban(n: usize, target: Target) -> Logged {
    let entry = ControlEntry::Ban { target, until: None, reason: "by list".to_owned() };
    Logged { id: LogId(n as u64), at: UnixMs(1), entry }
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4_096
}

fn filled(name: &str, bans: impl Iterator<Item = Logged>) -> BanTable {
    let before = resident();
    let table = BanTable::new(Duration::from_secs(86_400));
    let mut count = 0;
    for ban in bans {
        table.apply(&ban);
        count += 1;
    }
    let each = resident().saturating_sub(before) / count;
    println!("{name}: {count} bans, {} held, {each} bytes each", table.len());
    table
}

/// A feed as nodes load it.
fn feed(rng: &mut StdRng) -> Feed {
    let key = OperatorKey::generate(rng).expect("a key");
    let mut marks = NetworkMarks::default();
    while marks.len() < BANS {
        let Target::Network(network) = network(rng) else { continue };
        marks.insert(network, NonZeroU8::MIN);
    }
    let name = FeedName::parse("bench").expect("legal");
    let head = Head { name, version: 1, made: UnixMs(1), expires: UnixMs(u64::MAX) };
    let file = write(&head, &marks, &key);
    drop(marks);
    let before = resident();
    let feed = Feed::read(&file, &[key.public()]).expect("as it was written");
    let each = resident().saturating_sub(before) / BANS as u64;
    println!("feed: {BANS} networks, {} bytes each in the file, {each} in memory", file.len() / BANS);
    feed
}

fn bans(c: &mut Criterion) {
    let mut rng = StdRng::seed_from_u64(1);
    let networks = filled("networks", (0..BANS).map(|n| ban(n, network(&mut rng))));
    let user = |n: usize| UserId::parse(&format!("app:user-{n}")).expect("legal");
    let users = filled("users", (0..BANS).map(|n| ban(n, Target::User(user(n)))));
    let strangers: Vec<IpAddr> = (0..4_096)
        .map(|n| if n % 4 == 0 { rng.random::<[u8; 16]>().into() } else { rng.random::<[u8; 4]>().into() })
        .collect();
    let named: Vec<UserId> = (0..4_096).map(|n| user(BANS + n)).collect();
    let feed = feed(&mut rng);
    let mut group = c.benchmark_group("bans_of_100000");
    group.throughput(Throughput::Elements(1));
    let mut at = 0;
    group.bench_function("address", |b| {
        b.iter(|| {
            at = (at + 1) & 4_095;
            networks.check_address(black_box(strangers[at]), UnixMs(2)).is_ok()
        });
    });
    group.bench_function("address_in_a_feed", |b| {
        b.iter(|| {
            at = (at + 1) & 4_095;
            feed.look(black_box(strangers[at]), UnixMs(2)).is_none()
        });
    });
    group.bench_function("user_and_token", |b| {
        b.iter(|| {
            at = (at + 1) & 4_095;
            users.check_identity(black_box(&named[at]), Some("jti"), UnixMs(2), UnixMs(2)).is_ok()
        });
    });
    group.bench_function("restriction", |b| {
        b.iter(|| {
            at = (at + 1) & 4_095;
            users.restriction(Some(black_box(&named[at])), Some(strangers[at]), UnixMs(2)).is_none()
        });
    });
    let first = || users.page(None, 500, UnixMs(2)).0.pop().map(|row| ban_key(&row.target));
    group.bench_function("first_page_of_a_list", |b| b.iter(|| black_box(first())));
    let after = first();
    group.bench_function("further_page_of_a_list", |b| {
        b.iter(|| users.page(black_box(after.as_deref()), 500, UnixMs(2)).0.len());
    });
    let mut n = BANS;
    group.bench_function("insert", |b| {
        b.iter_batched(
            || {
                n += 1;
                ban(n, network(&mut rng))
            },
            |ban| networks.apply(&ban),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, bans);
criterion_main!(benches);
