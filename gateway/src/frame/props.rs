//! Properties: what holds for every stream of bytes.

use portcullis_common::clock::Mono;
use proptest::prelude::*;

use super::tests::{Seen, read};
use super::*;

/// A frame a test client sends, legal or not.
#[derive(Debug, Clone)]
struct Sent {
    opcode: Opcode,
    fin: bool,
    payload: Vec<u8>,
    key: [u8; 4],
}

fn opcode() -> impl Strategy<Value = Opcode> {
    prop::sample::select(vec![
        Opcode::Continuation,
        Opcode::Text,
        Opcode::Binary,
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ])
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        any::<String>().prop_map(String::into_bytes),
        Just(b"\x03\xE8done".to_vec()),
        (100usize..400).prop_map(|n| vec![b'x'; n]),
    ]
}

fn frames() -> impl Strategy<Value = Vec<Sent>> {
    let sent = (opcode(), any::<bool>(), payload(), any::<[u8; 4]>()).prop_map(|(opcode, fin, payload, key)| Sent {
        opcode,
        fin,
        payload,
        key,
    });
    prop::collection::vec(sent, 0..12)
}

/// Legal data messages, each cut into fragments with pings between them.
fn conversation() -> impl Strategy<Value = Vec<(bool, Vec<Vec<u8>>)>> {
    let text = any::<String>().prop_map(|s| (true, s.into_bytes()));
    let binary = prop::collection::vec(any::<u8>(), 0..300).prop_map(|b| (false, b));
    let message = (prop_oneof![text, binary], prop::collection::vec(any::<prop::sample::Index>(), 0..5)).prop_map(
        |((is_text, bytes), cuts)| {
            let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            (is_text, at.windows(2).map(|w| bytes[w[0]..w[1]].to_vec()).collect())
        },
    );
    prop::collection::vec(message, 0..6)
}

fn wire(frames: &[Sent]) -> Vec<u8> {
    let mut out = Vec::new();
    for f in frames {
        encode::append_masked(&mut out, f.opcode, f.fin, &f.payload, f.key);
    }
    out
}

/// All events of a stream that arrives in `pieces`, and its refusal; what is held is bounded at every step.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>, limits: &Limits) -> (Vec<Seen>, Option<Violation>) {
    let (mut decoder, mut all, mut arrived) = (Decoder::new(), Vec::new(), 0);
    for piece in pieces {
        arrived += piece.len();
        let (seen, violation) = read(&mut decoder, piece, limits, Mono(0));
        all.extend(seen);
        assert!(decoder.held() <= 512 + 2 * arrived.min(limits.message), "{} of {arrived}", decoder.held());
        if violation.is_some() {
            return (all, violation);
        }
    }
    (all, None)
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect()
}

const LIMITS: Limits = Limits { message: 700, fragments: 8, assembly: Duration::from_secs(10) };

proptest! {
    #[test]
    fn any_split_of_any_frames_gives_the_same_events(
        frames in frames(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let bytes = wire(&frames);
        let whole = decode([&bytes[..]].into_iter(), &LIMITS);
        prop_assert_eq!(&decode(bytes.chunks(1), &LIMITS), &whole);
        prop_assert_eq!(&decode(pieces(&bytes, &cuts).into_iter(), &LIMITS), &whole);
    }

    #[test]
    fn any_split_of_any_bytes_gives_the_same_events(bytes: Vec<u8>, cuts: Vec<prop::sample::Index>) {
        let whole = decode([&bytes[..]].into_iter(), &LIMITS);
        prop_assert_eq!(&decode(bytes.chunks(1), &LIMITS), &whole);
        prop_assert_eq!(&decode(pieces(&bytes, &cuts).into_iter(), &LIMITS), &whole);
    }

    #[test]
    fn what_a_client_encodes_is_what_is_decoded(
        messages in conversation(),
        key: [u8; 4],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (is_text, fragments) in &messages {
            for (i, fragment) in fragments.iter().enumerate() {
                let first = if *is_text { Opcode::Text } else { Opcode::Binary };
                let opcode = if i == 0 { first } else { Opcode::Continuation };
                if i > 0 {
                    encode::append_masked(&mut bytes, Opcode::Ping, true, &[i as u8], key);
                    expected.push(Seen::Ping(vec![i as u8]));
                }
                encode::append_masked(&mut bytes, opcode, i + 1 == fragments.len(), fragment, key);
            }
            let message = fragments.concat();
            expected.push(match is_text {
                true => Seen::Text(String::from_utf8(message).unwrap()),
                false => Seen::Binary(message),
            });
        }
        let limits = Limits::default();
        prop_assert_eq!(decode(pieces(&bytes, &cuts).into_iter(), &limits), (expected, None));
    }

    #[test]
    fn a_server_frame_says_its_own_length(length in 0usize..70_000, fill: u8) {
        let payload = vec![fill; length];
        let frame = encode::frame(Opcode::Binary, &payload);
        let head = encode::Head::new(Opcode::Binary, true, payload.len(), None);
        prop_assert_eq!(&frame[..head.as_bytes().len()], head.as_bytes());
        prop_assert_eq!(&frame[head.as_bytes().len()..], &payload[..]);
    }
}
