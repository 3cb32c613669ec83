use proptest::prelude::*;

use super::*;

pub(crate) const KEYS: &str =
    "a:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\nb:/wIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

fn sealer(cluster: &str, keys: &str) -> Sealer {
    Sealer::new(cluster, Arc::new(Keyring::parse(keys).unwrap()))
}

fn ours() -> Sealer {
    sealer("blue", KEYS)
}

fn header() -> Header {
    let issuer = Issuer { node: NodeId::parse("gw-1").unwrap(), epoch: NodeEpoch(7) };
    Header { issuer, sequence: 3, at: UnixMs(1_000_000) }
}

fn sealed() -> Bytes {
    Bytes::from(ours().seal(b"room", &header(), b"{}"))
}

#[test]
fn every_truncation_is_refused() {
    let record = sealed();
    for length in 0..record.len() {
        let refused = ours().open(b"room", &record.slice(..length)).unwrap_err();
        assert!(matches!(refused, Refused::Malformed | Refused::UnknownKey | Refused::Forged), "{length}: {refused}");
    }
}

#[test]
fn every_changed_bit_is_refused() {
    let record = sealed();
    for bit in 0..record.len() * 8 {
        let mut changed = record.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(ours().open(b"room", &Bytes::from(changed)).is_err(), "bit {bit}");
    }
}

#[test]
fn a_record_is_good_in_its_cluster_on_its_channel_under_its_key_alone() {
    let record = sealed();
    let (first, second) = KEYS.split_once('\n').unwrap();
    let other_key_same_kid = second.replacen('b', "a", 1);
    for (sealer, channel, why) in [
        (ours(), "room", None),
        (sealer("blue", &format!("{second}\n{first}")), "room", None),
        (ours(), "rooms", Some(Refused::Forged)),
        (ours(), "", Some(Refused::Forged)),
        (sealer("green", KEYS), "room", Some(Refused::Forged)),
        (sealer("bluer", KEYS), "oom", Some(Refused::Forged)),
        (sealer("blue", second), "room", Some(Refused::UnknownKey)),
        (sealer("blue", &other_key_same_kid), "room", Some(Refused::Forged)),
    ] {
        assert_eq!(sealer.open(channel.as_bytes(), &record).err(), why, "{sealer:?} {channel}");
    }
}

#[test]
fn another_version_is_told_from_rubbish() {
    let mut record = sealed().to_vec();
    record[0] = 2;
    assert_eq!(ours().open(b"room", &Bytes::from(record)), Err(Refused::Version));
    assert_eq!(ours().open(b"room", &Bytes::new()), Err(Refused::Malformed));
}

#[test]
fn an_authentic_record_of_an_illegal_node_is_malformed() {
    let mut out = vec![VERSION];
    out.extend_from_slice(&[0; 32]);
    put_text(&mut out, "a");
    put_text(&mut out, "no node");
    out.extend_from_slice(&[0; 32]);
    let mac = ours().mac(ours().keys.signing(), b"room", &out[PREFIX..]);
    out[1..PREFIX].copy_from_slice(mac.as_bytes());
    assert_eq!(ours().open(b"room", &Bytes::from(out)), Err(Refused::Malformed));
}

#[test]
fn a_record_is_fresh_for_thirty_seconds_to_either_side() {
    let now = UnixMs(1_000_000);
    for (at, answer) in [
        (1_000_000, Ok(())),
        (970_000, Ok(())),
        (969_999, Err(Refused::Old)),
        (0, Err(Refused::Old)),
        (1_030_000, Ok(())),
        (1_030_001, Err(Refused::Future)),
        (u64::MAX, Err(Refused::Future)),
    ] {
        assert_eq!(fresh(UnixMs(at), now), answer, "{at}");
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens_as_it_was(
        channel in proptest::collection::vec(any::<u8>(), 0..64),
        body in proptest::collection::vec(any::<u8>(), 0..512),
        node in "[A-Za-z0-9._-]{1,63}",
        epoch: u128, sequence: u64, at: u64,
    ) {
        let issuer = Issuer { node: NodeId::parse(&node).unwrap(), epoch: NodeEpoch(epoch) };
        let header = Header { issuer, sequence, at: UnixMs(at) };
        let record = Bytes::from(ours().seal(&channel, &header, &body));
        prop_assert_eq!(ours().open(&channel, &record), Ok(Opened { header, body: Bytes::from(body) }));
    }

    #[test]
    fn noise_is_refused_and_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(ours().open(b"room", &Bytes::from(noise.clone())).is_err());
        let mut framed = vec![VERSION];
        framed.extend_from_slice(&[0; 32]);
        framed.extend_from_slice(&[0, 1, b'a']);
        framed.extend_from_slice(&noise);
        prop_assert_eq!(ours().open(b"room", &Bytes::from(framed)), Err(Refused::Forged));
    }
}
