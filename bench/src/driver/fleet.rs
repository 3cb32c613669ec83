//! Plays that need several nodes: a Redis and the nodes on the server's CPU, generators on the other.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::Run;
use super::config::Profile;
use super::generator::Generator;
use super::plan::Play;
use super::server::{Ports, SECOND, Server};
use crate::Outcome;
use crate::finding::Finding;

/// 32 bytes in base 64, for some seconds on loopback: they guard nothing.
const KEY: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

struct Fleet {
    // the store is dropped last
    nodes: Vec<Server>,
    redis: Server,
}

impl Fleet {
    fn start(options: &Run, folder: &Path, name: &str, count: u16, profile: Profile) -> Outcome<Self> {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let redis = Server::redis(options, folder, at(options.port + 19))?;
        fs::write(folder.join("naming.key"), KEY)?;
        fs::write(folder.join("cluster.key"), format!("k1:{KEY}\n"))?;
        let store = format!(
            "url = \"redis://{}\"\ncluster_key_file = \"cluster.key\"\nnaming_key_file = \"naming.key\"",
            redis.ports.public
        );
        let mut nodes = Vec::new();
        for n in 0..count {
            let ports = Ports { public: at(options.port + 2 * n), private: at(options.port + 2 * n + 1) };
            let id = format!("node-{n}");
            nodes.push(Server::node(options, folder, &format!("{name}-{id}"), ports, (&id, &store), profile)?);
        }
        Ok(Self { nodes, redis })
    }

    fn node(&self, n: usize) -> Outcome<&Server> {
        self.nodes.get(n).ok_or_else(|| "no such node".into())
    }
}

/// Plays it on a fresh fleet.
///
/// # Errors
/// A server can't be started, or a generator failed.
pub fn play(options: &Run, folder: &Path, name: &str, play: &Play, take: &mut dyn FnMut(Finding)) -> Outcome<()> {
    match play {
        Play::Fleet { words, nodes, profile } => {
            let fleet = Fleet::start(options, folder, name, *nodes, *profile)?;
            let mut arguments = words.clone();
            let mut more =
                vec![("--redis", fleet.redis.ports.public.to_string()), ("--redis-pid", fleet.redis.pid().to_string())];
            if let Some(other) = fleet.nodes.get(1) {
                more.push(("--other", other.ports.public.to_string()));
                more.push(("--other-pid", other.pid().to_string()));
            }
            arguments.extend(more.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
            Generator::start(options, fleet.node(0)?, &arguments, name)?.finish(take)
        }
        Play::Storm { healthy, storm, quiet } => lose_a_node(options, folder, name, (healthy, storm, *quiet), take),
        _ => Err("this play needs no fleet".into()),
    }
}

/// The healthy alone, then while the clients of another node come over.
fn lose_a_node(
    options: &Run,
    folder: &Path,
    name: &str,
    (healthy, storm, quiet): (&[String], &[String], f64),
    take: &mut dyn FnMut(Finding),
) -> Outcome<()> {
    let mut fleet = Fleet::start(options, folder, name, 3, Profile::default())?;
    let mut storm = storm.to_vec();
    let refuge = format!("{},{}", fleet.node(1)?.ports.public, fleet.node(2)?.ports.public);
    storm.extend(["--refuge".to_owned(), refuge, "--redis".to_owned(), fleet.redis.ports.public.to_string()]);
    let mut well = Generator::start(options, fleet.node(1)?, healthy, "healthy")?;
    well.until("ready")?;
    let mut lost = Generator::start_at(SECOND, options, fleet.node(0)?, &storm, "storm")?;
    lost.until("up")?;
    std::thread::sleep(Duration::from_secs(1));
    well.tell("quiet")?;
    std::thread::sleep(Duration::from_secs_f64(quiet));
    // on one machine the kernel ends both sides of all those connections, on the CPUs of those who stay; with
    // `--realtime` its own thread for that waits behind them. Not the fleet's work: that first second is not judged, and
    // the clients come back as evenly in the seconds after it
    well.tell("pause")?;
    fleet.nodes.first_mut().ok_or("no node")?.kill(options.realtime)?;
    lost.until("lost")?;
    std::thread::sleep(Duration::from_secs(1));
    well.tell("attack")?;
    lost.until("over")?;
    well.tell("end")?;
    // the healthy clients' figures are those of the attack scenario, under this one's name
    well.finish(&mut |finding: Finding| {
        let id = finding.id.replacen("hostile.", "storm.", 1);
        let what = finding.what.replace("under attack", "beside the storm").replace("attack's", "storm's");
        take(Finding { id, what, ..finding });
    })?;
    lost.tell("end")?;
    lost.finish(take)
}
