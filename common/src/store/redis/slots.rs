//! Hash slots of Redis Cluster (its specification, "Key distribution model"), and who serves them. No I/O.

use std::sync::Arc;

use redis::{Cmd, RedisError, Value};

use super::endpoint::Address;

/// How many there are.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key or of a sharded channel.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS
}

/// What of a key decides: between the first brace and the next closing one, unless that is nothing.
fn tag(key: &[u8]) -> &[u8] {
    let inner = key.iter().position(|b| *b == b'{').and_then(|open| key.get(open + 1..));
    let inner = inner.and_then(|rest| rest.iter().position(|b| *b == b'}').and_then(|close| rest.get(..close)));
    inner.filter(|inner| !inner.is_empty()).unwrap_or(key)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 })
    })
}

/// The key by which a command finds its server; `None`: any will do.
pub(super) fn key_of(command: &Cmd) -> Option<&[u8]> {
    let mut words = command.args_iter().filter_map(|arg| match arg {
        redis::Arg::Simple(word) => Some(word),
        redis::Arg::Cursor | _ => None,
    });
    let verb = words.next()?;
    // EVAL script numkeys key …
    if verb.starts_with(b"EVAL") { words.nth(2) } else { words.next() }
}

/// A stretch of slots and the master that serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) master: Address,
}

/// Reads the answer of `CLUSTER SLOTS`. A node that does not know its own name is called as it was `asked`. `None`: it
/// is of another form.
pub(super) fn stretches(answer: Value, asked: &Address) -> Option<Vec<Stretch>> {
    let Value::Array(rows) = answer else { return None };
    rows.into_iter().map(|row| stretch(row, asked)).collect()
}

fn stretch(row: Value, asked: &Address) -> Option<Stretch> {
    let Value::Array(row) = row else { return None };
    let mut row = row.into_iter();
    let (first, last) = (number(row.next()?)?, number(row.next()?)?);
    let Value::Array(master) = row.next()? else { return None };
    let mut master = master.into_iter();
    let host = match master.next()? {
        Value::BulkString(host) => String::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        Value::Nil => String::new(),
        _ => return None,
    };
    let master = Address { host: named(&host, asked), port: number(master.next()?)? };
    (first <= last && last < SLOTS).then_some(Stretch { first, last, master })
}

fn number(value: Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(number).ok(),
        _ => None,
    }
}

/// `?` and nothing stand for the node that says it.
fn named(host: &str, speaker: &Address) -> Arc<str> {
    if host.is_empty() || host == "?" { Arc::clone(&speaker.host) } else { Arc::from(host) }
}

/// Where a refusal sends us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot is served there from now on.
    Moved(u16, Address),
    /// This command is to be asked there; the slot is on its way.
    Ask(Address),
}

/// What `speaker` said.
pub(super) fn redirect(error: &RedisError, speaker: &Address) -> Option<Redirect> {
    let (place, slot) = error.redirect_node()?;
    let (host, port) = place.rsplit_once(':')?;
    let address = Address { host: named(host, speaker), port: port.parse().ok()? };
    match error.code() {
        Some("ASK") => Some(Redirect::Ask(address)),
        _ => (slot < SLOTS).then_some(Redirect::Moved(slot, address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address { host: Arc::from("h"), port }
    }

    /// From the specification: crc16 of `123456789` is 0x31C3; the slots are what `CLUSTER KEYSLOT` says.
    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, slot) in [("foo", 12_182), ("bar", 5_061), ("{foo}bar", 12_182), ("a{foo}{bar}", 12_182)] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"foo{}bar"), crc16(b"foo{}bar") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
    }

    #[test]
    fn a_script_is_led_by_its_first_key_and_other_commands_by_theirs() {
        let mut script = redis::cmd("EVALSHA");
        script.arg("sha").arg(2).arg("first").arg("second").arg("argument");
        assert_eq!(key_of(&script), Some(&b"first"[..]));
        let mut set = redis::cmd("SPUBLISH");
        set.arg("channel").arg("value");
        assert_eq!(key_of(&set), Some(&b"channel"[..]));
        assert_eq!(key_of(&redis::cmd("PING")), None);
    }

    #[test]
    fn what_cluster_slots_says_is_read_and_what_is_no_such_answer_is_not() {
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())]);
        let row = |first, last, host| {
            Value::Array(vec![Value::Int(first), Value::Int(last), node(host, 7_000), node(Value::Nil, 7_001)])
        };
        let host = || Value::BulkString(b"10.0.0.1".to_vec());
        let read = |rows| stretches(Value::Array(rows), &address(1));
        let found = read(vec![row(0, 5, host()), row(6, 16_383, Value::Nil)]).unwrap();
        assert_eq!(found[0].master.to_string(), "10.0.0.1:7000");
        assert_eq!((found[1].first, found[1].last, found[1].master.to_string()), (6, 16_383, "h:7000".to_owned()));
        for bad in [row(6, 5, host()), row(0, 16_384, host()), row(-1, 5, host()), Value::Nil] {
            assert_eq!(read(vec![bad]), None);
        }
        assert_eq!(stretches(Value::Nil, &address(1)), None);
    }

    #[test]
    fn redirects_are_read_as_the_server_means_them() {
        let said = |text: &str| {
            let error = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap().extract_error();
            redirect(&error.unwrap_err(), &address(1))
        };
        let there = Address { host: Arc::from("10.0.0.2"), port: 7_002 };
        assert_eq!(said("MOVED 3999 10.0.0.2:7002"), Some(Redirect::Moved(3_999, there.clone())));
        assert_eq!(said("ASK 3999 10.0.0.2:7002"), Some(Redirect::Ask(there)));
        assert_eq!(said("MOVED 3999 :7002"), Some(Redirect::Moved(3_999, address(7_002))));
        for bad in ["MOVED 16384 h:1", "MOVED x h:1", "MOVED 1 h", "ERR no"] {
            assert_eq!(said(bad), None, "{bad}");
        }
    }
}
