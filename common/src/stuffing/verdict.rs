//! Who is shut out, for how long, and by what evidence.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

use crate::clock::UnixMs;
use crate::store::control::ControlEntry;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Many accounts from one address.
    Stuffing,
    /// Many refused logins from one address.
    Scanning,
    /// One account or family from many addresses, of which this is one.
    Siege,
    /// Many accounts from one network.
    Network,
}

impl Why {
    /// Each.
    pub const ALL: [Self; 4] = [Self::Stuffing, Self::Scanning, Self::Siege, Self::Network];

    /// Its name in metrics, logs and reasons.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stuffing => "stuffing",
            Self::Scanning => "scanning",
            Self::Siege => "siege",
            Self::Network => "network",
        }
    }
}

/// What speaks against somebody, and for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Accounts whose tokens were refused.
    pub accounts: u32,
    /// Refused logins.
    pub refused: u32,
    /// Addresses that took part.
    pub addresses: u32,
    /// Users who got in.
    pub users: u32,
    /// Within this.
    pub window: Duration,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accounts, refused, addresses, users, window } = self;
        write!(
            f,
            "in {} s {refused} logins as {accounts} accounts refused, from {addresses} addresses; {users} users got in",
            window.as_secs()
        )
    }
}

/// Somebody is to be shut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whom: an address, its /64, or a /24.
    pub network: IpNet,
    /// Until when.
    pub until: UnixMs,
    /// What was found.
    pub why: Why,
    /// By what.
    pub evidence: Evidence,
}

impl Decision {
    /// For the control log, and whoever asks why.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{}: {}", self.why.name(), self.evidence)
    }

    /// What tells the fleet.
    #[must_use]
    pub fn entry(&self) -> ControlEntry {
        ControlEntry::Shut { network: self.network, until: self.until, reason: self.reason() }
    }
}

/// What came of a judgement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// Whom to shut out.
    pub decisions: Vec<Decision>,
    /// How many were not, because the budget is used up: they are judged again with their next refused login.
    pub withheld: u32,
    /// How many were not, because they are never to be.
    pub spared: u32,
}
