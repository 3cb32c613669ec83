//! Lists that nobody should have to trust, every gate, and files that nobody signed.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::file::{BadFeed, Feed, Head, write};
use super::gate::{Gates, Stopped, Tally, pass};
use super::list::{Format, List, Wrong, read};
use super::reserved::{Overlap, overlap};
use super::*;
use crate::control::key::OperatorKey;
use crate::ids::FeedName;
use crate::trie::NetworkMarks;

const CSV: Format = Format::Csv { address: 1, score: 3 };

fn score(n: u8) -> Score {
    Score::new(n).unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Networks with their scores, and what is wrong with which line.
type Said = (Vec<(String, u8)>, Vec<(usize, Wrong)>);

fn said(text: &str, format: Format) -> Said {
    let list = read(text.as_bytes(), format, score(50));
    assert_eq!(list.bad, list.wrong.len());
    assert_eq!(list.lines, list.listed.len() + list.bad + list.clean);
    (list.listed.iter().map(|l| (l.network.to_string(), l.score.get())).collect(), list.wrong)
}

fn named(all: &[(&str, u8)]) -> Vec<(String, u8)> {
    all.iter().map(|(network, score)| ((*network).to_owned(), *score)).collect()
}

#[test]
fn a_netset_and_drop_as_text_are_read() {
    let text = "\u{feff}# FireHOL\r\n5.5.5.5\r\n\r\n  6.6.0.0/16 \n; Spamhaus\n7.7.7.0/24 ; SBL123\n2a00::/29;x\n\
                8.8.8.8/24\n::ffff:9.9.9.9\n";
    let all = named(&[
        ("5.5.5.5/32", 50),
        ("6.6.0.0/16", 50),
        ("7.7.7.0/24", 50),
        ("2a00::/29", 50),
        ("8.8.8.0/24", 50),
        ("9.9.9.9/32", 50),
    ]);
    assert_eq!(said(text, Format::Text), (all, vec![]));
}

#[test]
fn what_is_no_network_is_wrong_and_named_by_its_line() {
    let rows =
        ["5.5.5.5/33", "5.5.5", "05.5.5.5", "5.5.5.5 6.6.6.6", "<html>", "5.5.5.5-5.5.5.9", "::g", "1.2.3.4/", "０"];
    let (all, wrong) = said(&rows.join("\n"), Format::Text);
    assert_eq!(all, []);
    assert_eq!(wrong, (1..=rows.len()).map(|n| (n, Wrong::Network)).collect::<Vec<_>>());
    let long = format!("5.5.5.5 #{}", "x".repeat(5_000));
    assert_eq!(said(&long, Format::Text).1, [(1, Wrong::Long)]);
    let list = read(b"\xff\xfe\n5.5.5.5\n", Format::Text, score(1));
    assert_eq!((list.wrong, list.listed.len()), (vec![(1, Wrong::Text)], 1));
    let many = read("x\n".repeat(1_000).as_bytes(), Format::Text, score(1));
    assert_eq!((many.bad, many.wrong.len()), (1_000, list::REMEMBERED));
}

#[test]
fn drop_as_json_is_read_and_says_how_much_it_is() {
    let text = "{\"cidr\":\"5.5.0.0/16\",\"sblid\":\"SBL1\",\"rir\":\"ripencc\"}\n\
                {\"type\":\"metadata\",\"timestamp\":1,\"records\":2}\n{\"cidr\":\"2a00::/29\"}\n";
    let list = read(text.as_bytes(), Format::Json, score(90));
    assert_eq!((list.promised, list.lines, list.bad), (Some(2), 2, 0));
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    let rows = ["{", "[]", "{}", "{\"cidr\":5}", "{\"type\":\"x\"}", "{\"cidr\":\"5.5.5.5\"}x", &deep];
    let wrong = said(&rows.join("\n"), Format::Json).1;
    assert_eq!(wrong, (1..=rows.len()).map(|n| (n, Wrong::Json)).collect::<Vec<_>>());
    assert_eq!(said("{\"cidr\":\"x\"}", Format::Json).1, [(1, Wrong::Network)]);
}

#[test]
fn csv_has_its_own_scores() {
    let text = "ip,seen,score\n# more\n5.5.5.5,2026,100\n\"6.6.0.0/16\",\"a, \"\"b\"\"\", 7\n7.7.7.7,x,0\n";
    assert_eq!(said(text, CSV), (named(&[("5.5.5.5/32", 100), ("6.6.0.0/16", 7)]), vec![]));
    let bad = "5.5.5.5,x,1\n5.5.5.5,x,101\n5.5.5.5,x,-1\n5.5.5.5,x,1.5\n5.5.5.5,x\nx,x,1\n\"5.5.5.5,x,1\n5.5\"5.5,x,1\n\"5.5.5.5\"x,x,1";
    let wrong = said(bad, CSV).1.into_iter().map(|(_, wrong)| wrong).collect::<Vec<_>>();
    use Wrong::{Fields, Network, Score};
    assert_eq!(wrong, [Score, Score, Score, Fields, Network, Fields, Fields, Fields]);
}

#[test]
fn neighbours_are_reserved_and_the_rest_of_the_internet_is_not() {
    for text in [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.0/12",
        "127.0.0.1",
        "169.254.1.1",
        "172.31.0.0/16",
        "192.0.2.1",
        "192.168.0.0/16",
        "198.19.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "255.255.255.255",
        "::1",
        "::",
        "fc00::/7",
        "fe80::1",
        "ff02::1",
        "2001:db8::1",
        "2002::/16",
        "64:ff9b::/96",
        "2001::1",
    ] {
        let network = text.parse().unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().unwrap()));
        assert_eq!(overlap(&network), Overlap::Inside, "{text}");
    }
    for text in ["0.0.0.0/0", "8.0.0.0/5", "192.0.0.0/8", "172.0.0.0/8", "::/0", "2000::/3", "2001::/16", "::/1"] {
        assert_eq!(overlap(&net(text)), Overlap::Around, "{text}");
    }
    for text in ["5.0.0.0/8", "11.0.0.0/8", "172.32.0.0/11", "100.0.0.0/10", "2a00::/12", "2001:4860::/32"] {
        assert_eq!(overlap(&net(text)), Overlap::None, "{text}");
    }
}

