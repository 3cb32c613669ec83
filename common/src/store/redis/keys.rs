//! The one file that builds keys and channels.
//!
//! A name is `prefix:{pNN}:kind:h`: `h` is a keyed hash of what it is about, `{pNN}` one of 256 partitions chosen by
//! the same hash. The braces are the hash tag of Redis Cluster, so that all keys of a partition lie together and a
//! script that is given keys of one partition runs there unchanged. What a client said never reaches a key, a channel
//! or a pattern; nobody without the naming key can aim at a partition or guess a key.
//!
//! What is nothing in the next era ([`Kind::is_of_an_era`]) has the era in its name, behind the kind.

use std::fmt::Write as _;

use ipnet::IpNet;

use crate::ids::{NodeEpoch, NodeId, RoomName, UserId};
use crate::store::bus::Dedupe;
use crate::store::era::Era;
use crate::store::limit::LimitKey;
use crate::stuffing::Mark;

/// How many partitions there are.
pub(super) const PARTITIONS: u16 = 256;

/// What a key holds. The text is part of stored keys: never change one, add another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Hash, one user: session id → slot.
    Slots,
    /// String, one partition: the last change of any ledger in it. No TTL, that is its purpose.
    Seq,
    /// Set, one partition and life of a node: hashes of the users with a slot or a wait of that life.
    Held,
    /// Hash, the fleet: node id → its lease.
    Leases,
    /// Hash, one room: session id → member.
    Members,
    /// Hash, one room: user → sessions of that user in the room.
    Users,
    /// Set, one room and life of a node: session ids.
    Here,
    /// Set, one partition and life of a node: hashes of the rooms with members of that life.
    Rooms,
    /// String: a ticket's record.
    Ticket,
    /// Hash, one room: the epoch and the offset of its order.
    Room,
    /// Stream, one room: what it keeps.
    History,
    /// String, one message id of one sender to one receiver: where it was taken.
    Once,
    /// Channel, one room.
    Bus,
    /// Channel, one node.
    Mail,
    /// Channel, one node: what it says to itself.
    Probe,
    /// Stream, the fleet: the control log.
    Control,
    /// String, the fleet: which control log it is, random.
    ControlLife,
    /// Hash, the fleet: which snapshot the control log has.
    ControlSnapshot,
    /// Hash, one snapshot of the control log: its pages.
    ControlPages,
    /// String, the fleet: who writes the next one.
    ControlTurn,
    /// Hash, the fleet: lives of nodes that may leave something behind.
    Lives,
    /// String, the fleet: the last term of a leader. No TTL, or its number might come again.
    Leader,
    /// String, one partition: the latest term that wrote in it. No TTL, that is its purpose.
    Fence,
    /// Stream, the fleet: operators' commands.
    Commands,
    /// Stream, one command: what nodes answer.
    Answers,
    /// String, one command: a node does for the fleet what is to be done once.
    Claim,
    /// String, one partition: the era that it was told of, and of which server. No TTL.
    Era,
    /// Hash, one user or network: what is on its account.
    Penalty,
    /// Hash, the fleet: the era, and its members that are waited for. No TTL.
    FleetEra,
    /// Stream, the fleet: what nodes saw of refused logins.
    Reports,
    /// String, one count of a limit: its theoretical arrival time.
    Limit,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Slots => "slots",
            Self::Seq => "seq",
            Self::Held => "held",
            Self::Leases => "leases",
            Self::Members => "members",
            Self::Users => "users",
            Self::Here => "here",
            Self::Rooms => "rooms",
            Self::Ticket => "ticket",
            Self::Room => "room",
            Self::History => "history",
            Self::Once => "once",
            Self::Bus => "bus",
            Self::Mail => "mail",
            Self::Probe => "probe",
            Self::Control => "control",
            Self::ControlLife => "control-life",
            Self::ControlSnapshot => "control-snapshot",
            Self::ControlPages => "control-pages",
            Self::ControlTurn => "control-turn",
            Self::Lives => "lives",
            Self::Leader => "leader",
            Self::Fence => "fence",
            Self::Commands => "commands",
            Self::Answers => "answers",
            Self::Claim => "claim",
            Self::Era => "era",
            Self::Penalty => "penalty",
            Self::FleetEra => "fleet-era",
            Self::Reports => "reports",
            Self::Limit => "limit",
        }
    }

    /// Whether what is kept under it ends with the era.
    fn is_of_an_era(self) -> bool {
        use Kind::{Held, Here, Members, Rooms, Slots, Ticket, Users};
        matches!(self, Slots | Held | Members | Users | Here | Rooms | Ticket)
    }
}

/// The kind as it stands in a key.
fn kind_text(kind: Kind, era: Option<Era>) -> String {
    match era.filter(|_| kind.is_of_an_era()) {
        Some(era) => format!("{}:{era}", kind.text()),
        None => kind.text().to_owned(),
    }
}

