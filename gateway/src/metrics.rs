//! Every metric of the node, by handle: counting costs one atomic addition. Names and labels are documented in
//! docs/METRICS.md, which a test compares with what `/metrics` prints.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use portcullis_common::control::sign::Refusal;
use portcullis_common::penalty::Step;
use portcullis_common::stage::Stage;
use portcullis_common::wire::code::{Close, Code};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::control::watch::Tap;
use crate::events::Shown;
use crate::pipeline::sanitise::Cleaned;

/// Feeds of reputation.
mod feeds;

/// Limits of the fleet.
mod limits;

/// The overload ladder.
mod overload;

/// What the store counted.
mod store;

/// Tokens of many people tried from few places.
mod stuffing;

pub use feeds::FeedMetrics;
pub use limits::LimitMetrics;
pub use overload::OverloadMetrics;
pub use store::StoreMetrics;
pub use stuffing::StuffingMetrics;

/// One label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Label {
    /// A code's name, a number, or `ok`; never client input.
    pub code: &'static str,
}

/// `direction`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Direction {
    /// `in` or `out`
    pub direction: &'static str,
}

/// `part`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Part {
    /// Which part of the node.
    pub part: &'static str,
}

/// `outcome`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// What became of it.
    pub outcome: &'static str,
}

/// `stage` and `mode`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AtStage {
    /// A stage's name.
    pub stage: &'static str,
    /// `enforced` or `dry_run`
    pub mode: &'static str,
}

/// `step` and `mode`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AtStep {
    /// `restrict`, `disconnect` or `ban`
    pub step: &'static str,
    /// `enforced` or `dry_run`
    pub mode: &'static str,
}

/// `what`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Changed {
    /// `controls`, `html`, `nfc`
    pub what: &'static str,
}

/// The handles.
pub struct Metrics {
    registry: Registry,
    /// Where events leave what operators watch.
    pub tap: Tap,
    commands: Family<Outcome, Counter>,
    /// TCP connections of the public port, as of the last sweep.
    pub connections: Gauge,
    /// Live sessions.
    pub sessions: Gauge,
    /// Bytes that wait in outboxes, as of the last sweep, by worker.
    pub outbox_bytes: Gauge,
    /// Handshakes that became sessions.
    pub handshakes_ok: Counter,
    handshakes: BTreeMap<Code, Counter>,
    rejects: BTreeMap<Code, Counter>,
    closes: BTreeMap<Close, Counter>,
    stages: BTreeMap<(Stage, bool), Counter>,
    /// Strings that were changed: controls, HTML, normal form.
    sanitised: [Counter; 3],
    /// Places in payloads that were made unreadable on their way out.
    pub leaks_masked: Counter,
    penalties: BTreeMap<(Step, bool), Counter>,
    /// Automatic bans that were not made.
    pub bans_withheld: Counter,
    /// Version of the rules in force.
    pub rules_version: Gauge,
    reloads: [Counter; 2],
    /// Connections that ended without a close frame from either side.
    pub closes_abrupt: Counter,
    /// Closes begun by the peer.
    pub closes_by_peer: Counter,
    /// Connections refused before HTTP: caps.
    pub refused_connections: Counter,
    /// Application messages taken from clients.
    pub messages_in: Counter,
    /// Frames queued for clients.
    pub messages_out: Counter,
    /// Bytes read from upgraded sockets.
    pub bytes_in: Counter,
    /// Bytes written to upgraded sockets.
    pub bytes_out: Counter,
    /// Ping to pong, in seconds.
    pub round_trip: Histogram,
    /// Panics that were caught.
    pub panics: Family<Part, Counter>,
    /// Store calls that failed.
    pub store_faults: Counter,
    /// Eras of the store that began while this node had seen one before.
    pub store_eras: Counter,
    /// Room messages that a full worker queue refused.
    pub hub_refused: Counter,
    resumes: [Counter; 4],
    /// 1 while the node drains.
    pub draining: Gauge,
    /// 1 while a server of the store may drop keys.
    pub store_evicts: Gauge,
    /// 1 while the node is fenced.
    pub fenced: Gauge,
    /// How often it was.
    pub fences: Counter,
    /// How often its lease lapsed and a new life began.
    pub lease_lapses: Counter,
    /// Limits of the fleet.
    pub limits: LimitMetrics,
    /// Feeds of reputation.
    pub feeds: FeedMetrics,
    /// Stuffing and scanning.
    pub stuffing: StuffingMetrics,
    /// The overload ladder.
    pub overload: OverloadMetrics,
    /// What the store's bus and control log counted.
    pub store: StoreMetrics,
    /// Mono ns of the last sweep of each worker; not exported, read by `/health`.
    pub heartbeat: Vec<AtomicU64>,
}

