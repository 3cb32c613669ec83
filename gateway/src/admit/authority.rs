//! `host [":" port]` (RFC 3986 §3.2), as `Host` and `Origin` write it: a DNS name, an IPv4 address or an IPv6 literal.
//! Percent-encoding, user information and Unicode are not part of it: no two readers may take one text for two hosts.

use std::net::Ipv6Addr;

/// A host and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// As written; an IPv6 literal without its brackets.
    pub host: &'a str,
    /// As written; `None`: the scheme's default.
    pub port: Option<u16>,
    /// The host is an IPv6 literal.
    pub literal: bool,
}

/// Parses an authority; `None` when it is not one. No allocation.
#[must_use]
pub fn parse(text: &str) -> Option<Authority<'_>> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        let port = if after.is_empty() { None } else { Some(port(after.strip_prefix(':')?)?) };
        return Some(Authority { host, port, literal: true });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, Some(port(digits)?)),
        None => (text, None),
    };
    name(host).then_some(Authority { host, port, literal: false })
}

/// 1 to 65535, no sign, no leading zero.
fn port(digits: &str) -> Option<u16> {
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Labels of letters, digits, `-` and `_`; one dot at the end is the DNS root.
fn name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 254
        && labels.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_literals_are_told_apart() {
        let cases = [
            ("app.example", "app.example", None, false),
            ("App.Example:8443", "App.Example", Some(8443), false),
            ("app.example.", "app.example.", None, false),
            ("10.0.0.1:80", "10.0.0.1", Some(80), false),
            ("[::1]", "::1", None, true),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443), true),
            ("my_service", "my_service", None, false),
        ];
        for (text, host, port, literal) in cases {
            assert_eq!(parse(text), Some(Authority { host, port, literal }), "{text}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let long = "a".repeat(64);
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a:",
            "a:0",
            "a:080",
            "a:65536",
            "a:+80",
            "a:8 0",
            "a:80:80",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[::1%25lo]",
            "[1.2.3.4]",
            "u@a",
            "a/b",
            "a?b",
            "a#b",
            "a b",
            "a%2eb",
            "bücher",
            "a\\b",
            "a,b",
            &long,
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
