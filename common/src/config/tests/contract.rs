use std::collections::BTreeSet;

use super::super::known_keys;
use super::super::secret::Secret;
use super::super::section::{SCOPES, SECTIONS};
use super::*;

const EXAMPLE: &str = include_str!("../../../../portcullis.example.toml");

/// Puts a real secret where the print has none.
fn with_secret(printed: &str) -> String {
    printed.replace("\"[secret]\"", "\"0123456789abcdef0123456789abcdef\"")
}

/// Something of every kind, behind the issuer of [`BASE`].
const RICH: &str = r#"
roles_claim = "groups"
tenant_claim = "org"
limits_claim = "plan.limits"
cookie = "__Host-token"
user_prefix = "app:"
[[auth.issuer]]
name = "b"
issuer = "https://b.example/\"quoted\""
audience = "b"
algorithms = ["PS256", "RS512"]
public_key_file = "public.pem"
user_prefix = "b:"
[[auth.issuer]]
name = "c"
issuer = "c"
audience = "c"
algorithms = ["EdDSA"]
jwks_file = "jwks.json"
user_prefix = "c:"
[session]
on_limit = "evict_oldest"
idle_timeout = "90s"
[csrf]
exempt = ["chat"]
[limit.bytes]
rate = "1500KB/s"
burst = 70001
per = "connection"
[[room]]
pattern = "team.{t}"
where = '''t in claims.teams && "x" != 'y\z' '''
join = ["*"]
history = { count = 3, age = "1500ms" }
[message."a.b"]
roles = ["x"]
route = "user"
users = "same_tenant"
rate = "7/h"
max_size = 1000
html = ["text", "a.b[]:escape", "$[].x:strip"]
path_fields = ["files[].name"]
controls = "refuse"
nfc = true
signatures = "off"
outbound = ["size", "schema", "sanitise"]
leaks = "block"
priority = "low"
schema = "object.json"
versions = ["1:object.json", "20:object.json"]
version_field = "v"
dry_run = ["schema", "rate"]
where = "claims.level > 3"
[limit.uploads]
rate = "7/h"
burst = 2
per = "tenant"
types = ["chat"]
rooms = ["team.{t}"]
roles = ["x"]
issuers = ["b"]
dry_run = true
[pipeline]
dry_run = ["csrf"]
[signatures]
builtin = false
file = "object.json"
[leaks]
default = "mask"
builtin = false
file = "object.json"
[anomaly]
half_life = "90s"
restrict = 7
disconnect = 8
[penalty]
enabled = false
dry_run = true
half_life = "90s"
restrict = 7
disconnect = 8
ban = 9
network_factor = 3
delay = "2s"
max_delay = "5s"
memory = "7s"
ban_for = "8s"
auto_bans = "3/h"
never_ban = ["10.0.0.0/8", "::1/128"]
never_ban_users = ["a", "b"]
[overload]
enabled = false
memory = "3MiB"
queues = "5MiB"
lag = "70ms"
dry_run = true
[stuffing]
enabled = false
dry_run = true
window = "90s"
accounts = 7
refusals = 11
network_accounts = 9
addresses = 5
per_user = 2
keep_out = "2s"
max_keep_out = "5s"
budget = "3/h"
never = ["10.0.0.0/8"]
[bans]
file = "bans.txt"
[feed."drop.v4"]
file = "drop.feed"
public_keys = ["+yERvmyCgqfTDdFdST+v+8c4mv49fXSZ4j3lFxRmc0I="]
points = 7
block_from = 80
dry_run = true
[message.chat]
roles = ["*"]
route = "room"
echo = false
[[operator]]
name = "alice"
role = "admin"
public_key = "+yERvmyCgqfTDdFdST+v+8c4mv49fXSZ4j3lFxRmc0I="
"#;

#[test]
fn what_is_printed_loads_again_and_means_the_same() {
    let dir = directory();
    let listen =
        "[listen]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nproxy_protocol = true\ndiagnostics_echo = true\n";
    let text =
        changed("[tls]\nmode = \"off\"", &format!("{listen}[tls]\nmode = \"upstream\"\nmin_version = \"1.3\""), RICH);
    let first = load_in(dir.path(), &text, &[]).unwrap();
    let printed = first.to_toml();
    assert!(!printed.contains("0123456789abcdef"), "the secret is printed");
    let second =
        load_in(Path::new("/elsewhere"), &with_secret(&printed), &[]).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(format!("{first:#?}"), format!("{second:#?}"));
    assert_eq!(printed, second.to_toml());
}

#[test]
fn the_dev_profile_prints_to_something_that_loads() {
    let dev = Config::dev(Secret::new(vec![1; 32]), 8080, 9090).unwrap();
    let again = load(&with_secret(&dev.to_toml())).unwrap();
    assert_eq!(dev.to_toml(), again.to_toml());
    assert!(!again.dev, "a file cannot say dev");
}