impl Metrics {
    /// All metrics at zero, every label of the code registry present.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let mut r = Registry::with_prefix("portcullis");
        let handshakes = Family::<Label, Counter>::default();
        let rejects = Family::<Label, Counter>::default();
        let closes = Family::<Label, Counter>::default();
        let messages = Family::<Direction, Counter>::default();
        let bytes = Family::<Direction, Counter>::default();
        let panics = Family::<Part, Counter>::default();
        r.register("handshakes", "Opening handshakes by outcome", handshakes.clone());
        r.register("rejects", "Messages refused, by code", rejects.clone());
        r.register("closes", "Connections closed, by close code", closes.clone());
        r.register("messages", "WebSocket messages by direction", messages.clone());
        r.register("bytes", "Bytes on upgraded sockets by direction", bytes.clone());
        r.register("panics", "Panics that were caught, by part", panics.clone());
        let resumes = by_outcome(&mut r, "resumes", "Resume tokens shown, by outcome");
        let reloads = by_outcome(&mut r, "reloads", "Reloads asked for, by outcome");
        let code = |name| Label { code: name };
        let direction = |name| Direction { direction: name };
        Self {
            connections: gauge(&mut r, "connections", "TCP connections of the public port"),
            sessions: gauge(&mut r, "sessions", "Live sessions"),
            outbox_bytes: gauge(&mut r, "outbox_bytes", "Bytes that wait to be written to clients"),
            draining: gauge(&mut r, "draining", "1 while the node drains"),
            store_evicts: gauge(&mut r, "store_evicts", "1 while a server of the store may drop keys"),
            fenced: gauge(&mut r, "fenced", "1 while the node is fenced"),
            fences: counter(&mut r, "fences", "Times that the node fenced itself"),
            lease_lapses: counter(&mut r, "lease_lapses", "Times that the lease lapsed and a new life began"),
            refused_connections: counter(&mut r, "refused_connections", "Connections refused before HTTP"),
            store_faults: counter(&mut r, "store_faults", "Store calls that failed"),
            store_eras: counter(&mut r, "store_eras", "Times that the store forgot what it knew"),
            hub_refused: counter(&mut r, "hub_refused", "Room messages refused by a full worker queue"),
            limits: LimitMetrics::new(&mut r),
            feeds: FeedMetrics::new(&mut r),
            stuffing: StuffingMetrics::new(&mut r),
            overload: OverloadMetrics::new(&mut r),
            store: StoreMetrics::new(&mut r),
            round_trip: round_trip(&mut r),
            handshakes_ok: handshakes.get_or_create_owned(&code("ok")),
            handshakes: Code::ALL.iter().map(|c| (*c, handshakes.get_or_create_owned(&code(c.info().name)))).collect(),
            rejects: Code::ALL.iter().map(|c| (*c, rejects.get_or_create_owned(&code(c.info().name)))).collect(),
            closes: Close::ALL.iter().map(|c| (*c, closes.get_or_create_owned(&code(c.info().name)))).collect(),
            stages: by_stage(&mut r),
            leaks_masked: counter(&mut r, "leaks_masked", "Places in payloads that were masked before delivery"),
            sanitised: by_change(&mut r),
            penalties: by_step(&mut r),
            bans_withheld: counter(&mut r, "auto_bans_withheld", "Automatic bans that were not made"),
            rules_version: gauge(&mut r, "rules_version", "Version of the rules in force"),
            reloads: ["refused", "ok"].map(|name| reloads.get_or_create_owned(&Outcome { outcome: name })),
            closes_abrupt: closes.get_or_create_owned(&code("abrupt")),
            closes_by_peer: closes.get_or_create_owned(&code("peer")),
            messages_in: messages.get_or_create_owned(&direction("in")),
            messages_out: messages.get_or_create_owned(&direction("out")),
            bytes_in: bytes.get_or_create_owned(&direction("in")),
            bytes_out: bytes.get_or_create_owned(&direction("out")),
            resumes: Shown::ALL.map(|shown| resumes.get_or_create_owned(&Outcome { outcome: shown.name() })),
            panics,
            commands: commands(&mut r),
            tap: Tap::default(),
            heartbeat: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            registry: r,
        }
    }

    /// A handshake was refused.
    pub fn handshake_refused(&self, code: Code) {
        if let Some(counter) = self.handshakes.get(&code) {
            counter.inc();
        }
    }

    /// A message was refused.
    pub fn rejected(&self, code: Code) {
        if let Some(counter) = self.rejects.get(&code) {
            counter.inc();
        }
    }

    /// A resume token was shown.
    pub fn resume_shown(&self, shown: Shown) {
        if let Some(counter) = self.resumes.get(shown as usize) {
            counter.inc();
        }
    }

    /// A reload was asked for.
    pub fn reloaded(&self, version: u64, ok: bool) {
        self.rules_version.set(i64::try_from(version).unwrap_or(i64::MAX));
        if let Some(counter) = self.reloads.get(usize::from(ok)) {
            counter.inc();
        }
    }

    /// A stage refused a message, or would have.
    pub fn stage(&self, stage: Stage, dry_run: bool) {
        if let Some(counter) = self.stages.get(&(stage, dry_run)) {
            counter.inc();
        }
    }

    /// Strings were changed.
    pub fn sanitised(&self, Cleaned { controls, html, nfc }: Cleaned) {
        for (counter, strings) in self.sanitised.iter().zip([controls, html, nfc]) {
            counter.inc_by(u64::from(strings));
        }
    }

    /// A step of the penalties' ladder was taken, or would have been.
    pub fn penalty(&self, step: Step, dry_run: bool) {
        if let Some(counter) = self.penalties.get(&(step, dry_run)) {
            counter.inc();
        }
    }

    /// We closed a connection.
    pub fn closed(&self, close: Close) {
        if let Some(counter) = self.closes.get(&close) {
            counter.inc();
        }
    }

    /// An operator's command was settled or refused.
    pub fn command(&self, outcome: &'static str) {
        self.commands.get_or_create(&Outcome { outcome }).inc();
    }

    /// The text of `/metrics` (OpenMetrics 1.0).
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(8 << 10);
        // writing to a String cannot fail
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

