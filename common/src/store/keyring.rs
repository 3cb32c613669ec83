//! The cluster's keys, as they stand in the key file: one `kid:key` a line, the key 32 bytes in base 64. The first line
//! signs, all verify: a new key goes in at the end of every node's file, then to the top, then the old one goes out.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore;

/// The longest key id, in bytes.
pub const MAX_KID: usize = 32;

/// The most keys in a file.
pub const MAX_KEYS: usize = 8;

/// What a key is derived for: never used as it stands.
const RECORDS: &str = "portcullis 2026-11 authentication of bus and control records";

/// Why a key file was refused. Names lines, never what is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeyFile {
    /// No line holds a key.
    #[error("holds no key")]
    Empty,
    /// More than [`MAX_KEYS`].
    #[error("holds more than {MAX_KEYS} keys")]
    TooMany,
    /// No `:`.
    #[error("line {0}: is not `kid:key`")]
    Line(usize),
    /// The id is empty, too long, or not of `A-Z a-z 0-9 . _ -`.
    #[error("line {0}: the key id is not 1 to {MAX_KID} of A-Z a-z 0-9 . _ -")]
    Kid(usize),
    /// Not 32 bytes in base 64.
    #[error("line {0}: the key is not 32 bytes in base 64")]
    Key(usize),
    /// The same byte 32 times: a placeholder.
    #[error("line {0}: the key is one byte repeated")]
    Weak(usize),
    /// The id stands on an earlier line.
    #[error("line {0}: the key id stands twice")]
    Twice(usize),
}

#[derive(Clone)]
struct Key {
    kid: Arc<str>,
    mac: [u8; 32],
}

/// The keys of one cluster. Never empty.
#[derive(Clone)]
pub struct Keyring {
    first: Key,
    others: Vec<Key>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys().map(|key| &key.kid)).finish()
    }
}

impl Keyring {
    /// Reads the key file of a configuration.
    ///
    /// # Errors
    /// A sentence that says nothing of what is in it.
    pub fn load(file: Option<&Path>) -> Result<Self, String> {
        let file = file.ok_or("is missing")?;
        let text = std::fs::read_to_string(file).map_err(|e| format!("cannot be read: {}", e.kind()))?;
        Self::parse(&text).map_err(|bad| bad.to_string())
    }

    /// Reads a key file's text. Empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, BadKeyFile> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line, number)?;
            if keys.iter().any(|earlier| earlier.kid == key.kid) {
                return Err(BadKeyFile::Twice(number));
            }
            if keys.len() == MAX_KEYS {
                return Err(BadKeyFile::TooMany);
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(BadKeyFile::Empty)?;
        Ok(Self { first, others: keys.collect() })
    }

    /// A key that nobody else has, for a process by itself.
    #[must_use]
    pub fn random(rng: &mut dyn RngCore) -> Self {
        let mut mac = [0; 32];
        rng.fill_bytes(&mut mac);
        Self { first: Key { kid: Arc::from("own"), mac }, others: Vec::new() }
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn signs(&self) -> &str {
        &self.first.kid
    }

    /// The record key of the signing key.
    pub(super) fn signing(&self) -> &[u8; 32] {
        &self.first.mac
    }

    /// The record key of that id.
    pub(super) fn verifying(&self, kid: &str) -> Option<&[u8; 32]> {
        self.keys().find(|key| &*key.kid == kid).map(|key| &key.mac)
    }
}

impl Key {
    fn parse(line: &str, number: usize) -> Result<Self, BadKeyFile> {
        let (kid, key) = line.split_once(':').ok_or(BadKeyFile::Line(number))?;
        let (kid, key) = (kid.trim(), key.trim());
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if kid.is_empty() || kid.len() > MAX_KID || !kid.bytes().all(legal) {
            return Err(BadKeyFile::Kid(number));
        }
        let key = STANDARD.decode(key).ok().and_then(|key| <[u8; 32]>::try_from(key).ok());
        let key = key.ok_or(BadKeyFile::Key(number))?;
        if key.iter().all(|&byte| Some(&byte) == key.first()) {
            return Err(BadKeyFile::Weak(number));
        }
        Ok(Self { kid: Arc::from(kid), mac: blake3::derive_key(RECORDS, &key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kid: &str, seed: u8) -> String {
        let key: Vec<u8> = (seed..seed + 32).collect();
        format!("{kid}:{}", STANDARD.encode(key))
    }

    #[test]
    fn the_first_key_signs_and_all_verify() {
        let text = format!("# rotated in March\n\n {} \n{}\r\n", line("k2", 1), line("k1", 2));
        let keys = Keyring::parse(&text).unwrap();
        assert_eq!(keys.signs(), "k2");
        assert_eq!(keys.verifying("k2"), Some(keys.signing()));
        assert!(keys.verifying("k1").is_some_and(|key| key != keys.signing()));
        assert_eq!(keys.verifying("k3"), None);
    }

    #[test]
    fn a_record_key_is_not_the_key_of_the_file() {
        let keys = Keyring::parse(&line("k", 7)).unwrap();
        assert_ne!(keys.signing().to_vec(), (7..39).collect::<Vec<u8>>());
    }

    #[test]
    fn what_is_wrong_is_told_by_line() {
        let good = line("k", 1);
        let nine = (1..=9).map(|n| line(&format!("k{n}"), n)).collect::<Vec<_>>().join("\n");
        for (text, why) in [
            (String::new(), BadKeyFile::Empty),
            ("# nothing\n".to_owned(), BadKeyFile::Empty),
            ("abc".to_owned(), BadKeyFile::Line(1)),
            (format!("{good}\n:AAAA"), BadKeyFile::Kid(2)),
            (format!("\n{}", line("k d", 1)), BadKeyFile::Kid(2)),
            (line(&"k".repeat(33), 1), BadKeyFile::Kid(1)),
            ("k:".to_owned(), BadKeyFile::Key(1)),
            ("k:!!!!".to_owned(), BadKeyFile::Key(1)),
            (format!("k:{}", STANDARD.encode([1, 2, 3])), BadKeyFile::Key(1)),
            (format!("k:{}", STANDARD.encode([0; 33])), BadKeyFile::Key(1)),
            (format!("k:{}", STANDARD.encode([0; 32])), BadKeyFile::Weak(1)),
            (format!("{good}\n{good}"), BadKeyFile::Twice(2)),
            (nine, BadKeyFile::TooMany),
        ] {
            assert_eq!(Keyring::parse(&text).unwrap_err(), why, "{text:?}");
        }
    }

    #[test]
    fn debug_shows_ids_and_no_key() {
        let keys = Keyring::parse(&line("k1", 1)).unwrap();
        assert_eq!(format!("{keys:?}"), "[\"k1\"]");
    }
}
