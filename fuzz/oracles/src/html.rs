//! Fields that hold HTML: another implementation of the HTML standard's tokenizer finds nothing in the output but what is
//! on the list, and cleaning twice changes nothing. (No tag on the list begins foreign content or a raw text, so that the
//! tokens are all that a browser could make a tree of.)

use html5gum::{StartTag, Token, Tokenizer};
use portcullis_common::config::model::HtmlMode;
use portcullis_gateway::pipeline::sanitise::html::clean;

/// What `basic` lets through.
const ALLOWED: &str = "a b blockquote br code del em i li ol p pre s strong sub sup u ul";

/// One field, cleaned in every way there is.
pub fn html(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for mode in [HtmlMode::Basic, HtmlMode::Strip, HtmlMode::Escape] {
        let once = clean(mode, text).unwrap_or_else(|| text.to_owned());
        assert_eq!(clean(mode, &once), None, "{mode:?} of {text:?}: {once:?}");
        for token in Tokenizer::new(&once) {
            let Ok(token) = token;
            match token {
                Token::String(_) | Token::Error(_) => {}
                Token::StartTag(tag) if mode == HtmlMode::Basic => start(&tag, &once),
                Token::EndTag(tag) if mode == HtmlMode::Basic => {
                    assert!(listed(&String::from_utf8_lossy(&tag.name)), "{tag:?}: {once:?}");
                }
                other => panic!("{mode:?} left {other:?} in {once:?} of {text:?}"),
            }
        }
    }
}

fn listed(name: &str) -> bool {
    ALLOWED.split(' ').any(|one| one == name)
}

fn start(tag: &StartTag<()>, once: &str) {
    let name = String::from_utf8_lossy(&tag.name).into_owned();
    assert!(listed(&name), "{tag:?}: {once:?}");
    for (key, value) in &tag.attributes {
        let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value).into_owned());
        match (name.as_str(), &*key) {
            ("a", "title") => {}
            ("a", "rel") => assert_eq!(value, "noopener noreferrer nofollow"),
            ("a", "href") => {
                let url = url::Url::parse(&value).unwrap_or_else(|_| panic!("not absolute: {once:?}"));
                assert!(["http", "https", "mailto"].contains(&url.scheme()), "{once:?}");
            }
            (tag, attribute) => panic!("{attribute} of {tag} in {once:?}"),
        }
    }
}
