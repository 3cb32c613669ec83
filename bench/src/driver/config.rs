//! What a gateway of the benchmarks is configured to do: one worker, one room pattern, two message types, and as much policy
//! as a play asks for.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::server::Ports;
use crate::Outcome;

/// How much of the product is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policies {
    /// What an application gets that configures nothing but its types: tokens, CSRF, roles, signatures, control characters,
    /// limits of a connection (so high here that they never refuse).
    #[default]
    Defaults,
    /// Besides: a condition, a schema, HTML fields, normal form, a rate of the type, limits by user, address and type that the
    /// fleet counts, penalties, and the guard on the way out with masking of leaks.
    All,
    /// As little as can be configured: no CSRF token, no signatures, strings as they are.
    Off,
    /// Defaults, and one limit by user of 100 a second, burst 200.
    Heavy,
    /// Defaults, and one limit by user of 100 a minute, burst 20.
    Quiet,
    /// Two types whose messages cost much, one of them of low priority, and a bound on what may wait for clients.
    Overload,
}

/// How a gateway is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Profile {
    /// What it checks.
    pub policies: Policies,
    /// Whether it ends TLS.
    pub tls: bool,
}

const CHAT_SCHEMA: &str = r#"{"type":"object","required":["text"],"properties":{"seq":{"type":"integer"},"text":{"type":"string","maxLength":65536}}}"#;

/// The certificate of the TLS plays, its key, and what the generator trusts.
pub const CERTIFICATE: &str = "tls.pem";
const KEY: &str = "tls-key.pem";

/// Writes the files that a configuration names.
///
/// # Errors
/// They can't be written, or no certificate can be made.
pub fn files(folder: &Path) -> Outcome<()> {
    fs::write(folder.join("chat.schema.json"), CHAT_SCHEMA)?;
    if !folder.join(CERTIFICATE).exists() {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        fs::write(folder.join(CERTIFICATE), made.cert.pem())?;
        fs::write(folder.join(KEY), made.signing_key.serialize_pem())?;
    }
    Ok(())
}

/// The file of one gateway.
#[must_use]
pub fn toml(ports: Ports, folder: &Path, (id, store): (&str, &str), profile: Profile) -> String {
    let (public, private) = (ports.public, ports.private);
    let folder = folder.display();
    let tls = if profile.tls {
        format!("mode = \"required\"\ncert_file = \"{folder}/{CERTIFICATE}\"\nkey_file = \"{folder}/{KEY}\"")
    } else {
        "mode = \"off\"".to_owned()
    };
    let mut text = format!(
        r#"# written by portcullis-bench
[node]
id = "{id}"
workers = 1

[listen]
public = "{public}"
private = "{private}"
diagnostics_echo = true
max_connections = 19000
max_connections_per_ip = 19000

[tls]
{tls}

[origin]
missing = "allow"

[store]
{store}

[log]
filter = "warn"

[[auth.issuer]]
name = "bench"
issuer = "https://bench.invalid"
audience = "portcullis"
algorithms = ["HS256"]
secret_file = "{folder}/hs256.secret"
roles_claim = "roles"
user_prefix = "hs:"

[[auth.issuer]]
name = "bench-ed"
issuer = "https://ed.bench.invalid"
audience = "portcullis"
algorithms = ["EdDSA"]
public_key_file = "{folder}/ed25519.pub.pem"
roles_claim = "roles"
user_prefix = "ed:"

[limit.bytes]
rate = "64MiB/s"
burst = "1GiB"

"#
    );
    for name in ["connect", "message", "login", "control"] {
        // the most that the configuration accepts: policy runs, and never refuses
        let _ = write!(text, "[limit.{name}]\nrate = \"1000000/s\"\nburst = 1000000\n\n");
    }
    text.push_str(policies(profile.policies));
    if profile.policies == Policies::All {
        let _ = write!(text, "schema = \"{folder}/chat.schema.json\"\n\n{FLEET_LIMITS}");
    }
    if profile.policies == Policies::Overload {
        text.push_str(&costly("work", "normal", &folder));
        text.push_str(&costly("bulk", "low", &folder));
    }
    text
}

/// A type whose messages cost the gateway much.
fn costly(name: &str, priority: &str, folder: &std::path::Display<'_>) -> String {
    format!(
        r#"[message.{name}]
roles = ["member"]
route = "room"
echo = false
priority = "{priority}"
html = ["text"]
nfc = true
schema = "{folder}/chat.schema.json"
"#
    )
}

