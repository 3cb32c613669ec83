//! The loader as operators meet it: whole files in, the model or every error out.

/// What is right: defaults, layers, files.
mod right;

/// What is wrong: one row a mistake.
mod wrong;

/// What nobody would write.
mod hostile;

/// The environment over the file.
mod environment;

/// `print-config` and the example file against the loader.
mod contract;

/// What a coordinator reads.
mod coordinator;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::error::ConfigErrors;
use super::model::Config;

/// The least that is legal, without TLS.
const BASE: &str = r#"
[node]
id = "gw-1"
[tls]
mode = "off"
[origin]
allow = ["https://app.example"]
[[auth.issuer]]
name = "app"
issuer = "https://id.example"
audience = "portcullis"
algorithms = ["HS256"]
secret = "0123456789abcdef0123456789abcdef"
"#;

const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n";

/// A directory with the files that the configurations of these tests name.
fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let files = [
        ("cert.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ("public.pem", PUBLIC_KEY),
        ("secret", "0123456789abcdef0123456789abcdef\r\n"),
        ("short", "swordfish\n"),
        ("jwks.json", r#"{"keys": [{"kty": "OKP"}]}"#),
        ("empty.json", r#"{"keys": []}"#),
        ("bans.txt", "# bad people\n192.0.2.0/24\n2001:db8::1 # one\n\nuser app:eve\n"),
        ("bad-bans.txt", "192.0.2.0/24\neverybody\n"),
        ("object.json", r#"{"type": "object"}"#),
        ("twice.json", r#"{"type": "object", "type": "string"}"#),
    ];
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn load_in(dir: &Path, text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let host = ("HOSTNAME".to_owned(), "host-7".to_owned());
    Config::parse(Some(text), env.chain([host]), dir)
}

fn load(text: &str) -> Result<Config, ConfigErrors> {
    load_in(directory().path(), text, &[])
}

/// [`BASE`] with one line of it replaced, and more text behind it.
fn changed(from: &str, to: &str, more: &str) -> String {
    assert!(BASE.contains(from), "{from}");
    BASE.replacen(from, to, 1) + more
}
