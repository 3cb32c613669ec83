//! The effective configuration as TOML: every key, secrets as `[secret]`.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::address::write_origin;
use super::model::{
    Config, Coordinator, CoordinatorConfig, FeedRule, HtmlField, Issuer, KeySource, Limit, Log, MessageRule,
    NamedLimit, OnLimit, OnStoreLoss, Penalty, RoomRule, Route, Store, StoreUrl, Stuffing, TlsMode, TlsVersion,
    UserReach,
};
use super::section::{ALGORITHMS, CONTROLS, HTML, LEAKS, PER, SCOPES, SIGNATURES};
use super::unit::{write_duration, write_rate, write_size};
use crate::ids::FeedName;
use crate::stage::Stage;

/// Lines of TOML.
struct Page(String);

impl Page {
    fn line(&mut self, line: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn head(&mut self, head: impl Display) {
        self.line(format_args!("\n{head}"));
    }

    /// A number or a boolean.
    fn plain(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {value}"));
    }

    fn text(&mut self, key: &str, value: impl AsRef<str>) {
        self.plain(key, quote(value.as_ref()));
    }

    fn list<T: AsRef<str>>(&mut self, key: &str, items: impl IntoIterator<Item = T>) {
        let items: Vec<String> = items.into_iter().map(|i| quote(i.as_ref())).collect();
        self.plain(key, format_args!("[{}]", items.join(", ")));
    }

    fn time(&mut self, key: &str, value: Duration) {
        self.text(key, write_duration(value));
    }

    fn size(&mut self, key: &str, value: usize) {
        self.text(key, write_size(value as u64));
    }

    /// A key that is not set has no value in TOML; it is named in a comment.
    fn maybe(&mut self, key: &str, value: Option<impl AsRef<str>>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.unset(key),
        }
    }

    fn unset(&mut self, key: &str) {
        self.line(format_args!("# {key} is not set"));
    }
}

/// A basic string (TOML 1.0): every control character escaped.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Config {
    /// The effective configuration as TOML, every default written out. It loads again and gives the same model, but
    /// for secrets, which are `"[secret]"` (and `dev`, which no file says).
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut page = Page("# The effective configuration; secrets are left out.\n".to_owned());
        process(&mut page, self);
        auth(&mut page, self);
        session(&mut page, self);
        limits(&mut page, self);
        page.head("[pipeline]");
        page.list("dry_run", self.pipeline.dry_run.iter().map(Stage::name));
        page.head("[signatures]");
        page.plain("builtin", self.signatures.builtin);
        page.maybe("file", self.signatures.file.as_ref().map(|file| file.path.to_string_lossy()));
        page.head("[leaks]");
        page.text("default", named(LEAKS, self.leaks.default));
        page.plain("builtin", self.leaks.builtin);
        page.maybe("file", self.leaks.file.as_ref().map(|file| file.path.to_string_lossy()));
        page.head("[anomaly]");
        page.time("half_life", self.anomaly.half_life);
        page.plain("restrict", self.anomaly.restrict);
        page.plain("disconnect", self.anomaly.disconnect);
        penalty(&mut page, &self.penalty);
        stuffing(&mut page, &self.stuffing);
        page.head("[overload]");
        page.plain("enabled", self.overload.enabled);
        page.maybe("memory", self.overload.memory.map(|bytes| write_size(bytes as u64)));
        page.text("queues", write_size(self.overload.queues as u64));
        page.time("lag", self.overload.lag);
        page.plain("dry_run", self.overload.dry_run);
        page.head("[bans]");
        page.maybe("file", self.bans.file.as_ref().map(|p| p.to_string_lossy()));
        self.feed.iter().for_each(|(name, rule)| feed(&mut page, name, rule));
        self.room.iter().for_each(|rule| room(&mut page, rule));
        for (name, rule) in &self.message {
            page.head(format_args!("[message.{}]", quote(name.as_str())));
            message(&mut page, rule);
        }
        for operator in &self.operator {
            page.head("[[operator]]");
            page.text("name", &operator.name);
            page.text("role", operator.role.name());
            page.text("public_key", operator.public_key.to_string());
        }
        page.0
    }
}

