//! The configuration after parsing. Everything here is legal by construction; durations, sizes and rates have units.

use std::collections::BTreeMap;

use crate::ids::{FeedName, TypeName};

/// Who is believed.
mod auth;
/// How much, and how often.
mod limit;
/// Rooms, message types, and what they have to pass.
mod message;
/// Who is held back, and who may say so.
mod policy;
/// What the process is: its name, its sockets, its logs.
mod process;
/// Where shared state is, and what a session may count on.
mod store;

pub use self::auth::{Algorithm, Auth, Csrf, Issuer, KeySource, Origin, OriginRule};
pub use self::limit::{Limit, Limits, NamedLimit, Per, Rate, Size, address_key};
pub use self::message::{
    Controls, History, HtmlField, HtmlMode, LeakUse, Leaks, MessageRule, Pipeline, RoomRule, Route, SchemaFile,
    SignatureFile, SignatureUse, Signatures, UserReach,
};
pub use self::policy::{Anomaly, Bans, FeedRule, Operator, OperatorRole, Penalty, Stuffing};
pub use self::process::{Coordinator, CoordinatorConfig, Listen, Log, Node, Overload, Tls, TlsMode, TlsVersion};
pub use self::store::{OnLimit, OnStoreLoss, Session, Store, StoreUrl};

/// The whole configuration of a process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this node is.
    pub node: Node,
    /// Where it listens, and whom it believes.
    pub listen: Listen,
    /// Transport security.
    pub tls: Tls,
    /// Where shared state lives.
    pub store: Store,
    /// Whose tokens are believed.
    pub auth: Auth,
    /// Which browser origins may connect.
    pub origin: Origin,
    /// Lifetimes, caps, liveness.
    pub session: Session,
    /// Sizes and counts.
    pub size: Size,
    /// CSRF tokens.
    pub csrf: Csrf,
    /// Limits by name; the built-in names are always present (see [`Limits`]).
    pub limit: Limits,
    /// Room rules, in file order.
    pub room: Vec<RoomRule>,
    /// Declared message types.
    pub message: BTreeMap<TypeName, MessageRule>,
    /// Who may command the fleet.
    pub operator: Vec<Operator>,
    /// What all types have in common.
    pub pipeline: Pipeline,
    /// What attacks look like.
    pub signatures: Signatures,
    /// `[leaks]`
    pub leaks: Leaks,
    /// What a connection's score does.
    pub anomaly: Anomaly,
    /// What users and networks have on their account over the fleet.
    pub penalty: Penalty,
    /// Tokens of many people tried from few places.
    pub stuffing: Stuffing,
    /// From what on a node takes less.
    pub overload: Overload,
    /// Who is refused by file.
    pub bans: Bans,
    /// What others say about addresses.
    pub feed: BTreeMap<FeedName, FeedRule>,
    /// Logging.
    pub log: Log,
    /// The coordinator's own; a gateway only checks it.
    pub coordinator: Coordinator,
    /// `portcullis-gateway dev`: the demo page and its token issuer are served. Never set by a file.
    pub dev: bool,
}
