//! Operators' keys.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use portcullis_common::control::key::OperatorKey;
use serde_json::json;

use super::arguments::{Common, Keygen};
use super::{End, Trouble, show};

/// The operator's key, where none is named.
const KEY: &str = "operator.key";

/// Where the key is: named, else beside the configuration file, or where one stands.
pub fn path(common: &Common) -> PathBuf {
    let beside = || common.config.as_ref().map_or(PathBuf::from(KEY), |file| file.with_file_name(KEY));
    common.key.clone().unwrap_or_else(beside)
}

fn usage(path: &Path, problem: impl std::fmt::Display) -> Trouble {
    Trouble::Usage(format!("{}: {problem}", path.display()))
}

/// Reads a private key. One that everybody on the machine can read is refused, as ssh does.
pub fn read(path: &Path) -> Result<OperatorKey, Trouble> {
    let about = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => usage(path, "no such key: make one with `gatectl keygen`, or name it with --key"),
        kind => usage(path, format!("cannot be read: {kind}")),
    };
    let mode = std::fs::metadata(path).map_err(about)?.mode();
    if mode & 0o007 != 0 {
        return Err(usage(path, "is open to everybody on this machine: chmod 600"));
    }
    let text = std::fs::read_to_string(path).map_err(about)?;
    OperatorKey::from_pem(&text).map_err(|bad| usage(path, bad))
}

/// Makes a key, and says what belongs into the nodes' configuration.
pub fn keygen(what: &Keygen, json: bool) -> Result<End, Trouble> {
    let path = &what.out;
    let key = OperatorKey::generate(&mut rand::rng()).map_err(|bad| usage(path, bad))?;
    let pem = key.to_pem().map_err(|bad| usage(path, bad))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let there = error.kind() == ErrorKind::AlreadyExists;
        let problem = if there { "is there already".to_owned() } else { format!("cannot be written: {error}") };
        usage(path, problem)
    })?;
    file.write_all(pem.as_bytes()).map_err(|error| usage(path, error))?;
    let public = key.public();
    if json {
        let row = json!({"file": path.display().to_string(), "key_id": public.id().to_string(), "public_key": public.to_string()});
        show::json(&[row]);
    } else {
        show::line(&format!(
            "The private key is in {}; it stays with you. In the configuration of every node:\n\n[[operator]]\nname = \
             \"{}\"\nrole = \"{}\"\npublic_key = \"{public}\"",
            path.display(),
            what.name.escape_default(),
            what.role,
        ));
    }
    Ok(End::All)
}
