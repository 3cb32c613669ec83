use proptest::prelude::*;

use super::read::{NoHeader, header};
use super::*;

/// A header with this command, family and rest.
fn raw(version_command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([version_command, kind]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

fn v4(fields: &[u8]) -> Vec<u8> {
    let mut rest = vec![203, 0, 113, 7, 10, 0, 0, 1];
    rest.extend(40_000u16.to_be_bytes());
    rest.extend(443u16.to_be_bytes());
    rest.extend(fields);
    raw(0x21, 0x11, &rest)
}

fn v6(fields: &[u8]) -> Vec<u8> {
    let mut rest = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets().to_vec();
    rest.extend([0; 16]);
    rest.extend(40_000u16.to_be_bytes());
    rest.extend([1, 187]);
    rest.extend(fields);
    raw(0x21, 0x21, &rest)
}

/// `PP2_TYPE_SSL` with these flags of the client.
fn ssl(flags: u8) -> Vec<u8> {
    vec![TLV_SSL, 0, 5, flags, 0, 0, 0, 0]
}

fn client(address: &str, tls: bool) -> Announced {
    Announced { source: Source::Client(address.parse().unwrap()), tls }
}

const HIDDEN: Announced = Announced { source: Source::Hidden, tls: false };
const LOCAL: Announced = Announced { source: Source::Local, tls: false };

#[test]
fn headers_of_every_family_are_understood() {
    let noop = [0x04, 0, 2, 0, 0];
    let rows: Vec<(&str, Vec<u8>, Announced)> = vec![
        ("IPv4", v4(&[]), client("203.0.113.7:40000", false)),
        ("IPv6", v6(&[]), client("[2001:db8::7]:40000", false)),
        ("a field that is skipped", v4(&noop), client("203.0.113.7:40000", false)),
        ("fields of AWS and others", v4(&[0xea, 0, 1, 9, 0xe0, 0, 0]), client("203.0.113.7:40000", false)),
        ("over TLS", v4(&ssl(1)), client("203.0.113.7:40000", true)),
        ("over TLS, with a certificate", v6(&ssl(7)), client("[2001:db8::7]:40000", true)),
        ("the TLS field says no", v4(&ssl(0)), client("203.0.113.7:40000", false)),
        ("TLS behind another field", v4(&[&noop[..], &ssl(1)].concat()), client("203.0.113.7:40000", true)),
        ("unspecified", raw(0x21, 0, &[]), HIDDEN),
        ("unspecified, with something", raw(0x21, 0, &[9; 30]), HIDDEN),
        ("a Unix socket", raw(0x21, 0x31, &[0; 216]), HIDDEN),
        (
            "a Unix socket over TLS",
            raw(0x21, 0x32, &[vec![0; 216], ssl(1)].concat()),
            Announced { tls: true, ..HIDDEN },
        ),
        ("datagrams", raw(0x21, 0x12, &[0; 12]), HIDDEN),
        ("datagrams of IPv6", raw(0x21, 0x22, &[0; 36]), HIDDEN),
        ("local", raw(0x20, 0, &[]), LOCAL),
        ("local, whatever it says", raw(0x20, 0x11, &[1, 2, 3]), LOCAL),
        ("local, of no family at all", raw(0x20, 0xff, &[0xff; 40]), LOCAL),
        ("the longest", v4(&[&[4, 0x0f, 0xe1][..], &[0; 0x0fe1]].concat()), client("203.0.113.7:40000", false)),
    ];
    for (name, bytes, announced) in rows {
        assert_eq!(step(&bytes), Ok(Step::Done(announced, bytes.len())), "{name}");
        let behind = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(step(&behind), Ok(Step::Done(announced, bytes.len())), "{name}, with a request behind it");
    }
}

#[test]
fn what_is_not_legal_is_refused() {
    let signature = |at: usize| {
        let mut bytes = v4(&[]);
        bytes[at] ^= 1;
        bytes
    };
    let rows: Vec<(&str, Vec<u8>, Malformed)> = vec![
        ("version 1", b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\n".to_vec(), Malformed::Version1),
        ("a request", b"GET /ws HTTP/1.1\r\n".to_vec(), Malformed::Signature),
        ("TLS", b"\x16\x03\x01\x02\x00\x01".to_vec(), Malformed::Signature),
        ("a wrong first byte", signature(0), Malformed::Signature),
        ("a wrong last byte of the signature", signature(11), Malformed::Signature),
        ("version 0", raw(0x01, 0x11, &[0; 12]), Malformed::Version),
        ("version 3", raw(0x31, 0x11, &[0; 12]), Malformed::Version),
        ("an unknown command", raw(0x22, 0x11, &[0; 12]), Malformed::Command),
        ("the last unknown command", raw(0x2f, 0x11, &[0; 12]), Malformed::Command),
        ("an unknown family", raw(0x21, 0x41, &[0; 12]), Malformed::Family),
        ("a family without a transport", raw(0x21, 0x10, &[0; 12]), Malformed::Family),
        ("an unknown transport", raw(0x21, 0x13, &[0; 12]), Malformed::Family),
        ("a transport without a family", raw(0x21, 0x01, &[0; 12]), Malformed::Family),
        ("half an IPv4", raw(0x21, 0x11, &[0; 11]), Malformed::TooShort),
        ("half an IPv6", raw(0x21, 0x21, &[0; 35]), Malformed::TooShort),
        ("half a Unix socket", raw(0x21, 0x31, &[0; 215]), Malformed::TooShort),
        ("too long", raw(0x21, 0x11, &vec![0; MAX - FIXED + 1]), Malformed::TooLong),
        ("the longest that can be said", raw(0x20, 0, &vec![0; 0xffff]), Malformed::TooLong),
        ("half a field", v4(&[4, 0]), Malformed::Fields),
        ("a field that ends behind the header", v4(&[4, 0, 3, 1, 2]), Malformed::Fields),
        ("a TLS field without its result", v4(&[TLV_SSL, 0, 1, 1]), Malformed::Fields),
        ("two TLS fields", v4(&[ssl(0), ssl(1)].concat()), Malformed::Fields),
    ];
    for (name, bytes, malformed) in rows {
        assert_eq!(step(&bytes), Err(malformed), "{name}");
    }
}

#[test]
fn what_cannot_become_legal_is_refused_before_the_rest_is_there() {
    let long = raw(0x21, 0x11, &vec![0; MAX]);
    for (bytes, malformed) in [
        (&b"\r\n\r\nG"[..], Malformed::Signature),
        (&raw(0x11, 0x11, &[])[..13], Malformed::Version),
        (&raw(0x2f, 0x11, &[])[..13], Malformed::Command),
        (&long[..FIXED], Malformed::TooLong),
        (&raw(0x21, 0x77, &[0; 12])[..FIXED], Malformed::Family),
        (&raw(0x21, 0x21, &[0; 12])[..FIXED], Malformed::TooShort),
    ] {
        assert_eq!(step(bytes), Err(malformed), "{}", bytes.escape_ascii());
    }
}

/// Hands out what it has in pieces of these sizes, and remembers how much was taken.
struct Pieces {
    bytes: Vec<u8>,
    taken: usize,
    sizes: Vec<usize>,
}

impl tokio::io::AsyncRead for Pieces {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let size = this.sizes.pop().unwrap_or(usize::MAX).max(1);
        let rest = &this.bytes[this.taken..];
        let piece = &rest[..rest.len().min(size).min(buf.remaining())];
        buf.put_slice(piece);
        this.taken += piece.len();
        std::task::Poll::Ready(Ok(()))
    }
}

/// Polls once: [`Pieces`] is always ready.
fn read_all(pieces: &mut Pieces) -> Result<Announced, NoHeader> {
    let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(header(pieces)).poll(&mut nobody) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => panic!("it waits for nothing"),
    }
}

#[test]
fn a_connection_that_ends_in_its_header_is_no_connection() {
    for whole in [v4(&[]), v6(&ssl(1)), raw(0x20, 0, &[])] {
        for end in 0..whole.len() {
            let mut cut = Pieces { bytes: whole[..end].to_vec(), taken: 0, sizes: Vec::new() };
            assert!(matches!(read_all(&mut cut), Err(NoHeader::Io(_))), "cut at {end}");
        }
    }
}

/// Bytes that are often nearly a header.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(0x00), Just(0x11), Just(0x21), Just(0x31), Just(0x12), any::<u8>()];
    let command = prop_oneof![Just(0x20), Just(0x21), any::<u8>()];
    let field = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..12)).prop_map(|(kind, value)| {
        let length = u8::try_from(value.len()).unwrap();
        [vec![kind, 0, length], value].concat()
    });
    let fields = prop::collection::vec(prop_oneof![4 => field, 1 => Just(ssl(1))], 0..6).prop_map(|f| f.concat());
    let rest = (prop::collection::vec(any::<u8>(), 0..40), fields).prop_map(|(a, b)| [a, b].concat());
    let header = (command, kind, rest).prop_map(|(command, kind, rest)| raw(command, kind, &rest));
    let good = prop_oneof![Just(v4(&ssl(1))), Just(v6(&[]))];
    prop_oneof![4 => header, 1 => good, 1 => prop::collection::vec(any::<u8>(), 0..64)]
}

