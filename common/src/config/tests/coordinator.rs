use super::super::model::{CoordinatorConfig, StoreUrl};
use super::*;

const FLEET: &str = r#"
[store]
url = "redis://:swordfish@redis.internal"
cluster_key_file = "cluster.key"
naming_key_file = "naming.key"
"#;

fn read(text: &str, env: &[(&str, &str)]) -> Result<CoordinatorConfig, ConfigErrors> {
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let host = ("HOSTNAME".to_owned(), "host-7".to_owned());
    CoordinatorConfig::parse(Some(text), env.chain([host]), Path::new("/etc/portcullis"))
}

fn problems(text: &str) -> String {
    read(text, &[]).unwrap_err().to_string()
}

#[test]
fn a_coordinator_needs_neither_the_certificates_nor_the_secrets_of_the_gateways() {
    let whole = changed("mode = \"off\"", "mode = \"required\"\ncert_file = \"/none.pem\"", FLEET);
    let config = read(&whole.replace("secret = ", "secret_file = "), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((config.coordinator.id.as_str(), config.coordinator.lease), ("host-7", Duration::from_secs(10)));
    assert_eq!(config.coordinator.listen.to_string(), "127.0.0.1:9091");
    assert!(matches!(config.store.url, StoreUrl::Redis(_)));
    let least = read(FLEET, &[("PORTCULLIS__COORDINATOR__LEASE", "2s")]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(least.coordinator.lease, Duration::from_secs(2));
}

#[test]
fn a_coordinator_without_a_shared_store_is_refused() {
    assert!(problems("").contains("store.url: is \"memory:\""), "{}", problems(""));
}

#[test]
fn what_is_wrong_in_its_own_sections_is_told_at_once() {
    let text = format!(
        "{FLEET}[coordinator]\nlisten = \"nowhere\"\nlease = \"1s\"\nidd = \"x\"\n[sessions]\n[log]\njson = 1\n"
    );
    let problems = problems(&text);
    for key in ["coordinator.listen", "coordinator.lease", "coordinator.idd", "sessions", "log.json"] {
        assert!(problems.contains(key), "{key} is not named:\n{problems}");
    }
}

#[test]
fn what_is_printed_loads_again_without_the_password() {
    let text =
        format!("{FLEET}[session]\nabsolute_timeout = \"20d\"\n[coordinator]\nid = \"c-1\"\nlease = \"2500ms\"\n");
    let printed = read(&text, &[]).unwrap_or_else(|e| panic!("{e}")).to_toml();
    assert!(!printed.contains("swordfish"), "{printed}");
    let again = read(&printed.replace("[secret]", "redis://r"), &[]).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(again.to_toml(), printed);
    assert!(printed.contains("lease = \"2500ms\"") && printed.contains("absolute_timeout = \"20d\""), "{printed}");
}
