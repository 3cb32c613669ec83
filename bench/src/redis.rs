//! A Redis client of a few lines: what the server counted, and its own publish and subscribe to compare with.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Outcome;

/// One blocking connection.
pub struct Redis {
    reader: BufReader<TcpStream>,
}

/// How often each command ran, whether a client sent it or a script called it.
pub type Calls = BTreeMap<String, u64>;

/// A bulk string longer than this is not for us.
const LONGEST: usize = 1 << 20;

impl Redis {
    /// Connects; every read waits at most 5 s.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends a command (RESP 2) and does not wait for what it answers.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn send(&mut self, words: &[&[u8]]) -> Outcome<()> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        Ok(self.reader.get_mut().write_all(&bytes)?)
    }

    /// The next answer, or push; of an array its last element, which is what a message carries.
    ///
    /// # Errors
    /// The connection is lost or silent for 5 s; the server says that something is wrong.
    pub fn answer(&mut self) -> Outcome<Vec<u8>> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or("the connection to Redis ended")?;
        match kind {
            "+" | ":" => Ok(rest.as_bytes().to_vec()),
            "$" if rest == "-1" => Ok(Vec::new()),
            "$" => {
                let length = rest.parse::<usize>()?;
                let mut bytes = vec![0; length.min(LONGEST) + 2];
                self.reader.read_exact(&mut bytes)?;
                bytes.truncate(length.min(LONGEST));
                Ok(bytes)
            }
            "*" => {
                let mut last = Vec::new();
                for _ in 0..rest.parse::<usize>()? {
                    last = self.answer()?;
                }
                Ok(last)
            }
            _ => Err(format!("Redis answered {kind}{rest}").into()),
        }
    }

    /// What the server has counted since its start.
    ///
    /// # Errors
    /// As [`Redis::answer`].
    pub fn calls(&mut self) -> Outcome<Calls> {
        self.send(&[b"INFO", b"commandstats"])?;
        Ok(calls(&String::from_utf8_lossy(&self.answer()?)))
    }
}

impl Redis {
    /// Bytes that it has allocated for what it keeps.
    ///
    /// # Errors
    /// As [`Redis::answer`], or it does not say.
    pub fn memory(&mut self) -> Outcome<u64> {
        self.send(&[b"INFO", b"memory"])?;
        let info = self.answer()?;
        let info = String::from_utf8_lossy(&info);
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
        Ok(line.ok_or("Redis does not say what it holds")?.trim().parse()?)
    }
}

/// Reads `cmdstat_NAME:calls=N,…`.
fn calls(info: &str) -> Calls {
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.trim().parse().ok()?))
    };
    info.lines().filter_map(line).collect()
}

/// All calls but those that look at the server.
#[must_use]
pub fn all(calls: &Calls) -> u64 {
    calls.iter().filter(|(name, _)| *name != "info").map(|(_, count)| count).sum()
}

/// Scripts that clients ran: round trips of the nodes that decide something.
#[must_use]
pub fn scripts(calls: &Calls) -> u64 {
    calls.iter().filter(|(name, _)| matches!(name.as_str(), "evalsha" | "eval")).map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_by_command_and_looking_is_not_counted() {
        let info = "# Commandstats\r\ncmdstat_evalsha:calls=12,usec=3,usec_per_call=0.25\r\ncmdstat_eval:calls=1,usec=9\r\n\
                    cmdstat_info:calls=4,usec=1\r\ncmdstat_config|get:calls=2,usec=1\r\n";
        let calls = calls(info);
        assert_eq!((calls["evalsha"], calls["config|get"]), (12, 2));
        assert_eq!((scripts(&calls), all(&calls)), (13, 15));
    }
}
