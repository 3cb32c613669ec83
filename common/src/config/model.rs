//! The configuration after parsing. Everything here is legal by construction; durations, sizes and rates have units.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::secret::Secret;
use crate::control::key::PublicKey;
use crate::feed::Score;
use crate::ids::{FeedName, NodeId, TypeName, UserId};
use crate::penalty::{Ladder, Subject};
use crate::stage::Stages;
use crate::wire::field::FieldPath;

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

/// `[node]`
#[derive(Debug, Clone)]
pub struct Node {
    /// Default: the host name.
    pub id: NodeId,
    /// Worker threads; default: one a core.
    pub workers: usize,
    /// How long a drain may take before the remaining sockets are closed (default 30 s).
    pub drain_deadline: Duration,
    /// For how long a drain goes on admitting newcomers after the node has said that it is not ready, so that load
    /// balancers notice first (default 0 s).
    pub drain_notice: Duration,
    /// Over how long the `reconnect` delays of a drain are spread (default 10 s).
    pub drain_spread: Duration,
}

/// `[listen]`
#[derive(Debug, Clone)]
pub struct Listen {
    /// Clients connect here (default `127.0.0.1:8080`).
    pub public: SocketAddr,
    /// Health and metrics (default `127.0.0.1:9090`).
    pub private: SocketAddr,
    /// Whose `Forwarded`/`X-Forwarded-For` is believed (default nobody's).
    pub trusted_proxies: Vec<IpNet>,
    /// Every connection begins with a PROXY protocol v2 header of a trusted proxy; all others are refused (default off).
    pub proxy_protocol: bool,
    /// `/diagnostics/echo`: the codec alone, no policy; loopback only (default off).
    pub diagnostics_echo: bool,
    /// All TCP connections of the public port, upgraded or not (default 15,000; fitted to the descriptor limit).
    pub max_connections: usize,
    /// TCP connections from one address (/64 for v6) (default 1,000).
    pub max_connections_per_ip: usize,
    /// How long the whole request head, and the TLS handshake before it, may take (default 5 s each).
    pub header_timeout: Duration,
    /// The kernel's accept queue (default 1,024).
    pub backlog: u32,
}

/// `tls.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// This process ends TLS; plaintext is answered 426.
    Required,
    /// A trusted proxy ends TLS; a direct peer that is not trusted is refused.
    Upstream,
    /// Plaintext; loopback only, unless `insecure = true`.
    Off,
}

/// `tls.min_version`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// `"1.2"`
    V12,
    /// `"1.3"`
    V13,
}

/// `[tls]`
#[derive(Debug, Clone)]
pub struct Tls {
    /// Default `required`.
    pub mode: TlsMode,
    /// PEM chain; needed with `required`.
    pub cert_file: Option<PathBuf>,
    /// PEM key; needed with `required`.
    pub key_file: Option<PathBuf>,
    /// Default 1.2.
    pub min_version: TlsVersion,
    /// Allow `off` on an address that is not loopback.
    pub insecure: bool,
    /// `Strict-Transport-Security` max-age (default one year; 0 turns it off).
    pub hsts_max_age: Duration,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// Default `memory:`.
    pub url: StoreUrl,
    /// The first part of every key; fleets with different prefixes share nothing (default `portcullis`).
    pub prefix: String,
    /// The keys that authenticate what nodes tell each other; one `kid:base64` a line. Needed with Redis.
    pub cluster_key_file: Option<PathBuf>,
    /// The key that names users and rooms in the store: 32 bytes in base 64, the same on all nodes, for good. Needed
    /// with Redis.
    pub naming_key_file: Option<PathBuf>,
    /// A directory of this node's own, for a copy of the control log: bans outlive a store that forgot them while no other
    /// node was there to remember (default none).
    pub state_dir: Option<PathBuf>,
    /// Start although the server may evict keys under memory pressure, which forgets bans and sessions (default no).
    pub may_evict: bool,
    /// The ACL user on servers that hold data, before one in the URL (default: Redis's `default`).
    pub username: Option<String>,
    /// Its password; line ends behind it are not part of it.
    pub password_file: Option<PathBuf>,
    /// The ACL user on sentinels.
    pub sentinel_username: Option<String>,
    /// Its password.
    pub sentinel_password_file: Option<PathBuf>,
    /// With TLS: who may have signed a server's certificate, PEM (default: the authorities of this machine).
    pub ca_file: Option<PathBuf>,
    /// With TLS: our own certificate, leaf first, PEM, for servers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
}

