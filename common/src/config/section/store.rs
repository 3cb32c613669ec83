//! `[store]`: what the nodes share.

use super::super::file::Files;
use super::super::model::{Store, StoreUrl};
use super::super::read::Section;
use super::super::secret::Secret;
use super::super::value::{boolean, text, word};

/// How a URL may begin; the endings of the word tell the topology.
const SCHEMES: &[&str] =
    &["redis://", "rediss://", "redis-sentinel://", "rediss-sentinel://", "redis-cluster://", "rediss-cluster://"];

pub(super) fn store(mut s: Section<'_>, files: Files<'_>) -> Store {
    let parse = |v: &config::Value| match text(v)? {
        "memory:" => Ok(StoreUrl::Memory),
        url if SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => Ok(StoreUrl::Redis(Secret::new(url))),
        _ => Err(format!("must be \"memory:\", or begin with {}", SCHEMES.join(", "))),
    };
    let store = Store {
        url: s.or("url", StoreUrl::Memory, parse),
        prefix: s.or("prefix", "portcullis".to_owned(), word(64)),
        cluster_key_file: s.optional("cluster_key_file", |v| files.path(v)),
        naming_key_file: s.optional("naming_key_file", |v| files.path(v)),
        state_dir: s.optional("state_dir", |v| files.path(v)),
        may_evict: s.or("may_evict", false, boolean),
        username: s.optional("username", word(256)),
        password_file: s.optional("password_file", |v| files.path(v)),
        sentinel_username: s.optional("sentinel_username", word(256)),
        sentinel_password_file: s.optional("sentinel_password_file", |v| files.path(v)),
        ca_file: s.optional("ca_file", |v| files.path(v)),
        cert_file: s.optional("cert_file", |v| files.path(v)),
        key_file: s.optional("key_file", |v| files.path(v)),
    };
    fits(&mut s, &store);
    store
}

/// What is needed is there, and nothing is there that would do nothing.
fn fits(s: &mut Section<'_>, store: &Store) {
    let url = match &store.url {
        StoreUrl::Redis(url) => Some(String::from_utf8_lossy(url.expose()).into_owned()),
        StoreUrl::Memory => None,
    };
    let (shared, url) = (url.is_some(), url.unwrap_or_default());
    if shared {
        for key in ["cluster_key_file", "naming_key_file"] {
            if !s.has(key) {
                s.report().refuse(s.key(key), "is missing: nodes that share a Redis need it, the same on all of them");
            }
        }
    }
    let only = |s: &mut Section<'_>, keys: &[&'static str], when: bool, what: &str| {
        for key in keys {
            if !when && s.has(key) {
                s.report().refuse(s.key(key), format!("does nothing here: it is for {what}"));
            }
        }
    };
    only(s, &["username", "password_file", "state_dir"], shared, "a store that is a Redis");
    let sentinel = ["sentinel_username", "sentinel_password_file"];
    only(s, &sentinel, url.contains("-sentinel://"), "a store.url of redis-sentinel:// or rediss-sentinel://");
    only(s, &["ca_file", "cert_file", "key_file"], url.starts_with("rediss"), "a store.url of rediss://, with TLS");
    for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if s.has(one) && !s.has(other) {
            s.report().refuse(s.key(other), format!("is missing: `{one}` is of no use without it"));
        }
    }
}
