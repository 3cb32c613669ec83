//! What a demo token says.

use std::time::Duration;

use portcullis_common::clock::UnixMs;
use serde::Serialize;

/// How long a demo token lives.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// The claims of a demo token, ready to be signed with the dev profile's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DemoClaims {
    /// The dev issuer.
    pub iss: String,
    /// The dev audience.
    pub aud: String,
    /// The name as a slug: the same name is the same user.
    pub sub: String,
    /// The name as it was typed.
    pub name: String,
    /// `member`, and `admin` where asked for.
    pub roles: Vec<&'static str>,
    /// The demo's one team, so that `team.blue` is open and `team.red` is not.
    pub teams: Vec<&'static str>,
    /// The demo's one tenant.
    pub tenant: &'static str,
    /// Seconds.
    pub iat: u64,
    /// Seconds; [`TOKEN_LIFE`] after `iat`.
    pub exp: u64,
    /// Unique.
    pub jti: String,
}

impl DemoClaims {
    /// The claims for a checked name (see [`super::DemoBackend::mint`]).
    #[must_use]
    pub fn new(iss: &str, aud: &str, name: &str, admin: bool, now: UnixMs, jti: String) -> Self {
        let iat = now.0 / 1000;
        Self {
            iss: iss.to_owned(),
            aud: aud.to_owned(),
            sub: slug(name),
            name: name.to_owned(),
            roles: if admin { vec!["member", "admin"] } else { vec!["member"] },
            teams: vec!["blue"],
            tenant: "demo",
            iat,
            exp: iat.saturating_add(TOKEN_LIFE.as_secs()),
            jti,
        }
    }

    /// `exp` in milliseconds, as [`super::MintedToken`] wants it.
    #[must_use]
    pub fn expires_at(&self) -> UnixMs {
        UnixMs(self.exp.saturating_mul(1000))
    }
}

/// Lower-case letters and digits, everything else as single hyphens: `Ada Łovelace!` → `ada-łovelace`.
fn slug(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(out.trim_end_matches('-').len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_subject_without_spaces_or_signs() {
        assert_eq!(slug("  Ada   Łovelace! "), "ada-łovelace");
        assert_eq!(slug("grace"), "grace");
        assert_eq!(slug("-- R2-D2 --"), "r2-d2");
    }

    #[test]
    fn a_token_lives_one_hour_and_only_an_admin_is_admin() {
        let member = DemoClaims::new("i", "a", "Ada", false, UnixMs(5_999), "j".into());
        assert_eq!((member.iat, member.exp), (5, 3605));
        assert_eq!(member.expires_at(), UnixMs(3_605_000));
        assert_eq!(member.roles, ["member"]);
        let admin = DemoClaims::new("i", "a", "Ada", true, UnixMs(0), "j".into());
        assert_eq!(admin.roles, ["member", "admin"]);
    }
}
