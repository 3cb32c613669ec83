//! Keys in memory: which key may check which algorithm, and which one a token means.

use std::fmt;

use jsonwebtoken::{Algorithm as Jwa, DecodingKey};
use portcullis_common::config::model::Algorithm;

use super::header::Token;

/// The smallest and largest RSA modulus, in bits (RFC 7518 §3.3; the upper bound is the verifier's).
pub(super) const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What a key is. The algorithm of a token has to fit it, so that no public key is ever used as an HMAC secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    /// The only kind of key with which `alg` may be checked.
    pub(super) fn of(alg: Algorithm) -> Self {
        match alg {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Self::Secret,
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Self::Rsa,
            Algorithm::ES256 => Self::P256,
            Algorithm::ES384 => Self::P384,
            Algorithm::EdDSA => Self::Ed25519,
        }
    }

    /// For errors about the configuration.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Secret => "a shared secret",
            Self::Rsa => "an RSA key",
            Self::P256 => "a P-256 key",
            Self::P384 => "a P-384 key",
            Self::Ed25519 => "an Ed25519 key",
        }
    }
}

/// One key, with what restricts its use.
pub(super) struct Key {
    pub(super) kind: Kind,
    /// Only tokens that name it, and those that name none where it is the only one that fits.
    pub(super) kid: Option<Box<str>>,
    /// Only this algorithm, if its publisher says so (RFC 7517 §4.4).
    pub(super) alg: Option<Algorithm>,
    material: DecodingKey,
}

impl Key {
    /// HMAC; the caller has checked the length.
    pub(super) fn secret(bytes: &[u8]) -> Self {
        Self::unnamed(Kind::Secret, DecodingKey::from_secret(bytes))
    }

    /// RSA, from big-endian modulus and exponent.
    ///
    /// # Errors
    /// A sentence when the modulus is outside [`RSA_BITS`] or even, or the exponent is not odd within 3..2³².
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, &'static str> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err("the RSA modulus must have 2048 to 8192 bits");
        }
        if n.last().is_none_or(|last| last % 2 == 0) {
            return Err("the RSA modulus is even");
        }
        if e.len() > 4 || e.last().is_none_or(|last| last % 2 == 0) || e == [1] {
            return Err("the RSA exponent must be odd and within 3..2^32");
        }
        Ok(Self::unnamed(Kind::Rsa, DecodingKey::from_rsa_raw_components(n, e)))
    }

    /// ECDSA, from an uncompressed point (SEC 1 §2.3.3). Whether it lies on the curve is seen when it is first used.
    ///
    /// # Errors
    /// A sentence when the point has another length or form, or `kind` is no curve.
    pub(super) fn ec(kind: Kind, point: &[u8]) -> Result<Self, &'static str> {
        let length = match kind {
            Kind::P256 => 65,
            Kind::P384 => 97,
            _ => return Err("the curve is not supported"),
        };
        if point.len() != length || point.first() != Some(&4) {
            return Err("the point must be uncompressed and of the curve's length");
        }
        Ok(Self::unnamed(kind, DecodingKey::from_ec_der(point)))
    }

    /// Ed25519, from the 32 bytes of RFC 8032 §5.1.5.
    ///
    /// # Errors
    /// A sentence when there are more bytes or fewer.
    pub(super) fn ed25519(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() != 32 {
            return Err("an Ed25519 key has 32 bytes");
        }
        Ok(Self::unnamed(Kind::Ed25519, DecodingKey::from_ed_der(bytes)))
    }

    fn unnamed(kind: Kind, material: DecodingKey) -> Self {
        Self { kind, kid: None, alg: None, material }
    }

    fn fits(&self, alg: Algorithm) -> bool {
        self.kind == Kind::of(alg) && self.alg.is_none_or(|only| only == alg)
    }

    fn signed(&self, token: &Token<'_>) -> bool {
        let alg = jwa(token.header.alg);
        jsonwebtoken::crypto::verify(token.signature, token.signed.as_bytes(), &self.material, alg).unwrap_or(false)
    }
}

/// Says what kind of key it is and nothing that is in it.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What an issuer's keys say about a token's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One of the keys made it.
    Good,
    /// The key it means did not.
    Forged,
    /// No key is the one it means.
    UnknownKey,
    /// It names no key, and more than one might be meant.
    Ambiguous,
}

/// The keys of one issuer. Never empty.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Whether the keys came with names, as in a JWK set. A secret or a PEM key has none: any `kid` then means it.
    named: bool,
}

impl KeySet {
    /// The one key of an issuer that publishes no set.
    pub(super) fn single(key: Key) -> Self {
        Self { keys: vec![key], named: false }
    }

    /// The keys of a JWK set.
    pub(super) fn named(keys: Vec<Key>) -> Self {
        Self { keys, named: true }
    }

    /// Checks the signature with the one key that the token can mean; never tries a second one.
    ///
    /// With `kid`: the key of that name, if it fits the algorithm. Without: the only key that fits, if it is the only
    /// one. Costs one signature check at most (see [`super::Verifier::verify`]).
    pub(super) fn judge(&self, token: &Token<'_>) -> Verdict {
        let kid = token.header.kid.as_deref().filter(|_| self.named);
        let mut fitting = self.keys.iter().filter(|key| key.fits(token.header.alg));
        let key = match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)),
            None => {
                let first = fitting.next();
                if fitting.next().is_some() {
                    return Verdict::Ambiguous;
                }
                first
            }
        };
        match key {
            None => Verdict::UnknownKey,
            Some(key) if key.signed(token) => Verdict::Good,
            Some(_) => Verdict::Forged,
        }
    }
}

fn without_zeros(mut bytes: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

fn jwa(alg: Algorithm) -> Jwa {
    match alg {
        Algorithm::HS256 => Jwa::HS256,
        Algorithm::HS384 => Jwa::HS384,
        Algorithm::HS512 => Jwa::HS512,
        Algorithm::RS256 => Jwa::RS256,
        Algorithm::RS384 => Jwa::RS384,
        Algorithm::RS512 => Jwa::RS512,
        Algorithm::PS256 => Jwa::PS256,
        Algorithm::PS384 => Jwa::PS384,
        Algorithm::PS512 => Jwa::PS512,
        Algorithm::ES256 => Jwa::ES256,
        Algorithm::ES384 => Jwa::ES384,
        Algorithm::EdDSA => Jwa::EdDSA,
    }
}
