use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::ids::NodeId;

const START: UnixMs = UnixMs(1_800_000_000_000);

fn key(seed: u64) -> OperatorKey {
    OperatorKey::generate(&mut StdRng::seed_from_u64(seed)).unwrap()
}

fn operator(name: &str, role: OperatorRole, key: &OperatorKey) -> Operator {
    Operator { name: name.to_owned(), role, public_key: key.public() }
}

fn verifier() -> Verifier {
    let operators = [operator("ada", OperatorRole::Admin, &key(1)), operator("vic", OperatorRole::Viewer, &key(2))];
    Verifier::new("blue", &operators, START)
}

fn later(ms: u64) -> UnixMs {
    UnixMs(START.0 + ms)
}

fn drain() -> Command {
    Command::Drain { node: NodeId::parse("gw-1").unwrap() }
}

/// Signed by `key(seed)` so long after the start, with a nonce of that number.
fn signed(seed: u64, at: u64, nonce: u8, command: &Command) -> Bytes {
    sign(&key(seed), "blue", (later(at), later(at + 30_000)), Nonce([nonce; 16]), command)
}

fn why(result: Result<Authentic, Refused>) -> Refusal {
    result.unwrap_err().why
}

#[test]
fn a_command_says_who_what_and_where_the_answer_goes() {
    let authentic = verifier().verify(&signed(1, 10, 7, &drain()), later(20)).unwrap();
    let issued = later(10);
    assert_eq!(authentic, Authentic { nonce: Nonce([7; 16]), operator: "ada".into(), command: drain(), issued });
}

#[test]
fn no_byte_of_a_command_can_be_changed() {
    let good = signed(1, 10, 7, &drain());
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << bit;
            assert!(verifier().verify(&bad, later(20)).is_err(), "byte {at}, bit {bit}");
        }
        assert!(verifier().verify(&good[..at], later(20)).is_err(), "cut at {at}");
    }
    let mut longer = good.to_vec();
    longer.push(b' ');
    assert_eq!(why(verifier().verify(&longer, later(20))), Refusal::Forged);
}

#[test]
fn another_cluster_another_key_and_another_signer_are_told_apart() {
    let other = sign(&key(1), "green", (later(1), later(2)), Nonce([1; 16]), &drain());
    assert_eq!(why(verifier().verify(&other, later(2))), Refusal::Cluster);
    assert_eq!(why(verifier().verify(&signed(9, 1, 1, &drain()), later(2))), Refusal::UnknownKey);
    // a stranger who names the admin's key
    let mut bad = signed(9, 1, 1, &drain()).to_vec();
    bad[PREFIX..PREFIX + 8].copy_from_slice(&key(1).public().id().0);
    let refused = verifier().verify(&bad, later(2)).unwrap_err();
    assert_eq!(refused, Refused { why: Refusal::Forged, nonce: Some(Nonce([1; 16])), operator: None });
}

#[test]
fn a_record_of_another_version_or_size_is_not_read() {
    let mut bad = signed(1, 1, 1, &drain()).to_vec();
    bad[0] = 2;
    assert_eq!(why(verifier().verify(&bad, later(2))), Refusal::Version);
    assert_eq!(why(verifier().verify(&[], later(2))), Refusal::Malformed);
    bad[0] = 1;
    bad.resize(MAX + 1, 0);
    assert_eq!(why(verifier().verify(&bad, later(2))), Refusal::Malformed);
}

#[test]
fn a_command_is_good_once() {
    let mut node = verifier();
    let command = signed(1, 10, 7, &Command::Nodes);
    assert!(node.verify(&command, later(20)).is_ok());
    let refused = node.verify(&command, later(30)).unwrap_err();
    assert_eq!((refused.why, refused.operator.as_deref()), (Refusal::Replayed, Some("ada")));
    assert_eq!(why(node.verify(&command, later(30_010))), Refusal::Replayed, "as long as it lives");
    assert_eq!(why(node.verify(&command, later(30_011))), Refusal::Expired);
    // and the same words under a new nonce are a new command
    assert!(node.verify(&signed(1, 10, 8, &Command::Nodes), later(30)).is_ok());
}