/// `store.url`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:` — one process, gone when it stops.
    Memory,
    /// `redis://`, `redis-sentinel://`, `redis-cluster://`, or `rediss…://` for TLS — a fleet. May hold a password.
    Redis(Secret),
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// `[[auth.issuer]]`; at least one.
    pub issuer: Vec<Issuer>,
    /// Tolerated clock difference, at most 30 s (default 10 s).
    pub leeway: Duration,
    /// `exp − iat` at most this, itself at most 24 h (default 24 h).
    pub max_token_life: Duration,
}

/// JWT algorithms that are believed at all; `none` cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// `[[auth.issuer]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// For logs and metrics.
    pub name: String,
    /// The exact `iss`.
    pub issuer: String,
    /// What `aud` must be or contain.
    pub audience: String,
    /// One family: all HMAC, or all RSA, or all ECDSA, or EdDSA.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// The claim with the roles: an array of strings, or one string with spaces (default `roles`).
    pub roles_claim: String,
    /// The claim with the tenant, if any.
    pub tenant_claim: Option<String>,
    /// The claim with limits of the bearer's own, if the issuer is trusted to say so.
    pub limits_claim: Option<String>,
    /// Put before `sub` to make the user id; two issuers may not share one (default empty).
    pub user_prefix: String,
    /// The cookie that may carry the token; only where `origin.missing = "deny"`.
    pub cookie: Option<String>,
}

/// Where an issuer's keys come from; exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A shared secret of at least 32 bytes.
    Secret(Secret),
    /// A public key in PEM.
    Pem(String),
    /// A JWK set from a file.
    JwksFile(PathBuf),
    /// A JWK set over HTTPS (plain HTTP on loopback only).
    JwksUrl(String),
}

/// One entry of `origin.allow`, parsed: exact scheme, host, port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRule {
    /// `https`, or `http` for development.
    pub scheme: String,
    /// Lower-case ASCII host, an IPv6 address in brackets; for a wildcard the part after `*.`.
    pub host: String,
    /// The port, the scheme's default filled in.
    pub port: u16,
    /// `https://*.example.com`: any subdomain, not the domain itself.
    pub subdomains: bool,
}

/// `[origin]`
#[derive(Debug, Clone)]
pub struct Origin {
    /// Who may connect from a browser (default nobody).
    pub allow: Vec<OriginRule>,
    /// Whether a client without an Origin header may connect, `missing = "allow" | "deny"` (default deny).
    pub missing_allowed: bool,
}

/// `session.on_limit`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLimit {
    /// The newcomer is refused (429 `session_limit`).
    Reject,
    /// The oldest session is closed (4409) before the newcomer is let in.
    EvictOldest,
}

/// `session.on_store_loss`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStoreLoss {
    /// Sessions stay, degraded, for `session.max_store_loss`. If only this node was cut off, others may meanwhile have
    /// given its slots away.
    Available,
    /// Sessions are closed (1012) before anybody could give their slots away.
    Strict,
}