impl CoordinatorConfig {
    /// [`Config::to_toml`], of what a coordinator reads.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut page = Page("# What the coordinator reads of the configuration; secrets are left out.\n".to_owned());
        coordinator(&mut page, &self.coordinator);
        stuffing(&mut page, &self.stuffing);
        store(&mut page, &self.store);
        page.head("[session]");
        page.time("absolute_timeout", self.longest_session);
        log(&mut page, &self.log);
        page.0
    }
}

fn process(page: &mut Page, config: &Config) {
    let Config { node, listen, tls, .. } = config;
    page.head("[node]");
    page.text("id", node.id.as_str());
    page.plain("workers", node.workers);
    page.time("drain_deadline", node.drain_deadline);
    page.time("drain_notice", node.drain_notice);
    page.time("drain_spread", node.drain_spread);
    page.head("[listen]");
    page.text("public", listen.public.to_string());
    page.text("private", listen.private.to_string());
    page.list("trusted_proxies", listen.trusted_proxies.iter().map(ToString::to_string));
    page.plain("proxy_protocol", listen.proxy_protocol);
    page.plain("diagnostics_echo", listen.diagnostics_echo);
    page.plain("max_connections", listen.max_connections);
    page.plain("max_connections_per_ip", listen.max_connections_per_ip);
    page.time("header_timeout", listen.header_timeout);
    page.plain("backlog", listen.backlog);
    page.head("[tls]");
    let mode = match tls.mode {
        TlsMode::Required => "required",
        TlsMode::Upstream => "upstream",
        TlsMode::Off => "off",
    };
    page.text("mode", mode);
    page.maybe("cert_file", tls.cert_file.as_ref().map(|p| p.to_string_lossy()));
    page.maybe("key_file", tls.key_file.as_ref().map(|p| p.to_string_lossy()));
    page.text("min_version", if tls.min_version == TlsVersion::V13 { "1.3" } else { "1.2" });
    page.plain("insecure", tls.insecure);
    page.time("hsts_max_age", tls.hsts_max_age);
    store(page, &config.store);
    log(page, &config.log);
    coordinator(page, &config.coordinator);
}

fn store(page: &mut Page, store: &Store) {
    page.head("[store]");
    match &store.url {
        StoreUrl::Memory => page.text("url", "memory:"),
        // it may hold a password
        StoreUrl::Redis(_) => page.text("url", "[secret]"),
    }
    page.text("prefix", &store.prefix);
    page.maybe("cluster_key_file", store.cluster_key_file.as_ref().map(|p| p.to_string_lossy()));
    page.maybe("naming_key_file", store.naming_key_file.as_ref().map(|p| p.to_string_lossy()));
    page.maybe("state_dir", store.state_dir.as_ref().map(|p| p.to_string_lossy()));
    page.plain("may_evict", store.may_evict);
    page.maybe("username", store.username.as_deref());
    page.maybe("password_file", store.password_file.as_ref().map(|p| p.to_string_lossy()));
    page.maybe("sentinel_username", store.sentinel_username.as_deref());
    page.maybe("sentinel_password_file", store.sentinel_password_file.as_ref().map(|p| p.to_string_lossy()));
    page.maybe("ca_file", store.ca_file.as_ref().map(|p| p.to_string_lossy()));
    page.maybe("cert_file", store.cert_file.as_ref().map(|p| p.to_string_lossy()));
    page.maybe("key_file", store.key_file.as_ref().map(|p| p.to_string_lossy()));
}

fn coordinator(page: &mut Page, coordinator: &Coordinator) {
    page.head("[coordinator]");
    page.text("id", coordinator.id.as_str());
    page.text("listen", coordinator.listen.to_string());
    page.time("lease", coordinator.lease);
}

fn log(page: &mut Page, log: &Log) {
    page.head("[log]");
    page.text("filter", &log.filter);
    page.plain("json", log.json);
}

fn auth(page: &mut Page, config: &Config) {
    page.head("[auth]");
    page.time("leeway", config.auth.leeway);
    page.time("max_token_life", config.auth.max_token_life);
    config.auth.issuer.iter().for_each(|i| issuer(page, i));
    page.head("[origin]");
    page.list("allow", config.origin.allow.iter().map(write_origin));
    page.text("missing", if config.origin.missing_allowed { "allow" } else { "deny" });
}

