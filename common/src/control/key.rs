//! An operator's Ed25519 key (RFC 8032): the private half in a PKCS#8 file of the operator's own, the public half in the
//! nodes' configuration.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore;

const HEAD: &str = "-----BEGIN PRIVATE KEY-----";
const TAIL: &str = "-----END PRIVATE KEY-----";

/// Why a key file was refused. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// No PEM block of a private key.
    #[error("holds no -----BEGIN PRIVATE KEY-----")]
    Pem,
    /// Not PKCS#8, or not of an Ed25519 key.
    #[error("is not an Ed25519 key in PKCS#8")]
    Kind,
}

/// The public half.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// The name of a key: the first 8 bytes of the BLAKE3 hash of its public half. Not a secret, and not trusted: it only
/// says with which key a signature is to be checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

impl PublicKey {
    /// Reads 32 bytes in base 64.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let hash = blake3::hash(&self.0);
        let mut id = [0; 8];
        id.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        KeyId(id)
    }

    /// Whether the signature is this key's. Cost: about 50 µs.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The private half. Shown by nothing.
pub struct OperatorKey(Ed25519KeyPair);

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OperatorKey").field(&self.public().id()).finish()
    }
}

impl OperatorKey {
    /// A new key from 32 bytes of `rng`, which must be a cryptographic one.
    ///
    /// # Errors
    /// [`BadKey::Kind`] when the library refuses, which it has no reason to.
    pub fn generate(rng: &mut dyn RngCore) -> Result<Self, BadKey> {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Ed25519KeyPair::from_seed_unchecked(&seed).map(Self).map_err(|_| BadKey::Kind)
    }

    /// Reads a PEM file with a PKCS#8 key, version 1 (as openssl writes it) or 2.
    ///
    /// # Errors
    /// See [`BadKey`].
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        let (_, rest) = text.split_once(HEAD).ok_or(BadKey::Pem)?;
        let (body, _) = rest.split_once(TAIL).ok_or(BadKey::Pem)?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| BadKey::Kind)?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Self).map_err(|_| BadKey::Kind)
    }

    /// The file that [`OperatorKey::from_pem`] reads.
    ///
    /// # Errors
    /// [`BadKey::Kind`] when the library refuses, which it has no reason to.
    pub fn to_pem(&self) -> Result<String, BadKey> {
        let der = self.0.to_pkcs8v1().map_err(|_| BadKey::Kind)?;
        let body = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            (0..body.len()).step_by(64).filter_map(|at| body.get(at..body.len().min(at + 64))).collect();
        Ok(format!("{HEAD}\n{}\n{TAIL}\n", lines.join("\n")))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.iter_mut().zip(self.0.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        PublicKey(key)
    }

    /// Signs; the same message gives the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.iter_mut().zip(self.0.sign(message).as_ref()).for_each(|(to, from)| *to = *from);
        signature
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn key(seed: u64) -> OperatorKey {
        OperatorKey::generate(&mut StdRng::seed_from_u64(seed)).unwrap()
    }

    #[test]
    fn a_key_is_read_back_from_its_file_and_its_debug_shows_none_of_it() {
        let one = key(1);
        let pem = one.to_pem().unwrap();
        let again = OperatorKey::from_pem(&format!("a comment\n{pem}\n")).unwrap();
        assert_eq!(again.public(), one.public());
        assert!(again.public().verifies(b"m", &one.sign(b"m")));
        assert!(!again.public().verifies(b"n", &one.sign(b"m")));
        assert!(!key(2).public().verifies(b"m", &one.sign(b"m")));
        assert_eq!(format!("{one:?}"), format!("OperatorKey({})", one.public().id()));
        assert_eq!(PublicKey::parse(&one.public().to_string()), Some(one.public()));
    }

    #[test]
    fn a_key_that_openssl_made_is_read() {
        // openssl genpkey -algorithm ed25519; the public half by openssl pkey -pubout, without its 12 bytes of head
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIO6ZbfVm9AJaz8ycvC+6kybzFnCCZMMYz6AsY7yOV0rr\n-----END PRIVATE KEY-----\n";
        let public = OperatorKey::from_pem(pem).unwrap().public();
        assert_eq!(public.to_string(), "+yERvmyCgqfTDdFdST+v+8c4mv49fXSZ4j3lFxRmc0I=");
        for bad in ["", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
        {
            assert!(OperatorKey::from_pem(bad).is_err(), "{bad:?}");
        }
    }
}
