//! Where a Redis is and how to get in: one URL, and what the configuration adds to it.
//!
//! `redis[s]://[user:password@]host[:port][/database]`,
//! `redis[s]-sentinel://[user:password@]host[:port],…/master[/database]`,
//! `redis[s]-cluster://[user:password@]host[:port],…`. With the `s` every connection is TLS, those to sentinels too.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    RedisError, TlsCertificates,
};

use super::options::{ConnectFault, Login, RedisOptions};

/// A peer that acknowledges nothing for so long is gone, though nobody closed the connection.
const SILENT: Duration = Duration::from_secs(5);

/// Addresses in one URL.
const ADDRESSES: usize = 16;

/// The port of a sentinel that names none.
const SENTINEL_PORT: u16 = 26_379;

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How servers belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topology {
    /// One server.
    Standalone,
    /// One master, of this name, which sentinels know.
    Sentinel(Arc<str>),
    /// Masters that share the keys.
    Cluster,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) topology: Topology,
    /// The server, the sentinels, or some nodes of the cluster; at least one.
    pub(super) seeds: Vec<Address>,
    /// `None`: no TLS.
    tls: Option<TlsCertificates>,
    login: RedisConnectionInfo,
    sentinel_login: RedisConnectionInfo,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is none, or its certificates are none. Never quotes anything of it.
    pub(super) fn parse(url: &str, options: &RedisOptions) -> Result<Self, ConnectFault> {
        let (scheme, rest) = url.split_once("://").ok_or(ConnectFault::Url)?;
        let (tls, kind) = match scheme.strip_prefix("rediss") {
            Some(kind) => (true, kind),
            None => (false, scheme.strip_prefix("redis").ok_or(ConnectFault::Url)?),
        };
        if rest.contains(['?', '#', ' ']) {
            return Err(ConnectFault::Url);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let (topology, database) = match kind {
            "" => (Topology::Standalone, path),
            "-sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                (Topology::Sentinel(master_name(master)?), database)
            }
            "-cluster" if path.is_empty() => (Topology::Cluster, ""),
            _ => return Err(ConnectFault::Url),
        };
        let port = if matches!(topology, Topology::Sentinel(_)) { SENTINEL_PORT } else { 6_379 };
        let seeds = hosts.split(',').map(|host| address(host, port)).collect::<Result<Vec<_>, _>>()?;
        if seeds.len() > ADDRESSES || (topology == Topology::Standalone && seeds.len() != 1) {
            return Err(ConnectFault::Url);
        }
        let login = login(user, database, &options.login)?;
        let sentinel_login = with(settings(), &options.sentinel_login)?;
        let endpoint = Self { topology, seeds, tls: tls.then(|| certificates(options)), login, sentinel_login };
        endpoint.prove_certificates()?;
        Ok(endpoint)
    }

    /// For a server that holds data.
    pub(super) fn client(&self, address: &Address) -> Result<Client, RedisError> {
        self.open(address, &self.login)
    }

    /// For a sentinel.
    pub(super) fn sentinel(&self, address: &Address) -> Result<Client, RedisError> {
        self.open(address, &self.sentinel_login)
    }

    fn open(&self, address: &Address, login: &RedisConnectionInfo) -> Result<Client, RedisError> {
        let (host, port) = (address.host.to_string(), address.port);
        // `insecure` would leave out the check of the server's certificate
        let to = match self.tls {
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        };
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(SILENT);
        let info: ConnectionInfo = to.into_connection_info()?.set_redis_settings(login.clone()).set_tcp_settings(tcp);
        match &self.tls {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    fn prove_certificates(&self) -> Result<(), ConnectFault> {
        let Some(certificates) = &self.tls else { return Ok(()) };
        // whoever came first has installed one, and there is but one to install
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let none = |pem: &[u8]| !String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----");
        if certificates.root_cert.as_deref().is_some_and(none) {
            return Err(ConnectFault::Certificates);
        }
        for seed in &self.seeds {
            self.client(seed).map_err(|_| ConnectFault::Certificates)?;
        }
        Ok(())
    }
}

fn certificates(options: &RedisOptions) -> TlsCertificates {
    let client_tls = options
        .client_certificate
        .as_ref()
        .map(|(chain, key)| ClientTlsConfig { client_cert: chain.clone(), client_key: key.expose().to_vec() });
    TlsCertificates { client_tls, root_cert: options.ca.clone() }
}

fn address(text: &str, port: u16) -> Result<Address, ConnectFault> {
    if text.is_empty() {
        return Err(ConnectFault::Url);
    }
    let info = format!("redis://{text}/").into_connection_info().map_err(|_| ConnectFault::Url)?;
    let named = text.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    match info.addr() {
        ConnectionAddr::Tcp(host, given) => {
            Ok(Address { host: Arc::from(host.as_str()), port: if named { *given } else { port } })
        }
        _ => Err(ConnectFault::Url),
    }
}

fn master_name(name: &str) -> Result<Arc<str>, ConnectFault> {
    // what Redis allows in the name of a master
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 256 || !name.bytes().all(legal) {
        return Err(ConnectFault::Url);
    }
    Ok(Arc::from(name))
}

fn settings() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name()
}

