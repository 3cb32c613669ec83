//! Identities. Every type here is parsed once, at the edge, and is legal ever after.

use std::fmt;
use std::sync::Arc;

use rand::RngCore;
use serde::{Deserialize, Serialize};

/// Why a name was refused. Says nothing about the value, so it may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// The name has no characters.
    #[error("is empty")]
    Empty,
    /// The name is longer than the type allows.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// The name has a character outside the type's alphabet.
    #[error("has a character that is not allowed")]
    Character,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $max:expr, $legal:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest legal name, in bytes.
            pub const MAX: usize = $max;

            /// Parses a name; costs one pass and one allocation.
            ///
            /// # Errors
            /// [`BadName`] when the name is empty, too long, or has an illegal character.
            pub fn parse(text: &str) -> Result<Self, BadName> {
                Self::check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// Whether [`Self::parse`] would succeed; costs one pass and no allocation.
            ///
            /// # Errors
            /// As [`Self::parse`].
            pub fn check(text: &str) -> Result<(), BadName> {
                if text.is_empty() {
                    return Err(BadName::Empty);
                }
                if text.len() > $max {
                    return Err(BadName::TooLong($max));
                }
                let legal: fn(char) -> bool = $legal;
                if !text.chars().all(legal) {
                    return Err(BadName::Character);
                }
                Ok(())
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

fn printable(c: char) -> bool {
    !c.is_control()
        && !c.is_whitespace()
        && !('\u{202a}'..='\u{202e}').contains(&c)
        && !('\u{2066}'..='\u{2069}').contains(&c)
}

name_type!(
    /// A user: the issuer's `user_prefix` followed by the token's `sub`.
    UserId, 256, printable
);
name_type!(
    /// A tenant: what the issuer's `tenant_claim` says.
    TenantId, 128, printable
);
name_type!(
    /// A room. Segments are separated by `.`; the alphabet is deliberately small so that a pattern can be read.
    RoomName, 128, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '@')
);
name_type!(
    /// A message type: `[A-Za-z][A-Za-z0-9_.-]*` in effect; the configuration declares which exist.
    TypeName, 64, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
);
name_type!(
    /// A node of the fleet, unique among its living members.
    NodeId, 63, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
);
name_type!(
    /// A feed of reputation, as its file and the configuration call it.
    FeedName, 64, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
);
name_type!(
    /// A client's own message id, answered by `ack`.
    ClientId, 64, |c| c.is_ascii_graphic()
);

/// Crockford's base 32: no letter that is read as a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u128);

        impl $name {
            /// 128 random bits from `rng`.
            #[must_use]
            pub fn random(rng: &mut dyn RngCore) -> Self {
                Self((u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64()))
            }

            /// Reads the 26 characters that `Display` writes.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                if text.len() != 26 {
                    return None;
                }
                let mut value: u128 = 0;
                for byte in text.bytes() {
                    let digit = ALPHABET.iter().position(|&a| a == byte)?;
                    value = value.checked_mul(32)?.checked_add(digit as u128)?;
                }
                Some(Self(value))
            }
        }

        impl $name {
            /// The 26 characters, without the machinery of formatting: for what is written with every message.
            #[must_use]
            pub fn text(self) -> [u8; 26] {
                let mut rest = self.0;
                let mut text = [b'0'; 26];
                for slot in text.iter_mut().rev() {
                    *slot = ALPHABET.get((rest & 31) as usize).copied().unwrap_or(b'0');
                    rest >>= 5;
                }
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // the alphabet is ASCII
                f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("is not a 26 character id"))
            }
        }
    };
}

random_id!(
    /// One session: one authenticated connection, or the thread of connections that resume it.
    SessionId
);
random_id!(
    /// One life of a node: new at each start and each time its lease lapsed.
    NodeEpoch
);
random_id!(
    /// Ties what a client was told to what the log says.
    RequestId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_read_back_what_they_print() {
        for value in [0, 1, u128::MAX, 0x1234_5678_9abc_def0_1122_3344_5566_7788] {
            let id = SessionId(value);
            assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        }
        assert_eq!(SessionId::parse("Z".repeat(26).as_str()), None, "more than 128 bits");
        assert_eq!(SessionId::parse("U".repeat(26).as_str()), None, "not in the alphabet");
    }

    #[test]
    fn names_refuse_what_could_forge_a_log_line_or_a_key() {
        for bad in ["", "a b", "a\nb", "a\u{202e}b", "a\0"] {
            assert!(UserId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(UserId::parse("ada@example.com").is_ok());
        assert!(UserId::parse("Ada·Łovelace").is_ok());
        assert!(RoomName::parse("team.{x}").is_err());
        assert_eq!(RoomName::parse(&"a".repeat(129)), Err(BadName::TooLong(128)));
    }
}
