//! Signatures of commands, and everything that a node checks before it obeys one.
//!
//! ```text
//! version 1 | signature 64 | key id 8 | cluster 2+n | issued 8 | expires 8 | nonce 16 | command (JSON)
//! ```
//! The signature is over [`DOMAIN`], the version and every byte behind the signature, as they were sent: nothing is
//! parsed and written again before it is checked. Times are the store's, in ms.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::RngCore;

use super::command::Command;
use super::key::{KeyId, OperatorKey};
use crate::clock::UnixMs;
use crate::config::model::{Operator, OperatorRole};
use crate::store::octets::{Reader, put_text};

/// The format written here, and the only one read here.
pub const VERSION: u8 = 1;

/// The longest command on the wire.
pub const MAX: usize = 16 << 10;

/// How long a command may be good, and how old it may be.
pub const LIFE: Duration = Duration::from_secs(30);

/// A command may be so far ahead of the node's notion of the store's time.
pub const AHEAD: Duration = Duration::from_secs(5);

/// Nonces that a node remembers. At the bound commands are refused: to forget one would let it in again.
pub const NONCES: usize = 4_096;

/// What the key signs besides commands must not be taken for one.
const DOMAIN: &[u8] = b"portcullis operator command\0";

/// Version and signature.
const PREFIX: usize = 65;

/// One command's name, random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub [u8; 16]);

impl Nonce {
    /// A new one.
    #[must_use]
    pub fn random(rng: &mut dyn RngCore) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a node does not obey. The name is a metric's label and part of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Cut short, too long, not of the format, or a command that this version does not know.
    Malformed,
    /// Of a version that this software does not read.
    Version,
    /// For another cluster.
    Cluster,
    /// Under a key that no `[[operator]]` has.
    UnknownKey,
    /// The signature is wrong.
    Forged,
    /// Issued before this node began to listen: whether it was obeyed then, nobody knows any more.
    BeforeStart,
    /// Its time is over, or it is older than [`LIFE`].
    Expired,
    /// Issued more than [`AHEAD`] in the future, or good for longer than [`LIFE`].
    Future,
    /// It was here before.
    Replayed,
    /// The operator's role is not enough.
    Role,
    /// More commands than the node takes at a time.
    Busy,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Version,
        Self::Cluster,
        Self::UnknownKey,
        Self::Forged,
        Self::BeforeStart,
        Self::Expired,
        Self::Future,
        Self::Replayed,
        Self::Role,
        Self::Busy,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Cluster => "cluster",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::BeforeStart => "before_start",
            Self::Expired => "expired",
            Self::Future => "future",
            Self::Replayed => "replayed",
            Self::Role => "role",
            Self::Busy => "busy",
        }
    }
}

/// Signs a command of `issued`, good until `expires`. The cluster's id is `store.prefix`.
#[must_use]
pub fn sign(
    key: &OperatorKey,
    cluster: &str,
    (issued, expires): (UnixMs, UnixMs),
    nonce: Nonce,
    command: &Command,
) -> Bytes {
    let mut out = Vec::with_capacity(PREFIX + 256);
    out.push(VERSION);
    out.extend_from_slice(&[0; 64]);
    out.extend_from_slice(&key.public().id().0);
    put_text(&mut out, cluster);
    out.extend_from_slice(&issued.0.to_be_bytes());
    out.extend_from_slice(&expires.0.to_be_bytes());
    out.extend_from_slice(&nonce.0);
    // a command has nothing that JSON cannot say
    out.extend_from_slice(&serde_json::to_vec(command).unwrap_or_default());
    let signature = key.sign(&message(out.get(PREFIX..).unwrap_or_default()));
    if let Some(place) = out.get_mut(1..PREFIX) {
        place.copy_from_slice(&signature);
    }
    Bytes::from(out)
}

fn message(covered: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(DOMAIN.len() + 1 + covered.len());
    message.extend_from_slice(DOMAIN);
    message.push(VERSION);
    message.extend_from_slice(covered);
    message
}

/// What a command says about itself, before anything of it is believed.
struct Claimed<'a> {
    signature: [u8; 64],
    covered: &'a [u8],
    key: KeyId,
    cluster: &'a str,
    issued: UnixMs,
    expires: UnixMs,
    nonce: Nonce,
    body: &'a [u8],
}

impl<'a> Claimed<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.u8()?;
        let signature = reader.array()?;
        let covered = reader.rest();
        let key = KeyId(reader.array()?);
        let cluster = reader.text()?;
        let (issued, expires) = (UnixMs(reader.u64()?), UnixMs(reader.u64()?));
        let nonce = Nonce(reader.array()?);
        Some(Self { signature, covered, key, cluster, issued, expires, nonce, body: reader.rest() })
    }
}

/// A command that is to be obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentic {
    /// Where the answer goes.
    pub nonce: Nonce,
    /// Who says it.
    pub operator: Arc<str>,
    /// What.
    pub command: Command,
    /// When (the store's time).
    pub issued: UnixMs,
}

