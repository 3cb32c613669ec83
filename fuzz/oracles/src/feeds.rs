//! Lists of addresses as strangers publish them, and compiled feeds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;
use portcullis_common::clock::UnixMs;
use portcullis_common::control::key::OperatorKey;
use portcullis_common::feed::file::{BadFeed, Feed, Head, write};
use portcullis_common::feed::gate::{Gates, pass};
use portcullis_common::feed::list::{Format, List, read};
use portcullis_common::feed::reserved::{Overlap, overlap};
use portcullis_common::feed::{Listing, Reputation as _, Score};
use portcullis_common::ids::FeedName;
use portcullis_common::trie::{NetworkMarks, canonical};
use rand::SeedableRng;
use rand::rngs::StdRng;

static KEY: LazyLock<OperatorKey> =
    LazyLock::new(|| OperatorKey::generate(&mut StdRng::seed_from_u64(7)).expect("a key"));

/// Behind what a file begins with and the id of its key.
const BEHIND_THE_KEY: usize = 25;

/// The first byte says how the rest is written, and the rest is a list; and all of it is a file.
pub fn feeds(data: &[u8]) {
    file(data);
    let Some((which, list)) = data.split_first() else { return };
    let format = match which % 3 {
        0 => Format::Text,
        1 => Format::Json,
        _ => Format::Csv { address: 1, score: 2 },
    };
    let score = Score::new(50).expect("legal");
    let read = read(list, format, score);
    assert_eq!(read.lines, read.listed.len() + read.bad + read.clean);
    assert!(read.wrong.len() <= read.bad && read.lines <= list.split(|byte| *byte == b'\n').count());
    if format == Format::Text {
        plainly(list, &read);
    }
    compiled(read);
}

/// The same by the standard library, a line at a time.
fn plainly(bytes: &[u8], read: &List) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| line.len() <= 4_096);
    let networks = lines.filter_map(|line| {
        let entry = std::str::from_utf8(line).ok()?.split(['#', ';']).next()?.trim();
        let (ip, length) = entry.split_once('/').map_or((entry, None), |(ip, length)| (ip, Some(length)));
        let ip: IpAddr = ip.parse().ok()?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(most), |text| match text.parse::<u8>() {
            // neither a sign nor a zero in front
            Ok(length) if length <= most && length.to_string() == text => Ok(length),
            _ => Err(()),
        });
        let length = length.ok()?;
        Some(canonical(IpNet::new(ip, length).ok()?))
    });
    assert_eq!(read.listed.iter().map(|listed| listed.network).collect::<Vec<_>>(), networks.collect::<Vec<_>>());
}

fn head() -> Head {
    Head { name: FeedName::parse("drop").expect("legal"), version: 1, made: UnixMs(1), expires: UnixMs(9) }
}

/// What passes the gates is written, read back, and says of every address the worst that the list says.
fn compiled(list: List) {
    let lists = [(String::from("list"), list)];
    let gates = Gates { errors: 100, widest_v4: 0, widest_v6: 0, ..Gates::default() };
    let (tally, Ok(networks)) = pass(&lists, &gates, None) else { return };
    assert_eq!(tally.entries, networks.len());
    let feed = Feed::read(&write(&head(), &networks, &KEY), &[KEY.public()]).expect("as it was written");
    let all: Vec<_> = lists[0].1.listed.iter().filter(|listed| overlap(&listed.network) == Overlap::None).collect();
    let near = all.iter().flat_map(|listed| [listed.network.network(), listed.network.broadcast()]);
    let nobody = [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for ip in near.chain(nobody).take(64) {
        let worst = all.iter().filter(|listed| listed.network.contains(&ip)).map(|listed| listed.score).max();
        assert_eq!(feed.look(ip, UnixMs(8)).map(|listing| listing.score), worst, "{ip}");
        assert!(feed.look(ip, UnixMs(9)).is_none());
    }
}

/// Nobody signed it; what can be read all the same is the only way to write it.
fn file(data: &[u8]) {
    assert!(Feed::read(data, &[]).is_err());
    assert!(matches!(
        Feed::read(data, &[KEY.public()]),
        Err(BadFeed::NotAFeed | BadFeed::Format | BadFeed::UnknownKey | BadFeed::Forged | BadFeed::Malformed)
    ));
    let Ok(feed) = Feed::read_unverified(data) else { return };
    let mut networks = NetworkMarks::default();
    feed.each(|Listing { network, score }| {
        networks.insert(network, score.get().try_into().expect("not zero"));
    });
    let again = write(feed.head(), &networks, &KEY);
    assert_eq!(again.len(), data.len());
    let body = BEHIND_THE_KEY..data.len() - 64;
    assert_eq!(again[body.clone()], data[body]);
}
