//! Feeds of reputation as operators meet them: compiled by the real `gatectl`, read by real gateways.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portcullis_common::clock::{Clock as _, SystemClock};
use portcullis_common::control::key::OperatorKey;
use portcullis_common::feed::file::{Head, write};
use portcullis_common::ids::FeedName;
use portcullis_common::trie::NetworkMarks;
use portcullis_tests::fleet::Fleet;
use portcullis_tests::gatectl::{self, Gatectl, Said, Who, operators};
use portcullis_tests::gateway::{Gateway, Setup};
use portcullis_tests::raw::Wire;
use portcullis_tests::{tokens, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the list says: who is refused from a score of 80, who is charged, who is spared.
const LIST: &str = "ip,score\n5.5.5.5,90\n6.6.0.0/16,40\n7.7.7.7,100\n10.0.0.0/8,100\n5.5.5.5,20\n";

/// Whoever compiles feeds: a key of their own, lists, and the file that nodes read.
struct Compiler {
    dir: TempDir,
    key: OperatorKey,
}

impl Compiler {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Who::Stranger.key();
        let file = dir.path().join("feed.key");
        std::fs::write(&file, key.to_pem().unwrap()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self { dir, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Said {
        let mut command = gatectl::command();
        command.current_dir(self.dir.path()).args(["--key", "feed.key", "--json", "feed"]).args(words);
        gatectl::said(&mut command)
    }

    /// Compiles a list of addresses and scores.
    fn compile(&self, list: &str, more: &[&str]) -> Said {
        std::fs::write(self.path("list.csv"), list).unwrap();
        let words = ["compile", "--name", "drop", "--out", "drop.feed", "--format", "csv", "list.csv"];
        self.run(&[&words, more].concat())
    }

    /// A file as this key would sign it, with nothing in it.
    fn signed(&self, name: &str, version: u64, expires_in: i64) {
        let now = SystemClock::default().wall();
        let expires = portcullis_common::clock::UnixMs(now.0.saturating_add_signed(expires_in));
        let head = Head { name: FeedName::parse(name).unwrap(), version, made: now, expires };
        std::fs::write(self.path("drop.feed"), write(&head, &NetworkMarks::default(), &self.key)).unwrap();
    }

    /// The section of the configuration.
    fn section(&self, more: &str) -> String {
        let (file, key) = (self.path("drop.feed"), self.key.public());
        format!("[feed.drop]\nfile = \"{}\"\npublic_keys = [\"{key}\"]\n{more}\n", file.display())
    }

    fn setup(&self, more: &str) -> Setup {
        penalties(Setup::default()).toml(&self.section(more))
    }
}

/// Penalties on, low for networks; clients are whom the proxy on loopback names.
fn penalties(setup: Setup) -> Setup {
    let keys =
        [("enabled", "true"), ("network_factor", "1"), ("restrict", "100"), ("disconnect", "5000"), ("ban", "9000")];
    let setup = keys.iter().fold(setup, |setup, (key, value)| setup.set(&format!("penalty.{key}"), value));
    setup.set("penalty.never_ban", "7.7.7.0/24").toml("[listen]\ntrusted_proxies = [\"127.0.0.0/8\"]\n")
}

/// A handshake from this address: 101, or the status and the code of the refusal.
fn knock(gateway: &Gateway, client: &str, token: &str) -> (u16, String) {
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: gateway.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: \
         13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: {client}\r\nAuthorization: Bearer \
         {token}\r\n\r\n"
    );
    let mut wire = Wire::plain(gateway.public).unwrap();
    wire.write(request).unwrap();
    let answer = wire.answer().unwrap();
    (answer.status, if answer.status == 101 { String::new() } else { answer.code() })
}

/// Somebody new each time: connections that end at once speak against their user.
fn good(gateway: &Gateway, client: &str) -> (u16, String) {
    static USER: AtomicUsize = AtomicUsize::new(0);
    knock(gateway, client, &tokens::good(&format!("user-{}", USER.fetch_add(1, Ordering::Relaxed))))
}

fn banned() -> (u16, String) {
    (403, "banned".to_owned())
}

fn in_() -> (u16, String) {
    (101, String::new())
}

fn matches(gateway: &Gateway, action: &str, mode: &str) -> f64 {
    gateway.metric(&format!("portcullis_feed_matches_total{{feed=\"drop\",action=\"{action}\",mode=\"{mode}\"}}"))
}

fn problem(rules: &Value) -> String {
    assert_eq!(rules["lastReload"]["ok"], false, "{rules}");
    rules["lastReload"]["problems"][0].as_str().unwrap().to_owned()
}

#[test]
fn who_is_listed_is_refused_or_charged_before_any_signature_check_and_who_is_never_banned_is_left_alone() {
    let compiler = Compiler::new();
    let said = compiler.compile(LIST, &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let row = &said.rows()[0];
    assert_eq!((&row["networks"], &row["reserved"], &row["duplicates"]), (&json!(3), &json!(1), &json!(1)), "{row}");
    let gateway = Gateway::start(&compiler.setup("points = 500\nblock_from = 80"));
    // whatever the token is worth: nobody looks at it
    for token in [&tokens::good("ada"), "nonsense"] {
        assert_eq!(knock(&gateway, "5.5.5.5", token), banned());
    }
    assert_eq!(knock(&gateway, "::ffff:5.5.5.5", "nonsense"), banned());
    assert_eq!(gateway.metric("portcullis_handshakes_total{code=\"unauthenticated\"}"), 0.);
    assert_eq!((good(&gateway, "5.5.5.6"), good(&gateway, "8.8.8.8")), (in_(), in_()));
    // 40 of 100 times 500 are 200 points, and 100 restrict; the first handshake may be over before its points count
    wait::until("the charge", || (good(&gateway, "6.6.1.1") == (403, "restricted".to_owned())).then_some(()));
    assert_eq!(good(&gateway, "9.9.9.9"), in_(), "each address has an account of its own");
    assert_eq!((good(&gateway, "7.7.7.7"), good(&gateway, "7.7.7.7")), (in_(), in_()));
    assert_eq!((matches(&gateway, "block", "enforced"), matches(&gateway, "block", "spared")), (3., 2.));

    let health = gateway.health();
    let feed = &health["feeds"][0];
    assert_eq!((&feed["feed"], &feed["version"], &feed["entries"]), (&json!("drop"), &row["version"], &json!(3)));
    assert!(feed["age"].as_u64().unwrap() < 600_000 && feed["left"].as_u64().unwrap() > 6 * 86_400_000, "{feed}");
    let version = gateway.metric("portcullis_feed_version{feed=\"drop\"}");
    assert!((version - row["version"].as_f64().unwrap()).abs() < 1.);
    assert!(gateway.metric("portcullis_feed_left_seconds{feed=\"drop\"}") > 6. * 86_400.);
    let logged = gateway.events().into_iter().filter(|event| event["event"] == "feed_matched");
    let blocked: Vec<Value> = logged.filter(|event| event["client"] == "5.5.5.5").collect();
    assert_eq!(blocked.len(), 1, "once for each address, however often it comes: {blocked:?}");
    assert_eq!((&blocked[0]["network"], &blocked[0]["score"]), (&json!("5.5.5.5/32"), &json!(90)));
}

#[test]
fn a_dry_run_counts_and_a_reload_takes_what_is_newer_and_nothing_else() {
    let compiler = Compiler::new();
    assert_eq!(compiler.compile(LIST, &[]).code, 0);
    let gateway = Gateway::start(&compiler.setup("points = 500\nblock_from = 80\ndry_run = true"));
    assert_eq!((good(&gateway, "5.5.5.5"), good(&gateway, "6.6.1.1")), (in_(), in_()));
    assert_eq!((matches(&gateway, "block", "dry_run"), matches(&gateway, "score", "dry_run")), (1., 1.));
    gateway.rewrite(&compiler.setup("points = 500\nblock_from = 80"));
    assert_eq!(gateway.reload()["lastReload"]["ok"], true);
    assert_eq!(good(&gateway, "5.5.5.5"), banned());
    let version = |gateway: &Gateway| gateway.health()["feeds"][0]["version"].as_u64().unwrap();
    let first = version(&gateway);

    // the same file again, and a newer one
    let old = std::fs::read(compiler.path("drop.feed")).unwrap();
    assert_eq!(gateway.reload()["lastReload"]["ok"], true);
    let said = compiler.compile("5.5.5.6,90\n6.6.0.0/16,40\n", &[]);
    assert_eq!((said.code, &said.rows()[0]["before"]), (0, &json!(3)), "{said:?}");
    assert_eq!(gateway.reload()["lastReload"]["ok"], true);
    let second = version(&gateway);
    assert!(second > first);
    assert_eq!((good(&gateway, "5.5.5.5"), good(&gateway, "5.5.5.6")), (in_(), banned()));

    // nothing else: what is in force stays
    let mut forged = std::fs::read(compiler.path("drop.feed")).unwrap();
    forged[60] ^= 1;
    for (file, why) in [
        (old, "is not newer than the one in force"),
        (forged, "was changed since it was signed"),
        (b"5.5.5.7\n".to_vec(), "is not a compiled feed"),
    ] {
        std::fs::write(compiler.path("drop.feed"), file).unwrap();
        let why_not = problem(&gateway.reload());
        assert!(why_not.starts_with("feed.drop.file: ") && why_not.contains(why), "{why_not}");
    }
    for (name, at, good_for, why) in [
        ("drop", second + 10_000, -5_000, "is over since 5 s"),
        ("other", second + 10_000, 60_000, "another feed"),
        ("drop", second, 60_000, "not newer"),
    ] {
        compiler.signed(name, at, good_for);
        let why_not = problem(&gateway.reload());
        assert!(why_not.contains(why), "{why_not}");
    }
    std::fs::remove_file(compiler.path("drop.feed")).unwrap();
    assert!(problem(&gateway.reload()).contains("does not exist"));
    assert_eq!((version(&gateway), good(&gateway, "5.5.5.6")), (second, banned()));

    // what is over says nothing any more, and the node says so
    compiler.signed("drop", second + 10_000, 1_500);
    assert_eq!(gateway.reload()["lastReload"]["ok"], true);
    wait::until("its end", || {
        let health = gateway.health();
        let told = health["degraded"].to_string().contains("a feed of reputation is over");
        (told && health["feeds"][0]["over"] == true).then_some(())
    });
    assert_eq!(gateway.reload()["lastReload"]["ok"], true, "it does not stand in the way of other rules");
}

#[test]
fn a_gateway_does_not_start_with_a_feed_that_nobody_signed() {
    let compiler = Compiler::new();
    std::fs::write(compiler.path("drop.feed"), "5.5.5.5\n").unwrap();
    let mut gateway = Gateway::launch(&compiler.setup("points = 500"));
    assert_eq!(gateway.wait_exit(Duration::from_secs(10)).code(), Some(64));
    assert!(gateway.log().contains("feed.drop.file: names a file that is not a compiled feed"), "{}", gateway.log());
}

#[test]
fn lists_that_do_not_pass_the_gates_leave_the_file_as_it_is() {
    let compiler = Compiler::new();
    assert_eq!(compiler.compile(LIST, &[]).code, 0);
    let before = std::fs::read(compiler.path("drop.feed")).unwrap();
    let many: String = (0..200).map(|n| format!("9.9.9.{n},50\n")).collect();
    for (list, more, why) in [
        ("<html>\n<p>\n", &[][..], "lines are wrong"),
        ("4.0.0.0/8,50\n", &[], "is wider than /10"),
        ("0.0.0.0/0,50\n", &[], "holds a reserved range"),
        ("127.0.0.1,50\n", &[], "no network is left"),
        (&many, &[], "3 has"),
    ] {
        let said = compiler.compile(list, more);
        let why = if why == "3 has" { "200 networks, where the version before has 3" } else { why };
        assert!(said.code == 65 && said.err.contains(why) && said.err.contains("drop.feed is as it was"), "{said:?}");
        assert_eq!(std::fs::read(compiler.path("drop.feed")).unwrap(), before);
    }
    assert_eq!(compiler.compile(&many, &["--fresh"]).code, 0);

    let shown = compiler.run(&["show", "drop.feed", "--signed-by", &compiler.key.public().to_string()]);
    let row = &shown.rows()[0];
    assert_eq!((&row["feed"], &row["networks"], &row["signature"]), (&json!("drop"), &json!(200), &json!("good")));
    let shown = compiler.run(&["show", "drop.feed", "--address", "9.9.9.7"]);
    assert_eq!(shown.rows()[0]["listed"], json!([{"network": "9.9.9.7/32", "score": 50}]), "{shown:?}");
    let other = Who::Admin.key().public().to_string();
    let shown = compiler.run(&["show", "drop.feed", "--signed-by", &other]);
    assert!(shown.code == 65 && shown.err.contains("not believed"), "{shown:?}");
    // somebody else's file is not overwritten by accident
    std::fs::write(compiler.path("drop.feed"), "precious").unwrap();
    assert_eq!(compiler.compile(LIST, &[]).code, 64);
    assert_eq!(std::fs::read(compiler.path("drop.feed")).unwrap(), b"precious");
    let left: Vec<_> = std::fs::read_dir(compiler.dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing is left lying about: {left:?}");
}

#[test]
fn a_fleet_charges_an_address_once_and_says_which_feed_of_which_version_said_what() {
    let compiler = Compiler::new();
    assert_eq!(compiler.compile(LIST, &[]).code, 0);
    let section = compiler.section("points = 100");
    let fleet = Fleet::start(|setup| penalties(setup).toml(&operators()).toml(&section));
    let explained = |who: &str| {
        let (code, rows) = Gatectl::of(Who::Viewer, &fleet.redis).json(&["policy", "explain", who]);
        assert_eq!((code, rows.len()), (0, 2), "{rows:?}");
        rows
    };
    assert_eq!(good(&fleet.a, "6.6.1.1"), in_());
    let charged = wait::until("the charge", || {
        let rows = explained("6.6.1.1");
        rows[0]["account"].is_object().then_some(rows)
    });
    let fact = &charged[0]["account"]["facts"][0];
    assert_eq!((&fact["what"], &fact["weight"], &fact["node"]), (&json!("feed drop"), &json!(40.0), &json!("gw-a")));
    let version = fleet.a.health()["feeds"][0]["version"].clone();
    for row in &charged {
        let said = json!([{"feed": "drop", "version": version, "network": "6.6.0.0/16", "score": 40, "action": "score",
                           "mode": "enforced", "points": 40.0}]);
        assert_eq!(row["feeds"], said);
    }
    // again here, and on the other node, which has never seen it
    for node in [&fleet.a, &fleet.b, &fleet.b] {
        assert_eq!(good(node, "6.6.1.1"), in_());
    }
    assert_eq!(good(&fleet.b, "6.6.1.9"), in_());
    wait::until("what came later is on its account", || explained("6.6.1.9")[0]["account"].is_object().then_some(()));
    assert_eq!(explained("6.6.1.1")[0]["account"]["facts"].as_array().unwrap().len(), 1);
    assert_eq!(explained("8.8.8.8")[0]["feeds"], json!([]));
    let text = Gatectl::of(Who::Viewer, &fleet.redis).run(&["policy", "explain", "6.6.1.1"]).out;
    assert!(text.contains("6.6.0.0/16") && text.contains("drop"), "{text}");
    assert_eq!(Gatectl::of(Who::Admin, &fleet.redis).json(&["reload"]).0, 0);
}
