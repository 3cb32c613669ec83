//! Decoding, the read buffer hot: one small frame, one large one, and bursts of eight in one read.
//!
//! Each iteration copies the masked bytes into the read buffer first, because decoding spoils them; that copy stands
//! for the kernel's and is part of the figure.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis_common::clock::Mono;
use portcullis_gateway::frame::{Decoder, Limits, Opcode, encode};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

fn burst(payload: usize, frames: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..frames {
        encode::append_masked(&mut out, Opcode::Text, true, &vec![b'x'; payload], KEY);
    }
    out
}

/// Reads `wire` in pieces of at most `read` bytes; answers how many events came of it.
fn decode(decoder: &mut Decoder, wire: &[u8], buffer: &mut [u8], limits: &Limits) -> usize {
    let mut events = 0;
    for piece in wire.chunks(buffer.len()) {
        let (mut rest, _) = buffer.split_at_mut(piece.len());
        rest.copy_from_slice(piece);
        while let Ok(Some(event)) = decoder.next(&mut rest, limits, Mono(0)) {
            black_box(event);
            events += 1;
        }
    }
    events
}

fn frames(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("decode");
    // name, payload, frames a burst, size of the read buffer
    for (name, payload, frames, read) in [
        ("text_300", 300, 1, 128 * 1024),
        ("text_300_burst_8", 300, 8, 128 * 1024),
        ("text_64k", 64 * 1024, 1, 128 * 1024),
        ("text_64k_assembled_from_16k_reads", 64 * 1024, 1, 16 * 1024),
        ("text_64k_burst_8", 64 * 1024, 8, 1024 * 1024),
    ] {
        let (wire, mut buffer, mut decoder) = (burst(payload, frames), vec![0; read], Decoder::new());
        assert_eq!(decode(&mut decoder, &wire, &mut buffer, &limits), frames);
        group.throughput(Throughput::Bytes((payload * frames) as u64));
        group.bench_function(name, |b| b.iter(|| decode(&mut decoder, &wire, &mut buffer, &limits)));
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