/// The library's reader of URLs knows about percent signs.
fn login(user: &str, database: &str, given: &Login) -> Result<RedisConnectionInfo, ConnectFault> {
    let at = if user.is_empty() { String::new() } else { format!("{user}@") };
    // its error quotes the URL, which may hold a password
    let info = format!("redis://{at}host/{database}").into_connection_info().map_err(|_| ConnectFault::Url)?;
    let said = info.redis_settings().clone();
    with(said.set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name(), given)
}

fn with(mut said: RedisConnectionInfo, given: &Login) -> Result<RedisConnectionInfo, ConnectFault> {
    if let Some(username) = &given.username {
        said = said.set_username(username);
    }
    if let Some(password) = &given.password {
        said = said.set_password(std::str::from_utf8(password.expose()).map_err(|_| ConnectFault::Url)?);
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    fn parse(url: &str) -> Result<Endpoint, ConnectFault> {
        Endpoint::parse(url, &RedisOptions::new([7; 32]))
    }

    fn seeds(url: &str) -> Vec<String> {
        parse(url).unwrap().seeds.iter().map(Address::to_string).collect()
    }

    #[test]
    fn each_topology_has_its_url() {
        let of = |url: &str| parse(url).unwrap().topology;
        assert_eq!(of("redis://127.0.0.1"), Topology::Standalone);
        assert_eq!(of("redis-sentinel://a,b/main"), Topology::Sentinel(Arc::from("main")));
        assert_eq!(of("redis-cluster://a:7000,b:7001"), Topology::Cluster);
        assert_eq!(seeds("redis://127.0.0.1"), ["127.0.0.1:6379"]);
        assert_eq!(seeds("redis-sentinel://a,b:5000/main"), ["a:26379", "b:5000"]);
        assert_eq!(seeds("redis-cluster://a,b:7001"), ["a:6379", "b:7001"]);
        assert!(parse("rediss-cluster://a").unwrap().tls.is_some());
        assert!(parse("redis-cluster://a").unwrap().tls.is_none());
    }

    #[test]
    fn the_configured_login_goes_before_that_of_the_url() {
        let login = |options: &RedisOptions| {
            let login = Endpoint::parse("redis://ada:in%40url@h/3", options).unwrap().login;
            (login.username().unwrap().to_owned(), login.password().unwrap().to_owned(), login.db())
        };
        let mut options = RedisOptions::new([7; 32]);
        assert_eq!(login(&options), ("ada".to_owned(), "in@url".to_owned(), 3));
        options.login = Login { username: Some("gw".to_owned()), password: Some(Secret::new("in file")) };
        assert_eq!(login(&options), ("gw".to_owned(), "in file".to_owned(), 3));
    }

    #[test]
    fn what_is_no_url_of_a_store_is_refused() {
        for bad in [
            "redis://",
            "redis://a,b",
            "redis://a/x",
            "redis-sentinel://a",
            "redis-sentinel://a/",
            "redis-sentinel://a/ma in",
            "redis-sentinel://,/main",
            "redis-cluster://a/0",
            "redis-other://a",
            "rediss://a#insecure",
            "redis://a?protocol=resp2",
            "memory:",
            "a",
        ] {
            assert!(matches!(parse(bad).err(), Some(ConnectFault::Url)), "{bad}");
        }
    }

    #[test]
    fn a_ca_that_is_none_is_refused_before_anything_is_connected() {
        let options = RedisOptions { ca: Some(b"hunter2".to_vec()), ..RedisOptions::new([7; 32]) };
        let fault = Endpoint::parse("rediss://h", &options).err().unwrap();
        assert!(matches!(fault, ConnectFault::Certificates) && !fault.to_string().contains("hunter2"));
    }
}
