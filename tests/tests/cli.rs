//! The command line: verbs, exit codes, what is printed and what is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation of a test is a failed test"
)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use portcullis_tests::client::{Dial, Refused};
use portcullis_tests::gateway::{Gateway, Setup, command, free_port, free_ports};
use portcullis_tests::{raw, tokens, wait};

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_good_configuration_is_called_good() {
    let dir = tempfile::tempdir().unwrap();
    let file = Setup::default().write(dir.path());
    let (code, out, err) = run(command().arg("check-config").arg(&file));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.ends_with("portcullis.toml: good\n"), "{out}");
}

#[test]
fn a_bad_configuration_is_told_everything_at_once_with_exit_code_64() {
    let dir = tempfile::tempdir().unwrap();
    let bad = r#"
[listen]
publik = "127.0.0.1:0"
[session]
max_per_user = 0
on_limit = "maybe"
[limit.message]
rate = "many"
[[auth.issuer]]
name = "app"
issuer = "https://app.test"
audience = "portcullis"
algorithms = ["none"]
secret = "short-and-secret"
"#;
    let file = Setup::bare(bad).write(dir.path());
    for verb in [&["check-config"][..], &["run", "--config"], &["print-config"]] {
        let (code, out, err) = run(command().args(verb).arg(&file));
        assert_eq!((code, out.as_str()), (Some(64), ""), "{verb:?}");
        for key in ["listen.publik", "session.max_per_user", "session.on_limit", "limit.message.rate", "algorithms"] {
            assert!(err.contains(key), "{verb:?} does not name {key}:\n{err}");
        }
        assert!(!err.contains("short-and-secret"), "{err}");
    }
}

#[test]
fn what_only_a_start_would_find_is_found_by_the_check_too() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::default().toml("[[room]]\npattern = \"x.*\"\nwhere = \"1 +\"\njoin = [\"*\"]\n");
    let setup = setup.file("device.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
    let (code, _, err) = run(command().arg("check-config").arg(setup.write(dir.path())));
    assert_eq!(code, Some(64), "{err}");
    assert!(err.contains("room[5].where") && err.contains("auth.issuer[1]"), "{err}");
}

#[test]
fn a_missing_file_and_an_unknown_verb_are_wrong_usage() {
    let missing = run(command().args(["check-config", "/nowhere/portcullis.toml"]));
    assert_eq!(missing.0, Some(64), "{}", missing.2);
    assert!(missing.2.contains("/nowhere/portcullis.toml"), "{}", missing.2);
    for arguments in [&["frobnicate"][..], &[], &["run"], &["dev", "--port", "eighty"], &["check-config"]] {
        let (code, out, _) = run(command().args(arguments));
        assert_eq!((code, out.as_str()), (Some(64), ""), "{arguments:?}");
    }
    let (code, out, _) = run(command().arg("--version"));
    assert_eq!(code, Some(0));
    assert!(out.starts_with("portcullis-gateway "), "{out}");
    assert_eq!(run(command().arg("--help")).0, Some(0));
}

#[test]
fn the_printed_configuration_is_complete_reads_back_and_holds_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = Setup::default().write(dir.path());
    let (code, out, err) = run(command().arg("print-config").arg(&file).env("PORTCULLIS__SESSION__MAX_PER_USER", "17"));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("max_per_user = 17"), "the environment counts:\n{out}");
    assert!(out.contains("drain_deadline = \"30s\""), "defaults are there:\n{out}");
    assert!(!out.contains(tokens::SECRET), "{out}");
    let (code, _, err) = run(command().arg("print-config").env("PORTCULLIS__NO__SUCH", "1"));
    assert_eq!(code, Some(64), "{err}");
}

#[test]
fn a_port_that_is_taken_is_a_failure_and_not_wrong_usage() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = Setup::default().write(dir.path());
    let (code, _, err) = run(command()
        .args(["run", "--config"])
        .arg(&file)
        .env("PORTCULLIS__LISTEN__PUBLIC", taken.local_addr().unwrap().to_string())
        .env("PORTCULLIS__LISTEN__PRIVATE", free_port().to_string()));
    assert_eq!(code, Some(70), "{err}");
    assert!(err.contains("listen.public: cannot listen on 127.0.0.1:"), "{err}");
}

#[test]
fn without_a_file_the_commented_example_is_printed() {
    let (code, out, _) = run(command().arg("print-config"));
    assert_eq!(code, Some(0));
    assert_eq!(out.trim_end(), include_str!("../../portcullis.example.toml").trim_end());
}

#[tokio::test]
async fn dev_prints_where_to_go_and_a_token_that_works() {
    let [public, private] = free_ports();
    let mut child = command()
        .args(["dev", "--port", &public.port().to_string(), "--private-port", &private.port().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let page = lines.by_ref().find(|line| line.contains("Demo")).expect("the demo's address");
    let rest: Vec<String> = lines.by_ref().take_while(|line| !line.contains("Stop with")).collect();
    let outcome = async {
        assert!(page.ends_with(&format!("http://127.0.0.1:{}/", public.port())), "{page}");
        let token = rest.iter().find(|line| line.starts_with("eyJ")).expect("a token");
        wait::until("the node to be ready", || {
            raw::try_get(private, "/health/ready").filter(|answer| answer.status == 200)
        });
        let home = raw::get(public, "/");
        assert_eq!(home.status, 200);
        assert_eq!(home.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(home.header("server"), None);
        let origin = format!("http://127.0.0.1:{}", public.port());
        let dial = Dial::address(public).bearer(token);
        let mut you = dial.clone().header("Origin", &origin).connect().await.expect("a session");
        you.join("lobby").await;
        let foreign: Option<Refused> = dial.header("Origin", "https://evil.test").connect().await.err();
        assert_eq!(foreign.expect("a refusal").code(), "origin_denied");
    };
    let result = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(outcome)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_probe_without_a_shell_says_whether_a_node_is_well() {
    let mut gateway = Gateway::start(&Setup::default().set("node.drain_notice", "1h"));
    let address = gateway.private.to_string();
    let health = |arguments: &[&str]| run(command().arg("health").args(arguments));
    for arguments in [&["--address", &address][..], &["--address", &address, "--live"]] {
        assert_eq!(health(arguments), (Some(0), String::new(), String::new()), "{arguments:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = Setup::default().write(dir.path());
    let by_file = |address: &str| {
        run(command().args(["health", "--config"]).arg(&file).env("PORTCULLIS__LISTEN__PRIVATE", address)).0
    };
    assert_eq!(by_file(&address), Some(0));
    assert_eq!(by_file(&format!("0.0.0.0:{}", gateway.private.port())), Some(0), "all interfaces: loopback is asked");
    gateway.signal("TERM");
    let (code, _, err) =
        wait::until("it to be unwell", || Some(health(&["--address", &address])).filter(|h| h.0 != Some(0)));
    assert_eq!(code, Some(1));
    assert!(err.contains("503") && err.contains("draining"), "{err}");
    assert_eq!(health(&["--address", &address, "--live"]).0, Some(0), "leaving is not dead");
    gateway.signal("TERM");
    gateway.wait_exit(wait::PATIENCE);
    assert_eq!(health(&["--address", &address]).0, Some(1), "nobody there");
    assert_eq!(health(&[]).0, Some(64), "which?");
}