/// What is hashed, so that a user and a room of the same name have unlike hashes. Stored: never change a number.
#[derive(Clone, Copy)]
enum Domain {
    User = 1,
    Room = 2,
    Ticket = 3,
    Life = 4,
    RoomLife = 5,
    Fleet = 6,
    Limit = 7,
    Node = 16,
    Once = 17,
    Network = 18,
    Mark = 19,
}

/// A keyed hash in 32 hexadecimal digits: 128 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(String);

impl Name {
    /// Reads a name that a script kept in an index. The store is not trusted to be the one that wrote it.
    pub(super) fn parse(text: String) -> Option<Self> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 32 && text.bytes().all(digit)).then_some(Self(text))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a prefix was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the prefix of the store's keys must be 1 to 64 of A-Z a-z 0-9 . _ -")]
pub struct BadPrefix;

/// Names what everybody may know the name of. Part of stored keys: never change it.
const PUBLIC: [u8; 32] = *b"portcullis: names of fleet keys.";

/// Builds keys under one prefix with one naming key.
pub(super) struct Keys {
    prefix: String,
    naming: [u8; 32],
}

/// Something with keys: a partition and a name in it.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    prefix: &'a str,
    partition: u8,
    name: Name,
    /// `None`: for what outlives eras.
    era: Option<Era>,
}

impl Keys {
    pub(super) fn new(prefix: &str, naming: [u8; 32]) -> Result<Self, BadPrefix> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(legal) {
            return Err(BadPrefix);
        }
        Ok(Self { prefix: prefix.to_owned(), naming })
    }

    pub(super) fn user(&self, user: &UserId) -> Place<'_> {
        self.place(Domain::User, user.as_str().as_bytes())
    }

    pub(super) fn room(&self, room: &RoomName) -> Place<'_> {
        self.place(Domain::Room, room.as_str().as_bytes())
    }

    /// A network, as its canonical text.
    pub(super) fn network(&self, network: IpNet) -> Place<'_> {
        self.place(Domain::Network, network.trunc().to_string().as_bytes())
    }

    pub(super) fn ticket(&self, ticket: &[u8; 32]) -> Place<'_> {
        self.place(Domain::Ticket, ticket)
    }

    /// A short name for what a client said, where nothing is looked up by it. The words do not hold the byte 0.
    pub(super) fn mark(&self, words: &[&str]) -> Mark {
        let mut hasher = blake3::Hasher::new_keyed(&self.naming);
        hasher.update(&[Domain::Mark as u8]).update(words.join("\0").as_bytes());
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Mark(u64::from_be_bytes(first))
    }

    /// A count of a limit.
    pub(super) fn limit(&self, key: &LimitKey) -> Place<'_> {
        // neither the name of a limit nor what it counts by holds the byte 0
        self.place(Domain::Limit, [key.limit.as_str(), key.per, key.counted.as_str()].join("\0").as_bytes())
    }

    /// Where there is one of a kind for the whole fleet. The same under every naming key: operators have none, and have
    /// to find the members and the commands; nothing that a client said is in these names.
    pub(super) fn fleet(&self) -> Place<'_> {
        let (name, partition) = hash(&PUBLIC, Domain::Fleet, b"");
        Place { prefix: &self.prefix, partition, name, era: None }
    }

    /// A node, whichever of its lives.
    pub(super) fn node(&self, node: &NodeId) -> Place<'_> {
        self.place(Domain::Node, node.as_str().as_bytes())
    }

    /// A message id of a sender; which receiver it is about, its place tells.
    pub(super) fn once(&self, dedupe: &Dedupe, to: &Place<'_>) -> Name {
        let parts = [to.name.as_str(), dedupe.id.as_str(), dedupe.user.as_str()];
        // neither a name nor an id holds the byte 0
        self.hash(Domain::Once, parts.join("\0").as_bytes()).0
    }

    /// Something known by its name alone, from an index of `partition`.
    pub(super) fn known(&self, partition: u8, name: Name) -> Place<'_> {
        Place { prefix: &self.prefix, partition, name, era: None }
    }

    /// A life of a node. An epoch is 128 random bits, so it names the node too.
    pub(super) fn life(&self, epoch: NodeEpoch) -> Name {
        self.hash(Domain::Life, &epoch.0.to_be_bytes()).0
    }

    /// A life of a node in a room.
    pub(super) fn room_life(&self, room: &Name, epoch: NodeEpoch) -> Name {
        let mut bytes = epoch.0.to_be_bytes().to_vec();
        bytes.extend_from_slice(room.0.as_bytes());
        self.hash(Domain::RoomLife, &bytes).0
    }

    /// The key of `kind` about `name` in a partition that is walked.
    pub(super) fn in_partition(&self, partition: u8, kind: Kind, era: Era, name: &Name) -> String {
        format!("{}:{{p{partition:02x}}}:{}:{}", self.prefix, kind_text(kind, Some(era)), name.0)
    }

    /// The key of `kind` of which every partition has one.
    pub(super) fn of_partition(&self, partition: u8, kind: Kind) -> String {
        format!("{}:{{p{partition:02x}}}:{}", self.prefix, kind.text())
    }

    fn place(&self, domain: Domain, bytes: &[u8]) -> Place<'_> {
        let (name, partition) = self.hash(domain, bytes);
        Place { prefix: &self.prefix, partition, name, era: None }
    }

    fn hash(&self, domain: Domain, bytes: &[u8]) -> (Name, u8) {
        hash(&self.naming, domain, bytes)
    }
}

