//! The documents that are generated from the code registry hold what the registry says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helper functions too")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use portcullis_common::wire::registry;

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Compares, or with `UPDATE_GENERATED=1` writes.
fn settle(path: &str, expected: &str) {
    let file = at_root(path);
    let found = fs::read_to_string(&file).unwrap_or_default();
    if found != expected && env::var_os("UPDATE_GENERATED").is_some_and(|v| v == "1") {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, expected).unwrap();
        return;
    }
    assert!(found == expected, "{path} does not match the code registry: run the tests with UPDATE_GENERATED=1");
}

#[test]
fn the_tables_of_the_protocol_are_the_registry() {
    let document = fs::read_to_string(at_root("PROTOCOL.md")).expect("PROTOCOL.md");
    let expected = registry::replace_block(&document, &registry::markdown()).expect("PROTOCOL.md has one marked block");
    settle("PROTOCOL.md", &expected);
}

#[test]
fn the_typescript_constants_are_the_registry() {
    settle("clients/typescript/src/codes.ts", &registry::typescript());
}
