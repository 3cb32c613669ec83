use std::time::Duration;

use portcullis_common::config::model::*;
use portcullis_common::config::secret::Secret;
use portcullis_common::ids::NodeId;

use super::super::network;
use super::*;

pub(in crate::admit) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(in crate::admit) const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";

fn penalty() -> Penalty {
    Penalty {
        enabled: true,
        dry_run: false,
        half_life: Duration::from_secs(600),
        restrict: 200,
        disconnect: 400,
        ban: 1_000,
        network_factor: 5,
        delay: Duration::from_secs(10),
        max_delay: Duration::from_secs(3_600),
        memory: Duration::from_secs(21_600),
        ban_for: Duration::from_secs(3_600),
        auto_bans: Rate { count: 10, period: Duration::from_secs(60) },
        never_ban: vec![],
        never_ban_users: vec![],
    }
}

/// A configuration as a careful operator would write it: TLS off on loopback, one origin, one issuer with a cookie.
#[allow(clippy::too_many_lines, reason = "one literal")]
pub(in crate::admit) fn config() -> Config {
    let limit = Limit { rate: Rate { count: 30, period: Duration::from_secs(60) }, burst: 30 };
    Config {
        node: Node {
            id: NodeId::parse("gw-1").unwrap(),
            workers: 1,
            drain_deadline: Duration::from_secs(30),
            drain_notice: Duration::ZERO,
            drain_spread: Duration::from_secs(10),
        },
        listen: Listen {
            public: "127.0.0.1:8080".parse().unwrap(),
            private: "127.0.0.1:9090".parse().unwrap(),
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            proxy_protocol: false,
            diagnostics_echo: false,
            max_connections: 100,
            max_connections_per_ip: 10,
            header_timeout: Duration::from_secs(5),
            backlog: 1024,
        },
        tls: Tls {
            mode: TlsMode::Off,
            cert_file: None,
            key_file: None,
            min_version: TlsVersion::V12,
            insecure: false,
            hsts_max_age: Duration::ZERO,
        },
        store: Store {
            url: StoreUrl::Memory,
            prefix: "portcullis".to_owned(),
            cluster_key_file: None,
            naming_key_file: None,
            state_dir: None,
            may_evict: false,
            username: None,
            password_file: None,
            sentinel_username: None,
            sentinel_password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
        },
        auth: Auth {
            issuer: vec![Issuer {
                name: "app".into(),
                issuer: "https://id.example".into(),
                audience: "portcullis".into(),
                algorithms: vec![Algorithm::HS256],
                keys: KeySource::Secret(Secret::new([7; 32])),
                roles_claim: "roles".into(),
                tenant_claim: None,
                limits_claim: None,
                user_prefix: String::new(),
                cookie: Some("sid".into()),
            }],
            leeway: Duration::from_secs(10),
            max_token_life: Duration::from_secs(86_400),
        },
        origin: Origin {
            allow: vec![OriginRule {
                scheme: "https".into(),
                host: "app.example".into(),
                port: 443,
                subdomains: false,
            }],
            missing_allowed: false,
        },
        session: Session {
            on_store_loss: OnStoreLoss::Available,
            max_store_loss: Duration::from_secs(600),
            max_per_user: 5,
            on_limit: OnLimit::Reject,
            absolute_timeout: Duration::from_secs(43_200),
            idle_timeout: None,
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(20),
            expiry_warning: Duration::from_secs(60),
            close_timeout: Duration::from_secs(5),
            max_rooms: 64,
            resume_window: Duration::from_secs(120),
        },
        size: Size {
            message: 65_536,
            fragments: 64,
            assembly_timeout: Duration::from_secs(10),
            outbox: 262_144,
            json_depth: 16,
            json_nodes: 4_096,
            json_keys: 256,
            json_items: 1_024,
            json_string: 65_536,
            request_head: 16_384,
            request_headers: 64,
        },
        csrf: Csrf { exempt: vec![], rotate: Duration::from_secs(3_600), grace: Duration::from_secs(60) },
        limit: Limits {
            message: limit,
            bytes: limit,
            control: limit,
            connect: limit,
            login: limit,
            named: std::collections::BTreeMap::new(),
        },
        room: vec![],
        message: std::collections::BTreeMap::new(),
        operator: Vec::new(),
        coordinator: Coordinator {
            id: NodeId::parse("c-1").unwrap(),
            listen: "127.0.0.1:9091".parse().unwrap(),
            lease: Duration::from_secs(10),
        },
        signatures: Signatures { builtin: true, file: None },
        leaks: Leaks { default: LeakUse::Off, builtin: true, file: None },
        anomaly: Anomaly { half_life: Duration::from_secs(60), restrict: 100, disconnect: 250 },
        penalty: penalty(),
        stuffing: Config::dev(Secret::new(vec![7; 32]), 0, 0).unwrap().stuffing,
        overload: Config::dev(Secret::new(vec![7; 32]), 0, 0).unwrap().overload,
        bans: Bans::default(),
        feed: std::collections::BTreeMap::new(),
        pipeline: Pipeline { dry_run: portcullis_common::stage::Stages::NONE },
        log: Log { filter: "info".into(), json: true },
        dev: false,
    }
}

