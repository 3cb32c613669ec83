//! What sections must agree on. A check is silent where one of its keys is wrong by itself already.

use super::address::collide;
use super::error::{Report, suggestion};
use super::file::holds_pem;
use super::model::{Config, Route, TlsMode, UserReach};
use super::section::RESERVED;
use super::unit::{write_duration, write_size};

/// Every rule that needs more than one key.
pub(super) fn check(config: &Config, report: &Report) {
    transport(config, report);
    listeners(config, report);
    origins(config, report);
    times(config, report);
    sizes(config, report);
    types(config, report);
    limits(config, report);
}

fn transport(config: &Config, report: &Report) {
    let (tls, listen) = (&config.tls, &config.listen);
    match tls.mode {
        TlsMode::Required => {
            let files = [("cert_file", &tls.cert_file, "CERTIFICATE"), ("key_file", &tls.key_file, "PRIVATE KEY")];
            for (key, file, block) in files {
                let path = format!("tls.{key}");
                let problem = match file {
                    None => Err("is missing: tls.mode = \"required\" needs cert_file and key_file".to_owned()),
                    Some(file) => holds_pem(file, block),
                };
                if let Err(problem) = problem {
                    report.refuse_together(&["tls.mode"], &path, problem);
                }
            }
        }
        TlsMode::Upstream if listen.trusted_proxies.is_empty() => report.refuse_together(
            &["tls.mode"],
            "listen.trusted_proxies",
            "is empty, but tls.mode = \"upstream\" believes a proxy that ends TLS: say which",
        ),
        TlsMode::Off if !listen.public.ip().is_loopback() && !tls.insecure => report.refuse_together(
            &["listen.public", "tls.insecure"],
            "tls.mode",
            "is \"off\" on an address that is not loopback: tokens would travel in the clear (tls.insecure = true allows it)",
        ),
        _ => {}
    }
}

fn listeners(config: &Config, report: &Report) {
    let listen = &config.listen;
    if collide(listen.public, listen.private) {
        let problem = "is the same address and port as listen.public: health and metrics need their own";
        report.refuse_together(&["listen.public"], "listen.private", problem);
    }
    if listen.proxy_protocol && listen.trusted_proxies.is_empty() {
        let problem = "is empty, but listen.proxy_protocol takes connections from trusted proxies only: say which";
        report.refuse_together(&["listen.proxy_protocol", "tls.mode"], "listen.trusted_proxies", problem);
    }
    if listen.diagnostics_echo && !listen.public.ip().is_loopback() {
        let problem = "answers without any policy, so listen.public must be loopback";
        report.refuse_together(&["listen.public"], "listen.diagnostics_echo", problem);
    }
}

fn origins(config: &Config, report: &Report) {
    let origin = &config.origin;
    if origin.allow.is_empty() && !origin.missing_allowed {
        report.refuse_together(
            &["origin.missing"],
            "origin.allow",
            "is empty and origin.missing is \"deny\", so nobody could ever connect: list the pages' origins, or say \
             missing = \"allow\" for clients that are not browsers",
        );
    }
    let strict = !origin.missing_allowed && !origin.allow.is_empty();
    for (n, _) in config.auth.issuer.iter().enumerate().filter(|(_, i)| i.cookie.is_some() && !strict) {
        report.refuse_together(
            &["origin.missing", "origin.allow", "auth.issuer"],
            &format!("auth.issuer[{n}].cookie"),
            "is sent by browsers on behalf of any page: it needs origin.missing = \"deny\" and a list in origin.allow",
        );
    }
}

fn times(config: &Config, report: &Report) {
    let (node, session, csrf) = (&config.node, &config.session, &config.csrf);
    let at_most = [
        ("node.drain_spread", Some(node.drain_spread), "node.drain_deadline", node.drain_deadline),
        ("session.pong_timeout", Some(session.pong_timeout), "session.ping_interval", session.ping_interval),
        ("session.idle_timeout", session.idle_timeout, "session.absolute_timeout", session.absolute_timeout),
        ("csrf.grace", Some(csrf.grace), "csrf.rotate", csrf.rotate),
    ];
    for (key, value, other, bound) in at_most {
        if value.is_some_and(|value| value > bound) {
            let problem = format!("must not be longer than {other} ({})", write_duration(bound));
            report.refuse_together(&[other], key, problem);
        }
    }
}

fn sizes(config: &Config, report: &Report) {
    let size = &config.size;
    let longest =
        |bytes: usize| format!("({}), or the longest message could never be delivered", write_size(bytes as u64));
    if size.outbox < size.message {
        let problem = format!("must be at least size.message {}", longest(size.message));
        report.refuse_together(&["size.message"], "size.outbox", problem);
    }
    for (name, rule) in &config.message {
        if rule.max_size.is_some_and(|max| max > size.outbox) {
            let problem = format!("must not be more than size.outbox {}", longest(size.outbox));
            report.refuse_together(&["size.outbox"], &super::read::join(&message(name), "max_size"), problem);
        }
    }
}

/// What `[limit.NAME]` is attached to has to exist.
fn limits(config: &Config, report: &Report) {
    for (name, rule) in &config.limit.named {
        let at = super::read::join("limit", name);
        let check = |key: &str, n: usize, found: bool, problem: &str, section: &str| {
            if !found {
                report.refuse_together(&[section], &format!("{at}.{key}[{n}]"), problem);
            }
        };
        for (n, kind) in rule.types.iter().enumerate() {
            check("types", n, config.message.contains_key(kind), "is not a declared message type", "message");
        }
        for (n, pattern) in rule.rooms.iter().enumerate() {
            let found = config.room.iter().any(|room| room.pattern == *pattern);
            check("rooms", n, found, "is not the pattern of a [[room]]", "room");
        }
        for (n, issuer) in rule.issuers.iter().enumerate() {
            let found = config.auth.issuer.iter().any(|known| known.name == *issuer);
            check("issuers", n, found, "is not the name of an [[auth.issuer]]", "auth.issuer");
        }
    }
}

/// The path of a message type.
fn message(name: &crate::ids::TypeName) -> String {
    super::read::join("message", name.as_str())
}

fn types(config: &Config, report: &Report) {
    let tenants = config.auth.issuer.iter().any(|i| i.tenant_claim.is_some());
    for (name, rule) in &config.message {
        if rule.route == Route::User(UserReach::SameTenant) && !tenants {
            let problem = "is \"same_tenant\", but no issuer has a `tenant_claim`: nobody could ever be reached";
            report.refuse_together(&["auth.issuer"], &super::read::join(&message(name), "users"), problem);
        }
    }
    let known = || RESERVED.iter().copied().chain(config.message.keys().map(crate::ids::TypeName::as_str));
    for (n, exempt) in config.csrf.exempt.iter().enumerate() {
        if !known().any(|k| k == exempt.as_str()) {
            let hint = suggestion(exempt.as_str(), known()).map(|s| format!("; did you mean \"{s}\"?"));
            let problem = format!("is not a declared message type{}", hint.unwrap_or_default());
            report.refuse_together(&["message"], &format!("csrf.exempt[{n}]"), problem);
        }
    }
}
