//! What one of each costs, taken out of the kept results for the capacity calculator.

use portcullis_common::capacity::{Machine as Node, Plan, Slopes, Workload, plan};
use serde_json::Value;

use super::machine::Machine;
use super::row::Row;
use super::table::number;
use crate::Outcome;
use crate::finding::{Finding, rounded};

/// The table of `gatectl capacity`.
///
/// # Errors
/// A figure that it needs was not measured.
pub fn of(machine: &Machine, rows: &[Row]) -> Outcome<Slopes> {
    let find = |id: &str| -> Outcome<&Finding> {
        let found = rows.iter().filter_map(Row::finding).find(|finding| finding.id == id);
        found.ok_or_else(|| format!("{id} was not measured: a whole run is needed").into())
    };
    let value = |id: &str| find(id).map(|finding| finding.value);
    // handshakes are figures of speed
    let us = |id: &str| value(id).map(|per_second| 1e6 / per_second.max(1.0));
    let (plain, tls) = (value("echo.w8.full")?, value("echo-tls.w8.full")?);
    let (alone, shared) = (value("policy.memory.defaults.w8.full")?, value("policy.redis.defaults.w8.full")?);
    let handshake = us("policy.redis.defaults.handshakes")?;
    let process = find("idle.rss")?.detail.get("intercept_bytes").and_then(Value::as_f64).unwrap_or(0.0);
    let slopes = Slopes {
        source: format!("docs/bench/latest.jsonl: {} run of {}, {}", machine.depth, machine.date, machine.cpu),
        process_bytes: process,
        session_bytes: value("idle.rss")?,
        tls_session_bytes: value("idle-tls.rss")?,
        ping_us: value("echo.w1.raw")?,
        // at window 1, where nothing is merged: the dearer reading
        message_us: value("echo.w1.full")?,
        tls_message_us: (tls - plain).max(0.0),
        delivery_us: value("fanout.1000")?,
        bus_us: (shared - alone).max(0.0),
        handshake_us: handshake,
        tls_handshake_us: (us("handshake.tls")? - us("handshake.hs256")?).max(0.0),
        redis_message_us: value("policy.redis.defaults.w8.redis_cpu")?,
        redis_listener_us: value("relay.raw.listener")?.max(0.0),
        redis_handshake_us: value("policy.redis.defaults.handshakes.redis_cpu")?,
        redis_session_bytes: value("policy.redis.defaults.handshakes.redis_bytes")?,
    };
    Ok(neat(slopes))
}

/// Three decimals: more is noise.
fn neat(slopes: Slopes) -> Slopes {
    let mut value = serde_json::json!(slopes);
    if let Some(map) = value.as_object_mut() {
        for number in map.values_mut().filter(|value| value.is_number()) {
            *number = rounded(number.as_f64().unwrap_or(0.0)).into();
        }
    }
    serde_json::from_value(value).unwrap_or(slopes)
}

/// A file of it.
#[must_use]
pub fn json(slopes: &Slopes) -> String {
    let text = serde_json::to_string_pretty(slopes).unwrap_or_default();
    format!("{text}\n")
}

/// The machines of the guide: what `gatectl capacity` takes when nothing is said.
const NODE: Node = Node {
    cores: 4.0,
    memory: 8.0 * 1024.0 * 1024.0 * 1024.0,
    use_up_to: 0.6,
    sessions_per_node: 100_000.0,
    socket_bytes: 4096.0,
    storm_seconds: 10.0,
};

/// Three kinds of application.
const KINDS: [(&str, f64, f64); 3] = [
    ("notifications: 0.01 messages/s a session, to 1", 0.01, 1.0),
    ("chat: 0.1 messages/s, rooms of 10", 0.1, 10.0),
    ("collaboration: 1 message/s, rooms of 20", 1.0, 20.0),
];

/// The guide's tables, one for each kind of application.
#[must_use]
pub fn guide(slopes: &Slopes) -> String {
    let mut out = format!("Measured by {}.\n", slopes.source);
    for (kind, messages, members) in KINDS {
        out.push_str(&format!(
            "\n### {kind}\n\n| sessions | nodes | for memory / cores / sessions a node | gateway cores | messages in, deliveries out | \
             egress | Redis cores, and in a storm | Redis shards | Redis memory | handshakes, and in a storm |\n\
             | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        ));
        for sessions in [1e5, 1e6, 1e7] {
            for tls in [false, true] {
                let workload = Workload { sessions, messages, members, reconnects: 1.0, bytes: 400.0, tls };
                out.push_str(&line(&workload, &plan(slopes, &workload, &NODE)));
            }
        }
    }
    out
}

fn line(workload: &Workload, plan: &Plan) -> String {
    let tls = if workload.tls { ", TLS" } else { "" };
    format!(
        "| {}{tls} | {} | {} / {} / {} | {} | {}/s, {}/s | {} Gbit/s | {} | {} | {} GiB | {}/s, {}/s |\n",
        number(workload.sessions),
        plan.nodes,
        plan.nodes_by_memory,
        plan.nodes_by_cpu,
        plan.nodes_by_sessions,
        number(plan.gateway_cores),
        number(plan.messages_per_second),
        number(plan.deliveries_per_second),
        number(plan.egress_bits / 1e9),
        format_args!("{}, {}", number(plan.redis_cores), number(plan.storm_redis_cores)),
        plan.redis_shards,
        number(plan.redis_bytes / f64::from(1 << 30)),
        number(plan.handshakes_per_second),
        number(plan.storm_handshakes_per_second),
    )
}
