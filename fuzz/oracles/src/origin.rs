//! `Origin`: what is on the list is there by the judgement of a URL parser too.

use portcullis_gateway::admit::facts::Head;
use portcullis_gateway::admit::origin::{check, parse};

use crate::rules::CONFIG;

/// One field.
pub fn origin(data: &[u8]) {
    let head = Head { method: "GET", target: "/ws".into(), version: (1, 1), headers: vec![("Origin", data)] };
    if let Ok(found) = check(&head, &CONFIG.origin) {
        let found = found.expect("the field is there");
        let text = std::str::from_utf8(data).expect("what is on the list is text").trim_matches([' ', '\t']);
        let Ok(url) = url::Url::parse(text) else {
            // labels that begin like Punycode and are none: no browser has them, and they name nothing else
            return assert!(found.host.contains("xn--"), "{text:?} is no URL");
        };
        assert_eq!(url.origin().ascii_serialization(), found.to_string());
        assert!(url.path() == "/" && url.query().is_none() && url.fragment().is_none(), "{text:?}");
        assert!(url.username().is_empty() && url.password().is_none(), "{text:?}");
        let (scheme, host, port) = (url.scheme(), url.host_str().expect("a host"), url.port_or_known_default());
        let listed = match host {
            "app.example" => (scheme, port) == ("https", Some(443)),
            "localhost" => (scheme, port) == ("http", Some(3000)),
            host => host.ends_with(".team.example") && (scheme, port) == ("https", Some(443)),
        };
        assert!(listed, "{text:?}");
    }
    // what is an origin at all is one in the judge's sense, and comes back as it was written out
    if let Some(found) = std::str::from_utf8(data).ok().and_then(parse) {
        assert_eq!(parse(&found.to_string()), Some(found.clone()));
        if let Ok(url) = url::Url::parse(&found.to_string()) {
            // the judge reads numbers as addresses, as browsers do, and they never send them unread
            let number = found
                .host
                .rsplit('.')
                .find(|l| !l.is_empty())
                .is_some_and(|l| l.starts_with(|c: char| c.is_ascii_digit()));
            assert!(number || url.origin().ascii_serialization() == found.to_string(), "{found}");
        }
    }
}