/// `[session]`
#[derive(Debug, Clone)]
pub struct Session {
    /// Concurrent sessions of one user (default 5).
    pub max_per_user: u32,
    /// Default `reject`.
    pub on_limit: OnLimit,
    /// What becomes of sessions whose node cannot renew its lease (default `available`).
    pub on_store_loss: OnStoreLoss,
    /// With `available`, how long they stay (default 10 min).
    pub max_store_loss: Duration,
    /// The longest a session may live (default 12 h).
    pub absolute_timeout: Duration,
    /// Close after this long without an application message (default off).
    pub idle_timeout: Option<Duration>,
    /// How often a silent peer is pinged (default 25 s).
    pub ping_interval: Duration,
    /// How long a pong may take (default 20 s).
    pub pong_timeout: Duration,
    /// How long before its expiry a token's holder is told (default 60 s).
    pub expiry_warning: Duration,
    /// How long the peer may take to answer a close frame (default 5 s).
    pub close_timeout: Duration,
    /// Rooms one session may be in (default 64).
    pub max_rooms: usize,
    /// How long a session whose connection broke can be resumed (default 2 min); zero: not at all.
    pub resume_window: Duration,
}

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

/// `[csrf]`
#[derive(Debug, Clone)]
pub struct Csrf {
    /// Message types without a token besides `health-check` and `token_refresh` (default none).
    pub exempt: Vec<TypeName>,
    /// How often a session gets a new token (default 1 h).
    pub rotate: Duration,
    /// How long the token before it stays good (default 1 min).
    pub grace: Duration,
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

/// `[[room]]`
#[derive(Debug, Clone)]
pub struct RoomRule {
    /// `team.{t}`: `*` and `{name}` are one segment.
    pub pattern: String,
    /// A CEL condition over `claims`, `user`, `roles`, `tenant`, `room` and the pattern's names.
    pub condition: Option<String>,
    /// Roles that may join (any of them; empty: nobody). `"*"` is any authenticated user.
    pub join: Vec<String>,
    /// Roles that may publish (any of them; empty: nobody).
    pub publish: Vec<String>,
    /// Members may ask who is there, and are told who comes and goes.
    pub presence: bool,
    /// What is kept for those who come back, if anything.
    pub history: Option<History>,
}

/// `history = { count, age }`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// At most so many messages.
    pub count: u32,
    /// None older than this.
    pub age: Duration,
}

/// Where a message type goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To the members of `to.room`.
    Room,
    /// To the sessions of `to.user`.
    User(UserReach),
}

/// `users = …` of a type that goes to users; default: refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserReach {
    /// Any user.
    Any,
    /// Users of the sender's tenant.
    SameTenant,
}

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

/// `[pipeline]`
#[derive(Debug, Clone, Copy)]
pub struct Pipeline {
    /// Stages whose refusals are counted and reported, not enforced, for all types (default none).
    pub dry_run: Stages,
}

/// A JSON Schema from a file.
#[derive(Debug, Clone)]
pub struct SchemaFile {
    /// Where it was read.
    pub path: PathBuf,
    /// What it says; strict JSON, not yet looked at as a schema.
    pub json: Arc<serde_json::Value>,
}

/// `[message.NAME]`
#[derive(Debug, Clone)]
pub struct MessageRule {
    /// Roles that may send it (any of them; `"*"` is any authenticated user).
    pub roles: Vec<String>,
    /// Where it goes.
    pub route: Route,
    /// The sender gets its own message too (default true).
    pub echo: bool,
    /// It is the first that an overloaded node refuses: `priority = "low"` (default `normal`).
    pub low_priority: bool,
    /// A limit of this type for each connection.
    pub rate: Option<Limit>,
    /// Overrides `size.message` for this type, up or down.
    pub max_size: Option<usize>,
    /// A CEL condition over `claims`, `user`, `roles`, `tenant`: who may send it, besides the roles.
    pub condition: Option<String>,
    /// What a payload has to look like that names no version; none: any JSON.
    pub schema: Option<SchemaFile>,
    /// The same for payloads that name one of these versions.
    pub versions: BTreeMap<u32, SchemaFile>,
    /// The member of a payload that names its version (default `version`).
    pub version_field: String,
    /// Fields that hold HTML.
    pub html: Vec<HtmlField>,
    /// Fields that name files: relative, leading nowhere but down.
    pub path_fields: Vec<FieldPath>,
    /// What happens to control characters and overrides of the reading direction (default: taken out).
    pub controls: Controls,
    /// Strings are brought to Unicode's normal form C.
    pub nfc: bool,
    /// What a signature that fits does.
    pub signatures: SignatureUse,
    /// What is held against it again when it is delivered, whoever sent it: size, schema, sanitise.
    pub outbound: Stages,
    /// What a secret in it does when it is delivered (default: `leaks.default`).
    pub leaks: Option<LeakUse>,
    /// Stages that do not refuse this type, only count and report.
    pub dry_run: Stages,
}

