//! Hostile tokens: form, header, key choice, signature, claims.

use proptest::prelude::*;

use super::*;

const BASE64: &str = "a segment is not canonical base64url";
const HEADER: &str = "the header is not a strict JSON object";
const MEMBER: &str = "the header has a member that is not allowed";
const TYPE: &str = "the header says it is another kind of token";
const ALG: &str = "the algorithm is not supported";
const NO_ALG: &str = "the header has no algorithm";
const NOT_THEIRS: &str = "the algorithm is not the issuer's";
const KID: &str = "the key id is not a short string";
const UNKNOWN_KEY: &str = "the key is not one of the issuer's";
const FORGED: &str = "the signature is not the issuer's";
const EMPTY: &str = "a segment of the token is empty";
const NO_ISSUER: &str = "the claims name no issuer";
const UNKNOWN_ISSUER: &str = "the issuer is not configured";
const CLAIMS: &str = "the claims are not a strict JSON object";
const AUDIENCE: &str = "the token is for another audience";
const AUDIENCE_TYPE: &str = "the audience is missing or of the wrong type";
const NOT_TEXT: &str = "a claim that must be a string is not";
const USER: &str = "the subject is no legal user id";
const OTHER_USE: &str = "the token is for another use";
const OTHER_KIND: &str = "the claims say it is another kind of token";
const EVENT: &str = "the token is an ID token or an event";
const ROLE: &str = "a role is empty, too long or not printable";

type Case = (&'static str, String, &'static str);

fn refuse_all(cases: Vec<Case>) -> usize {
    let everybody = everybody();
    for (name, token, why) in &cases {
        assert_eq!(verify(&everybody, token).err(), Some(bad(why)), "{name}");
    }
    cases.len()
}

/// Good claims under another header, signed well.
fn headed(header: &str) -> String {
    hs(header, &hs_claims(&json!({})))
}

fn claiming(changes: Value) -> String {
    hs(HS256, &hs_claims(&changes))
}

