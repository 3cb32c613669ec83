//! Any bytes, cut anywhere, give one verdict; no more is asked for than a header may hold, and nothing behind it matters.

use arbitrary::{Arbitrary, Unstructured};
use portcullis_gateway::accept::proxy::{MAX, SIGNATURE, Step, step};

/// Feeds `stream` as a reader would that takes `piece` bytes at a time, and never more than it was asked to.
fn feed(stream: &[u8], piece: usize) -> (Result<Option<Step>, String>, usize) {
    let mut taken = 0;
    loop {
        match step(&stream[..taken]) {
            Err(malformed) => return (Err(malformed.to_string()), taken),
            Ok(Step::Need(more)) => {
                assert!(more > 0 && taken + more <= MAX);
                let next = more.min(piece).min(stream.len() - taken);
                if next == 0 {
                    return (Ok(None), taken);
                }
                taken += next;
            }
            Ok(done) => return (Ok(Some(done)), taken),
        }
    }
}

/// One stream whole and in pieces.
pub fn header(data: &[u8]) {
    let Ok((signed, piece, bytes)) = <(bool, u8, Vec<u8>)>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let stream = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
    let (whole, taken) = feed(&stream, usize::MAX);
    let (pieces, _) = feed(&stream, usize::from(piece).max(1));
    assert_eq!(whole, pieces);
    if let Ok(Some(Step::Done(_, length))) = whole {
        assert_eq!(length, taken);
        assert_eq!(step(&stream).ok(), whole.ok().flatten());
    }
}
