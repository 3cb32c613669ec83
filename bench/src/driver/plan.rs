//! What is played in which size. `Standard` takes some five minutes, `Quick` one and a half.

use super::What;

/// How long the windows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Does it work, roughly how fast.
    Quick,
    /// What `make bench` does.
    Standard,
    /// For figures that are published.
    Full,
}

impl Depth {
    /// The option of `run` that asks for it, with a blank before it.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Quick => " --quick",
            Self::Standard => "",
            Self::Full => " --full",
        }
    }

    fn pick(self, quick: &'static str, standard: &'static str, full: &'static str) -> &'static str {
        match self {
            Self::Quick => quick,
            Self::Standard => standard,
            Self::Full => full,
        }
    }
}

/// One gateway's life.
#[derive(Debug, Clone)]
pub enum Play {
    /// One generator with these arguments after `gen`.
    Alone(Vec<String>),
    /// Two generators and their phases, in seconds.
    Hostile {
        /// Arguments of the healthy one.
        healthy: Vec<String>,
        /// Arguments of the attacker.
        attack: Vec<String>,
        /// Length of the quiet phase.
        quiet: f64,
        /// Length of the measured attack.
        up: f64,
    },
    /// Two nodes and one generator.
    Relay(Vec<String>),
    /// Three nodes, one of which is killed.
    Storm {
        /// Arguments of the healthy clients, on a node that stays.
        healthy: Vec<String>,
        /// Arguments of those that lose theirs.
        storm: Vec<String>,
        /// Length of the quiet phase, in seconds.
        quiet: f64,
    },
}

/// Stands for the EdDSA key's path until the driver knows it.
pub const ED25519_FILE: &str = "@ed25519";

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The plays of one scenario, each on a fresh gateway.
#[must_use]
pub fn of(what: What, depth: Depth) -> Vec<Play> {
    let alone = |text: String| vec![Play::Alone(words(&text))];
    match what {
        What::Idle => {
            let plateaus = depth.pick("1000,2000,3000", "5000,10000,15000", "3000,6000,9000,12000,15000");
            alone(format!("idle --plateaus {plateaus} --settle {}", depth.pick("1", "3", "5")))
        }
        What::Handshake => {
            let count = depth.pick("3000", "10000", "14000");
            let hold = format!("handshake --count {count}");
            [
                format!("{hold} --id handshake.hs256"),
                format!("{hold} --id handshake.eddsa --issuer https://ed.bench.invalid --ed25519-file {ED25519_FILE}"),
                format!(
                    "handshake --count {} --after cycle --id handshake.cycle",
                    depth.pick("3000", "20000", "60000")
                ),
            ]
            .map(|text| Play::Alone(words(&text)))
            .into()
        }
        What::Echo => {
            let (rounds, seconds) = (depth.pick("3", "5", "9"), depth.pick("0.7", "2", "4"));
            alone(format!("echo --rounds {rounds} --seconds {seconds}"))
        }
        What::Fanout => {
            let members = depth.pick("100,1000", "100,1000,5000", "100,1000,5000,10000");
            alone(format!("fanout --members {members} --seconds {}", depth.pick("2", "6", "20")))
        }
        What::Churn => alone(format!(
            "churn --sources 64 --count {} --rounds {}",
            depth.pick("5000", "100000", "100000"),
            depth.pick("2", "2", "4")
        )),
        What::Hostile => hostile(depth),
        What::Relay => {
            let (rounds, seconds) = (depth.pick("3", "11", "21"), depth.pick("0.7", "2", "4"));
            vec![Play::Relay(words(&format!("relay --rounds {rounds} --seconds {seconds}")))]
        }
        What::Storm => vec![Play::Storm {
            healthy: words(&format!("healthy --clients {}", depth.pick("300", "1000", "1000"))),
            storm: words(&format!(
                "storm --prefix storm --first-source 300 --sources 32 --clients {}",
                depth.pick("2000", "15000", "15000")
            )),
            quiet: if depth == Depth::Quick { 3.0 } else { 10.0 },
        }],
    }
}

fn hostile(depth: Depth) -> Vec<Play> {
    let (quiet, up, seconds) = match depth {
        Depth::Quick => (3.0, 4.0, "4.5"),
        Depth::Standard => (10.0, 15.0, "16"),
        Depth::Full => (30.0, 60.0, "61"),
    };
    let attack = format!(
        "attack --prefix attack --first-source 300 --sources 32 --slow-handshakes {} --slow-readers {} --seconds {seconds}",
        depth.pick("1000", "5000", "5000"),
        depth.pick("300", "2000", "2000"),
    );
    let healthy = format!("healthy --clients {}", depth.pick("500", "2000", "2000"));
    vec![Play::Hostile { healthy: words(&healthy), attack: words(&attack), quiet, up }]
}