fn lists(texts: &[&str]) -> Vec<(String, List)> {
    texts.iter().zip(1..).map(|(text, n)| (format!("list-{n}"), read(text.as_bytes(), CSV, score(1)))).collect()
}

fn stopped(texts: &[&str], gates: &Gates, before: Option<usize>) -> Vec<String> {
    let stopped = pass(&lists(texts), gates, before).1.expect_err("stopped");
    stopped.iter().map(Stopped::to_string).collect()
}

/// So many lines, each another network.
fn rows(count: usize) -> String {
    (0..count).map(|n| format!("5.5.{}.{},,9\n", n / 250, n % 250)).collect()
}

#[test]
fn what_is_there_twice_or_said_by_a_wider_one_is_left_out() {
    let text =
        "5.5.0.0/16,,50\n5.5.5.5,,50\n5.5.5.6,,60\n6.6.6.6,,1\n10.0.0.0/8,,9\n7.7.7.7,,0\n5.5.5.0/24,,20\n5.5.5.7,,30";
    let (tally, networks) =
        pass(&lists(&[text, "6.6.6.6,,70\n6.6.6.6,,2\nbad,,\n"]), &Gates { errors: 34, ..Gates::default() }, None);
    let mut kept = Vec::new();
    networks.unwrap().each(|network, mark| kept.push((network.to_string(), mark.get())));
    assert_eq!(kept, named(&[("5.5.0.0/16", 50), ("5.5.5.6/32", 60), ("6.6.6.6/32", 70)]));
    assert_eq!(tally, Tally { lines: 11, bad: 1, clean: 1, reserved: 1, duplicates: 5, entries: 3 });
}

#[test]
fn too_many_wrong_lines_stop_a_feed_and_are_named() {
    let good = rows(198);
    let (one, two) = (format!("{good}x,,1\n"), format!("{good}x,,1\ny,,1\nz\n"));
    assert!(pass(&lists(&[&one]), &Gates::default(), None).1.is_ok());
    assert_eq!(
        stopped(&[&good, &two], &Gates::default(), None),
        [
            "3 of 201 lines are wrong, more than 1 %; list-2 line 199 is neither an address nor a network; list-2 line 200 \
          is neither an address nor a network; list-2 line 201 has too few fields, or a quote without an end"
        ]
    );
    // somebody's error page instead of a list
    assert_eq!(stopped(&["<html>\n<body>\n"], &Gates::default(), None).len(), 2);
}

#[test]
fn networks_that_are_too_wide_or_hold_a_reserved_range_stop_a_feed() {
    let text = "5.0.0.0/9,,9\n5.64.0.0/10,,9\n2a00::/19,,9\n2a00::/20,,9\n0.0.0.0/0,,9\n192.0.0.0/9,,9\n::/0,,9";
    assert_eq!(
        stopped(&[text], &Gates::default(), None),
        [
            "list-1 line 1: 5.0.0.0/9 is wider than /10",
            "list-1 line 3: 2a00::/19 is wider than /20",
            "list-1 line 5: 0.0.0.0/0 holds a reserved range",
            "list-1 line 6: 192.0.0.0/9 holds a reserved range",
            "list-1 line 7: ::/0 holds a reserved range",
        ]
    );
    let gates = Gates { widest_v4: 9, ..Gates::default() };
    assert!(pass(&lists(&["5.0.0.0/9,,9"]), &gates, None).1.is_ok());
    assert_eq!(stopped(&["10.0.0.0/8,,9\n127.0.0.1,,9"], &gates, None), ["no network is left"]);
}

