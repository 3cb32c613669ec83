//! JSON's tokens (RFC 8259), and how they are written: the one reader and the one escaper that the scan, the envelope,
//! the transcoder and the replies share. Nothing here builds a tree.

/// The rule that a text breaks. For the log; never the input.
pub type Rule = &'static str;

/// A position in JSON text that only moves forward.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

/// A string token: where its contents are, between the quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    /// The contents as written.
    pub raw: &'a str,
    /// Whether they contain an escape.
    pub escaped: bool,
}

/// A number token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number<'a> {
    /// The number as written.
    pub raw: &'a str,
    /// Whether it has neither fraction nor exponent.
    pub integer: bool,
}

/// The significant decimal digits that a double always distinguishes when it is written with so many (IEEE 754, §5.12.2).
const DIGITS: usize = 17;

impl Number<'_> {
    /// Whether every reader can hold the number as it was meant: an integer within 64 bits, anything else with at most 17
    /// significant digits and not so small that a double makes it zero. What could only be held approximately would be
    /// changed on its way without anybody's knowing.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn exact(self) -> Result<(), Rule> {
        if self.integer {
            let fits = self.raw.len() < 19 || self.raw.parse::<i64>().is_ok() || self.raw.parse::<u64>().is_ok();
            return if fits { Ok(()) } else { Err("json: integer beyond 64 bits") };
        }
        let mantissa = self.raw.split(['e', 'E']).next().unwrap_or_default();
        let mut significant = 0;
        let mut zeros = 0;
        for digit in mantissa.bytes().filter(u8::is_ascii_digit) {
            match digit {
                b'0' if significant == 0 => {}
                b'0' => zeros += 1,
                _ => {
                    significant += zeros + 1;
                    zeros = 0;
                }
            }
        }
        if significant > DIGITS {
            return Err("json: more digits than a number holds");
        }
        let vanishes = significant > 0 && self.raw.parse::<f64>().is_ok_and(|value| value == 0.0);
        if vanishes { Err("json: number too small") } else { Ok(()) }
    }
}

impl<'a> Lexer<'a> {
    /// Reads from the start of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The offset of the next byte.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next byte.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over one byte that [`Self::peek`] has shown.
    pub fn bump(&mut self) {
        self.at += 1;
    }

    /// Steps over `byte` if it is next.
    pub fn eat(&mut self, byte: u8) -> bool {
        let hit = self.peek() == Some(byte);
        self.at += usize::from(hit);
        hit
    }

    /// Steps over white space and shows what follows it.
    pub fn token(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                other => return other,
            }
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn slice(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default()
    }

    /// Reads `true`, `false` or `null`.
    ///
    /// # Errors
    /// When the next bytes are something else.
    pub fn literal(&mut self, word: &'static str) -> Result<(), Rule> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err("json: not a value");
        }
        self.at += word.len();
        Ok(())
    }

    /// Reads a string whose opening quote is next. Linear, eight bytes a step where nothing is special.
    ///
    /// # Errors
    /// Not a string, a control character, an unknown escape, a lone surrogate, no end.
    pub fn string(&mut self) -> Result<Text<'a>, Rule> {
        if !self.eat(b'"') {
            return Err("json: not a string");
        }
        let from = self.at;
        let mut escaped = false;
        loop {
            self.at += plain(self.rest());
            match self.peek() {
                Some(b'"') => {
                    let raw = self.slice(from);
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err("json: control character in a string"),
                None => return Err("json: string without an end"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Rule> {
        self.at += 1;
        let byte = self.peek().ok_or("json: string without an end")?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err("json: unknown escape"),
        })
    }

    fn unicode(&mut self) -> Result<char, Rule> {
        let unit = self.hex4()?;
        let scalar = match unit {
            0xd800..=0xdbff => {
                if !(self.eat(b'\\') && self.eat(b'u')) {
                    return Err("json: lone surrogate");
                }
                let low = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err("json: lone surrogate");
                }
                0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
            }
            other => other,
        };
        char::from_u32(scalar).ok_or("json: lone surrogate")
    }

    fn hex4(&mut self) -> Result<u32, Rule> {
        let digits = self.rest().get(..4).ok_or("json: unknown escape")?;
        let mut value = 0;
        for &digit in digits {
            value = value * 16 + char::from(digit).to_digit(16).ok_or("json: unknown escape")?;
        }
        self.at += 4;
        Ok(value)
    }

    /// Reads a number.
    ///
    /// # Errors
    /// Not JSON's grammar, or a magnitude that no double holds (RFC 8259 §6 leaves that to us).
    pub fn number(&mut self) -> Result<Number<'a>, Rule> {
        let from = self.at;
        self.eat(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err("json: not a value"),
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err("json: number with a leading zero");
        }
        let mut integer = true;
        if self.eat(b'.') {
            integer = false;
            self.some_digits()?;
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            integer = false;
            self.at += 1;
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.some_digits()?;
        }
        let raw = self.slice(from);
        if (exponent || raw.len() > 300) && !raw.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err("json: number too large");
        }
        Ok(Number { raw, integer })
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), Rule> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err("json: number without digits");
        }
        self.digits();
        Ok(())
    }
}

