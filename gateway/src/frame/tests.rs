//! One test for each rule of RFC 6455 that the decoder answers for.

use std::time::Duration;

use portcullis_common::clock::Mono;
use portcullis_common::wire::code::{Close, Code};
use portcullis_common::wire::reject::Reject;

use super::*;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// An event that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Event::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// Everything `decoder` makes of one read.
pub(super) fn read(decoder: &mut Decoder, bytes: &[u8], limits: &Limits, now: Mono) -> (Vec<Seen>, Option<Violation>) {
    let (mut buffer, mut seen) = (bytes.to_vec(), Vec::new());
    let mut rest = &mut buffer[..];
    loop {
        match decoder.next(&mut rest, limits, now) {
            Ok(Some(event)) => seen.push(event.into()),
            Ok(None) => return (seen, None),
            Err(violation) => return (seen, Some(violation)),
        }
    }
}

pub(super) fn masked(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::append_masked(&mut out, opcode, fin, payload, KEY);
    out
}

fn fresh(bytes: &[u8]) -> (Vec<Seen>, Option<Violation>) {
    read(&mut Decoder::new(), bytes, &Limits::default(), Mono(0))
}

/// Refused with `close`, and with nothing kept.
#[track_caller]
fn refused(bytes: &[u8], close: Close) {
    let mut decoder = Decoder::new();
    let (seen, violation) = read(&mut decoder, bytes, &Limits::default(), Mono(0));
    assert_eq!((seen, violation.map(|v| v.close), decoder.held()), (vec![], Some(close), 0));
}

fn text(s: &str) -> Seen {
    Seen::Text(s.to_owned())
}

#[test]
fn section_5_2_each_reserved_bit_is_refused_from_the_first_byte() {
    for bit in [0x40, 0x20, 0x10] {
        refused(&[0x81 | bit], Close::Protocol);
    }
}

#[test]
fn section_5_2_each_reserved_opcode_is_refused_from_the_first_byte() {
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        refused(&[0x80 | opcode], Close::Protocol);
    }
}

#[test]
fn section_5_1_an_unmasked_frame_is_refused_from_the_second_byte() {
    refused(&[0x81, 0x05], Close::Protocol);
}

#[test]
fn section_5_2_a_length_not_in_its_shortest_form_is_refused() {
    refused(&[0x82, 0x80 | 126, 0, 125], Close::Protocol);
    refused(&[0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], Close::Protocol);
}