#[test]
fn a_jump_against_the_version_before_stops_a_feed() {
    let is_good = |before, after| pass(&lists(&[&rows(after)]), &Gates::default(), Some(before)).1.is_ok();
    for (before, after, good) in [
        (1_000, 1_500, true),
        (1_000, 1_501, false),
        (1_000, 500, true),
        (1_000, 499, false),
        (4, 36, true),
        (4, 37, false),
    ] {
        assert_eq!(is_good(before, after), good, "{before} {after}");
    }
    assert_eq!(
        stopped(&[&rows(10)], &Gates::default(), Some(100)),
        ["10 networks, where the version before has 100: a change by more than 50 %"]
    );
    assert_eq!(stopped(&[""], &Gates::default(), None), ["no network is left"]);
}

#[test]
fn a_list_that_was_cut_off_stops_a_feed() {
    let text = "{\"type\":\"metadata\",\"records\":2}\n{\"cidr\":\"5.5.0.0/16\"}\n";
    let list = ("drop".to_owned(), read(text.as_bytes(), Format::Json, score(1)));
    let stopped = pass(&[list], &Gates::default(), None).1.unwrap_err();
    assert_eq!(stopped, [Stopped::Cut { list: "drop".to_owned(), promised: 2, found: 1 }]);
}

fn key(n: u64) -> OperatorKey {
    OperatorKey::generate(&mut StdRng::seed_from_u64(n)).unwrap()
}

fn head(version: u64) -> Head {
    let name = FeedName::parse("drop").unwrap();
    Head { name, version, made: UnixMs(5), expires: UnixMs(1_000) }
}

fn marked(all: &[(&str, u8)]) -> NetworkMarks {
    let mut marks = NetworkMarks::default();
    for (network, n) in all {
        marks.insert(net(network), score(*n).mark());
    }
    marks
}

fn sample() -> Vec<u8> {
    let all = [("5.5.0.0/16", 20), ("5.5.5.5/32", 90), ("9.0.0.0/8", 1), ("2a00::/29", 100), ("2a00:1::1/128", 7)];
    write(&head(7), &marked(&all), &key(1))
}

#[test]
fn a_feed_says_of_an_address_the_worst_it_knows_until_it_expires() {
    let feed = Feed::read(&sample(), &[key(2).public(), key(1).public()]).unwrap();
    let look =
        |ip: &str, now| feed.look(ip.parse().unwrap(), UnixMs(now)).map(|l| (l.network.to_string(), l.score.get()));
    assert_eq!(look("5.5.5.5", 0), Some(("5.5.5.5/32".to_owned(), 90)));
    assert_eq!(look("5.5.5.6", 999), Some(("5.5.0.0/16".to_owned(), 20)));
    assert_eq!(look("2a00:1::1", 0), Some(("2a00::/29".to_owned(), 100)), "the worst, not the narrowest");
    assert_eq!((look("5.6.0.0", 0), look("::", 0), look("5.5.5.5", 1_000)), (None, None, None));
    let Edition { version, made, expires, entries, .. } = feed.edition();
    assert_eq!((version, made, expires, entries), (7, UnixMs(5), UnixMs(1_000), 5));
    assert_eq!((feed.head(), feed.key()), (&head(7), key(1).public().id()));
}

#[test]
fn a_file_that_was_changed_anywhere_or_signed_by_another_is_refused() {
    let (good, believed) = (sample(), [key(1).public()]);
    assert!(Feed::read(&good, &believed).is_ok());
    assert_eq!(Feed::read(&good, &[key(2).public()]).unwrap_err(), BadFeed::UnknownKey);
    assert_eq!(Feed::read(&good, &[]).unwrap_err(), BadFeed::UnknownKey);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let why = Feed::read(&bad, &believed).unwrap_err();
        let expected: &[BadFeed] = match at {
            0..16 => &[BadFeed::NotAFeed],
            16 => &[BadFeed::Format],
            17..25 => &[BadFeed::UnknownKey],
            _ => &[BadFeed::Forged],
        };
        assert!(expected.contains(&why), "{at}: {why}");
    }
    for length in 0..good.len() {
        assert!(Feed::read(&good[..length], &believed).is_err(), "{length}");
    }
    // another key's signature under the id of one that is believed
    let mut forged = write(&head(9), &marked(&[("5.5.5.5/32", 1)]), &key(2));
    forged[17..25].copy_from_slice(&believed[0].id().0);
    assert_eq!(Feed::read(&forged, &believed).unwrap_err(), BadFeed::Forged);
    assert_eq!(Feed::read(b"5.5.5.5\n", &believed).unwrap_err(), BadFeed::NotAFeed);
    let long = usize::try_from(LARGEST).unwrap() + 1;
    assert_eq!(Feed::read(&vec![0; long], &believed).unwrap_err(), BadFeed::NotAFeed);
}

