//! `/diagnostics/echo`: the connection layer alone, for the protocol's test suites and as the limit line of benchmarks.
//! No policy, no session; served only where the public port is loopback and the configuration asks for it.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_common::clock::Mono;
use portcullis_common::ids::{RequestId, SessionId};
use tokio::io::AsyncWriteExt;

use crate::accept::io::Io;
use crate::admit::facts::Head;
use crate::admit::handshake;
use crate::admit::subprotocol::Protocol;
use crate::answer;
use crate::frame::{Event, Limits, Opcode, encode};
use crate::session::connection::{Connection, Conversation, End, Next, Turn};
use crate::session::peer::Peer;
use crate::worker::Worker;

/// Where it is.
pub const PATH: &str = "/diagnostics/echo";

/// The suites send messages of 16 MiB, and 4 MiB in fragments of 64 bytes.
const LIMITS: Limits = Limits { message: 16 << 20, fragments: 1 << 17, assembly: Duration::from_secs(60) };
/// Room for a few of them.
const OUTBOX: usize = 64 << 20;

struct Echo;

/// Answers the upgrade and echoes from then on.
pub async fn run(worker: Rc<Worker>, request: actix_http::Request, mut io: Io) {
    let node = Rc::clone(&worker);
    let node = &node.node;
    let head = match handshake::check_at(&Head::of(request.head()), &node.config.size, PATH) {
        Ok(opening) => answer::switching(&opening.key_accept, None, None),
        Err(reject) => {
            let id = RequestId::random(&mut rand::rng());
            let fields = handshake::refusal_fields(&reject);
            let bytes = answer::refusal(&reject, id, node.clock.wall(), fields, None);
            return crate::upgrade::refuse(&mut io, &bytes).await;
        }
    };
    if io.write_all(&head).await.is_ok() {
        let peer = Rc::new(Peer::new(SessionId::random(&mut rand::rng()), Protocol::Json, OUTBOX));
        peer.fence.set(node.fence.generation());
        Connection::start(&worker, io.upgraded(), peer, |_| Echo);
    }
}

impl Conversation for Echo {
    type Order = ();

    fn event(&mut self, event: Event<'_>, turn: &mut Turn<'_, '_>) -> Next {
        turn.peer.deliver(match event {
            Event::Text(text) => encode::frame(Opcode::Text, text.as_bytes()),
            Event::Binary(bytes) => encode::frame(Opcode::Binary, bytes),
            Event::Ping(payload) => encode::frame(Opcode::Pong, payload),
            Event::Pong(_) | Event::Close { .. } => return Next::Go,
        });
        Next::Go
    }

    fn resume(&mut self, _: &mut Turn<'_, '_>) -> Next {
        Next::Go
    }

    fn order(&mut self, (): (), _: &mut Turn<'_, '_>) -> Next {
        Next::Go
    }

    fn ending(&mut self, _: End, _: &mut Turn<'_, '_>) -> Option<Bytes> {
        None
    }

    fn due(&self) -> Mono {
        Mono(u64::MAX)
    }

    fn limits(&self, _: &Turn<'_, '_>) -> Limits {
        LIMITS
    }
}
