//! The Origin allow-list: which browser pages may connect (RFC 6454; CWE-1385, cross-site WebSocket hijacking).
//!
//! An origin is compared in its parts, never as text with a prefix or a suffix. Refused whatever the list says: `null`,
//! several origins in one field, a path, user information, an IPv6 literal, Unicode (browsers send Punycode), a scheme
//! that is not in lower case (browsers never send another), anything but `http` and `https`.

use std::fmt;

use portcullis_common::config::model::{Origin, OriginRule};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use super::authority;
use super::facts::Head;

/// An origin: scheme, host, port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WebOrigin {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Lower-case ASCII.
    pub host: String,
    /// The scheme's default filled in.
    pub port: u16,
}

impl fmt::Display for WebOrigin {
    /// The serialisation of RFC 6454 §6.2: the default port is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.port == default_port(self.scheme) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Judges the `Origin` field. `Ok(None)`: not sent, and the configuration allows that.
///
/// # Errors
/// `origin_denied`; `malformed` when the field is there more than once.
pub fn check(head: &Head<'_>, rules: &Origin) -> Result<Option<WebOrigin>, Reject> {
    let Some(value) = head.single("origin")? else {
        return if rules.missing_allowed { Ok(None) } else { Err(denied("no Origin")) };
    };
    let origin = std::str::from_utf8(value).ok().and_then(parse).ok_or_else(|| denied("Origin is not a web origin"))?;
    if rules.allow.iter().any(|rule| matches(rule, &origin)) {
        Ok(Some(origin))
    } else {
        Err(denied("Origin is not on the list"))
    }
}

/// Parses one serialised origin; `None` when it is anything else.
#[must_use]
pub fn parse(text: &str) -> Option<WebOrigin> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = ["https", "http"].into_iter().find(|known| *known == scheme)?;
    let authority = authority::parse(rest).filter(|a| !a.literal)?;
    Some(WebOrigin {
        scheme,
        host: authority.host.to_ascii_lowercase(),
        port: authority.port.unwrap_or(default_port(scheme)),
    })
}

/// Whether a rule holds an origin. A wildcard holds every name below the domain, at any depth, and not the domain.
#[must_use]
pub fn matches(rule: &OriginRule, origin: &WebOrigin) -> bool {
    if rule.scheme != origin.scheme || rule.port != origin.port {
        return false;
    }
    if !rule.subdomains {
        return rule.host.eq_ignore_ascii_case(&origin.host);
    }
    let Some(at) = origin.host.len().checked_sub(rule.host.len()) else { return false };
    let Some((below, domain)) = origin.host.split_at_checked(at) else { return false };
    domain.eq_ignore_ascii_case(&rule.host) && below.len() > 1 && below.ends_with('.')
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

fn denied(detail: &'static str) -> Reject {
    Reject::new(Code::OriginDenied, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(scheme: &str, host: &str, port: u16, subdomains: bool) -> OriginRule {
        OriginRule { scheme: scheme.into(), host: host.into(), port, subdomains }
    }

    fn allowed(text: &str) -> bool {
        let rules = Origin {
            allow: vec![
                rule("https", "app.example", 443, false),
                rule("http", "localhost", 3000, false),
                rule("https", "team.example", 443, true),
                rule("https", "xn--bcher-kva.example", 443, false),
            ],
            missing_allowed: false,
        };
        let head =
            Head { method: "GET", target: "/ws".into(), version: (1, 1), headers: vec![("Origin", text.as_bytes())] };
        match check(&head, &rules) {
            Ok(origin) => origin.is_some(),
            Err(reject) => {
                assert_eq!(reject.code, Code::OriginDenied, "{text}");
                false
            }
        }
    }

    #[test]
    fn listed_origins_pass_with_and_without_the_default_port() {
        for good in [
            "https://app.example",
            "https://app.example:443",
            "https://APP.Example",
            "http://localhost:3000",
            "https://a.team.example",
            "https://a.b.team.example",
            "https://xn--bcher-kva.example",
        ] {
            assert!(allowed(good), "{good}");
        }
    }

    #[test]
    fn look_alikes_are_denied() {
        for bad in [
            "",
            "null",
            "*",
            "app.example",
            "//app.example",
            "http://app.example",
            "http://app.example:443",
            "wss://app.example",
            "HTTPS://app.example",
            "Https://app.example",
            "https:app.example",
            "https:/app.example",
            "https:///app.example",
            "https://app.example/",
            "https://app.example/x",
            "https://app.example?",
            "https://app.example#",
            "https://app.example.",
            "https://app.example:444",
            "https://app.example:",
            "https://app.example:0443",
            "https://app.example:443:443",
            "https://app.example.evil.com",
            "https://evil.com/app.example",
            "https://evil.com#https://app.example",
            "https://evilapp.example",
            "https://sub.app.example",
            "https://app.example@evil.com",
            "https://user@app.example",
            "https://app%2eexample",
            "https://app.examp1e",
            "https://аpp.example",
            "https://bücher.example",
            "https://xn--pp-8ka.example",
            "https://app.example, https://app.example",
            "https://app.example https://app.example",
            "https://app.example\u{0}",
            "https://team.example",
            "https://.team.example",
            "https://a..team.example",
            "https://evilteam.example",
            "https://a.team.example.evil.com",
            "https://a.team.example:8443",
            "https://[::1]",
            "https://[::1]:3000",
            "http://localhost",
            "http://localhost.:3000",
            "http://127.0.0.1:3000",
            "file://",
            "chrome-extension://abcdef",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn a_missing_origin_is_denied_unless_the_configuration_allows_it() {
        let head = Head { method: "GET", target: "/ws".into(), version: (1, 1), headers: vec![] };
        let rules = |missing_allowed| Origin { allow: vec![], missing_allowed };
        assert_eq!(check(&head, &rules(false)).unwrap_err().code, Code::OriginDenied);
        assert_eq!(check(&head, &rules(true)), Ok(None));
    }

    #[test]
    fn a_missing_origin_that_is_allowed_does_not_let_a_foreign_one_in() {
        let head = Head { method: "GET", target: "/ws".into(), version: (1, 1), headers: vec![("origin", b"null")] };
        let rules = Origin { allow: vec![], missing_allowed: true };
        assert_eq!(check(&head, &rules).unwrap_err().code, Code::OriginDenied);
    }

    proptest::proptest! {
        #[test]
        fn only_what_serialises_to_itself_passes(text in "(https?://)?[a-z.:/@0-9\\[\\]-]{0,40}|\\PC{0,40}") {
            if let Some(origin) = parse(&text) {
                let again = parse(&origin.to_string());
                proptest::prop_assert_eq!(again, Some(origin));
            }
        }

        #[test]
        fn nothing_but_the_host_itself_matches_an_exact_rule(before in "[a-z.-]{0,6}", after in "[a-z.-]{0,6}") {
            let text = format!("https://{before}app.example{after}");
            proptest::prop_assert_eq!(allowed(&text), before.is_empty() && after.is_empty(), "{}", text);
        }
    }
}
