//! How much, and how often.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::ids::TypeName;

/// `[size]`; all bounds are inclusive.
#[derive(Debug, Clone)]
pub struct Size {
    /// One message, all fragments together (default 64 KiB).
    pub message: usize,
    /// Fragments of one message (default 64).
    pub fragments: usize,
    /// How long a fragmented message may take (default 10 s).
    pub assembly_timeout: Duration,
    /// Outgoing bytes that wait for one slow reader (default 256 KiB).
    pub outbox: usize,
    /// JSON nesting (default and at most 16).
    pub json_depth: usize,
    /// JSON values in one message (default 4,096).
    pub json_nodes: usize,
    /// Keys of one JSON object (default 256).
    pub json_keys: usize,
    /// Items of one JSON array (default 1,024).
    pub json_items: usize,
    /// Bytes of one JSON string or key as written (default 64 KiB).
    pub json_string: usize,
    /// Request head (default 16 KiB).
    pub request_head: usize,
    /// Header fields of a request (default 64).
    pub request_headers: usize,
}

/// A rate: so many each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least one.
    pub count: u32,
    /// In how long.
    pub period: Duration,
}

/// A rate and how much may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The sustained rate.
    pub rate: Rate,
    /// How many may come at once beyond the sustained rate; at least one.
    pub burst: u32,
}

/// The reserved limits; each has a built-in value that holds when nothing is configured.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Messages of one connection (100/min, burst 20).
    pub message: Limit,
    /// Payload bytes of one connection (1 MiB/min, burst 256 KiB).
    pub bytes: Limit,
    /// Control frames of one connection (60/min, burst 30).
    pub control: Limit,
    /// Connection attempts of one address, /64 for v6 (30/min, burst 30).
    pub connect: Limit,
    /// Failed authentications of one address, /64 for v6 (10/min, burst 10).
    pub login: Limit,
    /// What the operator limits besides, by name.
    pub named: BTreeMap<String, NamedLimit>,
}

/// What a limit is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// Each connection by itself.
    Connection,
    /// All connections of one user.
    User,
    /// All connections from one address, /64 for v6.
    Ip,
    /// All connections of one tenant; users without one count as one tenant together.
    Tenant,
    /// Each message type by itself, whoever sends it.
    Type,
    /// All of this node's together.
    Node,
}

impl Per {
    /// Whether all nodes of a fleet count together.
    #[must_use]
    pub fn is_of_the_fleet(self) -> bool {
        !matches!(self, Self::Connection | Self::Node)
    }
}

/// `[limit.NAME]` with a name of the operator's: application messages that fit all four lists are counted; an empty list
/// fits all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedLimit {
    /// How many.
    pub limit: Limit,
    /// The most that a token may carry instead, as its issuer's `limits_claim`; without it: `limit`. Only for what is
    /// counted by connection, user or tenant.
    pub claim_max: Option<Limit>,
    /// Counted by what.
    pub per: Per,
    /// Message types.
    pub types: Vec<TypeName>,
    /// Patterns of `[[room]]`: messages to a room whose rule is one of these.
    pub rooms: Vec<String>,
    /// Roles, any of which the sender has.
    pub roles: Vec<String>,
    /// Names of issuers, one of which vouched for the sender.
    pub issuers: Vec<String>,
    /// Counted and reported, not enforced.
    pub dry_run: bool,
}

/// The key under which one address is limited: the address, or its /64 for v6.
#[must_use]
pub fn address_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}
