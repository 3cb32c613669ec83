//! The query of the request target: the ticket, and no other secret. A query ends up in access logs of every proxy on
//! the way, so a token in it is refused even if nobody here would read it, and nothing of it is ever logged.

use portcullis_common::wire::reject::Reject;

use super::facts::malformed;

/// Parameters that are looked at; more are refused.
const PARAMETERS: usize = 32;

/// The longest ticket.
const TICKET_MAX: usize = 128;

/// The single-use ticket, if there is one. Other parameters are passed over, as long as none of them is, or could be
/// named as, a token.
///
/// # Errors
/// `malformed`: bad percent-encoding, more than one ticket, a ticket that is none, a token.
pub fn ticket(query: Option<&str>) -> Result<Option<String>, Reject> {
    let Some(query) = query.filter(|q| !q.is_empty()) else { return Ok(None) };
    let mut ticket = None;
    for (count, parameter) in query.split('&').enumerate() {
        if count >= PARAMETERS {
            return Err(malformed("too many query parameters"));
        }
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let name = decode(name)?;
        let value = decode(value)?;
        if names_a_token(&name) || holds_a_token(&name) || holds_a_token(&value) {
            return Err(malformed("a token in the query string"));
        }
        if name == b"ticket" && ticket.replace(ticket_of(value)?).is_some() {
            return Err(malformed("more than one ticket"));
        }
    }
    Ok(ticket)
}

fn ticket_of(value: Vec<u8>) -> Result<String, Reject> {
    let legal = (1..=TICKET_MAX).contains(&value.len()) && value.iter().all(|b| is_base64url(*b));
    String::from_utf8(value).ok().filter(|_| legal).ok_or_else(|| malformed("the ticket is not well formed"))
}

/// Percent-decodes once; `+` is a space, as forms write it.
fn decode(text: &str) -> Result<Vec<u8>, Reject> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let pair = bytes.next().and_then(hex).zip(bytes.next().and_then(hex));
                let (high, low) = pair.ok_or_else(|| malformed("bad percent-encoding in the query"))?;
                high << 4 | low
            }
            b'+' => b' ',
            other => other,
        });
    }
    Ok(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

fn is_base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')
}

/// Names under which clients of other gateways send tokens.
fn names_a_token(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let holds = |word: &[u8]| name.windows(word.len()).any(|w| w == word);
    name.starts_with(b"auth") || holds(b"token") || holds(b"jwt") || holds(b"bearer") || holds(b"password")
}

/// Whether some part looks like a compact JWS or JWE (RFC 7515 §7.1, RFC 7516 §7.1): base64url of a JSON object's
/// beginning, at least as long as the shortest header, then two or more dots.
fn holds_a_token(value: &[u8]) -> bool {
    // `{"`, `{ `, and `{` with a line end or tab after it
    const STARTS: [&[u8]; 5] = [b"eyJ", b"eyA", b"ewo", b"ew0", b"ewk"];
    value.split(|b| !is_base64url(*b) && *b != b'.').any(|piece| {
        let dots = piece.iter().filter(|b| **b == b'.').count();
        let header = piece.split(|b| *b == b'.').next().unwrap_or_default();
        dots >= 2 && header.windows(3).take(header.len().saturating_sub(15)).any(|w| STARTS.contains(&w))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_taken_once_and_other_parameters_are_passed_over() {
        for (query, want) in [
            (None, None),
            (Some(""), None),
            (Some("v=1"), None),
            (Some("ticket=abc-_9"), Some("abc-_9")),
            (Some("v=1&%74icket=a%62c"), Some("abc")),
            (Some("q=hey.you"), None),
            (Some("host=key.example.com"), None),
        ] {
            assert_eq!(ticket(query).unwrap().as_deref(), want, "{query:?}");
        }
    }

    #[test]
    fn a_token_under_any_name_or_encoding_is_refused() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
        let escaped = jwt.replace('.', "%2E").replace("ey", "%65y");
        for query in [
            "token=x".to_owned(),
            "access_token=".to_owned(),
            "id_token".to_owned(),
            "JWT=1".to_owned(),
            "Bearer=1".to_owned(),
            "authorization=1".to_owned(),
            "auth=1".to_owned(),
            "%74oken=1".to_owned(),
            format!("x={jwt}"),
            format!("x={escaped}"),
            format!("x=Bearer+{jwt}"),
            format!("x=a{jwt}"),
            format!("ticket={jwt}"),
            jwt.to_owned(),
            "x=eyJhbGciOiJub25lIn0.e30.".to_owned(),
        ] {
            assert!(ticket(Some(&query)).is_err(), "{query}");
        }
    }

    #[test]
    fn tickets_that_are_none_are_refused() {
        let long = format!("ticket={}", "a".repeat(129));
        for bad in ["ticket=", "ticket", "ticket=a b", "ticket=a+b", "ticket=a&ticket=b", "ticket=%zz", "a=%4", &long] {
            assert!(ticket(Some(bad)).is_err(), "{bad}");
        }
        assert!(ticket(Some(&"a&".repeat(40))).is_err(), "too many");
    }

    proptest::proptest! {
        #[test]
        fn no_query_makes_it_panic(query in "\\PC*") {
            let _ = ticket(Some(&query));
        }
    }
}
