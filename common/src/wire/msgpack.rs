//! MessagePack to canonical JSON at entry, JSON to MessagePack at exit; streaming, bounded, no tree.
//!
//! Between the two everything inside Portcullis is JSON. Binary data is `{"$bin": base64}` (RFC 4648 §4, padded).
//! JSON → MessagePack → JSON is the identity up to formatting, for numbers within 64 bits.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmp::Marker;

use super::code::Code;
use super::envelope::MAX_SAFE_INTEGER;
use super::json::{Lexer, Rule, put_string, put_u64};
use super::reject::Reject;
use super::scan::Bounds;

/// Appends the one MessagePack value in `bytes` to `out` as JSON, at most `max` bytes of it. Linear; `out` grows by at
/// most six bytes for one of input and is left in an unspecified state after an error.
///
/// Duplicate and forbidden keys are not looked for here: the result is to be scanned like any other JSON.
/// Integers keep their value (all of u64 and i64); floats become the shortest JSON that reads back to the same double,
/// whole ones up to 2^53 as integers.
///
/// # Errors
/// `malformed`: bytes missing or left over, a key that is no string, text that is not UTF-8, NaN, infinity, an extension
/// type (timestamps too), nesting or count beyond `bounds`. `too_large`: the JSON is longer than `max`.
pub fn to_json(bytes: &[u8], bounds: Bounds, max: usize, out: &mut String) -> Result<(), Reject> {
    let mut buffer = std::mem::take(out).into_bytes();
    let end = buffer.len().saturating_add(max);
    let mut reader = Reader { rest: bytes, nodes: 0, bounds, end };
    let done = reader.value(&mut buffer, 0);
    let text = String::from_utf8(buffer);
    done?;
    if !reader.rest.is_empty() {
        return Err(malformed("msgpack: something after the value"));
    }
    *out = text.map_err(|_| malformed("msgpack: text that is not UTF-8"))?;
    Ok(())
}

fn malformed(rule: Rule) -> Reject {
    Reject::new(Code::Malformed, rule)
}

