//! A one-shot HTTP GET to the private port: readiness, and one number of `/metrics`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Outcome;

/// Status and body of `GET path`; the body is at most 4 MiB.
///
/// # Errors
/// No connection, no answer within 5 s, or an answer that is not HTTP.
pub fn get(addr: SocketAddr, path: &str) -> Outcome<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(4 << 20).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("not an HTTP answer")?;
    Ok((status, text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())))
}

/// The sum of all series of gauge or counter `name`; `None` when there is none.
#[must_use]
pub fn series_sum(metrics: &str, name: &str) -> Option<f64> {
    let mut found = None;
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix(name) else { continue };
        if !rest.starts_with(['{', ' ']) {
            continue;
        }
        if let Some(value) = rest.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()) {
            *found.get_or_insert(0.0) += value;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_name_are_summed_and_longer_names_are_not() {
        let text = "# TYPE x gauge\nx{kind=\"a b\"} 2\nx{kind=\"c\"} 3.5\nx_total 9\n";
        assert_eq!(series_sum(text, "x"), Some(5.5));
        assert_eq!(series_sum(text, "y"), None);
    }
}
