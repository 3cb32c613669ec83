//! A public key in PEM (RFC 7468 §13): one `SubjectPublicKeyInfo`, DER, nothing else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::keys::{Key, Kind};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;

// RFC 3279 §2.3.1, RFC 5480 §2.1.1, RFC 8410 §3: the object identifiers' contents
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Reads one `PUBLIC KEY` block.
///
/// # Errors
/// A sentence that says what is wrong with the file and shows nothing of it.
pub(super) fn public_key(pem: &str) -> Result<Key, &'static str> {
    let text = pem.trim();
    if text.contains("PRIVATE KEY-----") {
        return Err("is a private key; give the public key");
    }
    let body = text
        .strip_prefix("-----BEGIN PUBLIC KEY-----")
        .and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----"))
        .ok_or("must be one PEM block `PUBLIC KEY` (SubjectPublicKeyInfo)")?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(body).map_err(|_| "must be one PEM block `PUBLIC KEY` in base64")?;
    spki(&der)
}

fn spki(der: &[u8]) -> Result<Key, &'static str> {
    const BROKEN: &str = "is not a DER SubjectPublicKeyInfo";
    let mut input = der;
    let mut info = take(&mut input, SEQUENCE).ok_or(BROKEN)?;
    let mut algorithm = take(&mut info, SEQUENCE).ok_or(BROKEN)?;
    let bits = take(&mut info, BIT_STRING).ok_or(BROKEN)?;
    let Some((0, key)) = bits.split_first() else { return Err(BROKEN) };
    if !input.is_empty() || !info.is_empty() {
        return Err(BROKEN);
    }
    match take(&mut algorithm, OBJECT_ID).ok_or(BROKEN)? {
        RSA => rsa(key).ok_or(BROKEN)?,
        EC => match take(&mut algorithm, OBJECT_ID).ok_or("must name its curve")? {
            P256 => Key::ec(Kind::P256, key),
            P384 => Key::ec(Kind::P384, key),
            _ => Err("is on a curve that is not supported: P-256 and P-384 are"),
        },
        ED25519 => Key::ed25519(key),
        RSA_PSS => Err("is restricted to RSASSA-PSS by its algorithm identifier; give it as rsaEncryption"),
        _ => Err("is of a kind that is not supported: RSA, P-256, P-384 and Ed25519 are"),
    }
}

/// `RSAPublicKey` (RFC 8017 A.1.1).
fn rsa(key: &[u8]) -> Option<Result<Key, &'static str>> {
    let mut input = key;
    let mut fields = take(&mut input, SEQUENCE)?;
    let n = take(&mut fields, INTEGER)?;
    let e = take(&mut fields, INTEGER)?;
    let positive = |number: &[u8]| number.first().is_some_and(|first| first & 0x80 == 0);
    (input.is_empty() && fields.is_empty() && positive(n) && positive(e)).then(|| Key::rsa(n, e))
}

/// The contents of the next element, if it has this tag and a definite length of at most 64 KiB (X.690 §10.1).
fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (length, rest) = match *input {
        [t, length @ 0..=0x7f, rest @ ..] if *t == tag => (usize::from(*length), rest),
        [t, 0x81, length @ 0x80..=0xff, rest @ ..] if *t == tag => (usize::from(*length), rest),
        [t, 0x82, high @ 1..=0xff, low, rest @ ..] if *t == tag => (usize::from(*high) << 8 | usize::from(*low), rest),
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(contents)
}