/// A file with this body, signed.
fn signed(v4: u32, v6: u32, body: &[u8]) -> Result<Feed, BadFeed> {
    let empty = write(&head(1), &NetworkMarks::default(), &key(1));
    let mut out = empty[..empty.len() - 64 - 8].to_vec();
    out.extend([v4.to_be_bytes(), v6.to_be_bytes()].concat());
    out.extend(body);
    let signature = key(1).sign(&out);
    out.extend(signature);
    Feed::read(&out, &[key(1).public()])
}

#[test]
fn what_this_software_would_not_have_written_is_damaged_even_when_it_is_signed() {
    assert!(signed(2, 0, &[16, 9, 0, 5, 5, 24, 9, 2, 5]).is_ok());
    let rows: &[(u32, u32, &[u8])] = &[
        (1, 0, &[33, 9, 0, 5, 5, 5, 5, 5]),        // longer than an address
        (1, 0, &[16, 0, 0, 5, 5]),                 // no score
        (1, 0, &[16, 101, 0, 5, 5]),               // no score either
        (1, 0, &[15, 9, 0, 5, 5]),                 // host bits
        (1, 0, &[16, 9, 1, 5]),                    // shares with nothing... and what it would share is zero
        (2, 0, &[16, 9, 0, 5, 5, 24, 9, 1, 5, 5]), // shares less than it could
        (2, 0, &[24, 9, 0, 5, 5, 5, 16, 9, 2]),    // out of order
        (2, 0, &[16, 9, 0, 5, 5, 16, 9, 2]),       // twice
        (2, 0, &[16, 9, 0, 5, 5, 16, 9, 3]),       // shares more than it has
        (2, 0, &[16, 9, 0, 5, 5]),                 // fewer than it says
        (1, 0, &[16, 9, 0, 5, 5, 0]),              // more than it says
        (u32::MAX, u32::MAX, &[]),                 // far fewer
        (0, 1, &[129, 9, 0, 5]),                   // longer than an IPv6 address
    ];
    for (v4, v6, body) in rows {
        assert_eq!(signed(*v4, *v6, body).unwrap_err(), BadFeed::Malformed, "{v4} {v6} {body:?}");
    }
}

#[test]
fn a_network_of_a_list_of_addresses_takes_a_few_bytes() {
    let mut rng = StdRng::seed_from_u64(3);
    let mut marks = NetworkMarks::default();
    while marks.len() < 20_000 {
        let ip: [u8; 4] = rand::Rng::random(&mut rng);
        marks.insert(IpNet::from(IpAddr::from(ip)), score(50).mark());
    }
    let bytes = write(&head(1), &marks, &key(1));
    assert!(bytes.len() < 20_000 * 6, "{} bytes", bytes.len());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_is_the_only_way_to_write_it(
        all in proptest::collection::vec((any::<bool>(), any::<u128>(), 0u8..=128, 1u8..=100), 0..60),
    ) {
        let mut marks = NetworkMarks::default();
        for (v6, bits, length, n) in all {
            // few distinct ones, so that they lie in each other
            let bits = bits & 0xf0f0_0000_0000_0000_0000_0000_f000_000f;
            let ip = if v6 { IpAddr::from(bits.to_be_bytes()) } else { IpAddr::from(((bits >> 96) as u32).to_be_bytes()) };
            let length = if v6 { length } else { length % 33 };
            marks.insert(IpNet::new(ip, length).unwrap(), score(n).mark());
        }
        let bytes = write(&head(3), &marks, &key(1));
        let feed = Feed::read(&bytes, &[key(1).public()]).unwrap();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        marks.each(|network, mark| before.push((network, mark.get())));
        feed.each(|listing| after.push((listing.network, listing.score.get())));
        prop_assert_eq!(before, after);
        prop_assert_eq!(feed.edition().digest, *blake3::hash(&bytes).as_bytes());
    }

    #[test]
    fn noise_is_no_list_and_no_feed_and_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        for format in [Format::Text, Format::Json, CSV, Format::Csv { address: 0, score: 0 }] {
            let list = read(&noise, format, score(1));
            prop_assert!(list.bad + list.clean + list.listed.len() == list.lines);
            drop(pass(&[(String::new(), list)], &Gates::default(), Some(0)));
        }
        prop_assert!(Feed::read_unverified(&noise).is_err());
        let long = [&sample()[..40], &noise].concat();
        drop(Feed::read_unverified(&long));
    }
}
