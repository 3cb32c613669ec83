//! Who may ask for tokens, lists and kicks.

use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{HttpRequest, web};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;
use serde::de::DeserializeOwned;

/// The largest body that is read, in bytes.
const BODY_MAX: usize = 1024;

/// The longest display name, in characters.
const NAME_MAX: usize = 32;

/// Whoever reads (GET): a browser sends no Origin with a same-origin GET, so this stands on the loopback name and on
/// `Sec-Fetch-Site`, and on `Cross-Origin-Resource-Policy` in the answer.
///
/// # Errors
/// `origin_denied` for another site's page and for a name that is not this machine's own.
pub(super) fn reader(req: &HttpRequest) -> Result<(), Reject> {
    let headers = req.headers();
    let host = own_host(headers)?;
    if let Some(origin) = single(headers, &header::ORIGIN)? {
        same_origin(origin, host)?;
    }
    match single(headers, &HeaderName::from_static("sec-fetch-site"))? {
        None | Some("same-origin") => Ok(()),
        Some(_) => Err(denied("sec-fetch-site")),
    }
}

/// Whoever changes something (POST): everything [`reader`] asks, an Origin header, and a small JSON body.
///
/// # Errors
/// `origin_denied`; `malformed` (415 for another content type); `too_large` beyond 1 KiB; `schema_invalid`.
pub(super) async fn json<T: DeserializeOwned>(req: &HttpRequest, body: web::Payload) -> Result<T, Reject> {
    reader(req)?;
    if !req.headers().contains_key(header::ORIGIN) {
        return Err(denied("no origin"));
    }
    let media = single(req.headers(), &header::CONTENT_TYPE)?.unwrap_or_default();
    let media = media.split_once(';').map_or(media, |(name, _)| name).trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(Reject::new(Code::Malformed, "content type").status(415));
    }
    let bytes = match body.to_bytes_limited(BODY_MAX).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(Reject::new(Code::Malformed, "body")),
        Err(_) => return Err(Reject::new(Code::TooLarge, "body")),
    };
    serde_json::from_slice(&bytes).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => Reject::new(Code::SchemaInvalid, "fields").status(400),
        _ => Reject::new(Code::Malformed, "json"),
    })
}

/// A display name: 1–32 printable characters after trimming, at least one of them a letter or a digit.
///
/// # Errors
/// `schema_invalid`, as HTTP 400.
pub(super) fn name(text: &str) -> Result<&str, Reject> {
    let text = text.trim();
    let printable = |c: char| {
        !c.is_control()
            && (!c.is_whitespace() || c == ' ')
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let legal = (1..=NAME_MAX).contains(&text.chars().count())
        && text.chars().all(printable)
        && text.chars().any(char::is_alphanumeric);
    if legal { Ok(text) } else { Err(Reject::new(Code::SchemaInvalid, "name").status(400)) }
}

/// The Host header, if it names this machine: a name that DNS could point here later is refused (DNS rebinding).
fn own_host(headers: &HeaderMap) -> Result<&str, Reject> {
    let host = single(headers, &header::HOST)?.ok_or_else(|| Reject::new(Code::Malformed, "no host"))?;
    let authority: actix_web::http::uri::Authority = host.parse().map_err(|_| Reject::new(Code::Malformed, "host"))?;
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let loopback = name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    if loopback && !host.contains('@') { Ok(host) } else { Err(denied("host is not loopback")) }
}

/// `Origin` is this page's own: the scheme is not compared, because one port speaks only one of the two.
fn same_origin(origin: &str, host: &str) -> Result<(), Reject> {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if authority.is_some_and(|a| a.eq_ignore_ascii_case(host)) { Ok(()) } else { Err(denied("origin")) }
}

/// A header that may come once at most.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Reject> {
    let mut all = headers.get_all(name);
    let (first, second) = (all.next(), all.next());
    if second.is_some() {
        return Err(Reject::new(Code::Malformed, "repeated header"));
    }
    first.map(|v| v.to_str().map_err(|_| Reject::new(Code::Malformed, "header"))).transpose()
}

fn denied(detail: &'static str) -> Reject {
    Reject::new(Code::OriginDenied, detail)
}