fn issuer(page: &mut Page, issuer: &Issuer) {
    page.head("[[auth.issuer]]");
    page.text("name", &issuer.name);
    page.text("issuer", &issuer.issuer);
    page.text("audience", &issuer.audience);
    let names = issuer.algorithms.iter().filter_map(|a| ALGORITHMS.iter().find(|(_, b)| a == b));
    page.list("algorithms", names.map(|(name, _)| name));
    match &issuer.keys {
        KeySource::Secret(_) => page.text("secret", "[secret]"),
        KeySource::Pem(pem) => page.text("public_key", pem),
        KeySource::JwksFile(path) => page.text("jwks_file", path.to_string_lossy()),
        KeySource::JwksUrl(url) => page.text("jwks_url", url),
    }
    page.text("roles_claim", &issuer.roles_claim);
    page.maybe("tenant_claim", issuer.tenant_claim.as_ref());
    page.maybe("limits_claim", issuer.limits_claim.as_ref());
    page.text("user_prefix", &issuer.user_prefix);
    page.maybe("cookie", issuer.cookie.as_ref());
}

fn session(page: &mut Page, config: &Config) {
    let Config { session, size, csrf, .. } = config;
    page.head("[session]");
    page.plain("max_per_user", session.max_per_user);
    page.text("on_limit", if session.on_limit == OnLimit::Reject { "reject" } else { "evict_oldest" });
    page.text("on_store_loss", if session.on_store_loss == OnStoreLoss::Strict { "strict" } else { "available" });
    page.time("max_store_loss", session.max_store_loss);
    page.time("absolute_timeout", session.absolute_timeout);
    page.maybe("idle_timeout", session.idle_timeout.map(write_duration));
    page.time("ping_interval", session.ping_interval);
    page.time("pong_timeout", session.pong_timeout);
    page.time("expiry_warning", session.expiry_warning);
    page.time("close_timeout", session.close_timeout);
    page.plain("max_rooms", session.max_rooms);
    page.time("resume_window", session.resume_window);
    page.head("[size]");
    page.size("message", size.message);
    page.plain("fragments", size.fragments);
    page.time("assembly_timeout", size.assembly_timeout);
    page.size("outbox", size.outbox);
    page.plain("json_depth", size.json_depth);
    page.plain("json_nodes", size.json_nodes);
    page.plain("json_keys", size.json_keys);
    page.plain("json_items", size.json_items);
    page.size("json_string", size.json_string);
    page.size("request_head", size.request_head);
    page.plain("request_headers", size.request_headers);
    page.head("[csrf]");
    page.list("exempt", csrf.exempt.iter().map(crate::ids::TypeName::as_str));
    page.time("rotate", csrf.rotate);
    page.time("grace", csrf.grace);
}

fn limits(page: &mut Page, config: &Config) {
    let limit = &config.limit;
    let values = [limit.message, limit.bytes, limit.control, limit.connect, limit.login];
    for ((name, scope), Limit { rate, burst }) in SCOPES.iter().zip(values) {
        let of_bytes = *name == "bytes";
        page.head(format_args!("[limit.{name}]"));
        page.text("rate", write_rate(rate, of_bytes));
        if of_bytes {
            page.text("burst", write_size(u64::from(burst)));
        } else {
            page.plain("burst", burst);
        }
        page.text("per", scope);
    }
    for (name, rule) in &config.limit.named {
        page.head(format_args!("[limit.{}]", quote(name)));
        named_limit(page, rule);
    }
}

fn stuffing(page: &mut Page, stuffing: &Stuffing) {
    page.head("[stuffing]");
    page.plain("enabled", stuffing.enabled);
    page.plain("dry_run", stuffing.dry_run);
    page.time("window", stuffing.window);
    page.plain("accounts", stuffing.accounts);
    page.plain("refusals", stuffing.refusals);
    page.plain("network_accounts", stuffing.network_accounts);
    page.plain("addresses", stuffing.addresses);
    page.plain("per_user", stuffing.per_user);
    page.time("keep_out", stuffing.keep_out);
    page.time("max_keep_out", stuffing.max_keep_out);
    page.text("budget", write_rate(stuffing.budget, false));
    page.list("never", stuffing.never.iter().map(ToString::to_string));
}

