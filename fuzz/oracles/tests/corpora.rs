//! Every kept input once more: what fuzzing has found interesting, and whatever it once found wrong.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use portcullis_oracles::TARGETS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn every_target_has_a_corpus_and_a_file_for_libfuzzer_and_nothing_else_has() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("corpus")), known);
    assert_eq!(names(&fuzz().join("fuzz_targets")), known);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in known {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not built");
    }
}

#[test]
fn no_kept_input_finds_anything() {
    let mut failed = Vec::new();
    for (name, oracle) in TARGETS {
        let mut files: Vec<PathBuf> =
            fs::read_dir(fuzz().join("corpus").join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 10, "{name} has hardly a corpus");
        for file in files {
            let input = fs::read(&file).unwrap();
            if catch_unwind(AssertUnwindSafe(|| oracle(&input))).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Inputs that are none of the kept ones: two of them spliced, from a fixed seed, so that the replay is no mere replay.
#[test]
fn spliced_inputs_find_nothing_either() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: usize| {
        // xorshift64 (Marsaglia, 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below.max(1)
    };
    for (name, oracle) in TARGETS {
        let mut files: Vec<PathBuf> =
            fs::read_dir(fuzz().join("corpus").join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let inputs: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        for _ in 0..100 {
            let (one, other) = (&inputs[next(inputs.len())], &inputs[next(inputs.len())]);
            let (from, to) = (next(one.len() + 1), next(other.len() + 1));
            let spliced = [&one[..from], &other[to..]].concat();
            if catch_unwind(AssertUnwindSafe(|| oracle(&spliced))).is_err() {
                panic!("{name}: {:?}", String::from_utf8_lossy(&spliced));
            }
        }
    }
}
