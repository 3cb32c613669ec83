//! What can be commanded, who may, and how much may be said.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::config::is_reserved_type;
use crate::config::model::OperatorRole;
use crate::ids::{NodeId, SessionId, TypeName, UserId};
use crate::store::control::Target;

/// The longest reason, in bytes.
pub const MAX_REASON: usize = 256;
/// The longest token id, in bytes.
pub const MAX_TOKEN: usize = 256;
/// The longest payload of a broadcast, in bytes.
pub const MAX_PAYLOAD: usize = 8 << 10;
/// The most entries that one answer lists.
pub const MAX_PAGE: u16 = 500;
/// The most bans that one command brings.
pub const MAX_IMPORT: usize = 256;
/// The longest that one command may watch, in seconds; who wants more asks again.
pub const MAX_WATCH: u16 = 60;

/// One of many bans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanItem {
    /// Whom.
    pub target: Target,
    /// Until when; `None`: until lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMs>,
    /// For the log, and for whoever lists bans.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A command to every node, or to those that it concerns. The text is signed and stored: variants and fields are never
/// renamed, and a node refuses what it does not know rather than leave out a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// How is the node?
    Nodes,
    /// Which sessions does the node have, in the order of their ids?
    Sessions {
        /// Only this user's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserId>,
        /// Only ids behind this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<SessionId>,
        /// At most so many, [`MAX_PAGE`] at most.
        limit: u16,
    },
    /// Everything the node knows of a session, if it has it.
    Session {
        /// Which.
        session: SessionId,
    },
    /// Which bans are in force?
    Bans {
        /// Only those behind this one, in the order of [`ban_key`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// At most so many, [`MAX_PAGE`] at most.
        limit: u16,
    },
    /// What happens on the node, for so long.
    Watch {
        /// At most [`MAX_WATCH`].
        seconds: u16,
    },
    /// Close the target's sessions once (4409).
    Kick {
        /// Whose.
        target: Target,
        /// For the log.
        reason: String,
    },
    /// Refuse the target, and close its sessions (4403).
    Ban {
        /// Whom.
        target: Target,
        /// Until when; `None`: until lifted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<UnixMs>,
        /// For the log, and for whoever lists bans.
        reason: String,
    },
    /// Many bans at once, [`MAX_IMPORT`] at most; those that are over already are left out.
    Import {
        /// Whom, until when, why; the last of a target counts.
        bans: Vec<BanItem>,
    },
    /// Lift a ban.
    Lift {
        /// Whose.
        target: Target,
    },
    /// Read the configuration again and put its rules in force.
    Reload,
    /// What does the node hold users and networks to?
    Policy,
    /// Why is somebody kept out, or not?
    Explain {
        /// A user, or an address.
        target: Target,
    },
    /// The node goes away.
    Drain {
        /// Which; the others have nothing to do and do not answer.
        node: NodeId,
    },
    /// A message to every session.
    Broadcast {
        /// Its type; none of the gateway's own.
        kind: TypeName,
        /// Its payload: one JSON value, under the rules for clients' messages.
        payload: String,
    },
}

/// Why a command makes no sense, whoever sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    /// Longer than [`MAX_REASON`], or with control characters.
    #[error("the reason is longer than {MAX_REASON} bytes or has control characters")]
    Reason,
    /// Empty, longer than [`MAX_TOKEN`], or with control characters.
    #[error("the token id is empty, longer than {MAX_TOKEN} bytes, or has control characters")]
    Token,
    /// Zero, or above its bound.
    #[error("the limit is not between 1 and {MAX_PAGE}")]
    Limit,
    /// Zero, or above its bound.
    #[error("the time is not between 1 and {MAX_WATCH} seconds")]
    Seconds,
    /// A type of the protocol itself.
    #[error("the type is one of the protocol itself")]
    Kind,
    /// Of a session or token there is none.
    #[error("accounts are of users and networks")]
    Account,
    /// None, or too many.
    #[error("there are not between 1 and {MAX_IMPORT} bans")]
    Import,
    /// Too long.
    #[error("the payload is longer than {MAX_PAYLOAD} bytes")]
    Payload,
}

