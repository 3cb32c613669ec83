//! The `dev` profile: one process on loopback with rooms, types and an issuer to play with.

use std::path::Path;

use super::error::{ConfigErrors, Report};
use super::model::{Config, KeySource, OriginRule};
use super::secret::Secret;
use super::section::shortest_secret;

/// What differs from the defaults. The secret is a placeholder; the real one never becomes text.
const PROFILE: &str = r#"
[node]
id = "dev"
[tls]
mode = "off"
[origin]
missing = "allow"
[log]
json = false

[[auth.issuer]]
name = "dev"
issuer = "https://portcullis.dev"
audience = "portcullis"
algorithms = ["HS256"]
secret = "................................"
roles_claim = "roles"
tenant_claim = "tenant"

# a demo's clients share one address, and its page tries everything at once
[limit.connect]
rate = "120/min"
burst = 120
[limit.message]
rate = "600/min"
burst = 120

[[room]]
pattern = "lobby"
join = ["member"]
publish = ["member"]
presence = true
history = { count = 50, age = "10m" }
[[room]]
pattern = "room.*"
join = ["member"]
publish = ["member"]
presence = true
history = { count = 50, age = "10m" }
[[room]]
pattern = "team.{t}"
where = "t in claims.teams"
join = ["member"]
publish = ["member"]

[message.chat]
roles = ["member"]
route = "room"
rate = "5/s"
burst = 10
leaks = "mask"
[message.post]
roles = ["member"]
route = "room"
rate = "5/s"
burst = 10
html = ["html"]
path_fields = ["file"]
[message.notification]
roles = ["admin"]
route = "room"
[message.direct]
roles = ["member"]
route = "user"
users = "same_tenant"
"#;

impl Config {
    /// The configuration of `portcullis-gateway dev`: memory store, no TLS, both ports on 127.0.0.1, one issuer `dev`
    /// (HS256 with `secret`), the demo's own pages as origins. Reads no file and no environment.
    ///
    /// # Errors
    /// When the secret is shorter than 32 bytes, or the ports are the same.
    pub fn dev(secret: Secret, public: u16, private: u16) -> Result<Self, ConfigErrors> {
        let ports = [("PUBLIC", public), ("PRIVATE", private)];
        let env = ports.map(|(key, port)| (format!("PORTCULLIS__LISTEN__{key}"), format!("127.0.0.1:{port}")));
        let mut config = Self::parse(Some(PROFILE), env.into_iter(), Path::new("/"))?;
        let report = Report::default();
        for issuer in &mut config.auth.issuer {
            if secret.expose().len() < shortest_secret(&issuer.algorithms) {
                report
                    .refuse("auth.issuer[0].secret", "must be at least 32 bytes, as long as the hash (RFC 7518 §3.2)");
            }
            issuer.keys = KeySource::Secret(secret.clone());
        }
        let page =
            |host: &str| OriginRule { scheme: "http".into(), host: host.into(), port: public, subdomains: false };
        config.origin.allow = vec![page("127.0.0.1"), page("localhost")];
        config.dev = true;
        report.finish(Some(config))
    }
}
