use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn listen(proxies: &[&str]) -> Listen {
    Listen {
        public: "127.0.0.1:8080".parse().unwrap(),
        private: "127.0.0.1:9090".parse().unwrap(),
        trusted_proxies: proxies.iter().map(|p| p.parse().unwrap()).collect(),
        proxy_protocol: false,
        diagnostics_echo: false,
        max_connections: 1,
        max_connections_per_ip: 1,
        header_timeout: Duration::from_secs(1),
        backlog: 1,
    }
}

const PROXIES: &[&str] = &["10.0.0.0/8", "2001:db8:ffff::/48"];

fn find(peer: &str, mode: TlsMode, tls: bool, fields: &[(&str, &str)]) -> Result<Client, Reject> {
    let headers = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let head = Head { method: "GET", target: "/ws".into(), version: (1, 1), headers };
    client(&head, &Link::direct(SocketAddr::new(peer.parse().unwrap(), 1), tls), &listen(PROXIES), mode)
}

/// The same for a connection that a proxy announced.
fn announced(peer: &str, via: Via, mode: TlsMode, fields: &[(&str, &str)]) -> Result<(String, bool), Option<u16>> {
    let headers = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let head = Head { method: "GET", target: "/ws".into(), version: (1, 1), headers };
    let link = Link { peer: SocketAddr::new(peer.parse().unwrap(), 1), tls: false, via };
    client(&head, &link, &listen(PROXIES), mode).map(|c| (c.ip.to_string(), c.secure)).map_err(|r| r.status)
}

#[test]
fn a_client_that_was_announced_cannot_name_another() {
    let forged = [("X-Forwarded-For", "198.51.100.9"), ("X-Forwarded-Proto", "https")];
    let plain = Via::Proxy { tls: false };
    let to = |peer: &str| Ok((peer.to_owned(), false));
    assert_eq!(announced("192.0.2.1", plain, TlsMode::Off, &forged), to("192.0.2.1"));
    assert_eq!(announced("10.0.0.1", Via::Hidden { tls: false }, TlsMode::Off, &forged), to("10.0.0.1"));
    let both = [("X-Forwarded-For", "198.51.100.9"), ("Forwarded", "for=198.51.100.8")];
    assert_eq!(announced("192.0.2.1", plain, TlsMode::Off, &both), to("192.0.2.1"), "not even read");
    assert_eq!(announced("10.0.0.1", plain, TlsMode::Off, &forged), to("198.51.100.9"), "a proxy before the proxy");
}

#[test]
fn behind_a_proxy_that_ends_tls_the_proxy_has_to_say_so() {
    let up = |peer, via, fields: &[(&str, &str)]| announced(peer, via, TlsMode::Upstream, fields);
    let https = [("X-Forwarded-Proto", "https")];
    for via in [Via::Proxy { tls: false }, Via::Hidden { tls: false }] {
        assert_eq!(up("192.0.2.1", via, &https), Err(Some(426)), "the client's word is not enough");
        assert_eq!(up("10.0.0.1", via, &https), Err(Some(426)));
    }
    assert_eq!(up("192.0.2.1", Via::Proxy { tls: true }, &[]), Ok(("192.0.2.1".to_owned(), true)));
    assert_eq!(up("10.0.0.1", Via::Hidden { tls: true }, &[]), Ok(("10.0.0.1".to_owned(), true)));
    // a proxy in front of the one that announced it: both have to say so
    assert_eq!(up("10.0.0.1", Via::Proxy { tls: true }, &[]), Err(Some(426)));
    let cdn = [("X-Forwarded-For", "198.51.100.9"), ("X-Forwarded-Proto", "https")];
    assert_eq!(up("10.0.0.1", Via::Proxy { tls: true }, &cdn), Ok(("198.51.100.9".to_owned(), true)));
}

fn address(peer: &str, fields: &[(&str, &str)]) -> Result<String, u16> {
    find(peer, TlsMode::Off, false, fields)
        .map(|c| c.ip.to_string())
        .map_err(|r| r.status.or(r.code.info().http).unwrap())
}

fn xff(values: &[&str]) -> Result<String, u16> {
    address("10.0.0.1", &values.iter().map(|v| ("X-Forwarded-For", *v)).collect::<Vec<_>>())
}

fn fwd(values: &[&str]) -> Result<String, u16> {
    address("10.0.0.1", &values.iter().map(|v| ("Forwarded", *v)).collect::<Vec<_>>())
}

