//! How many nodes and how much Redis a fleet needs: arithmetic over measured costs. Everything is linear, as the measurements
//! are within their spread; what is not measured is an assumption with a name (see docs/CAPACITY.md).

use serde::{Deserialize, Serialize};

/// What one of each costs, measured. Times are microseconds of one core, memory is bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slopes {
    /// Which run these are of.
    pub source: String,
    /// A gateway without sessions.
    pub process_bytes: f64,
    /// An idle session in a room.
    pub session_bytes: f64,
    /// The same over TLS.
    pub tls_session_bytes: f64,
    /// A ping and its answer: the raw echo.
    pub ping_us: f64,
    /// A message to a room of one, memory store: read, checked, delivered once.
    pub message_us: f64,
    /// What TLS adds to it.
    pub tls_message_us: f64,
    /// Each further delivery.
    pub delivery_us: f64,
    /// What a room's message costs a node more when it goes through Redis; once for each node that has members.
    pub bus_us: f64,
    /// A handshake with a session's registration in Redis.
    pub handshake_us: f64,
    /// What TLS adds to it, without resumption.
    pub tls_handshake_us: f64,
    /// Redis: a message, heard by one node.
    pub redis_message_us: f64,
    /// Redis: each further node that hears it.
    pub redis_listener_us: f64,
    /// Redis: a handshake.
    pub redis_handshake_us: f64,
    /// Redis: a session.
    pub redis_session_bytes: f64,
}

impl Slopes {
    /// The kept measurement that this version was released with.
    ///
    /// # Errors
    /// The file in the source tree is no such table.
    pub fn measured() -> Result<Self, serde_json::Error> {
        serde_json::from_str(include_str!("capacity/slopes.json"))
    }
}

/// What the fleet has to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Sessions at the same time.
    pub sessions: f64,
    /// Messages that a session sends, a second.
    pub messages: f64,
    /// Members that a message reaches, its sender among them; at least 1.
    pub members: f64,
    /// How often a session begins anew, an hour.
    pub reconnects: f64,
    /// Bytes of a delivered message on the wire.
    pub bytes: f64,
    /// Whether gateways end TLS.
    pub tls: bool,
}

/// What it has to do it with, and how far that may be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Cores of a node.
    pub cores: f64,
    /// Memory of a node in bytes.
    pub memory: f64,
    /// Share of cores and memory that is planned to be used; the rest is for storms and for growth.
    pub use_up_to: f64,
    /// The most sessions that one node shall hold, whatever fits: they all come back at once when it dies.
    pub sessions_per_node: f64,
    /// What the kernel holds for a socket, in bytes: in no process's memory.
    pub socket_bytes: f64,
    /// Seconds in which the sessions of one lost node are back.
    pub storm_seconds: f64,
}

/// What is needed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Nodes for their memory.
    pub nodes_by_memory: u64,
    /// Nodes for their cores.
    pub nodes_by_cpu: u64,
    /// Nodes for `sessions_per_node`.
    pub nodes_by_sessions: u64,
    /// The largest of them, and one more to lose.
    pub nodes: u64,
    /// Cores of all gateways in use, on average.
    pub gateway_cores: f64,
    /// Memory of all gateways for sessions, kernel included.
    pub gateway_bytes: f64,
    /// Messages a second into the fleet.
    pub messages_per_second: f64,
    /// Deliveries a second out of it.
    pub deliveries_per_second: f64,
    /// Bits a second out of it.
    pub egress_bits: f64,
    /// Handshakes a second, on average.
    pub handshakes_per_second: f64,
    /// Handshakes a second while the sessions of one lost node come back.
    pub storm_handshakes_per_second: f64,
    /// Cores of Redis in use: its commands run on one core a server.
    pub redis_cores: f64,
    /// The same while the sessions of one lost node come back.
    pub storm_redis_cores: f64,
    /// Servers of Redis (shards of a cluster), a replica each besides.
    pub redis_shards: u64,
    /// What Redis holds for sessions.
    pub redis_bytes: f64,
}

