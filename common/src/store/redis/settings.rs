//! How to use the Redis that a configuration names.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Login, RedisOptions};
use crate::config::model::Store;
use crate::config::secret::Secret;

/// A session's slot must not be forgotten while it lives: kept so much longer than a session may last.
const SLACK: Duration = Duration::from_secs(24 * 3_600);

impl RedisOptions {
    /// What `[store]` says, for sessions that live at most so long; reads the files that it names.
    ///
    /// # Errors
    /// The configuration path of every file with which something is wrong, and what; never what is in it.
    pub fn configured(store: &Store, longest_session: Duration) -> Result<Self, Vec<(String, String)>> {
        let naming_key = naming_key(store.naming_key_file.as_deref());
        Self::with(naming_key, store, longest_session)
    }

    /// The same without the naming key: an operator has none, and finds what everybody may know the name of.
    ///
    /// # Errors
    /// As [`RedisOptions::configured`].
    pub fn of_operator(store: &Store) -> Result<Self, Vec<(String, String)>> {
        Self::with(Ok([0; 32]), store, Duration::ZERO)
    }

    fn with(
        naming_key: Result<[u8; 32], String>,
        store: &Store,
        longest_session: Duration,
    ) -> Result<Self, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let naming_key = naming_key.map_err(|problem| problems.push(("store.naming_key_file".to_owned(), problem)));
        let mut file = |key: &str, path: Option<&Path>| {
            let bytes = std::fs::read(path?);
            bytes.map_err(|e| problems.push((format!("store.{key}"), format!("cannot be read: {}", e.kind())))).ok()
        };
        let password = file("password_file", store.password_file.as_deref());
        let sentinel_password = file("sentinel_password_file", store.sentinel_password_file.as_deref());
        let ca = file("ca_file", store.ca_file.as_deref());
        let chain = file("cert_file", store.cert_file.as_deref());
        let key = file("key_file", store.key_file.as_deref());
        let Some(naming_key) = naming_key.ok().filter(|_| problems.is_empty()) else { return Err(problems) };
        let login = |username: &Option<String>, password: Option<Vec<u8>>| Login {
            username: username.clone(),
            password: password.map(without_line_end),
        };
        let mut options = Self::new(naming_key);
        options.prefix.clone_from(&store.prefix);
        options.may_evict = store.may_evict;
        options.keep = options.keep.max(longest_session.saturating_add(SLACK));
        options.login = login(&store.username, password);
        options.sentinel_login = login(&store.sentinel_username, sentinel_password);
        options.ca = ca;
        options.client_certificate = chain.zip(key.map(Secret::new));
        Ok(options)
    }
}

/// What stands behind a password is of whoever wrote the file.
fn without_line_end(mut bytes: Vec<u8>) -> Secret {
    while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        bytes.pop();
    }
    Secret::new(bytes)
}

fn naming_key(file: Option<&Path>) -> Result<[u8; 32], String> {
    let text = std::fs::read_to_string(file.ok_or("is missing")?)
        .map_err(|error| format!("cannot be read: {}", error.kind()))?;
    let bytes = STANDARD.decode(text.trim()).map_err(|_| "is not base 64")?;
    bytes.try_into().map_err(|_| "does not hold 32 bytes".to_owned())
}