proptest! {
    #[test]
    fn whatever_arrives_however_cut_the_verdict_is_one_and_nothing_behind_it_is_taken(
        bytes in nearly(),
        behind in prop::collection::vec(any::<u8>(), 0..64),
        sizes in prop::collection::vec(1usize..20, 0..64),
    ) {
        let whole = step(&[&bytes[..], &behind].concat());
        let mut socket = Pieces { bytes: [&bytes[..], &behind].concat(), taken: 0, sizes };
        match (whole, read_all(&mut socket)) {
            (Ok(Step::Done(announced, length)), Ok(read)) => {
                prop_assert_eq!(announced, read);
                prop_assert_eq!(socket.taken, length, "not a byte more, not one less");
                prop_assert!(length <= MAX);
            }
            (Ok(Step::Need(more)), Err(NoHeader::Io(_))) => prop_assert!(more > 0),
            (Err(expected), Err(NoHeader::Malformed(malformed))) => {
                prop_assert_eq!(expected, malformed);
                prop_assert!(socket.taken <= MAX);
            }
            (expected, read) => prop_assert!(false, "{:?} became {:?}", expected, read),
        }
    }

    #[test]
    fn a_prefix_asks_for_no_more_than_is_missing(bytes in nearly()) {
        if let Ok(Step::Done(_, length)) = step(&bytes) {
            for end in 0..length {
                match step(&bytes[..end]) {
                    Ok(Step::Need(more)) => prop_assert!(more > 0 && end + more <= length),
                    other => prop_assert!(false, "{:?} at {}", other, end),
                }
            }
        }
    }

    #[test]
    fn the_client_is_exactly_who_was_announced(ip in any::<[u8; 16]>(), port in any::<u16>(), tls in any::<bool>()) {
        let mut rest = ip.to_vec();
        rest.extend([0; 16]);
        rest.extend(port.to_be_bytes());
        rest.extend([0, 1]);
        rest.extend(ssl(u8::from(tls)));
        let bytes = raw(0x21, 0x21, &rest);
        let source = Source::Client(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)), port));
        prop_assert_eq!(step(&bytes), Ok(Step::Done(Announced { source, tls }, bytes.len())));
    }
}