/// How often a silent session is pinged, in seconds: `session.ping_interval`.
const PING_EVERY: f64 = 25.0;
/// How often a session's node asks Redis whether the slot is still the session's, in seconds.
const ASKS_EVERY: f64 = 30.0;
const MICROS: f64 = 1e-6;

/// What `workload` needs of machines of this kind. Bounds: every answer is at least one node and one shard; with two nodes or
/// more the sessions of a room are taken to be spread over as many nodes as they are members.
#[must_use]
pub fn plan(slopes: &Slopes, workload: &Workload, machine: &Machine) -> Plan {
    let Workload { sessions, tls, .. } = *workload;
    let session = if tls { slopes.tls_session_bytes } else { slopes.session_bytes } + machine.socket_bytes;
    let bytes = sessions * session;
    let memory = (machine.memory * machine.use_up_to - slopes.process_bytes).max(1.0);
    let nodes_by_memory = whole(bytes / memory);
    let nodes_by_sessions = whole(sessions / machine.sessions_per_node);
    let mut nodes_by_cpu = 1;
    let mut cores = 0.0;
    // how many nodes hear a message depends on how many there are: a few rounds settle it
    for _ in 0..8 {
        let nodes = nodes_by_memory.max(nodes_by_sessions).max(nodes_by_cpu) as f64;
        cores = gateway_cores(slopes, workload, listeners(workload, nodes));
        nodes_by_cpu = whole(cores / (machine.cores * machine.use_up_to));
    }
    let needed = nodes_by_memory.max(nodes_by_sessions).max(nodes_by_cpu);
    let messages = sessions * workload.messages;
    let handshakes = sessions * workload.reconnects / 3_600.0;
    let redis_cores = redis_cores(slopes, workload, listeners(workload, needed as f64));
    let storm = sessions / needed as f64 / machine.storm_seconds;
    let storm_redis_cores = redis_cores + storm * slopes.redis_handshake_us * MICROS;
    Plan {
        nodes_by_memory,
        nodes_by_cpu,
        nodes_by_sessions,
        nodes: needed + 1,
        gateway_cores: cores,
        gateway_bytes: bytes,
        messages_per_second: messages,
        deliveries_per_second: messages * workload.members,
        egress_bits: messages * workload.members * workload.bytes * 8.0,
        handshakes_per_second: handshakes,
        storm_handshakes_per_second: handshakes + storm,
        redis_cores,
        storm_redis_cores,
        // a storm may use what is kept free for it
        redis_shards: whole(redis_cores / machine.use_up_to).max(whole(storm_redis_cores)),
        redis_bytes: sessions * slopes.redis_session_bytes,
    }
}

/// Nodes that hear a message.
fn listeners(workload: &Workload, nodes: f64) -> f64 {
    workload.members.min(nodes).max(1.0)
}

fn gateway_cores(slopes: &Slopes, workload: &Workload, listeners: f64) -> f64 {
    let tls = if workload.tls { 1.0 } else { 0.0 };
    let deliveries = (workload.members - 1.0).max(0.0) * slopes.delivery_us;
    let message = slopes.message_us + tls * slopes.tls_message_us + deliveries + listeners * slopes.bus_us;
    let handshake = slopes.handshake_us + tls * slopes.tls_handshake_us;
    let each = workload.messages * message + workload.reconnects / 3_600.0 * handshake + slopes.ping_us / PING_EVERY;
    workload.sessions * each * MICROS
}

fn redis_cores(slopes: &Slopes, workload: &Workload, listeners: f64) -> f64 {
    let message = slopes.redis_message_us + (listeners - 1.0) * slopes.redis_listener_us;
    // a question is one script, as a message is: the dearer reading
    let idle = slopes.redis_message_us / ASKS_EVERY;
    let each = workload.messages * message + workload.reconnects / 3_600.0 * slopes.redis_handshake_us + idle;
    workload.sessions * each * MICROS
}

