//! What a fleet of some size needs. Asks nobody: arithmetic over the costs that were measured.

use std::fs;
use std::path::Path;

use portcullis_common::capacity::{Machine, Plan, Slopes, Workload, plan};
use serde_json::{Value, json};

use super::arguments::Capacity;
use super::{End, Trouble, show};

/// Prints the plan: a table, or one object with `--json`.
pub fn tell(what: &Capacity, json: bool) -> Result<End, Trouble> {
    let slopes = slopes(what.slopes.as_deref())?;
    let workload = Workload {
        sessions: what.sessions,
        messages: what.messages,
        members: what.members.max(1.0),
        reconnects: what.reconnects,
        bytes: what.bytes,
        tls: what.tls,
    };
    let machine = Machine {
        cores: what.cores,
        memory: what.memory * f64::from(1 << 30),
        use_up_to: (what.use_up_to / 100.0).min(1.0),
        sessions_per_node: what.per_node,
        socket_bytes: what.socket,
        storm_seconds: what.storm,
    };
    let plan = plan(&slopes, &workload, &machine);
    if json {
        show::json(&[object(&plan, &slopes)]);
    } else {
        show::table(&["what", "needed"], &lines(&plan));
        show::line(&format!("measured by: {}", slopes.source));
    }
    Ok(End::All)
}

fn slopes(file: Option<&Path>) -> Result<Slopes, Trouble> {
    let Some(file) = file else { return Slopes::measured().map_err(|error| Trouble::Usage(error.to_string())) };
    let text =
        fs::read_to_string(file).map_err(|error| Trouble::Usage(format!("{}: {}", file.display(), error.kind())))?;
    serde_json::from_str(&text).map_err(|error| Trouble::Usage(format!("{}: {error}", file.display())))
}

fn object(plan: &Plan, slopes: &Slopes) -> Value {
    let mut value = json!(plan);
    if let Some(map) = value.as_object_mut() {
        map.insert("source".to_owned(), json!(slopes.source));
    }
    value
}

fn lines(plan: &Plan) -> Vec<Vec<String>> {
    let gib = |bytes: f64| format!("{:.1} GiB", bytes / f64::from(1 << 30));
    let row = |what: &str, needed: String| vec![what.to_owned(), needed];
    vec![
        row("nodes, one of them to lose", plan.nodes.to_string()),
        row("  for their memory", plan.nodes_by_memory.to_string()),
        row("  for their cores", plan.nodes_by_cpu.to_string()),
        row("  for sessions a node", plan.nodes_by_sessions.to_string()),
        row("gateway cores in use", format!("{:.1}", plan.gateway_cores)),
        row("gateway memory for sessions", gib(plan.gateway_bytes)),
        row("messages in", format!("{:.0}/s", plan.messages_per_second)),
        row("deliveries out", format!("{:.0}/s", plan.deliveries_per_second)),
        row("egress", format!("{:.2} Gbit/s", plan.egress_bits / 1e9)),
        row("handshakes", format!("{:.0}/s", plan.handshakes_per_second)),
        row("handshakes when a node is lost", format!("{:.0}/s", plan.storm_handshakes_per_second)),
        row("Redis cores in use", format!("{:.2}", plan.redis_cores)),
        row("Redis cores when a node is lost", format!("{:.2}", plan.storm_redis_cores)),
        row("Redis shards, a replica each besides", plan.redis_shards.to_string()),
        row("Redis memory for sessions", gib(plan.redis_bytes)),
    ]
}
