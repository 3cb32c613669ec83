//! What `Verifier::new` refuses, and where it says the mistake is.

use super::super::pem;
use super::*;

use Algorithm::{ES256, ES384, EdDSA, HS256, PS256, RS256};

fn problems(issuers: Vec<Issuer>) -> Vec<(String, String)> {
    Verifier::new(&auth(issuers), clock()).expect_err("a mistake")
}

fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = match contents.len() {
        short @ 0..=0x7f => vec![short as u8],
        middle @ 0x80..=0xff => vec![0x81, middle as u8],
        long => vec![0x82, (long >> 8) as u8, long as u8],
    };
    [vec![tag], length, contents.to_vec()].concat()
}

fn in_pem(der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

/// An RSA key whose modulus has this many bytes, all bits of the first one set.
fn rsa_pem(bytes: usize) -> String {
    let modulus = [&[0], vec![0xff; bytes].as_slice()].concat();
    let key = der(0x30, &[der(2, &modulus), der(2, &[1, 0, 1])].concat());
    let id = der(0x30, &[der(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]), der(5, &[])].concat());
    in_pem(&der(0x30, &[id, der(3, &[&[0], key.as_slice()].concat())].concat()))
}

#[test]
fn every_mistake_is_told_at_once_with_its_path() {
    let missing = issuer("file", &[RS256], KeySource::JwksFile("/nonexistent/jwks.json".into()));
    let plain = issuer("url", &[RS256], KeySource::JwksUrl("http://id.example/jwks".to_owned()));
    let short = issuer("short", &[HS256], KeySource::Secret(Secret::new(&SECRET[..31])));
    let found = problems(vec![hs_issuer(), missing, plain, short, hs_issuer()]);
    let told: Vec<(&str, &str)> = found.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(
        told,
        [
            ("auth.issuer[1].jwks_file", "cannot be opened: entity not found"),
            ("auth.issuer[2].jwks_url", "must be https (http on loopback only)"),
            ("auth.issuer[3].secret_file", "must have at least 32 bytes"),
            ("auth.issuer[4].issuer", "is the same as that of an issuer above"),
        ]
    );
}

#[test]
fn algorithms_are_of_one_family_and_fit_the_key() {
    let secret = || KeySource::Secret(Secret::new(SECRET));
    let public = |pair: &Pair| KeySource::Pem(pair.pair.public_key_pem());
    for (algorithms, keys, place, says) in [
        (vec![], secret(), "algorithms", "must not be empty"),
        (vec![HS256, RS256], secret(), "algorithms", "must be of one family"),
        (vec![RS256, ES256], public(rsa()), "algorithms", "must be of one family"),
        (vec![RS256], secret(), "secret_file", "need a public key"),
        (vec![HS256], public(rsa()), "algorithms", "need a shared secret"),
        (vec![RS256], public(p256()), "public_key_file", "is a P-256 key, and RS256 needs an RSA key"),
        (vec![ES256], public(rsa()), "public_key_file", "is an RSA key, and ES256 needs a P-256 key"),
        (vec![ES384], public(p256()), "public_key_file", "is a P-256 key, and ES384 needs a P-384 key"),
        (vec![ES256, ES384], public(p256()), "public_key_file", "ES384 needs a P-384 key"),
        (vec![EdDSA], public(p256()), "public_key_file", "EdDSA needs an Ed25519 key"),
        (vec![PS256], public(ed25519()), "public_key_file", "is an Ed25519 key"),
    ] {
        let found = problems(vec![issuer("x", &algorithms, keys)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, format!("auth.issuer[0].{place}"), "{found:?}");
        assert!(found[0].1.contains(says), "{found:?}");
    }
}

#[test]
fn a_key_file_is_one_public_key_that_is_strong_enough() {
    let good = p256().pair.public_key_pem();
    assert!(pem::public_key(&good).is_ok());
    assert!(pem::public_key(&good.replace('\n', "\r\n")).is_ok());
    assert!(pem::public_key(&rsa_pem(256)).is_ok());
    let size = Some("the RSA modulus must have 2048 to 8192 bits");
    assert_eq!(pem::public_key(&rsa_pem(255)).err(), size);
    assert_eq!(pem::public_key(&rsa_pem(128)).err(), size);
    assert_eq!(pem::public_key(&rsa_pem(1025)).err(), size);
    let private = Some("is a private key; give the public key");
    assert_eq!(pem::public_key(&p256().pair.serialize_pem()).err(), private);
    for bad in [
        String::new(),
        "not a key".to_owned(),
        format!("{good}{good}"),
        good.replace("PUBLIC KEY", "CERTIFICATE"),
        good.replace("PUBLIC KEY", "RSA PUBLIC KEY"),
        in_pem(b""),
        in_pem(&[0x30, 0x80, 0, 0]),
        in_pem(&[0x30, 0x82, 0xff, 0xff]),
        in_pem(&[p256().pair.public_key_raw(), b"x"].concat()),
        in_pem(&der(0x30, &[der(0x30, &der(6, &[1, 2, 3])), der(3, &[0, 1])].concat())),
    ] {
        assert!(pem::public_key(&bad).is_err(), "{bad}");
    }
}

#[test]
fn no_cut_of_a_key_panics_or_is_a_key() {
    use base64::engine::general_purpose::STANDARD;
    for pair in [rsa(), p256(), p384(), ed25519()] {
        let text = pair.pair.public_key_pem();
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let whole = STANDARD.decode(body).unwrap();
        assert!(pem::public_key(&in_pem(&whole)).is_ok());
        for end in 0..whole.len() {
            assert!(pem::public_key(&in_pem(&whole[..end])).is_err(), "{end}");
        }
        assert!(pem::public_key(&in_pem(&[whole.as_slice(), &[0]].concat())).is_err(), "something after");
    }
}

#[test]
fn a_set_from_a_file_is_read_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("set.json");
    std::fs::write(&path, json!({"keys": [jwk(p256(), "a")]}).to_string()).unwrap();
    assert!(Verifier::new(&auth(vec![issuer("f", &[ES256], KeySource::JwksFile(path.clone()))]), clock()).is_ok());
    std::fs::write(&path, vec![b' '; 300 * 1024]).unwrap();
    let found = problems(vec![issuer("f", &[ES256], KeySource::JwksFile(path))]);
    assert_eq!(found[0].1, "the JWK set is larger than 256 KiB");
}
