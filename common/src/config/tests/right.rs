use std::time::Duration;

use super::super::model::{
    Algorithm, KeySource, Limit, OnLimit, Rate, Route, StoreUrl, TlsMode, TlsVersion, UserReach,
};
use super::super::secret::Secret;
use super::*;

#[test]
fn what_is_left_out_has_the_documented_default() {
    let c = load(BASE).unwrap();
    assert_eq!(c.listen.public.to_string(), "127.0.0.1:8080");
    assert_eq!(c.listen.private.to_string(), "127.0.0.1:9090");
    assert!(c.listen.trusted_proxies.is_empty() && !c.listen.diagnostics_echo);
    assert_eq!((c.listen.max_connections, c.listen.max_connections_per_ip, c.listen.backlog), (15_000, 1_000, 1_024));
    assert_eq!(c.store.url, StoreUrl::Memory);
    assert_eq!(c.tls.min_version, TlsVersion::V12);
    assert_eq!(c.tls.hsts_max_age, Duration::from_secs(365 * 86_400));
    assert_eq!((c.auth.leeway, c.auth.max_token_life), (Duration::from_secs(10), Duration::from_secs(86_400)));
    assert_eq!(c.session.on_limit, OnLimit::Reject);
    assert_eq!((c.session.max_per_user, c.session.max_rooms, c.session.idle_timeout), (5, 64, None));
    assert_eq!((c.size.message, c.size.outbox, c.size.fragments, c.size.json_nodes), (65_536, 262_144, 64, 4_096));
    let minute = Duration::from_secs(60);
    assert_eq!(c.limit.message, Limit { rate: Rate { count: 100, period: minute }, burst: 20 });
    assert_eq!(c.limit.bytes, Limit { rate: Rate { count: 1 << 20, period: minute }, burst: 256 << 10 });
    assert_eq!(c.limit.login, Limit { rate: Rate { count: 10, period: minute }, burst: 10 });
    assert!(!c.origin.missing_allowed && !c.dev && c.log.json && c.node.workers >= 1);
    assert_eq!(c.auth.issuer[0].roles_claim, "roles");
}

#[test]
fn a_node_without_an_id_is_called_after_its_host() {
    let text = changed("id = \"gw-1\"", "", "");
    assert_eq!(load(&text).unwrap().node.id.as_str(), "host-7");
    let odd = load_in(Path::new("/"), &text, &[]).unwrap();
    assert_eq!(odd.node.id.as_str(), "host-7");
    let env = [("HOSTNAME".to_owned(), "büro pc".to_owned())];
    assert_eq!(Config::parse(Some(&text), env.into_iter(), Path::new("/")).unwrap().node.id.as_str(), "b-ro-pc");
    let env = [("HOSTNAME".to_owned(), String::new())];
    assert_eq!(Config::parse(Some(&text), env.into_iter(), Path::new("/")).unwrap().node.id.as_str(), "gateway");
}

#[test]
fn a_secret_file_loses_its_line_end_and_nothing_else() {
    let text = changed("secret = \"0123456789abcdef0123456789abcdef\"", "secret_file = \"secret\"", "");
    let config = load(&text).unwrap();
    let KeySource::Secret(secret) = &config.auth.issuer[0].keys else { panic!("not a secret") };
    assert_eq!(secret.expose(), b"0123456789abcdef0123456789abcdef");
    assert!(!format!("{config:?}").contains("0123456789abcdef"), "Debug shows the secret");
}

#[test]
fn public_keys_come_inline_or_from_files_and_addresses() {
    let es = |keys: &str| {
        let text = changed("algorithms = [\"HS256\"]", "algorithms = [\"ES256\", \"ES384\"]", "");
        load(&text.replace("secret = \"0123456789abcdef0123456789abcdef\"", keys)).unwrap().auth.issuer.remove(0)
    };
    assert_eq!(es("public_key_file = \"public.pem\"").algorithms, [Algorithm::ES256, Algorithm::ES384]);
    assert!(matches!(es("public_key_file = \"public.pem\"").keys, KeySource::Pem(pem) if pem == PUBLIC_KEY));
    let inline = format!("public_key = '''\n{PUBLIC_KEY}'''");
    assert!(matches!(es(&inline).keys, KeySource::Pem(pem) if pem == PUBLIC_KEY));
    assert!(matches!(es("jwks_file = \"jwks.json\"").keys, KeySource::JwksFile(p) if p.is_absolute()));
    assert!(matches!(es("jwks_url = \"https://id.example/jwks\"").keys, KeySource::JwksUrl(_)));
}

