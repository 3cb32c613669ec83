//! `wrong.txt`, row by row, and what many mistakes in one file look like.

use std::fmt::Write as _;

use super::*;

const ROWS: &str = include_str!("wrong.txt");

/// Undoes the abbreviations of the table.
fn full(text: &str) -> String {
    text.replace("$SECRET", "secret = \"0123456789abcdef0123456789abcdef\"")
        .replace("$CHAT", "[message.chat]\nroles = [\"*\"]\nroute = \"room\"\n")
        .replace("$SECOND", "[[auth.issuer]]\nname = \"b\"\nissuer = \"b\"\naudience = \"b\"\nalgorithms = [\"EdDSA\"]\npublic_key_file = \"public.pem\"\n")
        .replace("\\n", "\n")
}

#[test]
fn each_mistake_gives_exactly_its_error_and_no_error_repeats_a_secret() {
    let dir = directory();
    let (mut rows, mut wrong) = (0, String::new());
    for row in ROWS.lines().filter(|l| !l.is_empty() && !l.starts_with("# ")) {
        rows += 1;
        let cells: Vec<&str> = row.splitn(4, '|').map(str::trim).collect();
        let [change, more, path, sentence] = cells[..] else { panic!("not a row: {row}") };
        let (from, to) = change.split_once("=>").unwrap_or_default();
        let text = changed(&full(from.trim()), &full(to.trim()), &full(more));
        let found = match load_in(dir.path(), &text, &[]) {
            Ok(_) => "no error".to_owned(),
            Err(errors) => errors.to_string(),
        };
        let exact = found.strip_prefix(path).and_then(|f| f.strip_prefix(": "));
        if found.contains('\n') || found.contains("hunter2") || !exact.is_some_and(|f| f.contains(sentence)) {
            let _ = writeln!(wrong, "{row}\n    found {found}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(rows >= 130, "only {rows} rows were read");
}

/// Twenty-two mistakes.
const MANY: &str = r#"
[node]
workers = "many"
drain_deadline = 5
[listen]
public = "everywhere"
[tls]
mode = "on"
[store]
url = "file:"
[[auth.issuer]]
name = "a"
issuer = "a"
audience = "a"
algorithms = ["HS256", "XS256", 3]
secret = "hunter2"
[[auth.issuer]]
secret_file = "absent"
[origin]
allow = ["*", "https://a.example", "null"]
[session]
max_per_user = 0
on_limt = "reject"
[limit.message]
rate = "many"
burst = 0
[[room]]
pattern = "a..b"
[message.chat]
roles = []
route = "room"
rate = 5
"#;

#[test]
fn everything_wrong_with_one_file_is_said_at_once() {
    let errors = load(MANY).unwrap_err();
    let paths: Vec<&str> = errors.0.iter().map(|e| e.path.as_str()).collect();
    let expected = [
        "auth.issuer[0].algorithms[1]",
        "auth.issuer[0].algorithms[2]",
        "auth.issuer[0].secret",
        "auth.issuer[1].algorithms",
        "auth.issuer[1].audience",
        "auth.issuer[1].issuer",
        "auth.issuer[1].name",
        "auth.issuer[1].secret_file",
        "limit.message.burst",
        "limit.message.rate",
        "listen.public",
        "message.chat.rate",
        "message.chat.roles",
        "node.drain_deadline",
        "node.workers",
        "origin.allow[0]",
        "origin.allow[2]",
        "room[0].pattern",
        "session.max_per_user",
        "session.on_limt",
        "store.url",
        "tls.mode",
    ];
    assert_eq!(paths, expected, "{errors}");
    assert_eq!(errors.to_string().lines().count(), expected.len());
    assert!(!errors.to_string().contains("hunter2"));
}

#[test]
fn an_empty_file_says_what_is_needed_at_least() {
    let errors = load("").unwrap_err();
    let paths: Vec<&str> = errors.0.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(paths, ["auth.issuer", "origin.allow", "tls.cert_file", "tls.key_file"], "{errors}");
}

#[test]
fn a_syntax_error_has_its_place_but_not_its_line() {
    for text in [
        "[auth]\nsecret = \"hunter2",
        "[auth]\nsecret = hunter2",
        "[auth]\nhunter2",
        "[auth]\nx = \"hunter2\" hunter2",
        "[auth]\nhunter2 = 1\nhunter2 = 2",
        "[auth]\nx = \"\\hunter2\"",
    ] {
        let errors = load(text).unwrap_err();
        assert_eq!(errors.0.len(), 1, "{errors}");
        let shown = errors.to_string();
        assert!(shown.starts_with("configuration: is not TOML, at line "), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let errors = load("x = 99999999999999999999").unwrap_err();
    assert!(errors.to_string().contains("out of range"), "{errors}");
}