impl Command {
    /// The least role that may say it.
    #[must_use]
    pub fn role(&self) -> OperatorRole {
        match self {
            Self::Nodes
            | Self::Sessions { .. }
            | Self::Session { .. }
            | Self::Bans { .. }
            | Self::Policy
            | Self::Explain { .. }
            | Self::Watch { .. } => OperatorRole::Viewer,
            Self::Kick { .. } | Self::Ban { .. } | Self::Import { .. } | Self::Lift { .. } | Self::Broadcast { .. } => {
                OperatorRole::Operator
            }
            Self::Drain { .. } | Self::Reload => OperatorRole::Admin,
        }
    }

    /// Its name, for events and metrics.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Sessions { .. } => "sessions",
            Self::Session { .. } => "session",
            Self::Bans { .. } => "bans",
            Self::Watch { .. } => "watch",
            Self::Kick { .. } => "kick",
            Self::Ban { .. } => "ban",
            Self::Import { .. } => "import",
            Self::Lift { .. } => "lift",
            Self::Reload => "reload",
            Self::Policy => "policy",
            Self::Explain { .. } => "explain",
            Self::Drain { .. } => "drain",
            Self::Broadcast { .. } => "broadcast",
        }
    }

    /// Holds it against the bounds of this module. Both sides do.
    ///
    /// # Errors
    /// The first bound that is broken.
    pub fn check(&self) -> Result<(), BadCommand> {
        let plain = |text: &str, most| text.len() <= most && !text.chars().any(char::is_control);
        let target = |target: &Target| match target {
            Target::Token(id) if id.is_empty() || !plain(id, MAX_TOKEN) => Err(BadCommand::Token),
            _ => Ok(()),
        };
        match self {
            Self::Kick { target: whom, reason } | Self::Ban { target: whom, reason, .. } => {
                target(whom)?;
                if plain(reason, MAX_REASON) { Ok(()) } else { Err(BadCommand::Reason) }
            }
            Self::Import { bans } if bans.is_empty() || bans.len() > MAX_IMPORT => Err(BadCommand::Import),
            Self::Import { bans } => bans.iter().try_for_each(|ban| {
                target(&ban.target)?;
                if plain(&ban.reason, MAX_REASON) { Ok(()) } else { Err(BadCommand::Reason) }
            }),
            Self::Explain { target: Target::Session(_) | Target::Token(_) } => Err(BadCommand::Account),
            Self::Lift { target: whom } => target(whom),
            Self::Sessions { limit, .. } | Self::Bans { limit, .. } if !(1..=MAX_PAGE).contains(limit) => {
                Err(BadCommand::Limit)
            }
            Self::Watch { seconds } if !(1..=MAX_WATCH).contains(seconds) => Err(BadCommand::Seconds),
            Self::Broadcast { kind, .. } if is_reserved_type(kind.as_str()) => Err(BadCommand::Kind),
            Self::Broadcast { payload, .. } if payload.len() > MAX_PAYLOAD => Err(BadCommand::Payload),
            _ => Ok(()),
        }
    }
}

/// A target as one word of its kind and one of its value, in which bans are listed and sorted: `user:app:ada`.
#[must_use]
pub fn ban_key(target: &Target) -> String {
    let (kind, value) = target_words(target);
    format!("{kind}:{value}")
}

