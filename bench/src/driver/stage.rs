//! One play: servers are started, generators do their part, everything is ended, findings become rows.

use std::net::SocketAddr;
use std::path::Path;

use super::config::Profile;
use super::generator::{self, Generator};
use super::peer::Peer;
use super::plan::{Depth, Peers, Play};
use super::row::Row;
use super::server::{Ports, Server};
use super::{Run, What, fleet, say, show};
use crate::Outcome;
use crate::finding::Finding;

/// How often a play is played whose quiet phase other work of the machine disturbed.
const TRIES: usize = 3;

/// Plays it, again where the machine did other work; what fails becomes a row of its own, and nothing else is kept from
/// being played.
pub fn play(options: &Run, folder: &Path, depth: (What, Depth), play: (usize, Play), rows: &mut Vec<Row>) {
    let so_far = rows.len();
    for _ in 0..TRIES {
        rows.truncate(so_far);
        once(options, folder, depth, play.clone(), rows);
        let disturbed = |row: &Row| row.finding().is_some_and(|found| found.id.ends_with(".disturbed"));
        if !rows.iter().skip(so_far).any(disturbed) {
            return;
        }
    }
}

fn once(options: &Run, folder: &Path, (what, depth): (What, Depth), (n, play): (usize, Play), rows: &mut Vec<Row>) {
    let command = what.command(depth);
    let name = format!("{}-{n}", what.name());
    let mut found = Vec::new();
    let mut take = |finding: Finding| {
        show(&finding);
        found.push(finding);
    };
    let done = match &play {
        Play::Alone { words, profile, peers } => {
            let contest = Contest { options, folder, name: &name, words, profile: *profile, command: &command };
            return contest.play(*peers, rows);
        }
        Play::Hostile { healthy, attack, quiet, up } => gateway(options, folder, &name, Profile::default())
            .and_then(|server| generator::hostile(options, &server, (healthy, attack), (*quiet, *up), &mut take)),
        Play::Fleet { .. } | Play::Storm { .. } => fleet::play(options, folder, &name, &play, &mut take),
    };
    rows.extend(found.into_iter().map(|finding| Row::found(finding, &command)));
    rows.extend(fault(&name, done, &command));
}

fn fault(name: &str, done: Outcome<()>, command: &str) -> Option<Row> {
    let fault = done.err()?;
    say(&format!("   {name}: {fault}"));
    Some(Row::failed_with(format!("{name}: {fault}"), command))
}

fn ports(options: &Run) -> Ports {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Ports { public: at(options.port), private: at(options.port + 1) }
}

fn gateway(options: &Run, folder: &Path, name: &str, profile: Profile) -> Outcome<Server> {
    Server::gateway(options, folder, name, ports(options), profile)
}

/// The gateway and, where asked for, its peers, in turn.
struct Contest<'a> {
    options: &'a Run,
    folder: &'a Path,
    name: &'a str,
    words: &'a [String],
    profile: Profile,
    command: &'a str,
}

impl Contest<'_> {
    fn play(&self, peers: Peers, rows: &mut Vec<Row>) {
        match self.gateway() {
            Ok(found) => rows.extend(found.into_iter().map(|finding| Row::found(finding, self.command))),
            Err(error) => rows.extend(fault(self.name, Err(error), self.command)),
        }
        for peer in self.options.peer.iter().take(peers.of(self.options.peer.len())) {
            match self.peer(peer) {
                Ok(found) => rows.extend(found.into_iter().map(|finding| Row::found(finding, self.command))),
                Err(why) => {
                    say(&format!("   {}: {why}", peer.name));
                    let why = format!("{}: not measured ({why})", Peer::title(&peer.name));
                    rows.push(Row::skipped(why, self.command));
                }
            }
        }
    }

    fn gateway(&self) -> Outcome<Vec<Finding>> {
        let server = gateway(self.options, self.folder, self.name, self.profile)?;
        let mut found = Vec::new();
        Generator::start(self.options, &server, self.words, self.name)?.finish(&mut |finding| {
            show(&finding);
            found.push(finding);
        })?;
        Ok(found)
    }

    /// The same of a peer; its figures have its name in their ids.
    fn peer(&self, peer: &Peer) -> Outcome<Vec<Finding>> {
        let at = SocketAddr::from(([127, 0, 0, 1], self.options.port + 19));
        let redis = if peer.wants_redis() { Some(Server::redis(self.options, self.folder, at)?) } else { None };
        let server = Server::peer(self.options, self.folder, peer, ports(self.options), redis.as_ref())?;
        let mut words = self.words.to_vec();
        words.extend(["--dialect".to_owned(), dialect(peer)]);
        let mut found = Vec::new();
        Generator::start(self.options, &server, &words, &format!("{}-{}", self.name, peer.name))?.finish(
            &mut |finding| {
                let id = finding
                    .id
                    .split_once('.')
                    .map_or_else(|| finding.id.clone(), |(head, rest)| format!("{head}-{}.{rest}", peer.name));
                let finding = Finding { id, what: format!("{}: {}", Peer::title(&peer.name), finding.what), ..finding };
                show(&finding);
                found.push(finding);
            },
        )?;
        Ok(found)
    }
}

fn dialect(peer: &Peer) -> String {
    use clap::ValueEnum as _;
    peer.dialect.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
