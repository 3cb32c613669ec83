//! A request head out of lines of text: the target, then `Name: value` as often as there are lines.

use portcullis_gateway::admit::facts::Head;

/// At most so many fields: the HTTP parser before this one has a bound too.
const FIELDS: usize = 64;

/// Reads it. Bytes are taken as they are, but for the names, which the HTTP parser lets be nothing but text.
pub fn head(data: &[u8]) -> Head<'_> {
    let mut lines = data.split(|b| *b == b'\n');
    let target = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let headers = lines.take(FIELDS).filter_map(|line| {
        let at = line.iter().position(|b| *b == b':')?;
        Some((std::str::from_utf8(&line[..at]).ok()?, &line[at + 1..]))
    });
    Head { method: "GET", target, version: (1, 1), headers: headers.collect() }
}
