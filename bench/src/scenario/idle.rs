//! Resident memory of idle authenticated sessions: the slope over several plateaus, so that the process itself drops
//! out, and the intercept, which is the process.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::entry::{Plan, bring_up};
use super::{Aim, rest};
use crate::dialect::Dialect;
use crate::finding::{Finding, line};
use crate::{Outcome, clock};

/// Options of `gen idle`.
#[derive(Debug, Clone, Args)]
pub struct Idle {
    /// Where to.
    #[command(flatten)]
    pub aim: Aim,
    /// Sessions at each plateau, rising.
    #[arg(long, value_delimiter = ',', default_value = "5000,10000,15000")]
    pub plateaus: Vec<usize>,
    /// Rooms that the sessions are spread over.
    #[arg(long, default_value_t = 100)]
    pub rooms: usize,
    /// Seconds of silence before memory is read.
    #[arg(long, default_value_t = 3.0)]
    pub settle: f64,
    /// Name of the results.
    #[arg(long, default_value = "idle")]
    pub id: String,
}

/// Plays it.
///
/// # Errors
/// A session could not be brought up, or the server's process can't be read.
pub fn run(idle: &Idle) -> Outcome<()> {
    let mut net = idle.aim.net()?;
    let probe = idle.aim.probe();
    let empty = probe.memory()?;
    let (mut standing, mut rows) = (0usize, Vec::new());
    for &plateau in &idle.plateaus {
        let heads = idle.aim.heads(&format!("idle{plateau}"), plateau.saturating_sub(standing))?;
        let (from, rooms) = (standing, idle.rooms.max(1));
        let plan = Plan {
            heads: heads.into(),
            dialect: idle.aim.dialect,
            concurrency: idle.aim.concurrency,
            rooms: Box::new(move |n| format!("room.{}", (from + n) % rooms)),
            // the peers are asked for nothing but to be there
            ping: idle.aim.dialect == Dialect::Portcullis,
            receive_buffer: None,
            patience: clock::seconds(idle.aim.patience),
        };
        standing += bring_up(&mut net, plan)?.len();
        rest(&mut net, Duration::from_secs_f64(idle.settle))?;
        if net.live() != standing {
            return Err(format!("{standing} sessions stood, {} are left", net.live()).into());
        }
        rows.push((standing, probe.memory()?));
    }
    let slope = |of: fn(&crate::proc::Memory) -> u64| {
        let points: Vec<(f64, f64)> = rows.iter().map(|(n, memory)| (*n as f64, of(memory) as f64)).collect();
        line(&points).ok_or("at least two different plateaus are needed")
    };
    let detail = |intercept: f64| {
        json!({
            "intercept_bytes": intercept.round(), "empty_rss": empty.rss, "pings_answered": net.pings,
            "plateaus": rows.iter().map(|(n, m)| json!({"sessions": n, "rss": m.rss, "pss": m.pss})).collect::<Vec<_>>(),
        })
    };
    let (rss, rss_at_zero) = slope(|memory| memory.rss)?;
    let (pss, pss_at_zero) = slope(|memory| memory.pss)?;
    let tls = if idle.aim.ca_file.is_some() { " over TLS" } else { "" };
    let what = format!("resident memory per idle session{tls} in a room, {:?} sessions", idle.plateaus);
    Finding::new(&format!("{}.rss", idle.id), what, rss, "B/session", detail(rss_at_zero)).print()?;
    Finding::new(&format!("{}.pss", idle.id), "the same, proportional set", pss, "B/session", detail(pss_at_zero))
        .print()
}