#[test]
fn tokens_of_a_bad_form_are_refused() {
    let good = claiming(json!({}));
    let segments: Vec<&str> = good.split('.').collect();
    let (head, body, signature) = (segments[0], segments[1], segments[2]);
    // 32 bytes are 43 characters, the last with two unused bits
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let loose = format!("{head}.{body}.{}{next}", &signature[..42]);
    let count = refuse_all(vec![
        ("nothing", String::new(), "the token has no segments"),
        ("no dot", "abc".to_owned(), "the token has no segments"),
        ("two segments", format!("{head}.{body}"), "the token has too few segments"),
        ("four segments", format!("{good}.AAAA"), "the token has too many segments"),
        ("an encrypted token", format!("{head}.AA.{body}.AA.{signature}"), "the token has too many segments"),
        ("only dots", "..".to_owned(), EMPTY),
        ("no signature", format!("{head}.{body}."), EMPTY),
        ("no payload", format!("{head}..{signature}"), EMPTY),
        ("padding", format!("{good}="), BASE64),
        ("padding in the header", format!("{head}==.{body}.{signature}"), BASE64),
        ("a space before", format!(" {good}"), BASE64),
        ("a line after", format!("{good}\n"), BASE64),
        ("a space within", format!("{head}.{body}.{} {}", &signature[..8], &signature[8..]), BASE64),
        ("unused bits set", loose, BASE64),
        ("the other alphabet", format!("{head}.{body}.{}", "+".repeat(43)), BASE64),
        ("not ASCII", format!("{head}.{body}.{signature}é"), BASE64),
        ("a zero byte", format!("{head}.{body}.{signature}\0"), BASE64),
        ("cut short by three", good[..good.len() - 3].to_owned(), FORGED),
        ("8 KiB and a byte", format!("{good}{}", "A".repeat(8 * 1024 + 1 - good.len())), "the token is too long"),
        ("header no JSON", format!("{}.{body}.{signature}", b64("alg")), HEADER),
        ("header an array", format!("{}.{body}.{signature}", b64(r#"["HS256"]"#)), HEADER),
        ("header not UTF-8", format!("{}.{body}.{signature}", b64(b"{\"alg\":\"HS256\xff\"}")), HEADER),
        ("payload no JSON", hs(HS256, "iss"), NO_ISSUER),
        ("payload another token", hs(HS256, &good), NO_ISSUER),
        ("payload an array", hs(HS256, r#"["https://hs.example"]"#), CLAIMS),
    ]);
    assert_eq!(count, 25);
}

#[test]
fn headers_that_steer_the_verification_are_refused() {
    let own_key = jwk(other_p256(), "one");
    refuse_all(vec![
        ("alg none", headed(r#"{"alg":"none"}"#), ALG),
        ("alg None", headed(r#"{"alg":"None"}"#), ALG),
        ("alg NONE", headed(r#"{"alg":"NONE"}"#), ALG),
        ("alg nOnE", headed(r#"{"alg":"nOnE"}"#), ALG),
        ("alg empty", headed(r#"{"alg":""}"#), ALG),
        ("alg in lower case", headed(r#"{"alg":"hs256"}"#), ALG),
        ("alg with a space", headed(r#"{"alg":"HS256 "}"#), ALG),
        ("alg of another curve", headed(r#"{"alg":"ES256K"}"#), ALG),
        ("alg ES512", headed(r#"{"alg":"ES512"}"#), ALG),
        ("alg null", headed(r#"{"alg":null}"#), NO_ALG),
        ("alg a list", headed(r#"{"alg":["HS256"]}"#), NO_ALG),
        ("alg a number", headed(r#"{"alg":256}"#), NO_ALG),
        ("no alg", headed(r#"{"typ":"JWT"}"#), NO_ALG),
        ("alg twice", headed(r#"{"alg":"HS256","alg":"none"}"#), HEADER),
        ("alg twice, once escaped", headed(r#"{"alg":"HS256","\u0061lg":"none"}"#), HEADER),
        ("kid twice", headed(r#"{"alg":"HS256","kid":"a","kid":"b"}"#), HEADER),
        ("crit", headed(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#), MEMBER),
        ("crit empty", headed(r#"{"alg":"HS256","crit":[]}"#), MEMBER),
        ("unencoded payload", headed(r#"{"alg":"HS256","b64":false}"#), MEMBER),
        ("compressed", headed(r#"{"alg":"HS256","zip":"DEF"}"#), MEMBER),
        ("encrypted", headed(r#"{"alg":"HS256","enc":"A256GCM"}"#), MEMBER),
        ("a key in the header", headed(&json!({"alg": "ES256", "jwk": own_key}).to_string()), MEMBER),
        ("a place of keys", headed(r#"{"alg":"HS256","jku":"https://evil.example/jwks"}"#), MEMBER),
        ("a place of certificates", headed(r#"{"alg":"HS256","x5u":"https://evil.example/c"}"#), MEMBER),
        ("typ of a logout token", headed(r#"{"alg":"HS256","typ":"logout+jwt"}"#), TYPE),
        ("typ of a proof", headed(r#"{"alg":"HS256","typ":"dpop+jwt"}"#), TYPE),
        ("typ ID", headed(r#"{"alg":"HS256","typ":"ID"}"#), TYPE),
        ("typ empty", headed(r#"{"alg":"HS256","typ":""}"#), TYPE),
        ("typ no string", headed(r#"{"alg":"HS256","typ":1}"#), "the header's type is not a string"),
        ("kid no string", headed(r#"{"alg":"HS256","kid":1}"#), KID),
        ("kid an object", headed(r#"{"alg":"HS256","kid":{"$ne":""}}"#), KID),
        ("kid too long", headed(&json!({"alg": "HS256", "kid": "k".repeat(257)}).to_string()), KID),
    ]);
}

#[test]
fn a_token_gets_the_one_key_it_can_mean_and_no_other() {
    let rs = claims_of("https://rs.example", &json!({}));
    let es = claims_of("https://es.example", &json!({}));
    let set = claims_of("https://set.example", &json!({}));
    let pem = rsa().pair.public_key_pem();
    let with_secret =
        |secret: &[u8], header: &str, claims: &str| sign(header, claims, &EncodingKey::from_secret(secret), Jwa::HS256);
    let by = |kid: &str| json!({"alg": "ES256", "kid": kid}).to_string();
    let one = |header: &str, claims: &str| sign(header, claims, &p256().signing, Jwa::ES256);
    let es256 = r#"{"alg":"ES256"}"#;
    let zeros = format!("{}.{}.{}", b64(es256), b64(&es), b64([0; 64]));
    let tail = one(es256, &es).rsplit_once('.').unwrap().1.to_owned();
    let other_body = format!("{}.{}.{tail}", b64(es256), b64(claims_of("https://es.example", &json!({"sub": "eve"}))));
    let der = p256().pair.public_key_raw().to_vec();
    refuse_all(vec![
        ("the public PEM as HMAC secret", with_secret(pem.as_bytes(), HS256, &rs), NOT_THEIRS),
        ("the same without the last line end", with_secret(pem.trim_end().as_bytes(), HS256, &rs), NOT_THEIRS),
        ("the public point as HMAC secret", with_secret(&der, HS256, &es), NOT_THEIRS),
        ("the same, said to be RSA", with_secret(pem.as_bytes(), r#"{"alg":"RS256"}"#, &rs), FORGED),
        (
            "RSA for an HMAC issuer",
            sign(r#"{"alg":"RS256"}"#, &hs_claims(&json!({})), &rsa().signing, Jwa::RS256),
            NOT_THEIRS,
        ),
        ("PKCS#1 said to be PSS", sign(r#"{"alg":"PS256"}"#, &rs, &rsa().signing, Jwa::RS256), FORGED),
        ("SHA-256 said to be SHA-512", sign(r#"{"alg":"RS512"}"#, &rs, &rsa().signing, Jwa::RS256), FORGED),
        ("an algorithm that is not listed", sign(r#"{"alg":"ES384"}"#, &es, &p384().signing, Jwa::ES384), NOT_THEIRS),
        ("an empty HMAC secret", with_secret(b"", HS256, &hs_claims(&json!({}))), FORGED),
        ("somebody else's key", sign(es256, &es, &other_p256().signing, Jwa::ES256), FORGED),
        ("r and s zero", zeros, FORGED),
        ("another token's signature", other_body, FORGED),
        ("another issuer's key", one(es256, &claims_of("https://ed.example", &json!({}))), NOT_THEIRS),
        ("no kid where two keys fit", one(es256, &set), "the token does not say which key it means"),
        ("the kid of another key", one(&by("two"), &set), FORGED),
        ("the kid of a key of another curve", one(&by("three"), &set), UNKNOWN_KEY),
        ("an unknown kid", one(&by("four"), &set), UNKNOWN_KEY),
        ("an empty kid", one(&by(""), &set), UNKNOWN_KEY),
        ("a kid in other letters", one(&by("ONE"), &set), UNKNOWN_KEY),
        ("a kid that is a path", one(&by("../../../../dev/null"), &set), UNKNOWN_KEY),
        ("a kid that is SQL", one(&by("one' UNION SELECT 'x"), &set), UNKNOWN_KEY),
        ("a kid that is a URL", one(&by("https://evil.example/key"), &set), UNKNOWN_KEY),
        ("a kid with a zero byte", one(&by("one\0"), &set), UNKNOWN_KEY),
    ]);
}

#[test]
fn an_issuer_is_known_by_its_exact_name() {
    let from = |iss: &str| hs(HS256, &claims_of(iss, &json!({})));
    refuse_all(vec![
        ("another", from("https://evil.example"), UNKNOWN_ISSUER),
        ("a slash after", from("https://hs.example/"), UNKNOWN_ISSUER),
        ("a path after", from("https://hs.example/realms/x"), UNKNOWN_ISSUER),
        ("other letters", from("https://HS.example"), UNKNOWN_ISSUER),
        ("plain", from("http://hs.example"), UNKNOWN_ISSUER),
        ("a space after", from("https://hs.example "), UNKNOWN_ISSUER),
        ("a homoglyph", from("https://hs.\u{435}xample"), UNKNOWN_ISSUER),
        ("empty", from(""), UNKNOWN_ISSUER),
        ("none", claiming(json!({"iss": null})), NO_ISSUER),
        ("a list", claiming(json!({"iss": ["https://hs.example"]})), NO_ISSUER),
        ("a number", claiming(json!({"iss": 1})), NO_ISSUER),
        ("twice", hs(HS256, r#"{"iss":"https://hs.example","iss":"https://rs.example"}"#), NO_ISSUER),
        (
            "twice, once escaped",
            hs(HS256, r#"{"iss":"https://hs.example","\u0069ss":"https://rs.example"}"#),
            NO_ISSUER,
        ),
    ]);
}

#[test]
fn claims_of_the_wrong_type_or_for_somebody_else_are_refused() {
    let long = "x".repeat(257);
    let many: Vec<String> = (0..65).map(|i| format!("r{i}")).collect();
    let twice = hs_claims(&json!({})).replace("\"sub\":\"ada\"", "\"sub\":\"ada\",\"sub\":\"eve\"");
    let deep_twice = hs_claims(&json!({"x": "?"})).replace("\"?\"", r#"{"a":[{"b":1,"b":2}]}"#);
    let deep = hs_claims(&json!({"x": "?"})).replace("\"?\"", &format!("{}{}", "[".repeat(100), "]".repeat(100)));
    refuse_all(vec![
        ("sub twice", hs(HS256, &twice), CLAIMS),
        ("a member twice, deep within", hs(HS256, &deep_twice), CLAIMS),
        ("a hundred arrays", hs(HS256, &deep), CLAIMS),
        ("something after", hs(HS256, &format!("{}{{}}", hs_claims(&json!({})))), NO_ISSUER),
        ("aud another", claiming(json!({"aud": "other"})), AUDIENCE),
        ("aud none", claiming(json!({"aud": null})), AUDIENCE_TYPE),
        ("aud empty", claiming(json!({"aud": ""})), AUDIENCE),
        ("aud an empty list", claiming(json!({"aud": []})), AUDIENCE),
        ("aud a longer name", claiming(json!({"aud": "portcullis2"})), AUDIENCE),
        ("aud a homoglyph", claiming(json!({"aud": "p\u{43e}rtcullis"})), AUDIENCE),
        ("aud with spaces", claiming(json!({"aud": "portcullis other"})), AUDIENCE),
        ("aud an object", claiming(json!({"aud": {"portcullis": true}})), AUDIENCE_TYPE),
        ("aud a number", claiming(json!({"aud": 1})), AUDIENCE_TYPE),
        ("aud lists in a list", claiming(json!({"aud": [["portcullis"]]})), "the audience is not made of strings"),
        ("aud partly numbers", claiming(json!({"aud": ["portcullis", 1]})), "the audience is not made of strings"),
        ("sub none", claiming(json!({"sub": null})), "the token has no subject"),
        ("sub empty", claiming(json!({"sub": ""})), "the subject is empty"),
        ("sub a number", claiming(json!({"sub": 7})), NOT_TEXT),
        ("sub a list", claiming(json!({"sub": ["ada"]})), NOT_TEXT),
        ("sub with a line end", claiming(json!({"sub": "ada\nroot"})), USER),
        ("sub with a zero byte", claiming(json!({"sub": "ada\0"})), USER),
        ("sub with a direction mark", claiming(json!({"sub": "a\u{202e}da"})), USER),
        ("sub too long", claiming(json!({"sub": long})), USER),
        ("token_use id", claiming(json!({"token_use": "id"})), OTHER_USE),
        ("token_use refresh", claiming(json!({"token_use": "refresh"})), OTHER_USE),
        ("token_use no string", claiming(json!({"token_use": ["access"]})), NOT_TEXT),
        ("typ ID", claiming(json!({"typ": "ID"})), OTHER_KIND),
        ("typ Refresh", claiming(json!({"typ": "Refresh"})), OTHER_KIND),
        ("typ Offline", claiming(json!({"typ": "Offline"})), OTHER_KIND),
        ("typ Logout", claiming(json!({"typ": "Logout"})), OTHER_KIND),
        ("an ID token's hash", claiming(json!({"at_hash": "x"})), EVENT),
        ("a logout event", claiming(json!({"events": {}})), EVENT),
        ("roles an object", claiming(json!({"roles": {"admin": true}})), "the roles are of the wrong type"),
        ("roles a number", claiming(json!({"roles": 1})), "the roles are of the wrong type"),
        ("roles with a number", claiming(json!({"roles": ["a", 1]})), "a role is not a string"),
        ("roles lists in a list", claiming(json!({"roles": [["admin"]]})), "a role is not a string"),
        ("an empty role", claiming(json!({"roles": ["a", ""]})), ROLE),
        ("a role with a tab", claiming(json!({"roles": "a\tb"})), ROLE),
        ("a role too long", claiming(json!({"roles": [long]})), ROLE),
        ("65 roles", claiming(json!({"roles": many})), "the token has too many roles"),
        ("65 roles in a string", claiming(json!({"roles": many.join(" ")})), "the token has too many roles"),
        ("tenant a number", claiming(json!({"tenant": 1})), "the tenant is not a string"),
        ("tenant empty", claiming(json!({"tenant": ""})), "the tenant is no legal name"),
        ("jti a number", claiming(json!({"jti": 1})), NOT_TEXT),
        ("jti too long", claiming(json!({"jti": long})), "the token's id is empty, too long or not printable"),
    ]);
}

#[test]
fn a_null_is_a_value_of_the_wrong_type() {
    let everybody = everybody();
    for name in ["iss", "aud", "sub", "exp", "iat", "nbf", "jti", "roles", "tenant", "typ", "token_use"] {
        let claims = hs_claims(&json!({name: "?"})).replace("\"?\"", "null");
        assert!(matches!(verify(&everybody, &hs(HS256, &claims)), Err(AuthError::Bad(_))), "{name}");
    }
}

fn small_verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Arc<Verifier>> = OnceLock::new();
    VERIFIER.get_or_init(|| verifier(vec![hs_issuer(), pem_issuer("es", &[Algorithm::ES256], p256())]))
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        prop_assert!(verify(small_verifier(), &text).is_err());
    }

    #[test]
    fn no_segments_panic(header in any::<Vec<u8>>(), claims in any::<Vec<u8>>(), signature in any::<Vec<u8>>()) {
        let token = format!("{}.{}.{}", b64(header), b64(claims), b64(signature));
        prop_assert!(verify(small_verifier(), &token).is_err());
    }

    #[test]
    fn no_signed_nonsense_panics(
        name in "(aud|sub|exp|iat|nbf|jti|roles|tenant|typ|token_use|x)",
        value in "(\\[|\\{|\\]|\\}|\"|,|:|-|[0-9]|e|\\.|a| |null|true){0,12}",
    ) {
        let claims = hs_claims(&json!({name: "?"})).replace("\"?\"", &value);
        let _either = verify(small_verifier(), &hs(HS256, &claims));
    }

    #[test]
    fn a_good_token_with_one_character_changed_is_bad(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.=-]") {
        let good = hs(HS256, &hs_claims(&json!({})));
        let at = at.index(good.len());
        prop_assume!(good[at..=at] != to);
        let changed = format!("{}{to}{}", &good[..at], &good[at + 1..]);
        prop_assert!(verify(small_verifier(), &good).is_ok());
        prop_assert!(verify(small_verifier(), &changed).is_err());
    }
}