/// The keys written in a TOML text, commented out (`#key = …`) or not, in the words of [`known_keys`].
fn keys_of(text: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(head) = line.strip_prefix("[[").and_then(|l| l.split("]]").next()) {
            section = format!("{head}[]");
        } else if let Some(head) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
            let built_in = SCOPES.iter().any(|(name, _)| head == format!("limit.{name}"));
            section = match head.split_once('.') {
                Some(("message", _)) => "message.NAME".into(),
                Some(("limit", _)) if !built_in => "limit.NAME".into(),
                Some(("feed", _)) => "feed.NAME".into(),
                _ => head.to_owned(),
            };
        } else if let Some((key, value)) = line.split_once(" = ").filter(|(k, _)| !k.starts_with(' ')) {
            keys.insert(format!("{section}.{key}"));
            let inner = value.trim().strip_prefix('{').into_iter().flat_map(|v| v.split([',', '}']));
            let inner = inner.filter_map(|pair| pair.split_once('=').map(|(k, _)| k.trim().to_owned()));
            keys.extend(inner.map(|k| format!("{section}.{key}.{k}")));
        }
    }
    keys
}

#[test]
fn the_example_has_every_key_and_no_other() {
    let all = known_keys();
    let tables: Vec<&String> = all
        .iter()
        .filter(|k| {
            let beneath = |o: &String| o.strip_prefix(k.as_str()).is_some_and(|r| r.starts_with(['.', '[']));
            all.iter().any(beneath) && !k.ends_with("history")
        })
        .collect();
    let known: BTreeSet<String> = all.iter().filter(|k| !tables.contains(k)).cloned().collect();
    assert!(known.len() > 80, "{known:?}");
    assert_eq!(keys_of(EXAMPLE), known);
}

#[test]
fn every_known_section_is_in_the_list_that_variables_are_held_against() {
    let top: BTreeSet<String> = known_keys().into_iter().filter(|k| !k.contains('.')).collect();
    assert_eq!(top, SECTIONS.iter().map(|s| (*s).to_owned()).collect());
}

/// A directory with the files that the example names.
fn example_directory() -> TempDir {
    let dir = directory();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("tls")).unwrap();
    std::fs::create_dir(at("keys")).unwrap();
    std::fs::create_dir(at("schemas")).unwrap();
    let copies = [
        ("cert.pem", "tls/cert.pem"),
        ("key.pem", "tls/key.pem"),
        ("public.pem", "keys/issuer.pem"),
        ("jwks.json", "keys/jwks.json"),
        ("secret", "keys/secret"),
        ("bans.txt", "bans.txt"),
        ("object.json", "schemas/chat.json"),
        ("object.json", "schemas/chat-2.json"),
        ("object.json", "signatures.toml"),
        ("object.json", "leaks.toml"),
    ];
    for (from, to) in copies {
        std::fs::copy(at(from), at(to)).unwrap();
    }
    dir
}

#[test]
fn the_example_loads_and_what_it_calls_a_default_is_one() {
    let dir = example_directory();
    let example = load_in(dir.path(), EXAMPLE, &[]).unwrap_or_else(|e| panic!("{e}")).to_toml();
    let mode = "cert_file = \"cert.pem\"\nkey_file = \"key.pem\"";
    let plain = load_in(dir.path(), &changed("mode = \"off\"", mode, ""), &[]).unwrap().to_toml();
    let settled = |text: &str| -> BTreeSet<String> {
        let mut section = "";
        let mut lines = BTreeSet::new();
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let own = ["cert_file", "key_file", "allow", "id "].iter().any(|k| line.starts_with(k));
            let named = ["[[", "[message.", "[feed.", "[limit.\""].iter().any(|head| section.starts_with(head));
            if !own && !named && !line.is_empty() {
                lines.insert(format!("{section} {line}"));
            }
        }
        lines
    };
    assert_eq!(settled(&example), settled(&plain));
}

#[test]
fn each_line_that_the_example_comments_out_loads_when_it_is_not() {
    let dir = example_directory();
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let mut tried = 0;
    for (n, line) in lines.iter().enumerate() {
        let Some(active) = line.strip_prefix('#').filter(|l| l.contains(" = ") && !l.starts_with(' ')) else {
            continue;
        };
        // Another source of keys, or what asks for an algorithm of its own, replaces the example's.
        let source = ["secret", "public_key", "jwks"].iter().any(|k| active.starts_with(k));
        let mut text: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        text[n] = active.to_owned();
        if source {
            text.iter_mut().filter(|l| l.starts_with("jwks_url")).for_each(String::clear);
        }
        if ["username", "state_dir", "password_file", "sentinel_", "ca_file", "cert_file", "key_file"]
            .iter()
            .any(|k| active.starts_with(k))
        {
            // of use to a Redis only, and a certificate only with its key
            let needed = ["#cluster_key_file", "#naming_key_file", "#cert_file", "#key_file"];
            for line in text.iter_mut().filter(|l| needed.iter().any(|k| l.starts_with(k))) {
                line.remove(0);
            }
            text.iter_mut()
                .filter(|l| *l == "url = \"memory:\"")
                .for_each(|l| *l = "url = \"rediss-sentinel://h/m\"".into());
        }
        let mut text = text.join("\n");
        if active.starts_with("secret") {
            text = text.replace("algorithms = [\"ES256\"]", "algorithms = [\"HS256\"]");
        }
        load_in(dir.path(), &text, &[]).unwrap_or_else(|e| panic!("{active}\n{e}"));
        tried += 1;
    }
    assert!(tried >= 8, "only {tried} lines were tried");
}