#[test]
fn the_right_most_untrusted_hop_is_the_client() {
    for (values, client) in [
        (vec!["198.51.100.1"], "198.51.100.1"),
        (vec!["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        (vec!["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        (vec!["1.2.3.4, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        (vec!["198.51.100.1:4711, 10.9.9.9:80"], "198.51.100.1"),
        (vec!["rubbish, \"; ', 198.51.100.1"], "198.51.100.1"),
        (vec!["2001:db8::5"], "2001:db8::5"),
        (vec!["[2001:db8::5]:99, 2001:db8:ffff::1"], "2001:db8::5"),
        (vec!["::ffff:198.51.100.1"], "198.51.100.1"),
        (vec!["198.51.100.1, ::ffff:10.1.1.1"], "198.51.100.1"),
        (vec!["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (vec!["1.2.3.4, unknown"], "10.0.0.1"),
        (vec!["1.2.3.4, _hidden, 10.0.0.2"], "10.0.0.2"),
    ] {
        assert_eq!(xff(&values).as_deref(), Ok(client), "{values:?}");
    }
    for (values, client) in [
        (vec!["for=198.51.100.1"], "198.51.100.1"),
        (vec!["for=1.2.3.4, For=198.51.100.1;proto=http;by=203.0.113.43"], "198.51.100.1"),
        (vec!["for=1.2.3.4", "by=10.0.0.1; for=\"198.51.100.1:47011\""], "198.51.100.1"),
        (vec!["for=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
        (vec!["for=\"[2001:db8:cafe::17]\", for=10.2.2.2"], "2001:db8:cafe::17"),
        (vec!["for=\"\\198.51.100.1\""], "198.51.100.1"),
        (vec!["for=\"a, for=9.9.9.9\", for=198.51.100.1"], "198.51.100.1"),
        (vec!["for=1.2.3.4, for=unknown"], "10.0.0.1"),
        (vec!["for=1.2.3.4, for=_gazonk;proto=https"], "10.0.0.1"),
        (vec!["for=1.2.3.4, proto=https"], "10.0.0.1"),
        (vec!["for=1.2.3.4, for=\"_gazonk:_port\", for=10.0.0.2"], "10.0.0.2"),
    ] {
        assert_eq!(fwd(&values).as_deref(), Ok(client), "{values:?}");
    }
    assert_eq!(address("10.0.0.1", &[]).as_deref(), Ok("10.0.0.1"), "the proxy's own health check");
}

#[test]
fn forwarding_fields_that_leave_a_choice_are_malformed() {
    let many = vec!["10.0.0.1"; 33].join(",");
    for bad in [
        "",
        "1.2.3.4,",
        "198.51.100.1,,10.0.0.2",
        "1.2.3.4 5.6.7.8",
        "01.2.3.4",
        "1.2.3",
        "1.2.3.4:",
        "1.2.3.4:x",
        "1.2.3.4:123456",
        "[::1",
        "[1.2.3.4]",
        "fe80::1%eth0",
        "_",
        "localhost",
        "\"1.2.3.4\"",
        &many,
    ] {
        assert_eq!(xff(&[bad]), Err(400), "{bad}");
    }
    let many = vec!["for=10.0.0.1"; 33].join(",");
    for bad in [
        "",
        "for",
        "for=",
        "=1.2.3.4",
        "for=1.2.3.4,",
        ",for=1.2.3.4",
        "for=1.2.3.4;",
        "for=1.2.3.4;;by=a",
        "for=1.2.3.4;for=5.6.7.8",
        "for=1.2.3.4;FOR=5.6.7.8",
        "for=[::1]",
        "for=1.2.3.4:80",
        "for=\"1.2.3.4",
        "for=\"x, for=198.51.100.1",
        "for=\"1.2.3.4\"x",
        "for=1.2.3.4 by=a",
        "for =1.2.3.4",
        "for= 1.2.3.4",
        "for=\"::1\"x",
        "for=\"\"",
        "for=\"1.2.3.4\\",
        "f(r=1.2.3.4",
        "for=1.2.3.4/8",
        &many,
    ] {
        assert_eq!(fwd(&[bad]), Err(400), "{bad}");
    }
    let both = [("Forwarded", "for=198.51.100.1"), ("X-Forwarded-For", "198.51.100.1")];
    assert_eq!(address("10.0.0.1", &both), Err(400), "even when they agree");
}

#[test]
fn an_open_quote_of_the_client_does_not_swallow_what_the_proxy_appends() {
    assert_eq!(fwd(&["for=\"1.2.3.4, for=\"[2001:db8::7]:80\";proto=https"]), Err(400));
    assert_eq!(fwd(&["for=\"1.2.3.4", "for=198.51.100.1"]), Err(400));
}

#[test]
fn a_peer_that_is_not_trusted_is_the_client_whatever_it_writes() {
    let fields = [("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "\"\"\""), ("X-Forwarded-Proto", "https")];
    assert_eq!(address("192.0.2.9", &fields).as_deref(), Ok("192.0.2.9"));
    assert_eq!(address("::ffff:192.0.2.9", &fields).as_deref(), Ok("192.0.2.9"), "canonical");
    assert_eq!(address("::ffff:10.0.0.1", &[("X-Forwarded-For", "1.2.3.4")]).as_deref(), Ok("1.2.3.4"));
}

#[test]
fn networks_of_mapped_addresses_hold_the_addresses_they_mean() {
    let nets = |n: &str| vec![n.parse::<IpNet>().unwrap()];
    let ip = |i: &str| i.parse::<IpAddr>().unwrap();
    assert!(trusted(ip("10.1.2.3"), &nets("::ffff:10.0.0.0/104")));
    assert!(trusted(ip("::ffff:10.1.2.3"), &nets("10.0.0.0/8")));
    assert!(!trusted(ip("10.1.2.3"), &nets("::/0")), "all of IPv6 is not IPv4 too");
    assert!(!trusted(ip("11.1.2.3"), &nets("::ffff:10.0.0.0/104")));
}

#[test]
fn tls_is_judged_by_the_mode() {
    let got = |mode, tls, peer, fields: &[(&str, &str)]| {
        find(peer, mode, tls, fields).map(|c| c.secure).map_err(|r| (r.status, r.code))
    };
    let upgrade = Err((Some(426), Code::Forbidden));
    assert_eq!(got(TlsMode::Required, true, "192.0.2.1", &[]), Ok(true));
    assert_eq!(got(TlsMode::Required, false, "192.0.2.1", &[("X-Forwarded-Proto", "https")]), upgrade);
    assert_eq!(got(TlsMode::Required, false, "10.0.0.1", &[("X-Forwarded-Proto", "https")]), upgrade);
    assert_eq!(got(TlsMode::Off, false, "192.0.2.1", &[]), Ok(false));
    assert_eq!(got(TlsMode::Off, false, "10.0.0.1", &[("X-Forwarded-Proto", "https")]), Ok(false), "from the listener");
    assert_eq!(got(TlsMode::Upstream, true, "192.0.2.1", &[]), Err((None, Code::Forbidden)), "not a trusted proxy");
    let up = |fields: &[(&str, &str)]| got(TlsMode::Upstream, false, "10.0.0.1", fields);
    assert_eq!(up(&[("X-Forwarded-Proto", "https")]), Ok(true));
    assert_eq!(up(&[("X-Forwarded-Proto", "WSS")]), Ok(true));
    assert_eq!(up(&[("X-Forwarded-Proto", "http, https")]), Ok(true), "the right-most is the proxy's");
    assert_eq!(up(&[("Forwarded", "for=1.2.3.4;proto=https")]), Ok(true));
    assert_eq!(up(&[]), upgrade);
    assert_eq!(up(&[("X-Forwarded-Proto", "https, http")]), upgrade);
    assert_eq!(up(&[("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")]), upgrade);
    assert_eq!(up(&[("X-Forwarded-Proto", "")]), upgrade);
    assert_eq!(up(&[("Forwarded", "for=1.2.3.4;proto=https, for=10.0.0.2;proto=http")]), upgrade);
    assert_eq!(up(&[("Forwarded", "for=1.2.3.4;proto=https, for=10.0.0.2")]), upgrade, "the proxy did not say");
    let contradiction = [("Forwarded", "for=1.2.3.4;proto=http"), ("X-Forwarded-Proto", "https")];
    assert_eq!(up(&contradiction), upgrade);
}

/// What an attacker may write: often nearly right.
fn forged() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,60}",
        "((for|proto|by)=(\"?(1\\.2\\.3\\.4|\\[::1\\]|10\\.0\\.0\\.9|_x)\"?)?[;, ]{0,2}){0,5}",
        "((1\\.2\\.3\\.4|10\\.0\\.0\\.9|::1|unknown|\")(, ?)?){0,6}",
    ]
}

proptest! {
    #[test]
    fn an_untrusted_peer_never_chooses_its_address(lines in proptest::collection::vec((any::<bool>(), forged()), 0..4)) {
        let fields: Vec<_> =
            lines.iter().map(|(f, v)| (if *f { "Forwarded" } else { "X-Forwarded-For" }, v.as_str())).collect();
        prop_assert_eq!(address("192.0.2.9", &fields), Ok("192.0.2.9".to_owned()));
    }

    #[test]
    fn what_a_client_writes_before_a_trusted_proxy_appends_never_becomes_its_address(
        line in forged(),
        forwarded in any::<bool>(),
        same_line in any::<bool>(),
        v6 in any::<bool>(),
    ) {
        let real = if v6 { "2001:db8::77" } else { "198.51.100.77" };
        let appended = match (forwarded, v6) {
            (false, _) => real.to_owned(),
            (true, false) => format!("for={real};proto=https"),
            (true, true) => format!("for=\"[{real}]:80\";proto=https"),
        };
        let name = if forwarded { "Forwarded" } else { "X-Forwarded-For" };
        let joined = format!("{line}, {appended}");
        let fields = if same_line { vec![(name, joined.as_str())] } else { vec![(name, line.as_str()), (name, appended.as_str())] };
        match address("10.0.0.1", &fields) {
            Ok(ip) => prop_assert_eq!(ip, real),
            Err(status) => prop_assert_eq!(status, 400),
        }
    }
}