/// Whom and what a refusal is about, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// Where the answer goes; `None` where not even that can be read.
    pub nonce: Option<Nonce>,
    /// Whose command it is; only when the signature was right.
    pub operator: Option<Arc<str>>,
}

struct Known {
    name: Arc<str>,
    role: OperatorRole,
    key: super::key::PublicKey,
}

/// What a node knows of operators and of commands that were here. Memory: [`NONCES`] nonces.
pub struct Verifier {
    cluster: Arc<str>,
    operators: HashMap<KeyId, Known>,
    /// Commands issued before are refused: since then every nonce is known.
    since: UnixMs,
    seen: HashSet<Nonce>,
    /// Seen when, in that order, and when they were issued.
    order: VecDeque<(UnixMs, UnixMs, Nonce)>,
}

impl Verifier {
    /// For a node of this cluster that listens since then (the store's time).
    #[must_use]
    pub fn new(cluster: &str, operators: &[Operator], since: UnixMs) -> Self {
        let (cluster, seen, order) = (Arc::from(cluster), HashSet::new(), VecDeque::new());
        let mut verifier = Self { cluster, operators: HashMap::new(), since, seen, order };
        verifier.know(operators);
        verifier
    }

    /// From now on these are the operators, and nobody else. What was here stays known: nobody's old command is new.
    pub fn know(&mut self, operators: &[Operator]) {
        let known = |o: &Operator| Known { name: Arc::from(o.name.as_str()), role: o.role, key: o.public_key };
        self.operators = operators.iter().map(|o| (o.public_key.id(), known(o))).collect();
    }

    /// Checks a command that arrived at `now` (the store's time). Cost: one signature check, about 50 µs.
    ///
    /// # Errors
    /// Why it must not be obeyed.
    pub fn verify(&mut self, bytes: &[u8], now: UnixMs) -> Result<Authentic, Refused> {
        let refused = |why, nonce| Refused { why, nonce, operator: None };
        match bytes.first() {
            Some(&VERSION) if bytes.len() <= MAX => {}
            None | Some(&VERSION) => return Err(refused(Refusal::Malformed, None)),
            Some(_) => return Err(refused(Refusal::Version, None)),
        }
        let claimed = Claimed::read(bytes).ok_or_else(|| refused(Refusal::Malformed, None))?;
        let no = |why| refused(why, Some(claimed.nonce));
        if claimed.cluster != &*self.cluster {
            return Err(no(Refusal::Cluster));
        }
        let known = self.operators.get(&claimed.key).ok_or_else(|| no(Refusal::UnknownKey))?;
        if !known.key.verifies(&message(claimed.covered), &claimed.signature) {
            return Err(no(Refusal::Forged));
        }
        let (operator, role) = (Arc::clone(&known.name), known.role);
        let command = self.admit(&claimed, role, now);
        command
            .map(|command| Authentic {
                nonce: claimed.nonce,
                operator: Arc::clone(&operator),
                command,
                issued: claimed.issued,
            })
            .map_err(|why| Refused { why, nonce: Some(claimed.nonce), operator: Some(operator) })
    }

    /// The signature is right: is it now, is it new, and may they?
    fn admit(&mut self, claimed: &Claimed<'_>, role: OperatorRole, now: UnixMs) -> Result<Command, Refusal> {
        if claimed.issued < self.since {
            return Err(Refusal::BeforeStart);
        }
        if claimed.issued > now.after(AHEAD) || claimed.expires > claimed.issued.after(LIFE) {
            return Err(Refusal::Future);
        }
        if claimed.expires < now || claimed.issued.after(LIFE) < now {
            return Err(Refusal::Expired);
        }
        self.remember(claimed.nonce, claimed.issued, now)?;
        let command: Command = serde_json::from_slice(claimed.body).map_err(|_| Refusal::Malformed)?;
        command.check().map_err(|_| Refusal::Malformed)?;
        if role < command.role() { Err(Refusal::Role) } else { Ok(command) }
    }

    /// A nonce is forgotten when its command could not be taken any more: after its life, and should the store's clock be
    /// set back, because whatever was issued before a command that is forgotten is refused.
    fn remember(&mut self, nonce: Nonce, issued: UnixMs, now: UnixMs) -> Result<(), Refusal> {
        while let Some((at, issued, old)) = self.order.front().copied() {
            if at.after(LIFE + AHEAD * 2) >= now {
                break;
            }
            self.order.pop_front();
            self.seen.remove(&old);
            self.since = self.since.max(UnixMs(issued.0.saturating_add(1)));
        }
        if self.seen.contains(&nonce) {
            return Err(Refusal::Replayed);
        }
        if self.order.len() >= NONCES {
            return Err(Refusal::Busy);
        }
        self.seen.insert(nonce);
        self.order.push_back((now, issued, nonce));
        Ok(())
    }
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
