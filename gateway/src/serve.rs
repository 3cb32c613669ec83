//! The listeners: the public port with the HTTP app and the upgrade on it, the private port beside it.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use actix_codec::Framed;
use actix_http::error::DispatchError;
use actix_http::h1::Codec;
use actix_http::{HttpService, KeepAlive, Request};
use actix_server::{Server, ServerHandle};
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::accept::arrive::{Refused, arrive};
use crate::accept::io::{Answers, Io};
use crate::accept::listener::{self, Shutter};
use crate::node::{Node, StartError};
use crate::worker::Worker;
use crate::{answer, api, http, upgrade};

/// A TLS handshake begins with this byte (RFC 8446 §5.1: content type handshake); HTTP never does.
const TLS_HANDSHAKE: u8 = 22;

thread_local! {
    /// The framework may build a thread's services anew; its worker stays. A thread that dies gives its number back.
    static WORKER: RefCell<Option<(Rc<Worker>, Number)>> = const { RefCell::new(None) };
}

/// The numbers of workers that no thread has.
type Numbers = Arc<Mutex<Vec<u16>>>;

/// A worker's number, given back when its thread ends: another thread takes its place under the same number.
struct Number(u16, Numbers);

impl Number {
    fn take(free: &Numbers) -> Self {
        let number = free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Self(number, Arc::clone(free))
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

/// The two servers of a node.
pub struct Listening {
    /// Where clients connect.
    pub public: SocketAddr,
    /// Health and metrics.
    pub private: SocketAddr,
    /// Closes the public listener.
    pub shutter: Shutter,
    public_server: ServerHandle,
    private_server: ServerHandle,
}

impl Listening {
    /// No more connects: the kernel refuses them.
    pub async fn stop_accepting(&self) {
        self.public_server.pause().await;
        self.shutter.close();
    }

    /// Ends both servers and their threads, with whatever sockets are left.
    pub async fn stop(&self) {
        self.public_server.stop(false).await;
        self.private_server.stop(false).await;
    }
}

/// Binds both ports and starts the workers.
///
/// # Errors
/// A port that cannot be bound; certificates that do not load.
pub fn listen(node: &Arc<Node>) -> Result<Listening, StartError> {
    let at = |key: &str, address: SocketAddr| {
        let what = format!("{key}: cannot listen on {address}");
        move |error: io::Error| StartError::Io(what, error)
    };
    let config = &node.config.listen;
    let public = listener::bind(config.public, config.backlog).map_err(at("listen.public", config.public))?;
    let private = listener::bind(config.private, 128).map_err(at("listen.private", config.private))?;
    let address = |socket: &std::net::TcpListener, fallback| socket.local_addr().unwrap_or(fallback);
    let (public_address, private_address) =
        (address(&public.socket, config.public), address(&private.socket, config.private));
    let app = Arc::clone(node);
    let private_server =
        actix_web::HttpServer::new(move || actix_web::App::new().configure(api::routes(Arc::clone(&app))))
            .workers(1)
            .disable_signals()
            .listen(private.socket)
            .map_err(at("listen.private", config.private))?
            .run();
    let private_handle = private_server.handle();
    actix_rt::spawn(private_server);
    let public_server = serve_public(node, public.socket).map_err(at("listen.public", config.public))?;
    let public_handle = public_server.handle();
    actix_rt::spawn(public_server);
    Ok(Listening {
        public: public_address,
        private: private_address,
        shutter: public.shutter,
        public_server: public_handle,
        private_server: private_handle,
    })
}

fn serve_public(node: &Arc<Node>, socket: std::net::TcpListener) -> io::Result<Server> {
    let node = Arc::clone(node);
    let workers = node.config.node.workers;
    let last = u16::try_from(workers).unwrap_or(u16::MAX);
    let numbers: Numbers = Arc::new(Mutex::new((0..last).rev().collect()));
    let server =
        Server::build().workers(workers).disable_signals().shutdown_timeout(1).listen("public", socket, move || {
            let worker = WORKER.with_borrow_mut(|slot| {
                let start = || {
                    let number = Number::take(&numbers);
                    (Worker::start(number.0, Arc::clone(&node)), number)
                };
                Rc::clone(&slot.get_or_insert_with(start).0)
            });
            let (accepting, upgrading) = (Rc::clone(&worker), Rc::clone(&worker));
            let app = http::app(Arc::clone(&node));
            let timeout = node.config.listen.header_timeout;
            let http = HttpService::build()
                .client_request_timeout(timeout)
                .client_disconnect_timeout(timeout)
                .keep_alive(KeepAlive::Timeout(timeout))
                .on_connect_ext(|io: &Io, data| {
                    data.insert(*io.link());
                })
                .upgrade(fn_service(move |(request, framed): (Request, Framed<Io, Codec>)| {
                    actix_rt::spawn(upgrade::run(Rc::clone(&upgrading), request, framed));
                    std::future::ready(Ok::<(), actix_web::Error>(()))
                }))
                .h1(map_config(app, |_| AppConfig::default()));
            fn_service(move |tcp: TcpStream| accept(Rc::clone(&accepting), tcp)).and_then(http)
        })?;
    Ok(server.run())
}

/// Caps and PROXY header, then TLS; what comes out speaks HTTP.
async fn accept(worker: Rc<Worker>, mut tcp: TcpStream) -> Result<(Io, Option<SocketAddr>), DispatchError> {
    let node = &worker.node;
    let config = &node.config;
    worker.turns.take().await;
    // the certificate of this moment: a reload may have brought another
    let tls = node.rules.load().tls.clone().map(TlsAcceptor::from);
    let (link, cap) = match arrive(node, &mut tcp, tls.is_some()).await {
        Ok(arrived) => arrived,
        Err(Refused::Cut(kind)) => return Err(DispatchError::Io(kind.into())),
        Err(Refused::Full(reject)) => {
            if tls.is_none() {
                let id = portcullis_common::ids::RequestId::random(&mut rand::rng());
                let _ = last_word(tcp, &answer::refusal(&reject, id, node.clock.wall(), &[], None));
            }
            return Err(DispatchError::Io(io::ErrorKind::ConnectionRefused.into()));
        }
    };
    // twice what is allowed may arrive, so that a little too much is answered and a lot is cut off
    let head_limit = config.size.request_head.saturating_mul(2);
    let (dresser, turns) = (worker.dresser(), Rc::clone(&worker.turns));
    let Some(tls) = tls else {
        return Ok((Io::plain(tcp, link, head_limit, cap, Answers { dresser, turns }), Some(link.peer)));
    };
    let handshake = async {
        let mut first = [0u8; 1];
        if tcp.peek(&mut first).await? == 1 && first != [TLS_HANDSHAKE] {
            plaintext(&worker, tcp).await?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        tls.accept(tcp).await
    };
    match actix_rt::time::timeout(config.listen.header_timeout, handshake).await {
        Ok(Ok(stream)) => Ok((Io::tls(stream, link, head_limit, cap, Answers { dresser, turns }), Some(link.peer))),
        Ok(Err(error)) => Err(DispatchError::Io(error)),
        Err(_) => Err(DispatchError::SlowRequestTimeout),
    }
}

/// One write and no waiting: the peer is over its cap. Past tokio, which does not know yet that a fresh socket is
/// writable and would not even try.
fn last_word(tcp: TcpStream, answer: &[u8]) -> io::Result<()> {
    let mut tcp = tcp.into_std()?;
    io::Write::write_all(&mut tcp, answer)?;
    tcp.shutdown(std::net::Shutdown::Write)?;
    // a request that is here already is taken, or closing would be a reset and the answer lost
    io::Read::read(&mut tcp, &mut [0u8; 4_096]).map(|_| ())
}

/// Somebody speaks plaintext where TLS is required (RFC 2817 §4.2).
async fn plaintext(worker: &Rc<Worker>, mut tcp: TcpStream) -> io::Result<()> {
    use portcullis_common::wire::code::Code;
    use portcullis_common::wire::reject::Reject;
    let reject = Reject::new(Code::Forbidden, "plaintext").status(426);
    let id = portcullis_common::ids::RequestId::random(&mut rand::rng());
    let fields = [("Upgrade", "TLS/1.2")];
    tcp.write_all(&answer::refusal(&reject, id, worker.node.clock.wall(), &fields, None)).await?;
    tcp.shutdown().await?;
    // what the peer has sent is read, or closing would reset the connection and lose the answer
    let mut sink = [0u8; 1_024];
    for _ in 0..64 {
        if tokio::io::AsyncReadExt::read(&mut tcp, &mut sink).await? == 0 {
            break;
        }
    }
    Ok(())
}
