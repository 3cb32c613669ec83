//! Files that the configuration names. No message repeats a name: a secret may have been written in its place.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Value;

use super::model::{SchemaFile, SignatureFile};
use super::secret::Secret;
use super::value::line;
use crate::wire::scan::{Bounds, Scratch, scan};

/// The longest configuration, key set, or certificate chain.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// The longest secret or key.
const MAX_KEY: u64 = 64 << 10;

/// Finds files relative to one directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files<'b> {
    /// The directory of the configuration file.
    pub(super) base: &'b Path,
}

impl Files<'_> {
    /// Where a named file is; whether it exists is not looked at.
    pub(super) fn path(&self, value: &Value) -> Result<PathBuf, String> {
        Ok(self.base.join(line(4096)(value)?))
    }

    /// A secret from a file; line ends behind it are not part of it.
    pub(super) fn secret(&self, value: &Value) -> Result<Secret, String> {
        let mut bytes = read(&self.path(value)?, MAX_KEY)?;
        while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            bytes.pop();
        }
        Ok(Secret::new(bytes))
    }

    /// A public key in PEM from a file.
    pub(super) fn public_key(&self, value: &Value) -> Result<String, String> {
        let bytes = read(&self.path(value)?, MAX_KEY)?;
        public_key(&String::from_utf8(bytes).map_err(|_| "names a file that is not PEM")?)
    }

    /// A file of text, and where it is.
    pub(super) fn text(&self, value: &Value) -> Result<(PathBuf, String), String> {
        let path = self.path(value)?;
        let text = String::from_utf8(read(&path, MAX_FILE)?).map_err(|_| "names a file that is not UTF-8")?;
        Ok((path, text))
    }

    /// A file with a JSON Schema: strict JSON; whether it is a schema is judged where it is compiled.
    pub(super) fn schema(&self, value: &Value) -> Result<SchemaFile, String> {
        let (path, text) = self.text(value)?;
        // twice the same key would silently mean the second
        if let Err(reject) = scan(&text, Bounds::NONE, &mut Scratch::default()) {
            return Err(format!("names a file that is not strict JSON ({})", reject.detail));
        }
        let json = serde_json::from_str(&text)
            .map_err(|e| format!("names a file that is not JSON, at line {}, column {}", e.line(), e.column()))?;
        Ok(SchemaFile { path, json: Arc::new(json) })
    }

    /// A file with signatures; what it says is judged where it is compiled.
    pub(super) fn signatures(&self, value: &Value) -> Result<SignatureFile, String> {
        let path = self.path(value)?;
        let text = String::from_utf8(read(&path, MAX_FILE)?).map_err(|_| "names a file that is not UTF-8")?;
        Ok(SignatureFile { path, text: text.into() })
    }

    /// A file with a JWK set; the keys themselves are judged where they are used.
    pub(super) fn jwks(&self, value: &Value) -> Result<PathBuf, String> {
        let path = self.path(value)?;
        let set: serde_json::Value = serde_json::from_slice(&read(&path, MAX_FILE)?)
            .map_err(|e| format!("names a file that is not JSON, at line {}, column {}", e.line(), e.column()))?;
        match set.get("keys").and_then(serde_json::Value::as_array) {
            Some(keys) if !keys.is_empty() => Ok(path),
            _ => Err("names a file without keys: {\"keys\": [...]} is expected".into()),
        }
    }
}

/// A PEM text that holds a public key and no private one.
pub(super) fn public_key(text: &str) -> Result<String, String> {
    if text.contains("PRIVATE KEY-----") {
        return Err("is a private key: a gateway that checks tokens needs the public one".into());
    }
    if text.contains("PUBLIC KEY-----") {
        Ok(text.trim().to_owned() + "\n")
    } else {
        Err("must be a public key in PEM: -----BEGIN PUBLIC KEY-----".into())
    }
}

/// Whether a PEM file can be read and holds a block of this kind.
pub(super) fn holds_pem(path: &Path, block: &str) -> Result<(), String> {
    let bytes = read(path, MAX_FILE)?;
    let text = String::from_utf8_lossy(&bytes);
    if text.contains(&format!("{block}-----")) {
        Ok(())
    } else {
        Err(format!("names a file without -----BEGIN {block}-----"))
    }
}

/// A whole file of at most `max` bytes.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let fault = |e: &std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => {
            "names a file that does not exist (a relative path starts at the configuration file's directory)".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => "names a file that this user may not read".to_owned(),
        kind => format!("names a file that cannot be read: {kind}"),
    };
    let file = std::fs::File::open(path).map_err(|e| fault(&e))?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(|e| fault(&e))?;
    if bytes.len() as u64 > max {
        return Err(format!("names a file longer than {max} bytes"));
    }
    Ok(bytes)
}
