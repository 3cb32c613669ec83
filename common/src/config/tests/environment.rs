use super::super::model::KeySource;
use super::*;

fn with(env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    load_in(directory().path(), BASE, env)
}

#[test]
fn a_variable_replaces_the_files_value_in_any_type() {
    let config = with(&[
        ("PORTCULLIS__NODE__ID", "gw-9"),
        ("PORTCULLIS__SESSION__MAX_PER_USER", "7"),
        ("PORTCULLIS__SIZE__OUTBOX", "131072"),
        ("PORTCULLIS__SESSION__IDLE_TIMEOUT", "5m"),
        ("PORTCULLIS__LOG__JSON", "false"),
        ("PORTCULLIS__ORIGIN__ALLOW", "https://a.example, https://b.example"),
        ("PORTCULLIS__TLS__MODE", "off"),
    ])
    .unwrap();
    assert_eq!(config.node.id.as_str(), "gw-9");
    assert_eq!((config.session.max_per_user, config.size.outbox, config.log.json), (7, 131_072, false));
    assert_eq!(config.session.idle_timeout.unwrap().as_secs(), 300);
    assert_eq!(config.origin.allow[1].host, "b.example");
}

#[test]
fn elements_are_reached_by_number_and_the_next_one_appends() {
    let config = with(&[
        ("PORTCULLIS__AUTH__ISSUER__0__SECRET", "ffffffffffffffffffffffffffffffff"),
        ("PORTCULLIS__ORIGIN__ALLOW__1", "https://b.example"),
        ("PORTCULLIS__ROOM__0__PATTERN", "lobby"),
        ("PORTCULLIS__ROOM__0__JOIN", "member"),
    ])
    .unwrap();
    assert!(matches!(&config.auth.issuer[0].keys, KeySource::Secret(s) if s.expose() == [b'f'; 32]));
    assert_eq!(config.auth.issuer[0].name, "app", "the rest of the element stays");
    assert_eq!(config.origin.allow.len(), 2);
    assert_eq!(config.room[0].join, ["member"]);
}

#[test]
fn ten_appended_elements_keep_their_order() {
    let env: Vec<(String, String)> =
        (0..12).map(|n| (format!("PORTCULLIS__ROOM__{n}__PATTERN"), format!("r{n}"))).collect();
    let config = Config::parse(Some(BASE), env.into_iter(), Path::new("/")).unwrap();
    assert_eq!(config.room[2].pattern, "r2");
    assert_eq!(config.room[11].pattern, "r11");
}

#[test]
fn a_message_type_is_found_whatever_its_case() {
    let text = BASE.to_owned() + "[message.fileUpload]\nroles = [\"*\"]\nroute = \"room\"\n";
    let config = load_in(Path::new("/"), &text, &[("PORTCULLIS__MESSAGE__FILEUPLOAD__RATE", "3/s")]).unwrap();
    assert_eq!(config.message["fileUpload"].rate.unwrap().rate.count, 3);
}

#[test]
fn without_a_file_the_environment_is_enough() {
    let env = [
        ("PORTCULLIS__TLS__MODE", "off"),
        ("PORTCULLIS__ORIGIN__MISSING", "allow"),
        ("PORTCULLIS__AUTH__ISSUER__0__NAME", "app"),
        ("PORTCULLIS__AUTH__ISSUER__0__ISSUER", "https://id.example"),
        ("PORTCULLIS__AUTH__ISSUER__0__AUDIENCE", "portcullis"),
        ("PORTCULLIS__AUTH__ISSUER__0__ALGORITHMS", "ES256"),
        ("PORTCULLIS__AUTH__ISSUER__0__JWKS_URL", "https://id.example/jwks"),
    ];
    let env = env.map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert!(Config::load(None, env.into_iter()).is_ok());
}

#[test]
fn variables_that_would_not_be_read_are_errors_and_say_how_they_are_meant() {
    for name in ["PORTCULLIS_STORE__URL", "PORTCULLIS_STORE_URL", "PORTCULLIS_STROE__URL"] {
        let errors = with(&[(name, "memory:")]).unwrap_err();
        assert_eq!(errors.0.len(), 1, "{errors}");
        assert_eq!(errors.0[0].path, name);
        assert!(errors.0[0].problem.contains("PORTCULLIS__STORE__KEY"), "{errors}");
    }
    for name in ["PORTCULLIS__", "PORTCULLIS__NODE____ID", "PORTCULLIS__A__B__C__D__E__F__G__H__I"] {
        let errors = with(&[(name, "x")]).unwrap_err();
        assert_eq!(errors.0[0].path, name, "{errors}");
    }
}

#[test]
fn variables_of_others_are_left_alone() {
    for name in [
        "PORTCULLIS_SERVICE_HOST",
        "PORTCULLIS_PORT",
        "PORTCULLIS_PORT_8080_TCP_ADDR",
        "PORTCULLIS_STORE_SERVICE_HOST",
        "PORTCULLIS_STORE_SERVICE_PORT_REDIS",
        "PORTCULLIS_STORE_PORT_6379_TCP",
        "PORTCULLIS_CONFIG",
        "PORTCULLISX__NODE__ID",
        "PATH",
    ] {
        assert!(with(&[(name, "tcp://10.0.0.1:80")]).is_ok(), "{name}");
    }
}

#[test]
fn an_error_in_a_variable_names_it_and_hides_its_value() {
    let env = [
        ("PORTCULLIS__SESSION__MAX_PER_USER", "hunter2"),
        ("PORTCULLIS__AUTH__ISSUER__0__COOKIE", "hunter2="),
        ("PORTCULLIS__AUTH__ISSUER__7__SECRET", "hunter2"),
        ("PORTCULLIS__NODE__ID__X", "hunter2"),
        ("PORTCULLIS__NODE__3", "hunter2"),
        ("PORTCULLIS__STORE", "hunter2"),
        ("PORTCULLIS__NODE_ID", "hunter2"),
        ("PORTCULLIS__LISTEN__PUBLIC", "hunter2"),
    ];
    let errors = with(&env).unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.0.len(), env.len(), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    for (name, _) in env {
        assert!(text.contains(name), "{name} is not named:\n{text}");
    }
}
