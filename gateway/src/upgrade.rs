//! From an HTTP request to a session: admission in one place, top down.
//!
//! The framework's upgrade service returns at once (a dispatcher that waits costs 7 KB a connection); what follows runs
//! as a task of its own and ends with a 101 and an actor, or with a refusal and a closed socket.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use actix_codec::Framed;
use actix_http::Request;
use actix_http::h1::Codec;
use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::Issuer;
use portcullis_common::ids::RequestId;
use portcullis_common::store::session::Holder;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::accept::io::Io;
use crate::admit::auth::Identity;
use crate::admit::credential::Source;
use crate::admit::facts::{self, Facts, Head};
use crate::admit::{handshake, network};
use crate::events::{HandshakeRefused, SessionOpened};
use crate::node::Node;
use crate::session::acquire::{self, Seat};
use crate::session::connection::{Connection, Turn};
use crate::session::guard::Place;
use crate::session::manager::tell;
use crate::session::peer::{Peer, PeerId};
use crate::session::registry::SessionEntry;
use crate::session::resume;
use crate::session::talk::{Session, Stop};
use crate::worker::Worker;
use crate::{answer, tickets};

/// How long all of admission may take once the request head is there; JWKS and an eviction fit in.
const ADMISSION: Duration = Duration::from_secs(5);
/// How long a refused peer may take to read its answer.
const LINGER: Duration = Duration::from_millis(500);

/// Everything admission found out about a newcomer.
pub struct Admitted {
    /// What the request said.
    pub facts: Facts,
    /// Who it is.
    pub identity: Identity,
    /// The slot it holds, and what it begins with.
    pub seat: Seat,
}

/// Takes over a connection that asked for an upgrade.
pub async fn run(worker: Rc<Worker>, request: Request, framed: Framed<Io, Codec>) {
    let parts = framed.into_parts();
    let mut io = parts.io;
    let node = &worker.node;
    let request_id = RequestId::random(&mut rand::rng());
    let admitted = if worker.node.config.listen.diagnostics_echo && request.path() == crate::echo::PATH {
        return crate::echo::run(worker, request, io).await;
    } else if parts.read_buf.is_empty() {
        let admission = admit(&worker, &request, &mut io, request_id);
        match actix_rt::time::timeout(ADMISSION, admission).await {
            Ok(result) => result,
            Err(_) => Err(Reject::new(Code::StoreUnavailable, "admission took too long").retry(LINGER)),
        }
    } else {
        Err(Reject::new(Code::Malformed, "bytes behind the request head"))
    };
    match admitted {
        Ok(admitted) => open(worker, io, request_id, admitted).await,
        Err(reject) => {
            let client = whom(&request, &io, node);
            node.penalties.refused(&node.rules.load().config, client, &reject);
            HandshakeRefused { request: request_id, client, reject: &reject }.emit(&node.metrics);
            let fields = handshake::refusal_fields(&reject);
            let bytes = answer::refusal(&reject, request_id, node.clock.wall(), fields, node.hsts(&io));
            refuse(&mut io, &bytes).await;
        }
    }
}

/// Whose refusal it is, for the log: the client that a trusted proxy names, if it names one legally.
fn whom(request: &Request, io: &Io, node: &Node) -> IpAddr {
    let head = Head::of(request.head());
    let client = network::client(&head, io.link(), &node.config.listen, node.config.tls.mode);
    client.map_or_else(|_| io.peer().ip(), |client| client.ip)
}