/// One change to the good request.
pub(in crate::admit) enum Edit {
    Method(&'static str),
    Target(String),
    Version(u8, u8),
    Add(&'static str, String),
    Set(&'static str, String),
    Del(&'static str),
}
use Edit::{Del, Method, Target, Version};

pub(in crate::admit) fn add(name: &'static str, value: impl Into<String>) -> Edit {
    Edit::Add(name, value.into())
}

pub(in crate::admit) fn set(name: &'static str, value: impl Into<String>) -> Edit {
    Edit::Set(name, value.into())
}

pub(in crate::admit) fn target(text: impl Into<String>) -> Edit {
    Target(text.into())
}

pub(in crate::admit) fn offers(value: &str) -> Edit {
    add("Sec-WebSocket-Protocol", value)
}

pub(in crate::admit) fn numbered(count: usize) -> String {
    (0..count).map(|i| format!("p{i}")).collect::<Vec<_>>().join(",")
}

/// The opening handshake of a browser, changed.
pub(in crate::admit) fn judge(edits: &[Edit], config: &Config) -> Result<Facts, Reject> {
    let mut method = "GET";
    let mut target = "/ws".to_owned();
    let mut version = (1, 1);
    let mut fields: Vec<(&str, String)> = [
        ("Host", "gw.example:8443"),
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Origin", "https://app.example"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("User-Agent", "Mozilla/5.0"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec();
    for edit in edits {
        match edit {
            Method(m) => method = m,
            Target(t) => target = t.clone(),
            Version(major, minor) => version = (*major, *minor),
            Edit::Add(name, value) => fields.push((name, value.clone())),
            Edit::Set(name, value) => {
                let field = fields.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)).unwrap();
                field.1.clone_from(value);
            }
            Del(name) => fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name)),
        }
    }
    let headers = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let head = Head { method, target: target.into(), version, headers };
    let peer = "192.0.2.7:5000".parse().unwrap();
    let client = network::client(&head, &network::Link::direct(peer, false), &config.listen, config.tls.mode)?;
    gather(&head, client, RequestId(1), config)
}

pub(in crate::admit) fn status(reject: &Reject) -> u16 {
    reject.status.or(reject.code.info().http).unwrap()
}

#[test]
fn the_unchanged_request_of_a_browser_passes() {
    let facts = judge(&[], &config()).unwrap();
    assert_eq!(facts.path, "/ws");
    assert_eq!(facts.key_accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "RFC 6455 §1.3");
    assert_eq!(facts.client, "192.0.2.7".parse::<IpAddr>().unwrap());
    assert_eq!(facts.origin.unwrap().to_string(), "https://app.example");
    assert_eq!(facts.user_agent.as_deref(), Some("Mozilla/5.0"));
    assert!(!facts.secure && !facts.protocol_offered && facts.bearer.is_none() && facts.ticket.is_none());
}

#[test]
fn what_browsers_and_libraries_send_passes() {
    let long = "a".repeat(15_000);
    let good: Vec<(&str, Vec<Edit>)> = vec![
        ("header", vec![add("Authorization", format!("Bearer {JWT}"))]),
        ("scheme in lower case", vec![add("authorization", format!("bearer  {JWT}"))]),
        ("json", vec![offers("portcullis.v1.json")]),
        ("browser", vec![offers(&format!("portcullis.v1.json, bearer.{JWT}"))]),
        ("bearer first", vec![offers(&format!("bearer.{JWT},portcullis.v1.msgpack"))]),
        ("resume", vec![offers(&format!("portcullis.v1.json,bearer.{JWT},resume.abc"))]),
        ("resume beside header", vec![add("Authorization", "Bearer a"), offers("portcullis.v1.json, resume.a")]),
        ("unknown beside known", vec![offers("soap, portcullis.v1.json")]),
        ("two fields", vec![offers("portcullis.v1.json"), offers("bearer.a")]),
        ("16 entries", vec![offers("portcullis.v1.json"), offers(&numbered(15))]),
        ("ticket", vec![target("/ws?ticket=abc")]),
        ("other parameters", vec![target("/ws?v=2&lang=en-GB&q=a%20b")]),
        ("empty query", vec![target("/ws?")]),
        ("upgrade in capitals", vec![set("Upgrade", "WebSocket")]),
        ("connection alone", vec![set("Connection", "upgrade")]),
        ("connection in two fields", vec![set("Connection", "keep-alive"), add("Connection", "Upgrade")]),
        ("connection with spaces", vec![set("Connection", " keep-alive ,\tUpgrade ")]),
        ("content-length 0", vec![add("Content-Length", "0")]),
        ("host without port", vec![set("Host", "gw.example")]),
        ("host v4", vec![set("Host", "127.0.0.1:8080")]),
        ("host v6", vec![set("Host", "[::1]:8080")]),
        ("host with root dot", vec![set("Host", "gw.example.")]),
        ("origin with port", vec![set("Origin", "https://app.example:443")]),
        ("cookie", vec![add("Cookie", format!("a=b; sid={JWT}; c=d"))]),
        ("other cookies", vec![add("Cookie", "a=b; flag; =x; sidx=1")]),
        ("two cookie fields", vec![add("Cookie", "a=b"), add("Cookie", format!("sid={JWT}"))]),
        ("cookie beside header", vec![add("Authorization", "Bearer a"), add("Cookie", "sid=a; sid=b")]),
        ("latin-1 field", vec![add("X-Name", "J\u{f6}rg")]),
        ("tab in value", vec![add("X-Name", "a\tb")]),
        ("no user agent", vec![Del("User-Agent")]),
        ("no extensions", vec![Del("Sec-WebSocket-Extensions")]),
        ("odd extensions", vec![set("Sec-WebSocket-Extensions", "x; y=\"z\", , permessage-bzip2")]),
        ("just small enough", vec![add("X-Filler", long)]),
        ("forged forwarding", vec![add("X-Forwarded-For", "1.2.3.4"), add("Forwarded", "for=1.2.3.4")]),
    ];
    assert!(good.len() >= 25);
    let config = config();
    for (name, edits) in &good {
        let facts = judge(edits, &config).unwrap_or_else(|r| panic!("{name}: {} {}", status(&r), r.detail));
        assert_eq!(facts.client, "192.0.2.7".parse::<IpAddr>().unwrap(), "{name}");
    }
}

#[test]
fn the_first_known_protocol_in_the_clients_order_wins() {
    let config = config();
    let spoken = |offer: &str| judge(&[offers(offer)], &config).map(|f| (f.protocol, f.protocol_offered)).unwrap();
    assert_eq!(spoken("portcullis.v1.json, portcullis.v1.msgpack"), (Protocol::Json, true));
    assert_eq!(spoken("x, portcullis.v1.msgpack, portcullis.v1.json"), (Protocol::Msgpack, true));
    let none = judge(&[], &config).unwrap();
    assert_eq!((none.protocol, none.protocol_offered), (Protocol::Json, false));
}

#[test]
fn each_credential_is_found_where_it_was_sent() {
    let config = config();
    let found = |edits: &[Edit]| {
        let facts = judge(edits, &config).unwrap();
        (facts.bearer.map(|t| t.expose().to_owned()), facts.source, facts.ticket, facts.resume)
    };
    let header = add("Authorization", "Bearer a.b.c");
    assert_eq!(found(&[header]), (Some("a.b.c".into()), Some(Source::Header), None, None));
    let entry = offers("portcullis.v1.json, bearer.a.b.c, resume.r");
    assert_eq!(found(&[entry]), (Some("a.b.c".into()), Some(Source::Subprotocol), None, Some("r".into())));
    assert_eq!(found(&[target("/ws?ticket=t")]), (None, None, Some("t".into()), None));
    let cookie = || add("Cookie", "x=1; sid=a.b.c");
    assert_eq!(found(&[cookie()]), (Some("a.b.c".into()), Some(Source::Cookie("sid".into())), None, None));
    let explicit = found(&[cookie(), add("Authorization", "Bearer d")]);
    assert_eq!(explicit, (Some("d".into()), Some(Source::Header), None, None), "what the page meant wins");
}

#[test]
fn a_cookie_counts_only_beside_an_allowed_origin_and_for_an_issuer_that_names_it() {
    let mut config = config();
    let cookie = || add("Cookie", "sid=a.b.c");
    config.origin.missing_allowed = true;
    assert!(judge(&[Del("Origin"), cookie()], &config).unwrap().bearer.is_none(), "no Origin, no cookie");
    let foreign = judge(&[set("Origin", "https://evil.example"), cookie()], &config).unwrap_err();
    assert_eq!(foreign.code, Code::OriginDenied);
    config.auth.issuer.iter_mut().for_each(|issuer| issuer.cookie = None);
    assert!(judge(&[cookie()], &config).unwrap().bearer.is_none(), "no issuer names it");
}

#[test]
fn the_head_limits_are_inclusive() {
    let mut config = config();
    let fields = |n| (0..n).map(|_| add("X", "")).collect::<Vec<_>>();
    config.size.request_headers = 10;
    assert!(judge(&fields(2), &config).is_ok());
    assert_eq!(status(&judge(&fields(3), &config).unwrap_err()), 431);
    config.size.request_headers = 64;
    let exact = (1..16_384).find(|n| {
        config.size.request_head = *n;
        judge(&[], &config).is_ok()
    });
    let wire = [
        "GET /ws HTTP/1.1",
        "Host: gw.example:8443",
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        "Origin: https://app.example",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "User-Agent: Mozilla/5.0",
        "",
    ];
    assert_eq!(exact, Some(wire.iter().map(|line| line.len() + 2).sum()), "the bytes on the wire");
}

#[test]
fn user_agents_are_cut_and_printable() {
    let config = config();
    let agent = |text: String| judge(&[set("User-Agent", text)], &config).unwrap().user_agent;
    assert_eq!(agent("a".repeat(400)).unwrap().len(), 150);
    assert_eq!(agent("a\tb\u{202e}c ".into()).as_deref(), Some("abc"));
    assert_eq!(agent(String::new()), None);
}

#[test]
fn debug_shows_no_secret_and_nothing_the_client_wrote() {
    let config = config();
    let entry = offers("portcullis.v1.json, bearer.SECRET-A, resume.SECRET-B");
    for edits in [vec![entry, set("User-Agent", "SECRET-C")], vec![target("/ws?ticket=SECRET-D")]] {
        let facts = judge(&edits, &config).unwrap();
        assert!(!format!("{facts:?} {:?}", facts.bearer).contains("SECRET"), "{facts:?}");
    }
    let reject = judge(&[target("/ws?token=SECRET")], &config).unwrap_err();
    assert!(!format!("{reject:?}").contains("SECRET"));
}

#[test]
fn the_view_of_an_actix_head_keeps_repeated_fields_and_odd_targets() {
    use actix_http::header::{HeaderName, HeaderValue};
    let mut head = RequestHead::default();
    head.uri = "/ws?ticket=a".parse().unwrap();
    for value in ["a", "b"] {
        head.headers.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(value));
    }
    let view = Head::of(&head);
    assert_eq!((view.method, &*view.target, view.version), ("GET", "/ws?ticket=a", (1, 1)));
    assert_eq!(view.all("X-Forwarded-For").collect::<Vec<_>>(), [b"a", b"b"]);
    for odd in ["http://gw.example/ws", "gw.example:443", "*"] {
        head.uri = odd.parse().unwrap();
        assert!(!Head::of(&head).target.starts_with('/'), "{odd}");
    }
}

