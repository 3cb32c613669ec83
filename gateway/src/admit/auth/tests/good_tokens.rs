//! Tokens that have to be accepted, and what is read from them.

use super::*;

#[test]
fn every_algorithm_is_accepted_from_its_issuer() {
    let everybody = everybody();
    let secret = EncodingKey::from_secret(SECRET);
    let cases = [
        ("hs", "HS256", Jwa::HS256, &secret),
        ("hs", "HS384", Jwa::HS384, &secret),
        ("hs", "HS512", Jwa::HS512, &secret),
        ("rs", "RS256", Jwa::RS256, &rsa().signing),
        ("rs", "RS384", Jwa::RS384, &rsa().signing),
        ("rs", "RS512", Jwa::RS512, &rsa().signing),
        ("rs", "PS256", Jwa::PS256, &rsa().signing),
        ("rs", "PS384", Jwa::PS384, &rsa().signing),
        ("rs", "PS512", Jwa::PS512, &rsa().signing),
        ("es", "ES256", Jwa::ES256, &p256().signing),
        ("es384", "ES384", Jwa::ES384, &p384().signing),
        ("ed", "EdDSA", Jwa::EdDSA, &ed25519().signing),
    ];
    for (host, name, alg, key) in cases {
        let claims = claims_of(&format!("https://{host}.example"), &json!({}));
        let token = sign(&json!({"alg": name, "typ": "JWT"}).to_string(), &claims, key, alg);
        let identity = verify(&everybody, &token).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(identity.user.as_str(), "ada", "{name}");
    }
}

