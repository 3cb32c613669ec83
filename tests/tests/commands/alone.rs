//! What `gatectl` does without a fleet.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use portcullis_common::control::key::OperatorKey;
use portcullis_tests::blocking::Raw;
use portcullis_tests::fleet::{RedisServer, lives};
use portcullis_tests::gatectl::{Gatectl, Said, Who, command, said};
use portcullis_tests::gateway::{Gateway, Setup};

fn run(dir: &Path, words: &[&str]) -> Said {
    said(command().current_dir(dir).args(words))
}

#[test]
fn a_key_that_everybody_can_read_and_what_else_is_typed_wrongly_is_64() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    fs::write(here.join("memory.toml"), "[store]\nurl = \"memory:\"\n").unwrap();
    fs::write(here.join("redis.toml"), "[store]\nurl = \"redis://127.0.0.1:1\"\n").unwrap();
    fs::write(here.join("wrong.toml"), "[store]\nurll = \"redis://127.0.0.1:1\"\n").unwrap();
    fs::write(here.join("open.key"), Who::Viewer.key().to_pem().unwrap()).unwrap();
    fs::set_permissions(here.join("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(here.join("none.key"), "no key").unwrap();
    fs::set_permissions(here.join("none.key"), fs::Permissions::from_mode(0o600)).unwrap();
    for (words, expected) in [
        (&[][..], "Usage:"),
        (&["reboot"], "unrecognized subcommand"),
        (&["kick", "session", "x"], "26 characters"),
        (&["ban", "add", "user", "a", "--for", "soon"], "is not a time"),
        (&["drain", "a node"], "character"),
        (&["nodes", "--config", "missing.toml"], "does not exist"),
        (&["nodes", "--config", "memory.toml"], "memory:"),
        (&["nodes", "--config", "wrong.toml"], "did you mean `url`"),
        (&["nodes", "--config", "redis.toml"], "gatectl keygen"),
        (&["nodes", "--config", "redis.toml", "--key", "open.key"], "open to everybody"),
        (&["nodes", "--config", "redis.toml", "--key", "none.key"], "BEGIN PRIVATE KEY"),
    ] {
        let said = run(here, words);
        assert!(said.code == 64 && said.err.contains(expected), "{words:?}: {said:?}");
        assert!(said.out.is_empty(), "{words:?}: {said:?}");
    }
    assert_eq!(run(here, &["--help"]).code, 0);
    assert_eq!(run(here, &["--version"]).code, 0);
}

#[test]
fn a_target_that_is_none_is_said_before_anything_is_sent() {
    let redis = RedisServer::start();
    let gatectl = Gatectl::of(Who::Operator, &redis);
    let wrong = gatectl.run(&["ban", "add", "ip", "10.0.0"]);
    assert!(wrong.code == 64 && wrong.err.contains("neither an address nor a network"), "{wrong:?}");
    let long = "x".repeat(257);
    assert_eq!(gatectl.run(&["kick", "user", "a", "--reason", &long]).code, 64);
    assert!(!redis.cli(&["--scan"]).contains("commands"));
    // a store without nodes
    let empty = gatectl.run(&["nodes", "--json"]);
    assert_eq!((empty.code, empty.out.trim()), (4, "[]"));
    assert!(empty.err.contains("no node"), "{empty:?}");
}

#[test]
fn keygen_makes_a_private_file_and_the_nodes_half_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let made = run(dir.path(), &["keygen", "--name", "bob", "--role", "admin"]);
    assert_eq!(made.code, 0, "{made:?}");
    let file = dir.path().join("operator.key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = OperatorKey::from_pem(&fs::read_to_string(&file).unwrap()).unwrap();
    let block = format!("[[operator]]\nname = \"bob\"\nrole = \"admin\"\npublic_key = \"{}\"", key.public());
    assert!(made.out.contains(&block), "{made:?}");
    let again = run(dir.path(), &["keygen"]);
    assert!(again.code == 64 && again.err.contains("is there already"), "{again:?}");
    let other = run(dir.path(), &["keygen", "--out", "other.key", "--json"]).rows();
    assert_ne!(other[0]["public_key"], key.public().to_string());
}

#[test]
fn a_minted_token_opens_a_session_and_is_minted_only_where_it_is_for_trying_out() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::default();
    let file = setup.write(dir.path());
    let file = file.to_str().unwrap();
    let mint = |more: &[&str]| run(dir.path(), &[&["token", "mint", "--config", file, "--user", "ada"], more].concat());
    let minted = mint(&["--tenant", "acme"]);
    assert_eq!(minted.code, 0, "{minted:?}");
    let gateway = Gateway::start(&setup);
    assert!(lives(&mut Raw::open(gateway.public, minted.out.trim())));
    assert_eq!(mint(&["--json"]).rows()[0]["user"], "app:ada");

    let asymmetric = mint(&["--issuer", "device"]);
    assert!(asymmetric.code == 64 && asymmetric.err.contains("no shared secret"), "{asymmetric:?}");
    assert_eq!(mint(&["--for", "25h"]).code, 64);
    let public = dir.path().join("public.toml");
    let text = fs::read_to_string(file).unwrap();
    fs::write(
        &public,
        text.replace("mode = \"off\"", "mode = \"off\"\ninsecure = true\n[listen]\npublic = \"0.0.0.0:80\""),
    )
    .unwrap();
    let refused = run(dir.path(), &["token", "mint", "--config", "public.toml", "--user", "ada"]);
    assert!(refused.code == 64 && refused.err.contains("trying out"), "{refused:?}");
}

#[test]
fn there_are_completions_for_shells() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let said = run(dir.path(), &["completions", shell]);
        assert!(said.code == 0 && said.out.contains("gatectl") && said.out.contains("broadcast"), "{shell}");
    }
}

#[test]
fn capacity_is_reckoned_from_the_kept_measurements_or_from_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let of = |words: &[&str]| {
        let said = run(here, words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
        said.rows().remove(0)
    };
    let (small, large) = (of(&["capacity", "--json"]), of(&["capacity", "--json", "--sessions", "10000000"]));
    assert!(large["nodes"].as_u64() > small["nodes"].as_u64() && large["redis_shards"].as_u64() > Some(1), "{large}");
    assert!(small["source"].as_str().is_some_and(|source| !source.is_empty()), "{small}");
    let table = run(here, &["capacity", "--sessions", "1000000", "--tls"]);
    assert!(table.code == 0 && table.out.contains("Redis shards") && table.out.contains("measured by:"), "{table:?}");

    let mut slopes: serde_json::Value =
        serde_json::from_str(include_str!("../../../common/src/capacity/slopes.json")).unwrap();
    slopes["session_bytes"] = serde_json::json!(1e6);
    fs::write(here.join("own.json"), slopes.to_string()).unwrap();
    let own = of(&["capacity", "--json", "--slopes", "own.json"]);
    assert!(own["nodes_by_memory"].as_u64() > small["nodes_by_memory"].as_u64(), "{own}");
    for (words, expected) in [
        (&["capacity", "--sessions=-1"][..], "--sessions"),
        (&["capacity", "--cores", "0"], "above 0"),
        (&["capacity", "--slopes", "none.json"], "none.json"),
    ] {
        let said = run(here, words);
        assert!(said.code == 64 && said.err.contains(expected), "{words:?}: {said:?}");
    }
}
