//! Who is held back, and who may say so.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::Rate;
use crate::control::key::PublicKey;
use crate::feed::Score;
use crate::ids::UserId;
use crate::penalty::{Ladder, Subject};

/// `[bans]`
#[derive(Debug, Clone, Default)]
pub struct Bans {
    /// Where they were read.
    pub file: Option<PathBuf>,
    /// Users.
    pub users: Vec<UserId>,
    /// Networks and addresses.
    pub networks: Vec<IpNet>,
}

/// `[feed.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedRule {
    /// The compiled file.
    pub file: PathBuf,
    /// Whose signature is believed.
    pub public_keys: Vec<PublicKey>,
    /// Points on the account of an address with the score 100, others in proportion; 0: none (default 200).
    pub points: u32,
    /// From this score on an address is refused; `None`: never (default).
    pub block_from: Option<Score>,
    /// Counted and reported, nothing done (default false).
    pub dry_run: bool,
}

/// `[anomaly]`: what a connection's score does. Evidence is added with its weight and halves every `half_life`.
#[derive(Debug, Clone)]
pub struct Anomaly {
    /// In which time a score halves.
    pub half_life: Duration,
    /// From here on messages are refused until the score is below again.
    pub restrict: u32,
    /// From here on the connection ends.
    pub disconnect: u32,
}

/// `[stuffing]`: from what on the fleet refuses newcomers of an address before it looks at their credentials. What counts
/// is what came within [`Self::window`], over all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuffing {
    /// Refused logins are gathered and judged (default true).
    pub enabled: bool,
    /// What would be shut out is counted and reported, and let in (default false).
    pub dry_run: bool,
    /// How long a refused login is remembered (default 2 min).
    pub window: Duration,
    /// Accounts whose tokens were refused from one address, from which on it is shut out (default 8).
    pub accounts: u32,
    /// Refused logins of one address, whosever, from which on it is (default 120).
    pub refusals: u32,
    /// Accounts whose tokens were refused from one IPv4 /24, from which on all of it is (default 40).
    pub network_accounts: u32,
    /// Addresses from which tokens of one account, or of one family of tokens, were refused, from which on each of them is
    /// held against a quarter of the numbers above (default 12).
    pub addresses: u32,
    /// Each user who got in from an address in the last hour makes up for so many accounts and ten times as many refusals
    /// (default 3).
    pub per_user: u32,
    /// How long an address is shut out the first time; each further time twice as long (default 5 min).
    pub keep_out: Duration,
    /// How long at most (default 1 h).
    pub max_keep_out: Duration,
    /// Addresses and networks that the fleet may shut out; beyond that it says so and waits (default 1,000 a minute).
    pub budget: Rate,
    /// Networks that never are.
    pub never: Vec<IpNet>,
}

/// `[penalty]`: accounts of users and networks over the fleet. Evidence adds its weight, and a score halves every
/// `half_life`.
#[derive(Debug, Clone)]
pub struct Penalty {
    /// Evidence is gathered at all (default true).
    pub enabled: bool,
    /// Steps are counted and reported, not taken (default false).
    pub dry_run: bool,
    /// In which time a score halves (default 10 min).
    pub half_life: Duration,
    /// Points from which on messages and handshakes are refused for a while (default 200).
    pub restrict: u32,
    /// From here on live sessions end besides (default 400).
    pub disconnect: u32,
    /// From here on its holder is banned (default 1,000).
    pub ban: u32,
    /// Thresholds of a network are so many times as high (default 5).
    pub network_factor: u32,
    /// How long the first strike keeps out, at least; each doubles it (default 10 s).
    pub delay: Duration,
    /// How long any strike does, at most (default 1 h).
    pub max_delay: Duration,
    /// A strike is forgotten for each such time without a new one (default 6 h).
    pub memory: Duration,
    /// How long an automatic ban lasts (default 1 h).
    pub ban_for: Duration,
    /// Automatic bans that one node may make; beyond that it restricts, and says so (default 10 a minute).
    pub auto_bans: Rate,
    /// Networks that are never banned or disconnected automatically; restricted they are.
    pub never_ban: Vec<IpNet>,
    /// The same for users.
    pub never_ban_users: Vec<UserId>,
}

impl Penalty {
    /// The ladder of a user, or of a network.
    #[must_use]
    pub fn ladder(&self, subject: &Subject) -> Ladder {
        let ladder = Ladder {
            half_life: self.half_life,
            restrict: f64::from(self.restrict),
            disconnect: f64::from(self.disconnect),
            ban: f64::from(self.ban),
            first: self.delay,
            longest: self.max_delay,
            memory: self.memory,
        };
        match subject {
            Subject::User(_) => ladder,
            Subject::Network(_) => ladder.times(f64::from(self.network_factor)),
        }
    }
}

/// `operator.role`, each with everything that the ones before it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorRole {
    /// Lists nodes, sessions and bans, and watches.
    Viewer,
    /// Kicks, bans, broadcasts.
    Operator,
    /// Drains nodes, and has them read their configuration again.
    Admin,
}

impl OperatorRole {
    /// As it is configured.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// `[[operator]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// For the log.
    pub name: String,
    /// What they may do.
    pub role: OperatorRole,
    /// What their commands are signed with; no two operators share one.
    pub public_key: PublicKey,
}