#[test]
fn a_key_of_a_set_is_chosen_by_name_or_by_being_the_only_one_that_fits() {
    let everybody = everybody();
    let claims = claims_of("https://set.example", &json!({}));
    let one = sign(r#"{"alg":"ES256","kid":"one"}"#, &claims, &p256().signing, Jwa::ES256);
    let two = sign(r#"{"alg":"ES256","kid":"two"}"#, &claims, &other_p256().signing, Jwa::ES256);
    let only = sign(r#"{"alg":"ES384"}"#, &claims, &p384().signing, Jwa::ES384);
    for token in [one, two, only] {
        assert!(verify(&everybody, &token).is_ok());
    }
}

#[test]
fn headers_that_change_nothing_are_accepted() {
    let everybody = everybody();
    for header in [
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"jwt"}"#,
        r#"{"alg":"HS256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","typ":"application/AT+JWT"}"#,
        r#" { "alg" : "HS256" } "#,
        r#"{"alg":"HS256","x5c":["AAAA"],"x5t":"AA"}"#,
        // the issuer's one secret has no name, so none can be wrong
        r#"{"alg":"HS256","kid":"2027-01"}"#,
    ] {
        assert!(verify(&everybody, &hs(header, &hs_claims(&json!({})))).is_ok(), "{header}");
    }
}

#[test]
fn access_tokens_may_say_that_they_are() {
    let everybody = everybody();
    for changes in [
        json!({"token_use": "access"}),
        json!({"typ": "Bearer"}),
        json!({"typ": "JWT"}),
        json!({"aud": ["other", "portcullis"]}),
        json!({"nonce": "x", "azp": "app"}),
    ] {
        assert!(verify(&everybody, &hs(HS256, &hs_claims(&changes))).is_ok(), "{changes}");
    }
}

#[test]
fn an_identity_says_what_the_token_said() {
    let mut issuer = hs_issuer();
    issuer.user_prefix = "app:".to_owned();
    issuer.roles_claim = "realm_access.roles".to_owned();
    let verifier = verifier(vec![pem_issuer("es", &[Algorithm::ES256], p256()), issuer]);
    let claims = format!(
        "{{ \"iss\": \"https://hs.example\", \"aud\": \"portcullis\",\n \"sub\": \"ada\", \"iat\": {NOW}.25, \
         \"exp\": {}, \"jti\": \"t-1\", \"tenant\": \"acme\", \"big\": 12345678901234567890123, \
         \"realm_access\": {{\"roles\": [\"b\", \"a\", \"b\"]}}, \"text\": \"a  b\" }}",
        NOW + 60
    );
    let identity = verify(&verifier, &hs(HS256, &claims)).unwrap();
    assert_eq!(identity.user.as_str(), "app:ada");
    assert_eq!(identity.tenant.as_ref().unwrap().as_str(), "acme");
    assert_eq!(identity.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(identity.issued, UnixMs(NOW * 1000 + 250));
    assert_eq!(identity.expires, UnixMs((NOW + 60) * 1000));
    assert_eq!(identity.token_id.as_deref(), Some("t-1"));
    assert_eq!(identity.issuer, 1);
    let compact = identity.claims.get();
    assert!(compact.starts_with("{\"iss\":\"https://hs.example\",\"aud\""), "{compact}");
    assert!(compact.contains("\"big\":12345678901234567890123,"), "{compact}");
    assert!(compact.ends_with("\"text\":\"a  b\"}"), "{compact}");
}

#[test]
fn roles_come_as_an_array_or_a_string_and_from_a_literal_claim_before_a_path() {
    let roles = |claim: &str, changes: Value| {
        let mut issuer = hs_issuer();
        issuer.roles_claim = claim.to_owned();
        let found = verify(&verifier(vec![issuer]), &hs(HS256, &hs_claims(&changes)));
        found.map(|identity| identity.roles.join("|"))
    };
    assert_eq!(roles("roles", json!({})).unwrap(), "");
    assert_eq!(roles("roles", json!({"roles": []})).unwrap(), "");
    assert_eq!(roles("roles", json!({"roles": "a  b"})).unwrap(), "a|b");
    assert_eq!(roles("scope", json!({"scope": "a b", "roles": ["c"]})).unwrap(), "a|b");
    assert_eq!(roles("x.y", json!({"x": {"y": ["deep"]}})).unwrap(), "deep");
    assert_eq!(roles("x.y", json!({"x.y": ["literal"], "x": {"y": ["deep"]}})).unwrap(), "literal");
    assert_eq!(roles("x.y", json!({"x": {"z": 1}})).unwrap(), "");
    assert_eq!(roles("https://app.example/roles", json!({"https://app.example/roles": "a"})).unwrap(), "a");
    assert_eq!(roles("https://app.example/roles", json!({})).unwrap(), "");
    let way = Some(bad("a claim on the way to another is not an object"));
    assert_eq!(roles("x.y", json!({"x": "y"})).err(), way);
    let many: Vec<String> = (0..64).map(|i| format!("r{i}")).collect();
    assert_eq!(roles("roles", json!({"roles": many})).unwrap().split('|').count(), 64);
}

#[test]
fn a_token_of_exactly_the_longest_size_is_accepted() {
    let token = |fill: usize, shift: &str| {
        let header = json!({"alg": "HS256", "x": shift}).to_string();
        hs(&header, &hs_claims(&json!({"fill": "x".repeat(fill)})))
    };
    // base64 comes in steps, so the header takes up the slack
    let exact = (5700..6100)
        .flat_map(|fill| ["", "x", "xx"].map(|shift| token(fill, shift)))
        .find(|token| token.len() == super::super::MAX_TOKEN)
        .expect("some lengths add up");
    assert!(verify(&everybody(), &exact).is_ok());
}

#[test]
fn nothing_of_a_token_or_a_key_is_in_what_debug_shows() {
    let everybody = everybody();
    let identity = verify(&everybody, &hs(HS256, &hs_claims(&json!({"roles": ["root"], "jti": "t-1"})))).unwrap();
    let shown =
        format!("{identity:?} {everybody:?} {:?}", everybody.issuers.iter().map(|i| &i.source).collect::<Vec<_>>());
    for hidden in ["ada", "root", "t-1", "portcullis", "0123456789abcdef", "48, 49, 50", "one"] {
        assert!(!shown.contains(hidden), "{hidden} in {shown}");
    }
}