/// How many leading bytes are neither quote, backslash nor control. Eight at a time: a byte of `x` is zero exactly where
/// `(x - 0x01…) & !x & 0x80…` has its lowest flag (Warren, Hacker's Delight, §6-1).
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGH;
    let (chunks, tail) = bytes.as_chunks::<8>();
    let mut n = 0;
    for chunk in chunks {
        let x = u64::from_le_bytes(*chunk);
        let control = x.wrapping_sub(ONES * 0x20) & !x & HIGH;
        let special = control | zero(x ^ (ONES * 0x22)) | zero(x ^ (ONES * 0x5c));
        if special != 0 {
            return n + (special.trailing_zeros() / 8) as usize;
        }
        n += 8;
    }
    n + tail.iter().take_while(|&&b| b >= 0x20 && b != b'"' && b != b'\\').count()
}

impl<'a> Text<'a> {
    /// Appends what the string means to `out`. Linear; never more bytes than `raw` has.
    ///
    /// # Errors
    /// The same as [`Lexer::string`]; none for a token that it returned.
    pub fn unescape(self, out: &mut String) -> Result<(), Rule> {
        let mut lexer = Lexer::new(self.raw);
        loop {
            let from = lexer.at;
            lexer.at += memchr::memchr(b'\\', lexer.rest()).unwrap_or(lexer.rest().len());
            out.push_str(lexer.slice(from));
            if lexer.peek().is_none() {
                return Ok(());
            }
            out.push(lexer.escape()?);
        }
    }

    /// What the string means; allocates only where there is an escape.
    ///
    /// # Errors
    /// As [`Self::unescape`].
    pub fn meaning(self) -> Result<std::borrow::Cow<'a, str>, Rule> {
        if !self.escaped {
            return Ok(self.raw.into());
        }
        let mut out = String::with_capacity(self.raw.len());
        self.unescape(&mut out)?;
        Ok(out.into())
    }
}

/// Appends `text` as a JSON string, quotes included. Escapes what RFC 8259 §7 demands and nothing else: at most six
/// bytes for one.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (before, after) = rest.split_at(plain(rest));
        out.extend_from_slice(before);
        let Some((&special, after)) = after.split_first() else { break };
        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let digit = |d: u8| if d < 10 { b'0' + d } else { b'a' + d - 10 };
                out.extend_from_slice(b"\\u00");
                out.extend([digit(control >> 4), digit(control & 15)]);
            }
        }
        rest = after;
    }
    out.push(b'"');
}

/// Appends an unsigned integer in decimal. No allocation.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_string_reads_back(text in "\\PC*|[\\x00-\\x7f\u{2028}\u{2029}<é😀]{0,64}") {
            let mut out = Vec::new();
            put_string(&mut out, &text);
            let json = String::from_utf8(out).unwrap();
            prop_assert_eq!(&serde_json::from_str::<String>(&json).unwrap(), &text);
            prop_assert_eq!(Lexer::new(&json).string().unwrap().meaning().unwrap(), text.as_str());
        }

        #[test]
        fn a_string_is_read_as_serde_reads_it(inner in "([a-zA-Zé\"\\\\/bfnrtu0-9dD\\x01]|\\\\u[dD][89abcdefAF][0-9a-f]{2}|\\\\n){0,12}") {
            let json = format!("\"{inner}\"");
            let mut lexer = Lexer::new(&json);
            let ours = lexer.string().and_then(Text::meaning).ok().filter(|_| lexer.at() == json.len());
            prop_assert_eq!(ours.map(|o| o.into_owned()), serde_json::from_str::<String>(&json).ok());
        }

        #[test]
        fn integers_are_written_in_decimal(value: u64) {
            let mut out = Vec::new();
            put_u64(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }

        #[test]
        fn eight_at_a_time_finds_what_one_at_a_time_finds(bytes: Vec<u8>) {
            let slow = bytes.iter().take_while(|&&b| b >= 0x20 && b != b'"' && b != b'\\').count();
            prop_assert_eq!(plain(&bytes), slow);
        }
    }

    #[test]
    fn a_number_that_would_be_rounded_is_not_exact() {
        for good in [
            "0",
            "-0",
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "-0.0",
            "1e308",
            "0.30000000000000004",
            "5e-324",
            "100000000000000000000000.0",
            "0.000000000000000000001",
            "1.0000000000000000000000",
        ] {
            assert_eq!(Lexer::new(good).number().unwrap().exact(), Ok(()), "{good}");
        }
        for (bad, rule) in [
            ("18446744073709551616", "json: integer beyond 64 bits"),
            ("-9223372036854775809", "json: integer beyond 64 bits"),
            ("0.1000000000000000055", "json: more digits than a number holds"),
            ("123456789012345678.5", "json: more digits than a number holds"),
            ("1e-400", "json: number too small"),
        ] {
            assert_eq!(Lexer::new(bad).number().unwrap().exact(), Err(rule), "{bad}");
        }
    }

    #[test]
    fn only_what_must_be_escaped_is() {
        let mut out = Vec::new();
        put_string(&mut out, "\u{2028}</script>\u{0}\u{1f}\u{7f}\"\\\n");
        assert_eq!(String::from_utf8(out).unwrap(), "\"\u{2028}</script>\\u0000\\u001f\u{7f}\\\"\\\\\\n\"");
    }
}