/// Writes a last answer and closes, giving the peer a moment to read it: a close with unread bytes in the kernel would
/// be a reset, and the answer lost.
pub async fn refuse(io: &mut Io, answer: &[u8]) {
    let farewell = async {
        io.write_all(answer).await?;
        io.shutdown().await?;
        let mut sink = [0u8; 512];
        while io.read(&mut sink).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    // whatever happens here, the connection is over
    let _ = actix_rt::time::timeout(LINGER, farewell).await;
}

/// The checks in their order, cheap first.
async fn admit(worker: &Rc<Worker>, request: &Request, io: &mut Io, id: RequestId) -> Result<Admitted, Reject> {
    let node = &worker.node;
    let head = Head::of(request.head());
    node.takes_newcomers()?;
    let client = network::client(&head, io.link(), &node.config.listen, node.config.tls.mode)?;
    io.count_for(client.ip)?;
    node.check_newcomer(client.ip)?;
    let facts = facts::gather(&head, client, id, &node.rules.load().config).inspect_err(|reject| {
        if reject.code == Code::Unauthenticated {
            // the answer is the one that is given already
            let _ = node.login_failed(client.ip, "unauthenticated");
        }
    })?;
    let identity = authenticate(worker, &facts).await?;
    node.check_bearer(&identity, client.ip)?;
    let seat = match resume::seat(worker, &identity, &facts).await? {
        Some(seat) => seat,
        None => acquire::seat(worker, &identity).await?,
    };
    Ok(Admitted { facts, identity, seat })
}

async fn authenticate(worker: &Rc<Worker>, facts: &Facts) -> Result<Identity, Reject> {
    let node = &worker.node;
    node.addresses.login_allowed(facts.client, node.clock.nanos())?;
    let redeemed = match &facts.ticket {
        Some(ticket) => Some(tickets::redeem(node, ticket).await.inspect_err(|reject| {
            if reject.code == Code::Unauthenticated {
                // the answer is the one that is given already
                let _ = node.login_failed(facts.client, "no such ticket");
            }
        })?),
        None => None,
    };
    let Some(token) = redeemed.as_ref().or(facts.bearer.as_ref()) else {
        return Err(node.login_failed(facts.client, "no credential"));
    };
    let identity = node.authenticate(token, facts.client).await?;
    if cookie_fits(&node.rules.load().config.auth.issuer, facts, &identity) {
        Ok(identity)
    } else {
        Err(node.login_failed(facts.client, "the cookie is another issuer's"))
    }
}

/// A cookie is good only for tokens of the issuer that names it.
fn cookie_fits(issuers: &[Issuer], facts: &Facts, identity: &Identity) -> bool {
    match &facts.source {
        Some(Source::Cookie(name)) => {
            issuers.get(identity.issuer).is_some_and(|issuer| issuer.cookie.as_ref() == Some(name))
        }
        _ => true,
    }
}

/// Bans and revocations, of the address and of who it is; of a session that goes on, whether it may.
fn unwelcome(
    node: &Node,
    identity: &Identity,
    facts: &Facts,
    holder: &Holder,
    resumed: Option<UnixMs>,
) -> Option<Stop> {
    let now = node.clock.wall();
    let allowed = node.check_address(facts.client, now).and_then(|()| node.check_identity(identity, now));
    match (allowed, resumed) {
        (Err(_), _) => Some(Stop::Recheck),
        (Ok(()), _) if node.restriction(Some(&identity.user), facts.client).is_some() => Some(Stop::Recheck),
        (Ok(()), Some(since)) if resume::is_ended(node, identity, facts, holder, since) => Some(Stop::Kicked),
        _ => None,
    }
}

/// 101, and the actor takes over.
async fn open(worker: Rc<Worker>, mut io: Io, id: RequestId, admitted: Admitted) {
    let node = Rc::clone(&worker);
    let node = &node.node;
    if node.fence.cuts(admitted.seat.slot.fence(), node.clock.mono()) {
        // the lease was lost while it was being admitted: not a byte of a session
        return;
    }
    let facts = &admitted.facts;
    let protocol = facts.protocol_offered.then(|| facts.protocol.name());
    let head = answer::switching(&facts.key_accept, protocol, node.hsts(&io));
    if actix_rt::time::timeout(LINGER, io.write_all(&head)).await.is_err() {
        return;
    }
    let Admitted { facts, identity, seat: Seat { mut slot, seq, grant, resumed } } = admitted;
    let session = slot.holder().sid;
    let (user, client, goes_on) = (&identity.user, facts.client, resumed.is_some());
    SessionOpened { request: id, session, user, client, resumed: goes_on, seq }.emit(&node.metrics);
    slot.begins(grant.as_ref().map(|grant| grant.name));
    let peer = Rc::new(Peer::new(slot.holder().sid, facts.protocol, node.config.size.outbox));
    peer.fence.set(slot.fence());
    Connection::start(&worker, io.upgraded(), Rc::clone(&peer), |address| {
        let entry = Arc::new(SessionEntry {
            user: identity.user.clone(),
            tenant: identity.tenant.clone(),
            holder: slot.holder().clone(),
            era: slot.era(),
            client: facts.client,
            user_agent: facts.user_agent.clone(),
            opened: node.clock.wall(),
            peer: PeerId { worker: worker.id, slot: peer.slot.get() },
            address,
        });
        // what was decided while it was on its way here found no session to tell
        if node.registry.insert(Arc::clone(&entry)) {
            tell(&[entry], &Stop::Evicted);
        } else if node.is_draining() {
            // the drain may have told everybody before this one was there to be told
            tell(&[entry], &Stop::Drain(Duration::ZERO));
        } else if let Some(stop) = unwelcome(node, &identity, &facts, &entry.holder, resumed) {
            tell(&[entry], &stop);
        } else if slot.era() != node.stores.eras.era() {
            // the node may have said already that it has claimed everything
            tell(&[entry], &Stop::Forgotten);
        }
        let place = Place::new(&worker, Rc::clone(&peer), slot);
        let mut nobody = Context::from_waker(Waker::noop());
        let turn = Turn::begin(&worker, &peer, &mut nobody);
        let mut session = Session::new(identity, place, facts.client, resumed, &turn);
        session.welcome(grant.as_ref(), &turn);
        session
    });
}
