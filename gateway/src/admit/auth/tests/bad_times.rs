//! `exp`, `nbf`, `iat`: types, ranges, exact edges. The clock shows `NOW`; leeway is ten seconds.

use super::*;

/// The claims with the value of `name` as this very text.
fn with(name: &str, value: &str) -> Result<Identity, AuthError> {
    let claims = hs_claims(&json!({name: "?"})).replace("\"?\"", value);
    verify(&verifier(vec![hs_issuer()]), &hs(HS256, &claims))
}

fn at(changes: Value) -> Result<Identity, AuthError> {
    verify(&verifier(vec![hs_issuer()]), &hs(HS256, &hs_claims(&changes)))
}

#[test]
fn times_that_are_no_numbers_are_refused() {
    let quoted = format!("\"{}\"", NOW + 300);
    for name in ["exp", "iat", "nbf"] {
        for value in [quoted.as_str(), "true", "null", "[1800000300]", "{}", "\"\"", "\"never\""] {
            assert_eq!(with(name, value).err(), Some(bad("a time is not a number")), "{name} {value}");
        }
    }
}

#[test]
fn numbers_that_are_no_times_are_refused() {
    for name in ["exp", "iat", "nbf"] {
        for value in ["-1", "-0.5", "-0.0", "253402300800", "18446744073709551615", "1e300", "99999999999999999999"] {
            assert_eq!(with(name, value).err(), Some(bad("a time is out of range")), "{name} {value}");
        }
        assert_eq!(with(name, "1e400").err(), Some(bad("the claims are not a strict JSON object")), "{name}");
        for value in ["NaN", "Infinity", "0x7fffffff", "01", "+1", "1_000"] {
            assert_eq!(with(name, value).err(), Some(bad("the claims name no issuer")), "{name} {value}");
        }
    }
}

#[test]
fn a_token_says_when_it_was_issued_and_when_it_expires() {
    assert_eq!(at(json!({"exp": null})).err(), Some(bad("the token does not expire")));
    assert_eq!(at(json!({"iat": null})).err(), Some(bad("the token does not say when it was issued")));
}

#[test]
fn a_token_is_good_until_its_expiry_and_the_leeway_have_passed() {
    let expired = Some(bad("the token has expired"));
    assert!(at(json!({"iat": NOW - 100, "exp": NOW - 9})).is_ok());
    assert!(at(json!({"iat": NOW - 100, "exp": NOW as f64 - 9.5})).is_ok());
    assert_eq!(at(json!({"iat": NOW - 100, "exp": NOW - 10})).err(), expired);
    assert_eq!(at(json!({"iat": NOW - 100, "exp": NOW as f64 - 10.5})).err(), expired);
    assert_eq!(at(json!({"iat": 0, "exp": 1})).err(), expired);
}

#[test]
fn the_same_edge_to_the_millisecond() {
    let clock = clock();
    let verifier = Verifier::new(&auth(vec![hs_issuer()]), Arc::clone(&clock) as _).unwrap();
    let token = hs(HS256, &hs_claims(&json!({"exp": NOW + 300})));
    clock.advance(Duration::from_millis(309_999));
    assert!(verify(&verifier, &token).is_ok());
    clock.advance(Duration::from_millis(1));
    assert_eq!(verify(&verifier, &token).err(), Some(bad("the token has expired")));
}

#[test]
fn a_token_is_good_from_nbf_and_iat_less_the_leeway_on() {
    assert!(at(json!({"nbf": NOW + 10})).is_ok());
    assert_eq!(at(json!({"nbf": NOW + 11})).err(), Some(bad("the token is not valid yet")));
    assert_eq!(at(json!({"nbf": NOW as f64 + 10.5})).err(), Some(bad("the token is not valid yet")));
    assert!(at(json!({"iat": NOW + 10})).is_ok());
    assert_eq!(at(json!({"iat": NOW + 11})).err(), Some(bad("the token was issued in the future")));
}

#[test]
fn a_token_lives_no_longer_than_the_longest_life() {
    let long = Some(bad("the token lives too long"));
    assert!(at(json!({"iat": NOW, "exp": NOW + 86_400})).is_ok());
    assert_eq!(at(json!({"iat": NOW, "exp": NOW + 86_401})).err(), long);
    assert_eq!(at(json!({"iat": NOW - 90_000, "exp": NOW + 1})).err(), long);
    assert_eq!(at(json!({"iat": 0})).err(), long);
}

#[test]
fn a_token_expires_after_it_was_issued() {
    let backwards = Some(bad("the token expires before it was issued"));
    assert_eq!(at(json!({"iat": NOW, "exp": NOW})).err(), backwards);
    assert_eq!(at(json!({"iat": NOW + 5, "exp": NOW + 4})).err(), backwards);
}

#[test]
fn leeway_and_life_cannot_be_configured_beyond_their_bounds() {
    let mut auth = auth(vec![hs_issuer()]);
    auth.leeway = Duration::from_secs(3600);
    auth.max_token_life = Duration::from_secs(365 * 86_400);
    let verifier = Verifier::new(&auth, clock()).unwrap();
    let check = |changes: Value| verify(&verifier, &hs(HS256, &hs_claims(&changes)));
    assert!(check(json!({"iat": NOW - 100, "exp": NOW - 29})).is_ok());
    assert!(check(json!({"iat": NOW - 100, "exp": NOW - 30})).is_err());
    assert!(check(json!({"iat": NOW, "exp": NOW + 86_401})).is_err());
}
