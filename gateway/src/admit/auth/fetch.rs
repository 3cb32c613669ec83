//! Getting a JWK set over HTTP: bounded in time and size, no redirects, no proxy, nobody to talk to but the one URL.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::{CACHE_CONTROL, HeaderMap};
use reqwest::{Client, StatusCode, Url, redirect};

use super::jwk::MAX_SET;

/// How long connecting, and each wait for bytes, may take.
pub const NETWORK_TIMEOUT: Duration = Duration::from_secs(3);

/// A body that was fetched, and how long its server says it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// At most 256 KiB.
    pub body: Vec<u8>,
    /// `Cache-Control: max-age`, as the server put it.
    pub max_age: Option<Duration>,
}

/// Why nothing was fetched; one of a fixed set of sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchFailed(pub &'static str);

/// The one thing that key refreshing does to the outside world.
pub trait Fetch: Send + Sync {
    /// Gets `url`. The caller bounds the whole of it in time and may drop it at any await.
    fn fetch<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Fetched, FetchFailed>>;
}

/// [`Fetch`] over HTTPS, or over plain HTTP to loopback.
#[derive(Debug)]
pub struct HttpFetch(Client);

impl HttpFetch {
    /// A client for one URL. The trusted roots are the system's (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured), read
    /// now; a plain URL needs none.
    ///
    /// # Errors
    /// A sentence when the URL is not allowed (see [`check_url`]) or the system has no trusted roots.
    pub fn for_url(url: &str, timeout: Duration) -> Result<Self, &'static str> {
        let url = check_url(url)?;
        let builder = Client::builder()
            .connect_timeout(timeout)
            .read_timeout(timeout)
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .pool_max_idle_per_host(1);
        let builder = match url.scheme() {
            "https" => builder.https_only(true),
            _ => builder.tls_certs_only([]),
        };
        builder.build().map(Self).map_err(|_| "no TLS client can be made: are there trusted roots on this system?")
    }
}

/// `https`, or `http` to a loopback address or `localhost`; no user, no fragment.
///
/// # Errors
/// A sentence that says which of these it is not.
pub fn check_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "must be an absolute URL")?;
    let host = url.host_str().ok_or("must be an absolute URL")?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("must have neither user nor fragment");
    }
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|ip| ip.to_canonical().is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        _ => Err("must be https (http on loopback only)"),
    }
}

impl Fetch for HttpFetch {
    fn fetch<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Fetched, FetchFailed>> {
        Box::pin(async move {
            let request = self.0.get(url).header("accept", "application/jwk-set+json, application/json");
            let mut response = request.send().await.map_err(|error| {
                FetchFailed(if error.is_timeout() {
                    "the server took too long"
                } else {
                    "the server cannot be reached"
                })
            })?;
            if response.status() != StatusCode::OK {
                return Err(FetchFailed("the server's answer is not 200"));
            }
            let max_age = max_age(response.headers());
            let mut body = Vec::new();
            loop {
                match response.chunk().await {
                    Ok(Some(chunk)) if body.len() + chunk.len() > MAX_SET => {
                        return Err(FetchFailed("the body is larger than 256 KiB"));
                    }
                    Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                    Ok(None) => return Ok(Fetched { body, max_age }),
                    Err(_) => return Err(FetchFailed("the body broke off")),
                }
            }
        })
    }
}

/// RFC 9111 §5.2.2.1; what forbids caching says nothing about how often we must ask, so it counts as silence.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let fields = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|value| value.split(',')).find_map(|directive| {
        let (name, seconds) = directive.trim().split_once('=')?;
        let seconds = name.eq_ignore_ascii_case("max-age").then(|| seconds.trim_matches('"').parse().ok())??;
        Some(Duration::from_secs(seconds))
    })
}
