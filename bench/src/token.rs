//! Tokens for the sessions of a run, minted ahead so that signing is in no measured window.

use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::{Outcome, clock};

/// Signs tokens of one issuer.
pub struct Mint {
    key: EncodingKey,
    header: Header,
    issuer: String,
    audience: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: u64,
    exp: u64,
    roles: [&'a str; 1],
}

/// Two hours: longer than any run, shorter than the gateway's cap of 24.
const LIFE_SECONDS: u64 = 7_200;

impl Mint {
    /// HS256 with the trimmed content of `file`.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn with_secret_file(file: &Path, issuer: &str, audience: &str) -> Outcome<Self> {
        let secret = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Self::new(EncodingKey::from_secret(secret.trim().as_bytes()), Algorithm::HS256, issuer, audience))
    }

    /// EdDSA with an Ed25519 private key in PKCS#8 PEM.
    ///
    /// # Errors
    /// The file can't be read or holds no such key.
    pub fn with_ed25519_file(file: &Path, issuer: &str, audience: &str) -> Outcome<Self> {
        let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Self::new(EncodingKey::from_ed_pem(&pem)?, Algorithm::EdDSA, issuer, audience))
    }

    fn new(key: EncodingKey, algorithm: Algorithm, issuer: &str, audience: &str) -> Self {
        Self { key, header: Header::new(algorithm), issuer: issuer.to_owned(), audience: audience.to_owned() }
    }

    /// One token for `subject`, role `member`, good for two hours from now.
    ///
    /// # Errors
    /// The key can't sign.
    pub fn one(&self, subject: &str) -> Outcome<String> {
        let iat = clock::unix_seconds();
        let claims = Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: subject,
            iat,
            exp: iat + LIFE_SECONDS,
            roles: ["member"],
        };
        Ok(jsonwebtoken::encode(&self.header, &claims, &self.key)?)
    }

    /// `count` tokens for `prefix-0`, `prefix-1`, …: as many different users. About 300 bytes each are held.
    ///
    /// # Errors
    /// The key can't sign.
    pub fn many(&self, prefix: &str, count: usize) -> Outcome<Vec<String>> {
        (0..count).map(|n| self.one(&format!("{prefix}-{n}"))).collect()
    }
}