/// The kind of a target and the target, as people write them.
#[must_use]
pub fn target_words(target: &Target) -> (&'static str, String) {
    match target {
        Target::Session(session) => ("session", session.to_string()),
        Target::User(user) => ("user", user.to_string()),
        Target::Network(network) if network.prefix_len() == network.max_prefix_len() => {
            ("network", network.addr().to_string())
        }
        Target::Network(network) => ("network", network.to_string()),
        Target::Token(id) => ("token", id.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_keeps_its_text() {
        let all = [
            (Command::Nodes, r#"{"verb":"nodes"}"#),
            (Command::Sessions { user: None, after: None, limit: 5 }, r#"{"verb":"sessions","limit":5}"#),
            (
                Command::Ban {
                    target: Target::Network("10.0.0.0/8".parse().unwrap()),
                    until: Some(UnixMs(7)),
                    reason: "spam".into(),
                },
                r#"{"verb":"ban","target":{"network":"10.0.0.0/8"},"until":7,"reason":"spam"}"#,
            ),
            (
                Command::Kick { target: Target::User(UserId::parse("app:ada").unwrap()), reason: String::new() },
                r#"{"verb":"kick","target":{"user":"app:ada"},"reason":""}"#,
            ),
            (Command::Drain { node: NodeId::parse("gw-1").unwrap() }, r#"{"verb":"drain","node":"gw-1"}"#),
            (Command::Reload, r#"{"verb":"reload"}"#),
            (
                Command::Import {
                    bans: vec![
                        BanItem { target: Target::Token("t".into()), until: None, reason: String::new() },
                        BanItem { target: Target::Token("u".into()), until: Some(UnixMs(7)), reason: "spam".into() },
                    ],
                },
                r#"{"verb":"import","bans":[{"target":{"token":"t"}},{"target":{"token":"u"},"until":7,"reason":"spam"}]}"#,
            ),
        ];
        for (command, text) in all {
            assert_eq!(serde_json::to_string(&command).unwrap(), text);
            assert_eq!(serde_json::from_str::<Command>(text).unwrap(), command);
        }
    }

    #[test]
    fn what_is_not_known_is_refused_and_not_left_out() {
        for bad in [
            r#"{"verb":"reboot"}"#,
            r#"{"verb":"drain","node":"gw-1","hard":true}"#,
            r#"{"verb":"kick","target":{"everybody":"x"},"reason":""}"#,
            r#"{"verb":"drain","node":"gw 1"}"#,
        ] {
            assert!(serde_json::from_str::<Command>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bounds_are_inclusive() {
        let ban = |reason: &str| Command::Ban { target: Target::Token("t".into()), until: None, reason: reason.into() };
        assert_eq!(ban(&"r".repeat(256)).check(), Ok(()));
        assert_eq!(ban(&"r".repeat(257)).check(), Err(BadCommand::Reason));
        assert_eq!(ban("a\nb").check(), Err(BadCommand::Reason));
        assert_eq!(Command::Lift { target: Target::Token(String::new()) }.check(), Err(BadCommand::Token));
        assert_eq!(Command::Lift { target: Target::Token("t".repeat(257)) }.check(), Err(BadCommand::Token));
        for (limit, good) in [(0, false), (1, true), (500, true), (501, false)] {
            assert_eq!(Command::Bans { after: None, limit }.check().is_ok(), good, "{limit}");
        }
        let import = |n: usize, id: &str| {
            let item = BanItem { target: Target::Token(id.into()), until: None, reason: String::new() };
            Command::Import { bans: vec![item; n] }
        };
        assert_eq!(import(256, "t").check(), Ok(()));
        assert_eq!(import(257, "t").check(), Err(BadCommand::Import));
        assert_eq!(import(0, "t").check(), Err(BadCommand::Import));
        assert_eq!(import(1, "").check(), Err(BadCommand::Token));
        assert_eq!(Command::Watch { seconds: 61 }.check(), Err(BadCommand::Seconds));
        let kind = TypeName::parse("n").unwrap();
        let broadcast = Command::Broadcast { kind, payload: " ".repeat(MAX_PAYLOAD + 1) };
        assert_eq!(broadcast.check(), Err(BadCommand::Payload));
        let kind = TypeName::parse("welcome").unwrap();
        assert_eq!(Command::Broadcast { kind, payload: "1".into() }.check(), Err(BadCommand::Kind));
    }

    #[test]
    fn reading_is_a_viewers_part_and_ending_a_node_an_admins() {
        let user = Target::User(UserId::parse("a").unwrap());
        assert_eq!(Command::Nodes.role(), OperatorRole::Viewer);
        assert_eq!(Command::Lift { target: user }.role(), OperatorRole::Operator);
        assert_eq!(Command::Drain { node: NodeId::parse("a").unwrap() }.role(), OperatorRole::Admin);
        assert!(OperatorRole::Viewer < OperatorRole::Operator && OperatorRole::Operator < OperatorRole::Admin);
    }

    #[test]
    fn targets_are_written_as_people_write_them() {
        let network = |text: &str| ban_key(&Target::Network(text.parse().unwrap()));
        assert_eq!(network("10.0.0.1/32"), "network:10.0.0.1");
        assert_eq!(network("10.0.0.0/8"), "network:10.0.0.0/8");
        assert_eq!(network("::1/128"), "network:::1");
    }
}