struct Reader<'a> {
    rest: &'a [u8],
    nodes: usize,
    bounds: Bounds,
    /// How long the output may become.
    end: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Reject> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or_else(|| malformed("msgpack: ends too early"))?;
        self.rest = rest;
        Ok(head)
    }

    /// A big-endian unsigned integer of `n` ≤ 8 bytes.
    fn uint(&mut self, n: usize) -> Result<u64, Reject> {
        Ok(self.take(n)?.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte)))
    }

    fn len(&mut self, n: usize) -> Result<usize, Reject> {
        usize::try_from(self.uint(n)?).map_err(|_| malformed("msgpack: ends too early"))
    }

    fn int(&mut self, n: usize) -> Result<i64, Reject> {
        let unused = 64 - 8 * n as u32;
        Ok((self.uint(n)? << unused).cast_signed() >> unused)
    }

    fn marker(&mut self) -> Result<Marker, Reject> {
        Ok(Marker::from_u8(self.uint(1)? as u8))
    }

    fn count(&mut self, depth: usize) -> Result<(), Reject> {
        self.nodes += 1;
        if self.nodes > self.bounds.nodes {
            return Err(malformed("msgpack: too many values"));
        }
        if depth > self.bounds.depth {
            return Err(malformed("msgpack: nested too deep"));
        }
        Ok(())
    }

    /// One value inside `depth` containers. Recursion is bounded by [`Bounds::depth`].
    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Reject> {
        self.count(depth)?;
        match self.marker()? {
            Marker::Null => out.extend_from_slice(b"null"),
            Marker::True => out.extend_from_slice(b"true"),
            Marker::False => out.extend_from_slice(b"false"),
            Marker::FixPos(n) => put_u64(out, n.into()),
            Marker::FixNeg(n) => put_i64(out, n.into()),
            Marker::U8 => put_u64(out, self.uint(1)?),
            Marker::U16 => put_u64(out, self.uint(2)?),
            Marker::U32 => put_u64(out, self.uint(4)?),
            Marker::U64 => put_u64(out, self.uint(8)?),
            Marker::I8 => put_i64(out, self.int(1)?),
            Marker::I16 => put_i64(out, self.int(2)?),
            Marker::I32 => put_i64(out, self.int(4)?),
            Marker::I64 => put_i64(out, self.int(8)?),
            Marker::F32 => put_f64(out, f32::from_bits(self.uint(4)? as u32).into())?,
            Marker::F64 => put_f64(out, f64::from_bits(self.uint(8)?))?,
            Marker::Bin8 => self.bin(1, out, depth)?,
            Marker::Bin16 => self.bin(2, out, depth)?,
            Marker::Bin32 => self.bin(4, out, depth)?,
            Marker::FixArray(n) => self.array(n.into(), out, depth)?,
            Marker::Array16 => self.len(2).and_then(|n| self.array(n, out, depth))?,
            Marker::Array32 => self.len(4).and_then(|n| self.array(n, out, depth))?,
            Marker::FixMap(n) => self.map(n.into(), out, depth)?,
            Marker::Map16 => self.len(2).and_then(|n| self.map(n, out, depth))?,
            Marker::Map32 => self.len(4).and_then(|n| self.map(n, out, depth))?,
            marker => self.text(marker, out)?,
        }
        if out.len() > self.end {
            return Err(Reject::new(Code::TooLarge, "msgpack: too large as JSON"));
        }
        Ok(())
    }

    fn text(&mut self, marker: Marker, out: &mut Vec<u8>) -> Result<(), Reject> {
        let len = match marker {
            Marker::FixStr(n) => n.into(),
            Marker::Str8 => self.len(1)?,
            Marker::Str16 => self.len(2)?,
            Marker::Str32 => self.len(4)?,
            _ => return Err(malformed("msgpack: a type that JSON does not have")),
        };
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| malformed("msgpack: text that is not UTF-8"))?;
        put_string(out, text);
        Ok(())
    }

    fn bin(&mut self, width: usize, out: &mut Vec<u8>, depth: usize) -> Result<(), Reject> {
        self.count(depth + 1)?;
        let len = self.len(width)?;
        let bytes = self.take(len)?;
        out.extend_from_slice(b"{\"$bin\":\"");
        out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
        out.extend_from_slice(b"\"}");
        Ok(())
    }

    fn array(&mut self, len: usize, out: &mut Vec<u8>, depth: usize) -> Result<(), Reject> {
        self.container(depth)?;
        out.push(b'[');
        for i in 0..len {
            if i > 0 {
                out.push(b',');
            }
            self.value(out, depth + 1)?;
        }
        out.push(b']');
        Ok(())
    }

    fn map(&mut self, len: usize, out: &mut Vec<u8>, depth: usize) -> Result<(), Reject> {
        self.container(depth)?;
        out.push(b'{');
        for i in 0..len {
            if i > 0 {
                out.push(b',');
            }
            let marker = self.marker()?;
            self.text(marker, out).map_err(|_| malformed("msgpack: a key that is not text"))?;
            out.push(b':');
            self.value(out, depth + 1)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// An empty container inside `depth` others counts as one level too, as it does in the scan.
    fn container(&self, depth: usize) -> Result<(), Reject> {
        if depth >= self.bounds.depth {
            return Err(malformed("msgpack: nested too deep"));
        }
        Ok(())
    }
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    put_u64(out, value.unsigned_abs());
}

fn put_f64(out: &mut Vec<u8>, value: f64) -> Result<(), Reject> {
    if !value.is_finite() {
        return Err(malformed("msgpack: not a finite number"));
    }
    let whole = value.trunc() == value && value.abs() <= MAX_SAFE_INTEGER as f64;
    if whole && (value != 0.0 || value.is_sign_positive()) {
        put_i64(out, value as i64);
        return Ok(());
    }
    serde_json::to_writer(out, &value).map_err(|_| malformed("msgpack: not a finite number"))
}

/// Appends one JSON value to `out` as MessagePack; shortest integer and length forms; `{"$bin": base64}` becomes binary.
/// Integers within 64 bits stay integers, everything else is a 64-bit float. Linear but for a header's bytes, before which
/// each container's contents move once. `out` grows by at most nine bytes for a number (which may be
/// two characters of JSON) and by the length of everything else plus three.
///
/// # Errors
/// The rule that `json` breaks: none for text that [`super::scan::scan`] took with the same bounds.
pub fn from_json(json: &str, bounds: Bounds, out: &mut Vec<u8>) -> Result<(), Rule> {
    let mut writer = Writer { lexer: Lexer::new(json), text: String::new(), nodes: 0, bounds };
    writer.value(out, 0)?;
    if writer.lexer.token().is_some() {
        return Err("json: something after the value");
    }
    Ok(())
}

struct Writer<'a> {
    lexer: Lexer<'a>,
    /// Strings with escapes are put together here.
    text: String,
    nodes: usize,
    bounds: Bounds,
}

