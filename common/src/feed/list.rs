//! Lists as they are published. Their authors are nobody we know: every line is judged by itself, and what is wrong with
//! it is counted, never guessed at.

use ipnet::IpNet;
use serde::Deserialize;

use super::Score;
use crate::trie::{canonical, parse_network};

/// Bytes of a line, at most; no list has longer ones.
pub const LONGEST: usize = 4_096;

/// Lines that are remembered as wrong; further ones are only counted.
pub const REMEMBERED: usize = 10;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An address or a network a line, `#` or `;` begins a comment: FireHOL netsets and ipsets, Spamhaus DROP as text.
    Text,
    /// A JSON object a line with the member `cidr`, and one of `"type":"metadata"` that says how many `records` there
    /// are: Spamhaus DROP as JSON.
    Json,
    /// Fields between commas, some of them in double quotes (RFC 4180, but no line ends inside); the first line may be a
    /// head. Which field is which, counted from 1.
    Csv {
        /// An address or a network.
        address: usize,
        /// A whole number from 0, which leaves the line out, to 100.
        score: usize,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Longer than [`LONGEST`].
    #[error("is longer than {LONGEST} bytes")]
    Long,
    /// Not UTF-8.
    #[error("is not UTF-8")]
    Text,
    /// No address, no network.
    #[error("is neither an address nor a network")]
    Network,
    /// Not a score.
    #[error("has no score: a whole number from 0 to 100")]
    Score,
    /// Not a JSON object with `cidr`.
    #[error("is not a JSON object with `cidr`")]
    Json,
    /// Fewer fields than are looked for, or a quote that does not end.
    #[error("has too few fields, or a quote without an end")]
    Fields,
}

/// One line that names a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Counted from 1.
    pub line: usize,
    /// Host bits zero, IPv4-mapped ones as IPv4.
    pub network: IpNet,
    /// The list's own, or what was said for the whole of it.
    pub score: Score,
}

/// What a list says.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// In its order.
    pub listed: Vec<Listed>,
    /// Lines that say something, right or wrong; comments and heads are none.
    pub lines: usize,
    /// Lines that are wrong.
    pub bad: usize,
    /// The first [`REMEMBERED`] of those, with their numbers.
    pub wrong: Vec<(usize, Wrong)>,
    /// Lines with the score 0.
    pub clean: usize,
    /// How many records the list says that it has.
    pub promised: Option<usize>,
}

/// What a line turned out to be.
enum Line {
    Nothing,
    Promise(usize),
    Clean,
    Listed(IpNet, Score),
}

/// Reads a list; `score` is that of every network where the list has none of its own. Cost: linear, no line is kept.
#[must_use]
pub fn read(bytes: &[u8], format: Format, score: Score) -> List {
    let mut list = List::default();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (n, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = judge(line, n == 0, format, score);
        if matches!(line, Ok(Line::Nothing)) {
            continue;
        }
        list.lines += 1;
        match line {
            Ok(Line::Nothing) => {}
            Ok(Line::Promise(records)) => {
                list.lines -= 1;
                list.promised = Some(list.promised.unwrap_or(0).saturating_add(records));
            }
            Ok(Line::Clean) => list.clean += 1,
            Ok(Line::Listed(network, score)) => list.listed.push(Listed { line: n + 1, network, score }),
            Err(wrong) => {
                list.bad += 1;
                if list.wrong.len() < REMEMBERED {
                    list.wrong.push((n + 1, wrong));
                }
            }
        }
    }
    list
}

fn judge(line: &[u8], first: bool, format: Format, score: Score) -> Result<Line, Wrong> {
    if line.len() > LONGEST {
        return Err(Wrong::Long);
    }
    let line = std::str::from_utf8(line).map_err(|_| Wrong::Text)?.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok(Line::Nothing);
    }
    match format {
        Format::Text => {
            let entry = line.split(['#', ';']).next().unwrap_or_default().trim_end();
            Ok(Line::Listed(network(entry).ok_or(Wrong::Network)?, score))
        }
        Format::Json => json(line, score),
        Format::Csv { address, score } => csv(line, first, address, score),
    }
}

fn network(text: &str) -> Option<IpNet> {
    parse_network(text).map(canonical)
}

/// What is read of a line of DROP; its other members are for people.
#[derive(Deserialize)]
struct Row {
    cidr: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    records: Option<usize>,
}

fn json(line: &str, score: Score) -> Result<Line, Wrong> {
    let row: Row = serde_json::from_str(line).map_err(|_| Wrong::Json)?;
    match (row.cidr, row.kind.as_deref()) {
        (Some(cidr), _) => Ok(Line::Listed(network(&cidr).ok_or(Wrong::Network)?, score)),
        (None, Some("metadata")) => Ok(row.records.map_or(Line::Nothing, Line::Promise)),
        (None, _) => Err(Wrong::Json),
    }
}

fn csv(line: &str, first: bool, address: usize, score: usize) -> Result<Line, Wrong> {
    let fields = fields(line).ok_or(Wrong::Fields)?;
    let field = |n: usize| fields.get(n.wrapping_sub(1)).map(|field| field.trim()).ok_or(Wrong::Fields);
    let (network, score) = (network(field(address)?), field(score)?);
    match network {
        // a head; a first line that is wrong is taken for one, and costs a list one entry at most
        None if first => Ok(Line::Nothing),
        None => Err(Wrong::Network),
        Some(network) => match score.parse::<u8>().map_err(|_| Wrong::Score)? {
            0 => Ok(Line::Clean),
            points => Ok(Line::Listed(network, Score::new(points).ok_or(Wrong::Score)?)),
        },
    }
}

/// The fields of a line. `None`: a quote that does not end, or does not begin its field.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at_checked(end)?;
                if field.contains('"') {
                    return None;
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        if after.is_empty() {
            return Some(fields);
        }
        rest = after.strip_prefix(',')?;
    }
}

/// What stands between quotes, and what is behind them.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, after)),
        }
    }
}
