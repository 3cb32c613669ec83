//! Masking: every byte of a client's payload is combined with one byte of a four-byte key (§5.3). The operation is its
//! own inverse.

/// Masks or unmasks `data` where it lies, and turns `key` so that a following piece of the same payload continues.
///
/// Eight bytes at a time, which the compiler turns into vector instructions; no allocation.
pub fn apply(key: &mut [u8; 4], data: &mut [u8]) {
    let [a, b, c, d] = *key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= mask;
    }
    // words are multiples of the key: only the tail turns it
    key.rotate_left(tail.len() % 4);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_rfc_unmasks_to_hello() {
        // §5.7: a single-frame masked text message
        let mut data = [0x7F, 0x9F, 0x4D, 0x51, 0x58];
        apply(&mut [0x37, 0xFA, 0x21, 0x3D], &mut data);
        assert_eq!(&data, b"Hello");
    }

    proptest! {
        #[test]
        fn a_byte_is_combined_with_the_key_byte_of_its_position(key: [u8; 4], data: Vec<u8>) {
            let expected: Vec<u8> = data.iter().enumerate().map(|(i, b)| b ^ key[i % 4]).collect();
            let mut masked = data.clone();
            apply(&mut key.clone(), &mut masked);
            prop_assert_eq!(masked, expected);
        }

        #[test]
        fn pieces_give_what_the_whole_gives(key: [u8; 4], data: Vec<u8>, cut: prop::sample::Index) {
            let mut whole = data.clone();
            apply(&mut key.clone(), &mut whole);
            let mut pieces = data.clone();
            let (head, tail) = pieces.split_at_mut(cut.index(data.len() + 1));
            let mut turning = key;
            apply(&mut turning, head);
            apply(&mut turning, tail);
            prop_assert_eq!(pieces, whole);
        }
    }
}