#[test]
fn section_5_2_a_length_with_the_top_bit_is_refused() {
    refused(&[0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Close::Protocol);
}

#[test]
fn section_5_5_a_control_frame_over_125_bytes_is_refused_from_the_second_byte() {
    for opcode in [8, 9, 10] {
        refused(&[0x80 | opcode, 0x80 | 126], Close::Protocol);
    }
}

#[test]
fn section_5_5_a_fragmented_control_frame_is_refused_from_the_first_byte() {
    for opcode in [8, 9, 10] {
        refused(&[opcode], Close::Protocol);
    }
}

#[test]
fn section_5_4_a_continuation_without_a_message_is_refused() {
    refused(&[0x80], Close::Protocol);
    refused(&[0x00], Close::Protocol);
}

#[test]
fn section_5_4_a_message_inside_a_message_is_refused() {
    for opcode in [0x01, 0x82] {
        let mut bytes = masked(Opcode::Text, false, b"a");
        bytes.push(opcode);
        refused(&bytes, Close::Protocol);
    }
}

#[test]
fn section_5_4_a_continuation_after_a_finished_message_is_refused() {
    let mut bytes = [masked(Opcode::Text, false, b"a"), masked(Opcode::Continuation, true, b"b")].concat();
    bytes.push(0x80);
    let (seen, violation) = fresh(&bytes);
    assert_eq!((seen, violation.unwrap().close), (vec![text("ab")], Close::Protocol));
}

#[test]
fn section_5_4_fragments_become_one_message_of_the_first_frames_kind() {
    let bytes = [
        masked(Opcode::Binary, false, &[0xFF]),
        masked(Opcode::Continuation, false, &[]),
        masked(Opcode::Continuation, true, &[0xFE]),
    ];
    assert_eq!(fresh(&bytes.concat()), (vec![Seen::Binary(vec![0xFF, 0xFE])], None));
}

#[test]
fn section_5_4_control_frames_may_stand_between_fragments() {
    let bytes = [
        masked(Opcode::Text, false, "a€".as_bytes().split_last().unwrap().1),
        masked(Opcode::Ping, true, b"p"),
        masked(Opcode::Continuation, false, &"€".as_bytes()[2..]),
        masked(Opcode::Pong, true, b"q"),
        masked(Opcode::Continuation, true, b"z"),
        masked(Opcode::Text, true, b"next"),
    ]
    .concat();
    let expected = vec![Seen::Ping(b"p".to_vec()), Seen::Pong(b"q".to_vec()), text("a€z"), text("next")];
    assert_eq!(fresh(&bytes), (expected, None));
}

#[test]
fn section_5_6_empty_messages_are_messages() {
    let bytes = [masked(Opcode::Text, true, b""), masked(Opcode::Binary, true, b"")].concat();
    assert_eq!(fresh(&bytes), (vec![text(""), Seen::Binary(vec![])], None));
}

#[test]
fn section_5_5_control_frames_of_125_bytes_are_taken() {
    let bytes = [masked(Opcode::Ping, true, &[7; 125]), masked(Opcode::Pong, true, &[8; 125])].concat();
    assert_eq!(fresh(&bytes), (vec![Seen::Ping(vec![7; 125]), Seen::Pong(vec![8; 125])], None));
}

#[test]
fn section_5_5_1_a_close_frame_of_one_byte_is_refused() {
    refused(&masked(Opcode::Close, true, &[3]), Close::Protocol);
}

#[test]
fn section_5_5_1_nothing_is_read_after_a_close_frame() {
    let mut decoder = Decoder::new();
    let close = masked(Opcode::Close, true, b"\x03\xE8bye");
    let bytes = [close, masked(Opcode::Text, true, b"late"), vec![0xFF]].concat();
    let closed = (vec![Seen::Close(Some(1000), "bye".to_owned())], None);
    assert_eq!(read(&mut decoder, &bytes, &Limits::default(), Mono(0)), closed);
    assert!(decoder.is_finished());
    assert_eq!(read(&mut decoder, &[0xFF], &Limits::default(), Mono(0)), (vec![], None));
}

#[test]
fn section_5_5_1_a_close_frame_without_a_code_has_none() {
    assert_eq!(fresh(&masked(Opcode::Close, true, b"")), (vec![Seen::Close(None, String::new())], None));
}

#[test]
fn section_7_4_exactly_the_codes_that_may_be_sent_are_taken() {
    for code in 0..=u16::MAX {
        let (seen, violation) = fresh(&masked(Opcode::Close, true, &code.to_be_bytes()));
        let allowed = (1000..=1003).contains(&code) || (1007..=1014).contains(&code) || (3000..5000).contains(&code);
        let expected = if allowed { vec![Seen::Close(Some(code), String::new())] } else { vec![] };
        let end = if allowed { None } else { Some(Close::Protocol) };
        assert_eq!((seen, violation.map(|v| v.close)), (expected, end), "{code}");
    }
}

#[test]
fn section_7_1_6_a_close_reason_that_is_not_utf8_is_refused() {
    refused(&masked(Opcode::Close, true, b"\x03\xE8\xFF"), Close::InvalidData);
    refused(&masked(Opcode::Close, true, b"\x03\xE8\xE2\x82"), Close::InvalidData);
}

#[test]
fn section_8_1_text_that_is_not_utf8_is_refused() {
    for wrong in [&b"a\xFF"[..], b"\xED\xA0\x80", b"\xC0\x80", b"\xF4\x90\x80\x80", b"\xE2\x82"] {
        refused(&masked(Opcode::Text, true, wrong), Close::InvalidData);
    }
}

#[test]
fn section_8_1_a_wrong_byte_is_refused_before_its_frame_is_complete() {
    let frame = masked(Opcode::Text, true, b"ok\xF4\x90 and much more");
    let mut decoder = Decoder::new();
    let header_and_three = read(&mut decoder, &frame[..9], &Limits::default(), Mono(0));
    assert_eq!(header_and_three, (vec![], None));
    let (_, violation) = read(&mut decoder, &frame[9..10], &Limits::default(), Mono(0));
    assert_eq!(violation.unwrap().close, Close::InvalidData);
}

#[test]
fn section_8_1_a_message_that_ends_inside_a_character_is_refused() {
    let bytes = [masked(Opcode::Text, false, b"a\xE2"), masked(Opcode::Continuation, true, b"\x82")].concat();
    refused(&bytes, Close::InvalidData);
}

#[test]
fn binary_messages_are_not_judged_as_text() {
    assert_eq!(fresh(&masked(Opcode::Binary, true, b"\xFF")), (vec![Seen::Binary(vec![0xFF])], None));
}

#[test]
fn a_message_of_exactly_the_limit_passes_and_one_byte_more_is_refused_from_its_header() {
    let limits = Limits { message: 200, ..Limits::default() };
    let exact = read(&mut Decoder::new(), &masked(Opcode::Binary, true, &[1; 200]), &limits, Mono(0));
    assert_eq!(exact, (vec![Seen::Binary(vec![1; 200])], None));
    let (_, violation) = read(&mut Decoder::new(), &masked(Opcode::Binary, true, &[1; 201])[..4], &limits, Mono(0));
    assert_eq!(violation.unwrap().close, Close::TooBig);
}

#[test]
fn the_running_total_of_a_message_is_held_to_the_limit_from_the_header() {
    let limits = Limits { message: 10, ..Limits::default() };
    for opcode in [Opcode::Text, Opcode::Binary] {
        let mut decoder = Decoder::new();
        let first = read(&mut decoder, &masked(opcode, false, &[b'a'; 6]), &limits, Mono(0));
        assert_eq!(first, (vec![], None));
        let (_, violation) = read(&mut decoder, &[0x80, 0x80 | 5], &limits, Mono(0));
        assert_eq!(violation.unwrap().close, Close::TooBig);
    }
}

#[test]
fn a_cut_character_counts_towards_the_running_total() {
    let limits = Limits { message: 4, ..Limits::default() };
    let mut decoder = Decoder::new();
    read(&mut decoder, &masked(Opcode::Text, false, b"a\xF0\xA4\xAD"), &limits, Mono(0));
    let (_, violation) = read(&mut decoder, &[0x80, 0x80 | 1], &limits, Mono(0));
    assert_eq!(violation.unwrap().close, Close::TooBig);
}

#[test]
fn a_tebibyte_is_refused_when_it_is_announced_and_nothing_is_allocated() {
    refused(&[0x82, 0x80 | 127, 0, 0, 1, 0, 0, 0, 0, 0], Close::TooBig);
}

#[test]
fn the_sixty_fifth_fragment_is_refused_even_if_all_are_empty() {
    for payload in [&b""[..], b"x"] {
        let mut decoder = Decoder::new();
        let mut bytes = masked(Opcode::Text, false, payload);
        for _ in 1..64 {
            bytes.extend(masked(Opcode::Continuation, false, payload));
        }
        assert_eq!(read(&mut decoder, &bytes, &Limits::default(), Mono(0)), (vec![], None));
        let (_, violation) = read(&mut decoder, &[0x80], &Limits::default(), Mono(0));
        assert_eq!(violation.unwrap().close, Close::Policy);
    }
}

#[test]
fn sixty_four_fragments_pass() {
    let mut bytes = masked(Opcode::Text, false, b"x");
    for i in 2..=64 {
        bytes.extend(masked(Opcode::Continuation, i == 64, b"x"));
    }
    assert_eq!(fresh(&bytes), (vec![text(&"x".repeat(64))], None));
}

#[test]
fn a_million_fragments_of_one_byte_hold_no_more_than_twice_their_bytes() {
    let limits = Limits { message: 1 << 20, fragments: usize::MAX, ..Limits::default() };
    let (mut decoder, mut next) = (Decoder::new(), masked(Opcode::Binary, false, b"x"));
    for arrived in 1..=1_000_000 {
        assert_eq!(read(&mut decoder, &next, &limits, Mono(0)), (vec![], None));
        assert!(decoder.held() <= 512 + 2 * arrived, "{} for {arrived}", decoder.held());
        next = masked(Opcode::Continuation, false, b"x");
    }
}

#[test]
fn an_announced_length_allocates_nothing_before_its_bytes_arrive() {
    let mut decoder = Decoder::new();
    read(&mut decoder, &masked(Opcode::Binary, true, &[0; 60_000])[..8], &Limits::default(), Mono(0));
    assert!(decoder.held() <= 512, "{}", decoder.held());
    read(&mut decoder, &[1; 10], &Limits::default(), Mono(0));
    assert!(decoder.held() <= 512 + assemble::LEAST, "{}", decoder.held());
}

#[test]
fn an_idle_decoder_is_small_and_owns_no_heap() {
    assert!(size_of::<Decoder>() <= 16, "{}", size_of::<Decoder>());
    let mut decoder = Decoder::new();
    let frame = masked(Opcode::Text, true, b"hello");
    for half in [&frame[..7], &frame[7..]] {
        read(&mut decoder, half, &Limits::default(), Mono(0));
    }
    assert_eq!((decoder.held(), decoder.deadline()), (0, None));
}

#[test]
fn a_whole_message_is_lent_from_the_read_buffer() {
    let mut buffer = [masked(Opcode::Text, true, b"one"), masked(Opcode::Binary, true, b"two")].concat();
    let range = buffer.as_ptr_range();
    let (mut decoder, mut rest, mut seen) = (Decoder::new(), &mut buffer[..], 0);
    while let Some(event) = decoder.next(&mut rest, &Limits::default(), Mono(0)).unwrap() {
        let at = match event {
            Event::Text(text) => text.as_ptr(),
            Event::Binary(bytes) => bytes.as_ptr(),
            other => panic!("{other:?}"),
        };
        assert!(range.contains(&at));
        assert_eq!(decoder.held(), 0);
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn an_incomplete_message_has_a_deadline_from_its_first_byte_and_loses_it_when_complete() {
    let frames = [masked(Opcode::Text, false, b"a"), masked(Opcode::Continuation, true, b"b")];
    let (mut decoder, limits) = (Decoder::new(), Limits::default());
    read(&mut decoder, &frames[0][..1], &limits, Mono(5));
    assert_eq!(decoder.deadline(), Some(Mono(10_005)));
    read(&mut decoder, &frames[0][1..], &limits, Mono(9_000));
    assert_eq!(decoder.deadline(), Some(Mono(10_005)));
    assert_eq!(read(&mut decoder, &frames[1], &limits, Mono(10_005)), (vec![text("ab")], None));
    assert_eq!(decoder.deadline(), None);
}

#[test]
fn a_message_that_is_assembled_too_slowly_is_refused_at_the_next_call() {
    let limits = Limits { assembly: Duration::from_secs(1), ..Limits::default() };
    for late in [&masked(Opcode::Continuation, true, b"b")[..], b""] {
        let mut decoder = Decoder::new();
        read(&mut decoder, &masked(Opcode::Text, false, b"a"), &limits, Mono(0));
        let (seen, violation) = read(&mut decoder, late, &limits, Mono(1_001));
        assert_eq!((seen, violation.unwrap().close, decoder.held()), (vec![], Close::Timeout, 0));
    }
}

#[test]
fn control_frames_do_not_move_the_deadline_of_the_message_around_them() {
    let (mut decoder, limits) = (Decoder::new(), Limits::default());
    read(&mut decoder, &masked(Opcode::Text, false, b"a"), &limits, Mono(0));
    let ping = masked(Opcode::Ping, true, b"p");
    for half in [&ping[..3], &ping[3..]] {
        read(&mut decoder, half, &limits, Mono(9_000));
    }
    assert_eq!(decoder.deadline(), Some(Mono(10_000)));
}

#[test]
fn a_decoder_that_refused_yields_nothing_more() {
    let mut decoder = Decoder::new();
    assert!(read(&mut decoder, &[0xFF], &Limits::default(), Mono(0)).1.is_some());
    let good = masked(Opcode::Text, true, b"x");
    assert_eq!(read(&mut decoder, &good, &Limits::default(), Mono(0)), (vec![], None));
    assert!(decoder.is_finished());
}

#[test]
fn a_violation_becomes_a_refusal_that_closes() {
    let (_, violation) = fresh(&[0x82, 0x80 | 127, 0, 0, 1, 0, 0, 0, 0, 0]);
    let expected = Reject::new(Code::TooLarge, "message over the size limit").closing(Close::TooBig);
    assert_eq!(Reject::from(violation.unwrap()), expected);
    let (_, violation) = fresh(&[0xFF]);
    let expected = Reject::new(Code::Malformed, "reserved bit set").closing(Close::Protocol);
    assert_eq!(Reject::from(violation.unwrap()), expected);
}
