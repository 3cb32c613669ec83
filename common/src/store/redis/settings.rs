//! How to use the Redis that a configuration names.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::RedisOptions;
use crate::config::model::Store;

/// A session's slot must not be forgotten while it lives: kept so much longer than a session may last.
const SLACK: Duration = Duration::from_secs(24 * 3_600);

impl RedisOptions {
    /// What `[store]` says, for sessions that live at most so long; reads the naming key's file.
    ///
    /// # Errors
    /// The key's configuration path and what is wrong with it; never what is in the file.
    pub fn configured(store: &Store, longest_session: Duration) -> Result<Self, (String, String)> {
        let naming_key = naming_key(store.naming_key_file.as_deref())
            .map_err(|problem| ("store.naming_key_file".to_owned(), problem))?;
        let mut options = Self::new(naming_key);
        options.prefix.clone_from(&store.prefix);
        options.may_evict = store.may_evict;
        options.keep = options.keep.max(longest_session.saturating_add(SLACK));
        Ok(options)
    }
}

fn naming_key(file: Option<&Path>) -> Result<[u8; 32], String> {
    let text = std::fs::read_to_string(file.ok_or("is missing")?)
        .map_err(|error| format!("cannot be read: {}", error.kind()))?;
    let bytes = STANDARD.decode(text.trim()).map_err(|_| "is not base 64")?;
    bytes.try_into().map_err(|_| "does not hold 32 bytes".to_owned())
}
