//! Other servers, measured by the same generator with their security off.

use std::str::FromStr;

use clap::ValueEnum as _;

use crate::dialect::Dialect;

/// `NAME[:DIALECT]=COMMAND`. The command is started with `PORT` set (and `REDIS_PORT` for Socket.IO), becomes the server
/// itself (`exec`), and ends with a sentence on its output where the peer is not installed.
#[derive(Debug, Clone)]
pub struct Peer {
    /// What the report calls it.
    pub name: String,
    /// How it is spoken to.
    pub dialect: Dialect,
    /// What is started.
    pub command: String,
}

impl Peer {
    /// Whether it is started with a Redis of its own.
    #[must_use]
    pub fn wants_redis(&self) -> bool {
        self.dialect == Dialect::SocketIo
    }

    /// Its name as people know it.
    #[must_use]
    pub fn title(name: &str) -> &str {
        match name {
            "uws" => "uWebSockets",
            "socketio" => "Socket.IO, Redis adapter",
            "nats" => "NATS",
            "nchan" => "Nchan",
            other => other,
        }
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').ok_or("NAME[:DIALECT]=COMMAND")?;
        let (name, dialect) = match name.split_once(':') {
            Some((name, dialect)) => (name, Dialect::from_str(dialect, true)?),
            None => (name, Dialect::default()),
        };
        Ok(Self { name: name.to_owned(), dialect, command: command.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_name_a_command_and_perhaps_a_dialect() {
        let nats: Peer = "nats:nats=bench/peers/nats.sh -x".parse().expect("legal");
        assert_eq!(
            (nats.name.as_str(), nats.dialect, nats.command.as_str()),
            ("nats", Dialect::Nats, "bench/peers/nats.sh -x")
        );
        let uws: Peer = "uws=a=b".parse().expect("legal");
        assert_eq!((uws.dialect, uws.command.as_str()), (Dialect::Portcullis, "a=b"));
        assert!("uws".parse::<Peer>().is_err() && "x:klingon=y".parse::<Peer>().is_err());
    }
}