/// `message.NAME.html`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HtmlField {
    /// Which.
    pub field: FieldPath,
    /// What is left of it.
    pub mode: HtmlMode,
}

/// How a field with HTML is cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HtmlMode {
    /// Simple markup of text and links stay.
    Basic,
    /// Only text stays.
    Strip,
    /// Everything stays, as text.
    Escape,
}

/// `message.NAME.controls`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controls {
    /// They are taken out.
    Strip,
    /// A message with one is refused.
    Refuse,
    /// They stay.
    Keep,
}

/// `message.NAME.signatures`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureUse {
    /// As each signature says.
    AsWritten,
    /// The message is refused, whatever the signature says.
    Refuse,
    /// None is looked for.
    Off,
}

/// `[signatures]`
#[derive(Debug, Clone)]
pub struct Signatures {
    /// The product's own are used (default true).
    pub builtin: bool,
    /// The operator's.
    pub file: Option<SignatureFile>,
}

/// `message.NAME.leaks`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeakUse {
    /// As each pattern says.
    AsWritten,
    /// It is made unreadable, whatever the pattern says.
    Mask,
    /// The message is not delivered, whatever the pattern says.
    Block,
    /// None is looked for.
    Off,
}

/// `[leaks]`: what must not leave in payloads.
#[derive(Debug, Clone)]
pub struct Leaks {
    /// For types that say nothing, and those that this node does not know (default off).
    pub default: LeakUse,
    /// The product's own patterns are used (default true).
    pub builtin: bool,
    /// The operator's.
    pub file: Option<SignatureFile>,
}

/// A file with signatures, or with patterns of leaks.
#[derive(Debug, Clone)]
pub struct SignatureFile {
    /// Where it was read.
    pub path: PathBuf,
    /// What it says; not yet looked at.
    pub text: Arc<str>,
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

/// `[overload]`: at any of these a node first refuses new sessions, then messages of types with `priority = "low"`, then
/// closes the largest queues; it takes all of that back by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overload {
    /// It does (default true).
    pub enabled: bool,
    /// Resident bytes (default: 85 % of what the cgroup, else the machine, has).
    pub memory: Option<usize>,
    /// Bytes that wait to be written to clients, over all sessions (default 256 MiB).
    pub queues: usize,
    /// How late a worker's clock ticks (default 500 ms).
    pub lag: Duration,
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

/// `[coordinator]`
#[derive(Debug, Clone)]
pub struct Coordinator {
    /// What people call it (default: the host name).
    pub id: NodeId,
    /// Health and metrics (default `127.0.0.1:9091`).
    pub listen: SocketAddr,
    /// How long a leader leads without renewing, which is how long another waits before it takes over (default 10 s).
    pub lease: Duration,
}

/// What a coordinator needs of the configuration: so it runs without the certificates and secrets of the gateways.
#[derive(Debug, Clone)]
pub struct CoordinatorConfig {
    /// Its own section.
    pub coordinator: Coordinator,
    /// When the fleet shuts its doors to an address.
    pub stuffing: Stuffing,
    /// Where shared state lives.
    pub store: Store,
    /// `session.absolute_timeout`: how long what a session has in the store must be kept.
    pub longest_session: Duration,
    /// Logging.
    pub log: Log,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// `tracing` filter (default `info`).
    pub filter: String,
    /// JSON lines (default) or text.
    pub json: bool,
}

/// The key under which one address is limited: the address, or its /64 for v6.
#[must_use]
pub fn address_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}