#[test]
fn rooms_and_messages_mean_what_they_say() {
    let more = r#"
[[room]]
pattern = "team.{t}.*"
where = "t in claims.teams"
join = ["member"]
publish = ["member", "admin"]
presence = true
history = { count = 100, age = "10m" }
[message.chat]
roles = ["member"]
route = "room"
rate = "10/s"
echo = false
max_size = "8KiB"
[message."app.direct"]
roles = ["*"]
route = "user"
users = "any"
rate = "5/min"
burst = 2
"#;
    let config = load(&(BASE.to_owned() + more)).unwrap();
    let room = &config.room[0];
    assert_eq!((room.pattern.as_str(), room.condition.as_deref()), ("team.{t}.*", Some("t in claims.teams")));
    assert_eq!(room.publish, ["member", "admin"]);
    let history = room.history.unwrap();
    assert_eq!((history.count, history.age), (100, Duration::from_secs(600)));
    let chat = &config.message["chat"];
    assert_eq!((chat.route.clone(), chat.echo, chat.max_size), (Route::Room, false, Some(8_192)));
    assert_eq!(chat.rate.unwrap().burst, 10, "a burst left out is the rate's count");
    let direct = &config.message["app.direct"];
    assert_eq!(direct.route, Route::User(UserReach::Any));
    assert_eq!(direct.rate.unwrap().burst, 2);
    assert!(direct.echo);
}

#[test]
fn tls_is_required_unless_said_otherwise_and_its_files_are_looked_at() {
    let text = changed("mode = \"off\"", "cert_file = \"cert.pem\"\nkey_file = \"key.pem\"", "");
    let config = load(&text).unwrap();
    assert_eq!(config.tls.mode, TlsMode::Required);
    assert!(config.tls.cert_file.unwrap().is_absolute());
    let open = changed("mode = \"off\"", "mode = \"off\"\ninsecure = true\n[listen]\npublic = \"0.0.0.0:80\"", "");
    assert_eq!(load(&open).unwrap().tls.mode, TlsMode::Off);
}

#[test]
fn two_issuers_whose_users_cannot_be_mistaken_are_legal() {
    let more = "user_prefix = \"app:\"\n[[auth.issuer]]\nname = \"b\"\nissuer = \"https://id.example\"\naudience = \"b\"\n\
                algorithms = [\"EdDSA\"]\npublic_key_file = \"public.pem\"\nuser_prefix = \"b:\"\n";
    assert_eq!(load(&(BASE.to_owned() + more)).unwrap().auth.issuer.len(), 2);
}

#[test]
fn the_dev_profile_is_legal_and_holds_the_given_secret() {
    let config = Config::dev(Secret::new(vec![0xff; 32]), 8080, 9090).unwrap();
    assert!(config.dev && config.origin.missing_allowed);
    assert!(config.listen.public.ip().is_loopback() && config.listen.private.ip().is_loopback());
    let origins: Vec<&str> = config.origin.allow.iter().map(|o| o.host.as_str()).collect();
    assert_eq!(origins, ["127.0.0.1", "localhost"]);
    assert!(matches!(&config.auth.issuer[0].keys, KeySource::Secret(s) if s.expose() == [0xff; 32]));
    let rooms: Vec<&str> = config.room.iter().map(|r| r.pattern.as_str()).collect();
    assert_eq!(rooms, ["lobby", "room.*", "team.{t}"]);
    assert_eq!(config.message["chat"].rate.unwrap().burst, 10);
    assert_eq!(config.limit.connect.burst, 120);
    assert!(Config::dev(Secret::new(vec![0xff; 31]), 8080, 9090).is_err(), "a short secret");
    assert!(Config::dev(Secret::new(vec![0xff; 32]), 8080, 8080).is_err(), "one port for both");
    assert!(Config::dev(Secret::new(vec![0xff; 32]), 0, 0).is_ok(), "any free ports");
}

#[test]
fn a_file_is_read_from_disk_and_named_when_it_cannot_be() {
    let dir = directory();
    let path = dir.path().join("portcullis.toml");
    let missing = Config::load(Some(&path), std::iter::empty()).unwrap_err();
    assert!(missing.to_string().contains("portcullis.toml: names a file that does not exist"), "{missing}");
    std::fs::write(&path, BASE).unwrap();
    assert_eq!(Config::load(Some(&path), std::iter::empty()).unwrap().node.id.as_str(), "gw-1");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(Config::load(Some(&path), std::iter::empty()).is_err());
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    let long = Config::load(Some(&path), std::iter::empty()).unwrap_err();
    assert!(long.to_string().contains("longer than"), "{long}");
}