fn penalty(page: &mut Page, penalty: &Penalty) {
    page.head("[penalty]");
    page.plain("enabled", penalty.enabled);
    page.plain("dry_run", penalty.dry_run);
    page.time("half_life", penalty.half_life);
    page.plain("restrict", penalty.restrict);
    page.plain("disconnect", penalty.disconnect);
    page.plain("ban", penalty.ban);
    page.plain("network_factor", penalty.network_factor);
    page.time("delay", penalty.delay);
    page.time("max_delay", penalty.max_delay);
    page.time("memory", penalty.memory);
    page.time("ban_for", penalty.ban_for);
    page.text("auto_bans", write_rate(penalty.auto_bans, false));
    page.list("never_ban", penalty.never_ban.iter().map(ToString::to_string));
    page.list("never_ban_users", penalty.never_ban_users.iter().map(ToString::to_string));
}

fn feed(page: &mut Page, name: &FeedName, rule: &FeedRule) {
    page.head(format_args!("[feed.{}]", quote(name.as_str())));
    page.text("file", rule.file.to_string_lossy());
    page.list("public_keys", rule.public_keys.iter().map(ToString::to_string));
    page.plain("points", rule.points);
    match rule.block_from {
        Some(score) => page.plain("block_from", score),
        None => page.unset("block_from"),
    }
    page.plain("dry_run", rule.dry_run);
}

fn named_limit(page: &mut Page, rule: &NamedLimit) {
    page.text("rate", write_rate(rule.limit.rate, false));
    page.plain("burst", rule.limit.burst);
    page.maybe("claim_max", rule.claim_max.map(|most| write_rate(most.rate, false)));
    page.text("per", PER.iter().find(|(_, per)| *per == rule.per).map_or("", |(name, _)| *name));
    page.list("types", rule.types.iter().map(crate::ids::TypeName::as_str));
    page.list("rooms", &rule.rooms);
    page.list("roles", &rule.roles);
    page.list("issuers", &rule.issuers);
    page.plain("dry_run", rule.dry_run);
}

fn room(page: &mut Page, rule: &RoomRule) {
    page.head("[[room]]");
    page.text("pattern", &rule.pattern);
    page.maybe("where", rule.condition.as_ref());
    page.list("join", &rule.join);
    page.list("publish", &rule.publish);
    page.plain("presence", rule.presence);
    match rule.history {
        Some(h) => {
            page.plain("history", format_args!("{{ count = {}, age = {} }}", h.count, quote(&write_duration(h.age))))
        }
        None => page.unset("history"),
    }
}

fn message(page: &mut Page, rule: &MessageRule) {
    page.list("roles", &rule.roles);
    match &rule.route {
        Route::Room => page.text("route", "room"),
        Route::User(reach) => {
            page.text("route", "user");
            page.text("users", if *reach == UserReach::Any { "any" } else { "same_tenant" });
        }
    }
    page.plain("echo", rule.echo);
    page.text("priority", if rule.low_priority { "low" } else { "normal" });
    match rule.rate {
        Some(Limit { rate, burst }) => {
            page.text("rate", write_rate(rate, false));
            page.plain("burst", burst);
        }
        None => page.unset("rate"),
    }
    page.maybe("max_size", rule.max_size.map(|max| write_size(max as u64)));
    page.maybe("where", rule.condition.as_ref());
    page.maybe("schema", rule.schema.as_ref().map(|schema| schema.path.to_string_lossy()));
    let versions = rule.versions.iter().map(|(n, schema)| format!("{n}:{}", schema.path.to_string_lossy()));
    page.list("versions", versions);
    if rule.versions.is_empty() {
        page.unset("version_field");
    } else {
        page.text("version_field", &rule.version_field);
    }
    let html = rule.html.iter().map(|HtmlField { field, mode }| format!("{field}:{}", named(HTML, *mode)));
    page.list("html", html);
    page.list("path_fields", rule.path_fields.iter().map(ToString::to_string));
    page.text("controls", named(CONTROLS, rule.controls));
    page.plain("nfc", rule.nfc);
    page.text("signatures", named(SIGNATURES, rule.signatures));
    page.list("outbound", rule.outbound.iter().map(Stage::name));
    page.maybe("leaks", rule.leaks.map(|leaks| named(LEAKS, leaks)));
    page.list("dry_run", rule.dry_run.iter().map(Stage::name));
}

/// What a choice is called in the configuration.
fn named<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, named)| *named == value).map_or("", |(name, _)| name)
}
