//! What a refused token claims to be. Nothing of it is believed: it is counted as something that was tried.

use std::borrow::Cow;

use serde::Deserialize;

use super::failures::BadToken;
use super::header::{self, Token};

/// Whose and of which kind a token says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `iss`
    pub issuer: String,
    /// `sub`
    pub subject: String,
    /// The key and the algorithm that the header names.
    pub key: String,
}

/// Reads a token again that was refused; `None`: it says nothing, or holds a byte 0. Cost: two decodings and a parse.
#[must_use]
pub fn read(token: &str) -> Option<Claims> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        iss: Cow<'a, str>,
        #[serde(borrow)]
        sub: Cow<'a, str>,
    }
    let token = Token::parse(token).ok()?;
    let payload = header::decode(token.payload).ok()?;
    let named: Named<'_> = serde_json::from_slice(&payload).ok()?;
    let key = format!("{:?} {}", token.header.alg, token.header.kid.as_deref().unwrap_or_default());
    let whole = [named.iss.as_ref(), named.sub.as_ref(), key.as_str()].iter().all(|text| !text.contains('\0'));
    whole.then(|| Claims { issuer: named.iss.into_owned(), subject: named.sub.into_owned(), key })
}

impl BadToken {
    /// Of a known key, and not signed by it: nobody gets such a token by waiting too long or by a mistake of an issuer.
    #[must_use]
    pub fn is_forged(self) -> bool {
        self == Self::FORGED
    }

    pub(super) const FORGED: Self = Self("the signature is not the issuer's");
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn token(header: &str, payload: &str) -> String {
        [header, payload, "sig"].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
    }

    #[test]
    fn a_token_says_whose_it_claims_to_be_and_noise_says_nothing() {
        let header = r#"{"alg":"ES256","kid":"k1"}"#;
        let claims = read(&token(header, r#"{"iss":"https://a","sub":"ada","exp":1}"#)).unwrap();
        let named = (claims.issuer.as_str(), claims.subject.as_str(), claims.key.as_str());
        assert_eq!(named, ("https://a", "ada", "ES256 k1"));
        for nothing in [r#"{"iss":"a"}"#, r#"{"sub":"a","iss":1}"#, "[]", r#"{"iss":"a\u0000b","sub":"c"}"#] {
            assert_eq!(read(&token(header, nothing)), None, "{nothing}");
        }
        for noise in ["", "..", "a.b.c", &"x".repeat(100_000)] {
            assert_eq!(read(noise), None);
        }
    }
}
