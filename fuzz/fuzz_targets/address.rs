#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_oracles::address::address(data));