proptest::proptest! {
    #[test]
    fn no_head_makes_it_panic(
        method in "GET|\\PC{0,8}",
        target in "/ws(\\?\\PC{0,40})?|\\PC{0,20}",
        fields in proptest::collection::vec((
            "host|upgrade|connection|origin|cookie|authorization|forwarded|x-forwarded-for|sec-websocket-(key|protocol|version)|\\PC{0,10}",
            proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        ), 0..12),
    ) {
        let headers = fields.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let head = Head { method: &method, target: target.into(), version: (1, 1), headers };
        let config = config();
        let peer = "10.0.0.1:1".parse().unwrap();
        if let Ok(client) = network::client(&head, &network::Link::direct(peer, false), &config.listen, TlsMode::Off) {
            let _ = gather(&head, client, RequestId(1), &config);
        }
    }

    #[test]
    fn no_value_of_one_field_of_a_good_request_makes_it_panic(
        name in proptest::sample::select(vec!["Host", "Upgrade", "Connection", "Origin", "Sec-WebSocket-Key"]),
        value in "\\PC{0,60}",
    ) {
        let _ = judge(&[set(name, value)], &config());
    }

    #[test]
    fn no_subprotocol_cookie_or_query_makes_it_panic(offer in "[a-z., ]{0,60}", cookie in "[ -~]{0,60}", query in "[!-~]{0,60}") {
        let _ = judge(&[offers(&format!("portcullis.v1.json,{offer}")), add("Cookie", cookie), target(format!("/ws?{query}"))], &config());
    }
}