impl Writer<'_> {
    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Rule> {
        self.nodes += 1;
        if self.nodes > self.bounds.nodes {
            return Err("json: too many values");
        }
        match self.lexer.token().ok_or("json: ends too early")? {
            b'{' => self.object(out, depth),
            b'[' => self.array(out, depth),
            b'"' => self.string(out),
            b't' => self.lexer.literal("true").map(|()| out.push(Marker::True.to_u8())),
            b'f' => self.lexer.literal("false").map(|()| out.push(Marker::False.to_u8())),
            b'n' => self.lexer.literal("null").map(|()| out.push(Marker::Null.to_u8())),
            _ => self.number(out),
        }
    }

    fn open(&mut self, depth: usize) -> Result<(), Rule> {
        if depth >= self.bounds.depth {
            return Err("json: nested too deep");
        }
        self.lexer.bump();
        Ok(())
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Rule> {
        if let Some((bytes, after)) = binary(&self.lexer) {
            self.lexer = after;
            return write(rmp::encode::write_bin(out, &bytes).is_ok());
        }
        self.open(depth)?;
        let start = out.len();
        let mut members = 0;
        while self.more(members, b'}')? {
            self.lexer.token();
            self.string(out)?;
            self.lexer.token();
            if !self.lexer.eat(b':') {
                return Err("json: key without a colon");
            }
            self.value(out, depth + 1)?;
            members += 1;
        }
        let mut head = Vec::with_capacity(5);
        write(rmp::encode::write_map_len(&mut head, members).is_ok())?;
        out.splice(start..start, head);
        Ok(())
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Rule> {
        self.open(depth)?;
        let start = out.len();
        let mut members = 0;
        while self.more(members, b']')? {
            self.value(out, depth + 1)?;
            members += 1;
        }
        let mut head = Vec::with_capacity(5);
        write(rmp::encode::write_array_len(&mut head, members).is_ok())?;
        out.splice(start..start, head);
        Ok(())
    }

    /// Whether another member follows the `members` before; steps over the comma or the end.
    fn more(&mut self, members: u32, end: u8) -> Result<bool, Rule> {
        let next = self.lexer.token();
        if next == Some(end) {
            self.lexer.bump();
            return Ok(false);
        }
        if members > 0 && !self.lexer.eat(b',') {
            return Err("json: neither a comma nor an end");
        }
        Ok(true)
    }

    fn string(&mut self, out: &mut Vec<u8>) -> Result<(), Rule> {
        let token = self.lexer.string()?;
        if !token.escaped {
            return write(rmp::encode::write_str(out, token.raw).is_ok());
        }
        self.text.clear();
        token.unescape(&mut self.text)?;
        write(rmp::encode::write_str(out, &self.text).is_ok())
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Result<(), Rule> {
        let token = self.lexer.number()?;
        if token.integer && token.raw != "-0" {
            if let Ok(value) = token.raw.parse::<u64>() {
                return write(rmp::encode::write_uint(out, value).is_ok());
            }
            if let Ok(value) = token.raw.parse::<i64>() {
                return write(rmp::encode::write_sint(out, value).is_ok());
            }
        }
        let value: f64 = token.raw.parse().map_err(|_| "json: not a value")?;
        write(rmp::encode::write_f64(out, value).is_ok())
    }
}

/// Writing to a `Vec` cannot fail; a length beyond 32 bits can.
fn write(done: bool) -> Result<(), Rule> {
    if done { Ok(()) } else { Err("msgpack: too large") }
}

/// The bytes of a `{"$bin": base64}` that begins here, and the position after it.
fn binary<'a>(lexer: &Lexer<'a>) -> Option<(Vec<u8>, Lexer<'a>)> {
    let mut ahead = lexer.clone();
    if !ahead.eat(b'{') || ahead.token() != Some(b'"') || ahead.string().ok()?.raw != "$bin" {
        return None;
    }
    ahead.token();
    if !ahead.eat(b':') || ahead.token() != Some(b'"') {
        return None;
    }
    let text = ahead.string().ok()?;
    if ahead.token() != Some(b'}') {
        return None;
    }
    ahead.bump();
    Some((STANDARD.decode(&*text.meaning().ok()?).ok()?, ahead))
}

#[cfg(test)]
mod tests;
