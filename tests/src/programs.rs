//! The programs under test: built once a process, so that they are never stale.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program with no `PORTCULLIS__` variables; arguments are up to the caller.
#[must_use]
pub fn without_variables(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("PORTCULLIS__")) {
        command.env_remove(name);
    }
    command
}

/// Builds a program of a package beside the test executable and answers where it is. `BUILT_PROGRAMS` names a folder where
/// all of them are already.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn built(package: &str, program: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("BUILT_PROGRAMS") {
        return Path::new(&folder).join(program);
    }
    let me = std::env::current_exe().unwrap();
    // target/PROFILE/deps/test-0123
    let profile = me.parent().and_then(Path::parent).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", package, "--bin", program]);
    if profile.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    build.arg("--target-dir").arg(profile.parent().unwrap());
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    assert!(build.status().unwrap().success(), "{program} does not build");
    profile.join(program)
}
