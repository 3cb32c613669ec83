//! A Redis Cluster of three masters, processes of the test's own.

use std::time::Duration;

use super::{RedisServer, free_port};

/// Hash slots of the three, about a third each.
const SHARES: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

/// A running cluster.
pub struct RedisCluster {
    /// The masters.
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Three masters that know each other.
    pub fn start() -> Self {
        Self::start_each(|_| Vec::new())
    }

    /// The same with more settings for each (`--name value …`).
    pub fn start_each(settings: impl Fn(usize) -> Vec<String>) -> Self {
        let mut ports = Vec::new();
        let nodes: Vec<RedisServer> = SHARES
            .iter()
            .enumerate()
            .map(|(index, (first, last))| {
                let settings = settings(index);
                let (node, bus) = member(&settings);
                // where masters talk TLS to each other, they know each other by the TLS port
                let tls = settings.windows(2).find(|pair| pair[0] == "--tls-port").map(|pair| pair[1].clone());
                let port = tls.unwrap_or_else(|| node.port().to_string());
                node.cli(&["cluster", "addslotsrange", &first.to_string(), &last.to_string()]);
                ports.push((port, bus.to_string()));
                node
            })
            .collect();
        let cluster = Self { nodes };
        let first = &cluster.nodes[0];
        for (port, bus) in &ports[1..] {
            first.cli(&["cluster", "meet", "127.0.0.1", port, bus]);
        }
        cluster.settle();
        cluster
    }

    /// `redis-cluster://` and all of them.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// Waits until every node believes that the cluster works.
    pub fn settle(&self) {
        let works = |node: &RedisServer| {
            let info = node.cli(&["cluster", "info"]);
            info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{}", self.nodes.len()))
        };
        until("the cluster works", || self.nodes.iter().all(works));
    }

    /// The index of the master that serves a key.
    pub fn owner(&self, key: &str) -> usize {
        let slot = self.slot(key);
        let serves = |line: &str| {
            let ranges = line.split_ascii_whitespace().skip(8).filter(|word| !word.starts_with('['));
            ranges.map(|range| range.split_once('-').unwrap_or((range, range))).any(|(first, last)| {
                (first.parse::<u16>().expect("a slot")..=last.parse().expect("a slot")).contains(&slot)
            })
        };
        let own = |node: &RedisServer| {
            node.cli(&["cluster", "nodes"]).lines().any(|line| line.contains("myself") && serves(line))
        };
        self.nodes.iter().position(own).expect("an owner")
    }

    /// The slot of a key.
    pub fn slot(&self, key: &str) -> u16 {
        self.nodes[0].cli(&["cluster", "keyslot", key]).trim().parse().expect("a slot")
    }

    /// Gives a slot with its keys to another master, as `redis-cli --cluster reshard` does; `between` runs while it is
    /// on its way with the keys still where they were.
    pub fn migrate(&self, slot: u16, from: usize, to: usize, between: impl FnOnce()) {
        let (source, target, slot) = (&self.nodes[from], &self.nodes[to], slot.to_string());
        let id = |node: &RedisServer| node.cli(&["cluster", "myid"]).trim().to_owned();
        target.cli(&["cluster", "setslot", &slot, "importing", &id(source)]);
        source.cli(&["cluster", "setslot", &slot, "migrating", &id(target)]);
        between();
        let keys = source.cli(&["cluster", "getkeysinslot", &slot, "1000"]);
        let port = target.port().to_string();
        for key in keys.lines().filter(|key| !key.is_empty()) {
            source.cli(&["migrate", "127.0.0.1", &port, key, "0", "1000"]);
        }
        for node in [target, source] {
            node.cli(&["cluster", "setslot", &slot, "node", &id(target)]);
        }
        for node in &self.nodes {
            node.cli(&["cluster", "setslot", &slot, "node", &id(target)]);
        }
    }

    /// A replica of one of the masters, in step with it.
    pub fn replica_of(&mut self, master: usize) -> usize {
        let (node, _) = member(&[]);
        let first = &self.nodes[0];
        node.cli(&["cluster", "meet", "127.0.0.1", &first.port().to_string(), &self.bus_of(0)]);
        self.nodes.push(node);
        self.settle();
        let id = self.nodes[master].cli(&["cluster", "myid"]);
        let node = self.nodes.last().expect("just added");
        node.cli(&["cluster", "replicate", id.trim()]);
        until("the replica is in step", || node.cli(&["info", "replication"]).contains("master_link_status:up"));
        self.nodes.len() - 1
    }

    fn bus_of(&self, node: usize) -> String {
        let nodes = self.nodes[node].cli(&["cluster", "nodes"]);
        let own = nodes.lines().find(|line| line.contains("myself")).expect("itself");
        let bus = own.split('@').nth(1).and_then(|rest| rest.split([',', ' ']).next());
        bus.expect("a bus port").to_owned()
    }
}

/// A node that knows nobody, and the port of its bus.
fn member(settings: &[String]) -> (RedisServer, u16) {
    let bus = free_port();
    let port = bus.to_string();
    let own = ["--cluster-enabled", "yes", "--cluster-port", &port, "--cluster-node-timeout", "2000"];
    // a master that is gone takes its own slots with it, not everybody's
    let more = ["--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    (RedisServer::start_with(&[&own[..], &more[..], &settings].concat()), bus)
}

/// Waits until it is so.
pub fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("never: {what}");
}