fn hash(key: &[u8; 32], domain: Domain, bytes: &[u8]) -> (Name, u8) {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&[domain as u8]).update(bytes);
    let mut digest = [0; 17];
    hasher.finalize_xof().fill(&mut digest);
    let [partition, name @ ..] = digest;
    let mut text = String::with_capacity(32);
    for byte in name {
        // a String takes whatever is written
        let _ = write!(text, "{byte:02x}");
    }
    (Name(text), partition)
}

impl Place<'_> {
    /// The key of `kind` about this.
    pub(super) fn key(&self, kind: Kind) -> String {
        self.beside(kind, &self.name)
    }

    /// The key of `kind` about something else, in this partition.
    pub(super) fn beside(&self, kind: Kind, name: &Name) -> String {
        format!("{}:{{p{:02x}}}:{}:{}", self.prefix, self.partition, kind_text(kind, self.era), name.0)
    }

    /// The key of `kind` of which a partition has one.
    pub(super) fn shared(&self, kind: Kind) -> String {
        format!("{}:{{p{:02x}}}:{}", self.prefix, self.partition, kind.text())
    }

    /// The same in an era.
    pub(super) fn in_era(self, era: Era) -> Self {
        Self { era: Some(era), ..self }
    }

    /// The hash, as indexes keep it.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(naming: u8) -> Keys {
        Keys::new("portcullis", [naming; 32]).unwrap()
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    #[test]
    fn what_a_client_said_is_not_in_a_key() {
        let key = keys(1).user(&user("{p00}:ada*")).key(Kind::Slots);
        let (head, name) = key.rsplit_once(':').unwrap();
        assert!(head.starts_with("portcullis:{p") && head.ends_with("}:slots"), "{key}");
        assert!(Name::parse(name.to_owned()).is_some(), "{key}");
    }

    #[test]
    fn keys_about_one_thing_carry_one_hash_tag() {
        let keys = keys(1);
        let era = Era { number: 7, nonce: 1 };
        let place = keys.user(&user("ada")).in_era(era);
        let life = keys.life(NodeEpoch(7));
        let tag = |key: &str| key[key.find('{').unwrap()..=key.find('}').unwrap()].to_owned();
        let all = [place.key(Kind::Slots), place.shared(Kind::Seq), place.beside(Kind::Held, &life)];
        assert!(all.iter().all(|key| tag(key) == tag(&all[0])), "{all:?}");
        let partition = u8::from_str_radix(&tag(&all[0])[2..4], 16).unwrap();
        assert_eq!(keys.in_partition(partition, Kind::Held, era, &life), all[2]);
        assert_eq!(keys.known(partition, place.name().clone()).in_era(era).key(Kind::Slots), all[0]);
        let next = place.clone().in_era(Era { number: 8, nonce: 1 });
        assert_ne!(next.key(Kind::Slots), all[0], "what an era held is nothing in the next");
        assert_eq!(next.shared(Kind::Seq), all[1], "the order goes on");
    }

    #[test]
    fn users_and_rooms_of_one_name_and_users_under_two_naming_keys_share_nothing() {
        let keys = (keys(1), keys(2));
        let room = keys.0.room(&RoomName::parse("ada").unwrap());
        assert_ne!(keys.0.user(&user("ada")).name(), room.name());
        assert_ne!(keys.0.user(&user("ada")).name(), keys.1.user(&user("ada")).name());
    }

    #[test]
    fn what_the_fleet_has_one_of_is_found_without_the_naming_key() {
        let (one, other) = (keys(1), keys(2));
        assert_eq!(one.fleet().key(Kind::Leases), other.fleet().key(Kind::Leases));
        assert_eq!(one.fleet().shared(Kind::Control), other.fleet().shared(Kind::Control));
        // as the documentation of the operators' ACL has it
        assert_eq!(one.commands(), "portcullis:{pad}:commands");
    }

    #[test]
    fn every_partition_is_used() {
        let keys = keys(1);
        let used: std::collections::BTreeSet<u8> =
            (0..4_000).map(|n| keys.user(&user(&format!("u{n}"))).partition).collect();
        assert_eq!(used.len(), usize::from(PARTITIONS));
    }

    #[test]
    fn a_prefix_that_could_move_the_hash_tag_is_refused() {
        for bad in ["", "a{b}", "a:b", "a b", "ä", &"a".repeat(65)] {
            assert!(Keys::new(bad, [0; 32]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_read_from_the_store_is_a_name_or_nothing() {
        for bad in ["", "0123", "0123456789abcdef0123456789abcde}", "0123456789ABCDEF0123456789abcdef"] {
            assert_eq!(Name::parse(bad.to_owned()), None, "{bad:?}");
        }
    }
}