fn by_stage(registry: &mut Registry) -> BTreeMap<(Stage, bool), Counter> {
    let family = Family::<AtStage, Counter>::default();
    registry.register("stage_refusals", "Messages refused by a stage of the pipeline", family.clone());
    let label = |stage: Stage, dry| AtStage { stage: stage.name(), mode: if dry { "dry_run" } else { "enforced" } };
    let each = Stage::ALL.iter().flat_map(|stage| [(*stage, false), (*stage, true)]);
    each.map(|key| (key, family.get_or_create_owned(&label(key.0, key.1)))).collect()
}

fn by_step(registry: &mut Registry) -> BTreeMap<(Step, bool), Counter> {
    let family = Family::<AtStep, Counter>::default();
    registry.register("penalties", "Steps of the penalties' ladder", family.clone());
    let label = |step: Step, dry| AtStep { step: step.name(), mode: if dry { "dry_run" } else { "enforced" } };
    let steps = Step::ALL.into_iter().filter(|step| *step != Step::None);
    steps
        .flat_map(|step| [(step, false), (step, true)])
        .map(|key| (key, family.get_or_create_owned(&label(key.0, key.1))))
        .collect()
}

fn commands(registry: &mut Registry) -> Family<Outcome, Counter> {
    let commands = Family::<Outcome, Counter>::default();
    for outcome in ["done", "failed"].into_iter().chain(Refusal::ALL.map(Refusal::name)) {
        drop(commands.get_or_create(&Outcome { outcome }));
    }
    registry.register("commands", "Operators' commands by outcome", commands.clone());
    commands
}

fn by_change(r: &mut Registry) -> [Counter; 3] {
    let family = Family::<Changed, Counter>::default();
    r.register("sanitised_strings", "Strings changed before they were passed on", family.clone());
    ["controls", "html", "nfc"].map(|what| family.get_or_create_owned(&Changed { what }))
}

fn by_outcome(registry: &mut Registry, name: &str, help: &str) -> Family<Outcome, Counter> {
    let family = Family::<Outcome, Counter>::default();
    registry.register(name, help, family.clone());
    family
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn round_trip(registry: &mut Registry) -> Histogram {
    // 0.1 ms to 13 s
    let histogram = Histogram::new(exponential_buckets(0.0001, 2.0, 18));
    registry.register("round_trip_seconds", "Ping to pong", histogram.clone());
    histogram
}
