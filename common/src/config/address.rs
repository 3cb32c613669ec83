//! Origins, URLs, socket addresses and networks.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use config::Value;
use ipnet::IpNet;

use super::model::OriginRule;
use super::value::{line, text};
use crate::trie::parse_network;

/// `127.0.0.1:8080`, `[::1]:8080`
pub(super) fn socket(value: &Value) -> Result<SocketAddr, String> {
    let parsed = text(value)?.parse();
    parsed.map_err(|_| "must be an address and a port, as in \"127.0.0.1:8080\" or \"[::]:8080\"; not a name".into())
}

/// `10.0.0.0/8`, or one address.
pub(super) fn network(value: &Value) -> Result<IpNet, String> {
    let net = parse_network(text(value)?);
    let net = net.ok_or("must be a network, as in \"10.0.0.0/8\", or an address")?;
    if net.prefix_len() == 0 {
        return Err("is every address there is: anybody could then claim to be anybody".into());
    }
    if net.addr() != net.network() {
        return Err(format!("has bits beyond its prefix: write \"{}\" for the network", net.trunc()));
    }
    Ok(net)
}

/// Whether a host of a URL or an origin is this machine.
fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Scheme, host and port of `scheme://host[:port]`, and what follows.
struct Parts<'u> {
    scheme: &'u str,
    host: String,
    port: Option<u16>,
    rest: &'u str,
}

fn split(url: &str) -> Result<Parts<'_>, &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("has no scheme: write https://host")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end).ok_or("is not a URL")?;
    if authority.contains('@') {
        return Err("must not hold a user or a password");
    }
    let colon = match authority.rfind(']') {
        Some(bracket) => authority.get(bracket..).and_then(|r| r.find(':')).map(|at| at + bracket),
        None => authority.find(':'),
    };
    let (host, port) = match colon.and_then(|at| authority.split_at_checked(at)) {
        Some((host, port)) => (host, Some(port.trim_start_matches(':'))),
        None => (authority, None),
    };
    let port = match port {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse::<u16>().ok().filter(|p| *p > 0).ok_or("has a port that is not between 1 and 65535")?)
        }
        Some(_) => return Err("has a port that is not a number"),
        None => None,
    };
    Ok(Parts { scheme, host: host.to_ascii_lowercase(), port, rest })
}

/// A host name in ASCII, an IPv4 address, or an IPv6 address in brackets (then in its canonical form).
fn host(host: &str) -> Result<String, &'static str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let ip: Ipv6Addr = inner.parse().map_err(|_| "has brackets around something that is not an IPv6 address")?;
        return Ok(format!("[{ip}]"));
    }
    if !host.is_ascii() {
        return Err("has a host that is not ASCII: write it as browsers send it, xn--…");
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if host.len() > 253 || !host.split('.').all(label) {
        return Err("has a host that is not a name or an address");
    }
    let numeric = host.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    if numeric && host.parse::<IpAddr>().is_err() {
        return Err("has a host that is not a name or an address");
    }
    Ok(host.to_owned())
}

/// One entry of `origin.allow`: exactly what a browser sends, or any subdomain of a domain.
pub(super) fn origin(value: &Value) -> Result<OriginRule, String> {
    let written = text(value)?;
    match written {
        "*" => return Err("would let every page of the world connect: name the origins".into()),
        "null" => return Err("is what sandboxed and local pages of anybody send: it cannot be allowed".into()),
        _ => {}
    }
    let parts = split(written)?;
    let port = match (parts.scheme, parts.port) {
        (_, Some(port)) => port,
        ("https", None) => 443,
        _ => 80,
    };
    if !matches!(parts.scheme, "https" | "http") {
        return Err("must begin with https:// (or http:// for development)".into());
    }
    if parts.rest == "/" {
        return Err("must not end with a slash: an origin is scheme, host and port".into());
    }
    if !parts.rest.is_empty() {
        return Err("must not have a path or a query: an origin is scheme, host and port".into());
    }
    let (name, subdomains) = match parts.host.strip_prefix("*.") {
        Some(domain) => (domain, true),
        None => (parts.host.as_str(), false),
    };
    if name.contains('*') {
        return Err("may have a wildcard as the whole first label only, as in https://*.example.com".into());
    }
    let name = host(name)?;
    let named = !name.starts_with('[') && name.parse::<IpAddr>().is_err();
    if subdomains && (parts.scheme != "https" || !named || !name.contains('.')) {
        return Err("may have a wildcard only with https and before at least two labels: https://*.example.com".into());
    }
    Ok(OriginRule { scheme: parts.scheme.to_owned(), host: name, port, subdomains })
}

