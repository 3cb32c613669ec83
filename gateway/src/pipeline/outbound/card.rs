//! Numbers of payment cards in text: the digits of an issuer (ISO/IEC 7812-1), a length that the issuer uses, and the
//! check digit (Luhn's formula, annex B there). Written in one piece or in groups, with spaces or dashes.

use std::ops::Range;

/// Digits of the shortest and of the longest number.
const LENGTHS: Range<usize> = 13..20;

/// Every card number in a text, as ranges of its bytes. Cost: a look at every byte, and for each group of digits at most
/// as many as a number is long.
pub fn find(text: &str, mut found: impl FnMut(Range<usize>)) {
    let bytes = text.as_bytes();
    if bytes.iter().filter(|b| b.is_ascii_digit()).nth(LENGTHS.start - 1).is_none() {
        return;
    }
    let mut at = 0;
    while let Some(start) = next_group(bytes, at) {
        match card(bytes, start) {
            Some(end) => {
                found(start..end);
                at = end;
            }
            None => at = end_of_group(bytes, start),
        }
    }
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

/// Where the next group of digits begins.
fn next_group(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.iter().position(u8::is_ascii_digit).map(|n| from + n)
}

fn end_of_group(bytes: &[u8], start: usize) -> usize {
    let digits = bytes.get(start..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit());
    start + digits.count()
}

/// The end of the card number that begins with this group, if one does.
fn card(bytes: &[u8], start: usize) -> Option<usize> {
    if start > 0 && part_of_word(bytes, start - 1, start.checked_sub(2)) {
        return None;
    }
    let mut digits = Vec::with_capacity(LENGTHS.end);
    let (mut at, mut separator) = (start, None);
    loop {
        let end = end_of_group(bytes, at);
        let group = end - at;
        // in groups, the first has four digits and the others three to six
        let fits = match separator {
            None => true,
            Some(_) => (3..=6).contains(&group),
        };
        if !fits || digits.len() + group >= LENGTHS.end {
            return None;
        }
        digits.extend(bytes.get(at..end)?.iter().map(|b| b - b'0'));
        if !part_of_word(bytes, end, Some(end + 1)) && plausible(&digits) {
            return Some(end);
        }
        let next = byte(bytes, end);
        let goes_on = matches!(next, b' ' | b'-')
            && separator.is_none_or(|known| known == next)
            && byte(bytes, end + 1).is_ascii_digit()
            && (separator.is_some() || group == 4);
        if !goes_on {
            return None;
        }
        separator = Some(next);
        at = end + 1;
    }
}

/// Whether the byte beside a number makes it a part of something else: a word, or a decimal fraction, of which the byte
/// beyond is a digit. Letters of other scripts do not: some write no spaces.
fn part_of_word(bytes: &[u8], at: usize, beyond: Option<usize>) -> bool {
    let beside = byte(bytes, at);
    let fraction = beside == b'.' && beyond.is_some_and(|beyond| byte(bytes, beyond).is_ascii_digit());
    beside.is_ascii_alphanumeric() || beside == b'_' || fraction
}

fn plausible(digits: &[u8]) -> bool {
    LENGTHS.contains(&digits.len()) && issued(digits) && luhn(digits)
}

/// Whether an issuer begins its numbers so and makes them so long.
fn issued(digits: &[u8]) -> bool {
    let prefix = |n: usize| digits.iter().take(n).fold(0u32, |sum, digit| sum * 10 + u32::from(*digit));
    let length = digits.len();
    match (prefix(1), prefix(2), prefix(3), prefix(4)) {
        // Visa
        (4, ..) => matches!(length, 13 | 16 | 19),
        // Mastercard
        (_, 51..=55, ..) | (_, _, _, 2221..=2720) => length == 16,
        // American Express
        (_, 34 | 37, ..) => length == 15,
        // Diners Club
        (_, _, 300..=305, _) | (_, 36 | 38 | 39, ..) => (14..=19).contains(&length),
        // JCB
        (_, _, _, 3528..=3589) => (16..=19).contains(&length),
        // Discover, UnionPay
        (_, _, _, 6011) | (_, _, 644..=649, _) | (_, 62 | 65, ..) => (16..=19).contains(&length),
        // Maestro
        (_, _, _, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763) => (13..=19).contains(&length),
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { u32::from(digit) * 2 - 9 } else { u32::from(digit) * 2 };
    let each = digits.iter().rev().enumerate();
    let sum: u32 = each.map(|(n, digit)| if n % 2 == 1 { doubled(*digit) } else { u32::from(*digit) }).sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Vec<&str> {
        let mut ranges = Vec::new();
        find(text, |range| ranges.push(range));
        ranges.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn numbers_are_found_where_they_begin_and_end() {
        assert_eq!(
            all("4111 1111 1111 1111 and 378282246310005, 12 5105-1051-0510-5100."),
            ["4111 1111 1111 1111", "378282246310005", "5105-1051-0510-5100"]
        );
        assert_eq!(all("4111111111111111 4111111111111111"), ["4111111111111111", "4111111111111111"]);
        assert_eq!(all("卡号4111111111111111。"), ["4111111111111111"]);
        assert_eq!(all("(4111111111111111)"), ["4111111111111111"]);
        assert_eq!(all("4111111111111111.50"), [""; 0]);
        assert_eq!(all("4111111111111111. Next"), ["4111111111111111"]);
    }

    #[test]
    fn one_wrong_digit_is_no_card() {
        let card = *b"4111111111111111";
        for at in 0..card.len() {
            let mut other = card;
            other[at] = if other[at] == b'9' { b'0' } else { other[at] + 1 };
            assert!(all(std::str::from_utf8(&other).unwrap()).is_empty(), "{at}");
        }
    }

    proptest! {
        #[test]
        fn a_card_is_found_in_any_company(before in "[a-z ]{0,9}[ (:]", after in "[ ),][a-z0-9 ]{0,9}", account in 0u64..1_000_000_000_000) {
            let head = format!("411{account:012}");
            let last = (0..10).find(|last| {
                let digits: Vec<u8> = format!("{head}{last}").bytes().map(|b| b - b'0').collect();
                luhn(&digits)
            }).unwrap();
            let text = format!("{before}{head}{last}{after}");
            prop_assert!(all(&text).contains(&format!("{head}{last}").as_str()), "{}", text);
        }

        #[test]
        fn no_text_is_too_much_for_it(text in "[0-9 .-]{0,400}\\PC{0,20}") {
            find(&text, |range| assert!(text.get(range).is_some()));
        }
    }
}