/// Rounded up, at least one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and nobody has so many")]
fn whole(count: f64) -> u64 {
    (count.ceil() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slopes() -> Slopes {
        Slopes {
            source: "a test".to_owned(),
            process_bytes: 0.0,
            session_bytes: 4_000.0,
            tls_session_bytes: 12_000.0,
            ping_us: 0.0,
            message_us: 10.0,
            tls_message_us: 5.0,
            delivery_us: 2.0,
            bus_us: 1.0,
            handshake_us: 100.0,
            tls_handshake_us: 200.0,
            redis_message_us: 10.0,
            redis_listener_us: 1.0,
            redis_handshake_us: 50.0,
            redis_session_bytes: 500.0,
        }
    }

    const CHAT: Workload =
        Workload { sessions: 100_000.0, messages: 0.1, members: 11.0, reconnects: 0.0, bytes: 100.0, tls: false };
    const NODE: Machine = Machine {
        cores: 1.0,
        memory: 1e9,
        use_up_to: 0.5,
        sessions_per_node: 50_000.0,
        socket_bytes: 1_000.0,
        storm_seconds: 10.0,
    };

    #[test]
    fn each_resource_asks_for_its_own_number_of_nodes() {
        let plan = plan(&slopes(), &CHAT, &NODE);
        // 100,000 × 5,000 B of 500 MB; 100,000 of 50,000; 10,000 messages/s × (10 + 10 × 2 + 2 listeners) µs = 0.32 cores of 0.5
        assert_eq!((plan.nodes_by_memory, plan.nodes_by_sessions, plan.nodes_by_cpu, plan.nodes), (1, 2, 1, 3));
        assert!((plan.gateway_cores - 0.32).abs() < 1e-9, "{plan:?}");
        // 10,000 messages/s × 11 µs, and 100,000 questions of 10 µs in 30 s
        assert!((plan.redis_cores - 0.11 - 1.0 / 30.0).abs() < 1e-9 && plan.redis_shards == 1, "{plan:?}");
        assert_eq!((plan.deliveries_per_second, plan.egress_bits, plan.redis_bytes), (110_000.0, 88e6, 50e6));
        assert_eq!(plan.storm_handshakes_per_second, 5_000.0);
        assert!((plan.storm_redis_cores - 0.36 - 1.0 / 30.0).abs() < 1e-9, "{plan:?}");
    }

    #[test]
    fn ten_times_the_sessions_need_ten_times_as_much() {
        let (one, ten) = (plan(&slopes(), &CHAT, &NODE), plan(&slopes(), &Workload { sessions: 1e6, ..CHAT }, &NODE));
        assert_eq!((ten.nodes_by_memory, ten.nodes_by_sessions), (10, 20));
        // more nodes hear each message, up to one for each member
        assert!(ten.gateway_cores > 10.0 * one.gateway_cores && ten.gateway_cores < 10.0 * one.gateway_cores + 1.0);
        assert_eq!(ten.redis_shards, 5);
        let sudden = plan(&slopes(), &CHAT, &Machine { storm_seconds: 1.0, ..NODE });
        assert_eq!(sudden.redis_shards, 3, "50,000 handshakes/s of 50 µs: {sudden:?}");
    }

    #[test]
    fn tls_and_reconnecting_cost_what_they_were_measured_to() {
        let tls = plan(&slopes(), &Workload { tls: true, ..CHAT }, &NODE);
        assert_eq!(tls.nodes_by_memory, 3);
        let busy = Workload { messages: 0.0, reconnects: 36.0, tls: true, ..CHAT };
        let cores = plan(&slopes(), &busy, &NODE).gateway_cores;
        assert!((cores - 0.3).abs() < 1e-9, "1,000 handshakes/s of 300 µs: {cores}");
    }

    #[test]
    fn the_kept_slopes_are_there_and_make_sense() {
        let slopes = Slopes::measured().expect("a table");
        assert!(!slopes.source.is_empty() && slopes.session_bytes > 500.0 && slopes.session_bytes < 20_000.0);
        assert!(slopes.tls_session_bytes > slopes.session_bytes && slopes.handshake_us > 10.0);
        for (name, us) in
            [("message", slopes.message_us), ("delivery", slopes.delivery_us), ("redis", slopes.redis_message_us)]
        {
            assert!(us > 0.1 && us < 500.0, "{name} {us}");
        }
    }
}