/// An origin as it is read.
pub(super) fn write_origin(rule: &OriginRule) -> String {
    let wildcard = if rule.subdomains { "*." } else { "" };
    let port = match (rule.scheme.as_str(), rule.port) {
        ("https", 443) | ("http", 80) => String::new(),
        (_, port) => format!(":{port}"),
    };
    format!("{}://{wildcard}{}{port}", rule.scheme, rule.host)
}

/// Where keys are fetched: HTTPS, or plain HTTP from this machine.
pub(super) fn key_url(value: &Value) -> Result<String, String> {
    let url = line(2048)(value)?;
    let parts = split(&url)?;
    host(&parts.host)?;
    if parts.rest.contains('#') || url.contains(|c: char| c.is_whitespace()) {
        return Err("must not have a fragment or white space".into());
    }
    match parts.scheme {
        "https" => Ok(url),
        "http" if is_loopback(&parts.host) => Ok(url),
        _ => {
            Err("must be https://…: who can change the keys on the way can make any token (http on loopback only)"
                .into())
        }
    }
}

/// Whether two listeners would want the same port of the same address.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |x: IpAddr, y: IpAddr| x == y || (x.is_unspecified() && (x.is_ipv6() || y.is_ipv4()));
    a.port() != 0 && a.port() == b.port() && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<OriginRule, String> {
        origin(&Value::new(None, text))
    }

    #[test]
    fn an_origin_is_read_as_browsers_send_it_and_written_back() {
        for text in [
            "https://app.example",
            "https://app.example:8443",
            "http://localhost:3000",
            "https://*.example.com",
            "https://[2001:db8::1]:8443",
            "http://127.0.0.1",
        ] {
            assert_eq!(write_origin(&parse(text).unwrap()), text);
        }
        assert_eq!(write_origin(&parse("https://App.Example:443").unwrap()), "https://app.example");
        let rule = parse("https://*.example.com").unwrap();
        assert!(rule.subdomains && rule.host == "example.com" && rule.port == 443);
    }

    #[test]
    fn what_is_not_exactly_an_origin_is_refused() {
        for text in [
            "",
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/x",
            "https://app.example?x",
            "https://u:p@app.example",
            "https://app.example:0",
            "https://app.example:99999",
            "https://app.example:",
            "https://app example",
            "https://*",
            "https://*.com",
            "https://*.*.example.com",
            "https://a.*.example.com",
            "https://*app.example.com",
            "http://*.example.com",
            "https://*.10.0.0.1",
            "https://bücher.example",
            "https://1.2.3.4.5",
            "https://[::1",
            "https://[::g]",
            "chrome-extension://abc",
            "null",
            "*",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        let url = |text: &str| key_url(&Value::new(None, text));
        assert!(url("https://id.example/jwks").is_ok());
        assert!(url("http://127.0.0.1:9000/jwks").is_ok());
        assert!(url("http://[::1]/jwks").is_ok());
        assert!(url("http://localhost/jwks").is_ok());
        for bad in [
            "http://id.example/jwks",
            "http://localhost.evil.example/",
            "https://u:p@id.example",
            "ftp://x",
            "https:///jwks",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn listeners_collide_where_one_covers_the_other() {
        let at = |text: &str| text.parse().unwrap();
        assert!(collide(at("0.0.0.0:80"), at("127.0.0.1:80")));
        assert!(collide(at("127.0.0.1:80"), at("[::]:80")));
        assert!(!collide(at("127.0.0.1:80"), at("127.0.0.2:80")));
        assert!(!collide(at("0.0.0.0:80"), at("[::1]:80")));
        assert!(!collide(at("127.0.0.1:0"), at("127.0.0.1:0")), "port 0 is a new port each time");
    }
}