#[test]
fn whoever_is_an_operator_no_longer_is_unknown_and_what_they_said_stays_said() {
    let mut node = verifier();
    let said = signed(2, 10, 7, &Command::Nodes);
    assert!(node.verify(&said, later(20)).is_ok());
    node.know(&[operator("eva", OperatorRole::Viewer, &key(3))]);
    assert_eq!(why(node.verify(&signed(1, 10, 8, &Command::Nodes), later(20))), Refusal::UnknownKey);
    assert!(node.verify(&signed(3, 10, 9, &Command::Nodes), later(20)).is_ok());
    node.know(&[operator("vic", OperatorRole::Admin, &key(2))]);
    assert_eq!(why(node.verify(&said, later(20))), Refusal::Replayed);
    assert!(node.verify(&signed(2, 10, 10, &drain()), later(20)).is_ok(), "with a new role");
}

#[test]
fn what_was_issued_before_the_node_listened_is_refused_and_at_that_moment_not() {
    let before = sign(&key(1), "blue", (UnixMs(START.0 - 1), later(20_000)), Nonce([1; 16]), &Command::Nodes);
    assert_eq!(why(verifier().verify(&before, later(0))), Refusal::BeforeStart);
    assert!(verifier().verify(&signed(1, 0, 1, &Command::Nodes), later(0)).is_ok());
}

#[test]
fn a_command_is_good_for_thirty_seconds_at_most() {
    let with =
        |issued, expires| sign(&key(1), "blue", (later(issued), later(expires)), Nonce([1; 16]), &Command::Nodes);
    assert!(verifier().verify(&with(0, 30_000), later(30_000)).is_ok());
    assert_eq!(why(verifier().verify(&with(0, 30_000), later(30_001))), Refusal::Expired);
    assert_eq!(why(verifier().verify(&with(0, 100), later(101))), Refusal::Expired);
    assert_eq!(why(verifier().verify(&with(0, 30_001), later(0))), Refusal::Future, "for longer than allowed");
    assert!(verifier().verify(&with(5_000, 6_000), later(0)).is_ok(), "clocks are not that equal");
    assert_eq!(why(verifier().verify(&with(5_001, 6_000), later(0))), Refusal::Future);
}

#[test]
fn a_role_is_enough_or_the_command_is_refused() {
    let mut node = verifier();
    assert!(node.verify(&signed(2, 1, 1, &Command::Nodes), later(2)).is_ok());
    let refused = node.verify(&signed(2, 1, 2, &drain()), later(2)).unwrap_err();
    assert_eq!((refused.why, refused.operator.as_deref()), (Refusal::Role, Some("vic")));
    assert_eq!(why(node.verify(&signed(2, 1, 2, &drain()), later(2))), Refusal::Replayed);
}

#[test]
fn a_command_beyond_its_bounds_is_malformed_although_it_is_signed() {
    let command = Command::Watch { seconds: 0 };
    assert_eq!(why(verifier().verify(&signed(1, 1, 1, &command), later(2))), Refusal::Malformed);
}

#[test]
fn at_the_bound_commands_are_refused_and_no_nonce_is_forgotten() {
    let mut node = verifier();
    let nonce = |n: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        Nonce(bytes)
    };
    for n in 0..NONCES {
        node.remember(nonce(n), later(1), later(1)).unwrap();
    }
    assert_eq!(node.remember(nonce(NONCES), later(2), later(2)), Err(Refusal::Busy));
    assert_eq!(node.remember(nonce(0), later(2), later(2)), Err(Refusal::Replayed));
    // a life later there is room again
    assert_eq!(node.remember(nonce(NONCES), later(60_000), later(60_000)), Ok(()));
    assert_eq!(node.order.len(), 1);
}

#[test]
fn a_command_that_was_forgotten_stays_refused_when_the_stores_clock_is_set_back() {
    let mut node = verifier();
    let once = signed(1, 10_000, 1, &Command::Nodes);
    assert!(node.verify(&once, later(10_000)).is_ok());
    assert!(node.verify(&signed(1, 100_000, 2, &Command::Nodes), later(100_000)).is_ok(), "which makes it forget");
    assert_eq!(why(node.verify(&once, later(20_000))), Refusal::BeforeStart);
    assert!(node.verify(&signed(1, 20_000, 3, &Command::Nodes), later(20_000)).is_ok());
}
