//! The stages of the message pipeline by name: what configuration, metrics and the log call them.

use std::fmt;

macro_rules! stages {
    ($($(#[$doc:meta])* $variant:ident $name:literal;)*) => {
        /// One stage, in the order in which a message meets them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Stage { $($(#[$doc])* $variant,)* }

        impl Stage {
            /// Every stage, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

stages! {
    /// How long a message, a string, a list may be.
    Size "size";
    /// How many messages and bytes one connection may send.
    Flow "flow";
    /// Whether it is a message at all, and of now.
    Decode "decode";
    /// Whether the session's own page sent it.
    Csrf "csrf";
    /// Whether the sender may send this type, there.
    Role "role";
    /// How often.
    Rate "rate";
    /// Whether its payload has the declared form.
    Schema "schema";
    /// Whether it looks like an attack.
    Signatures "signatures";
    /// What strings may hold, and what is taken out of them.
    Sanitise "sanitise";
    /// What the connection has done so far, and lately.
    Score "score";
    /// Whether it may be delivered as it is.
    Outbound "outbound";
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some of the stages.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Stages(u16);

impl Stages {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// These and one more.
    #[must_use]
    pub const fn with(self, stage: Stage) -> Self {
        Self(self.0 | (1 << stage as u16))
    }

    /// Those of either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a stage is one of them.
    #[must_use]
    pub const fn has(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u16) != 0
    }

    /// Them, in order.
    pub fn iter(self) -> impl Iterator<Item = Stage> {
        Stage::ALL.iter().copied().filter(move |stage| self.has(*stage))
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Stage::name)).finish()
    }
}