/// The rest of the file; a schema of `[message.chat]` may follow.
fn policies(policies: Policies) -> &'static str {
    match policies {
        Policies::Defaults => DEFAULTS,
        Policies::All => ALL,
        Policies::Off => OFF,
        Policies::Heavy => HEAVY,
        Policies::Quiet => QUIET,
        Policies::Overload => OVERLOAD,
    }
}

const DEFAULTS: &str = r#"[penalty]
enabled = false
[[room]]
pattern = "room.*"
join = ["member"]
publish = ["member"]
[message.direct]
roles = ["member"]
route = "user"
users = "any"
echo = false
[message.chat]
roles = ["member"]
route = "room"
"#;

const OFF: &str = r#"[penalty]
enabled = false
[csrf]
exempt = ["chat", "direct"]
[signatures]
builtin = false
[[room]]
pattern = "room.*"
join = ["*"]
publish = ["*"]
[message.direct]
roles = ["*"]
route = "user"
users = "any"
echo = false
controls = "keep"
signatures = "off"
[message.chat]
roles = ["*"]
route = "room"
controls = "keep"
signatures = "off"
"#;

const ALL: &str = r#"[penalty]
enabled = true
restrict = 100000
disconnect = 200000
ban = 300000
[leaks]
default = "mask"
[[room]]
pattern = "room.*"
where = "'member' in roles"
join = ["member"]
publish = ["member"]
[message.direct]
roles = ["member"]
route = "user"
users = "any"
echo = false
outbound = ["size", "sanitise"]
[message.chat]
roles = ["member"]
route = "room"
where = "'member' in roles"
rate = "1000000/s"
burst = 1000000
html = ["text"]
nfc = true
outbound = ["size", "schema", "sanitise"]
leaks = "mask"
"#;

/// So high that they count and never refuse; how often the store is asked depends on what is said, not on these.
const FLEET_LIMITS: &str = r#"[limit.by_user]
rate = "1000000/s"
burst = 1000000
per = "user"
types = ["chat"]
[limit.by_address]
rate = "1000000/s"
burst = 1000000
per = "ip"
types = ["chat"]
[limit.by_type]
rate = "1000000/s"
burst = 1000000
per = "type"
types = ["chat"]
"#;

const HEAVY: &str = r#"[session]
max_per_user = 1000
[anomaly]
restrict = 1000000
disconnect = 1000000
[limit.heavy]
rate = "100/s"
burst = 200
per = "user"
types = ["chat"]
[[room]]
pattern = "room.*"
join = ["member"]
publish = ["member"]
[message.chat]
roles = ["member"]
route = "room"
"#;

const QUIET: &str = r#"[limit.heavy]
rate = "100/min"
burst = 20
per = "user"
types = ["chat"]
[[room]]
pattern = "room.*"
join = ["member"]
publish = ["member"]
[message.chat]
roles = ["member"]
route = "room"
"#;

/// Its `queues` are what the budget for resident memory counts on: [`super::budget::QUEUES_MIB`].
const OVERLOAD: &str = r#"[penalty]
enabled = false
[overload]
queues = "64MiB"
[[room]]
pattern = "room.*"
join = ["member"]
publish = ["member"]
"#;

#[cfg(test)]
mod tests {
    use portcullis_common::config::model::Config;

    use super::*;

    #[test]
    fn every_configuration_that_is_written_is_one_that_the_gateway_takes() {
        let folder = std::env::temp_dir().join(format!("portcullis-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        files(&folder).expect("files");
        for (name, text) in [
            ("hs256.secret", "0123456789abcdef0123456789abcdef"),
            ("ed25519.pub.pem", super::super::server::ED25519_PUBLIC),
        ] {
            fs::write(folder.join(name), text).expect("a file");
        }
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        for level in
            [Policies::Defaults, Policies::All, Policies::Off, Policies::Heavy, Policies::Quiet, Policies::Overload]
        {
            for tls in [false, true] {
                let ports = Ports { public: at(1), private: at(2) };
                let text = toml(ports, &folder, ("n", "url = \"memory:\""), Profile { policies: level, tls });
                let parsed = Config::parse(Some(&text), std::iter::empty(), &folder);
                assert!(parsed.is_ok(), "{level:?} {tls}: {:?}", parsed.err());
            }
        }
        let _ = fs::remove_dir_all(&folder);
    }
}
