//! From file and environment to the model.

use std::collections::BTreeMap;
use std::path::Path;

use config::Value;

use super::error::{ConfigErrors, Report};
use super::file::{self, Files};
use super::model::{Config, CoordinatorConfig, Store};
use super::read::Section;
use super::{check, layer, section};

impl Config {
    /// Reads a configuration: the file's text, then `PORTCULLIS__SECTION__KEY` from `env` over it, then defaults.
    ///
    /// Files that it names are found relative to the file's directory (without a file: to the working directory) and read (secrets, keys) or looked at (certificates); nothing
    /// else is touched but the host name, for `node.id`, where `env` has no `HOSTNAME`. In the environment everything
    /// is text: lists are separated by commas, `PORTCULLIS__AUTH__ISSUER__0__SECRET` is `auth.issuer[0].secret`, and
    /// the next free number appends.
    ///
    /// # Errors
    /// Everything that is wrong, at once; no message holds a configured value.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        load(file, env, read)
    }

    /// [`Config::load`], of a text already read.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        text: Option<&str>,
        env: impl Iterator<Item = (String, String)>,
        base: &Path,
    ) -> Result<Self, ConfigErrors> {
        parse(text, env, base, "configuration", read)
    }
}

impl CoordinatorConfig {
    /// As [`Config::load`], of what a coordinator needs: what else the file says is for the gateways to judge.
    ///
    /// # Errors
    /// As [`Config::load`]; a store that no other process can see, too.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        load(file, env, read_coordinator)
    }

    /// As [`Config::parse`].
    ///
    /// # Errors
    /// As [`CoordinatorConfig::load`].
    pub fn parse(
        text: Option<&str>,
        env: impl Iterator<Item = (String, String)>,
        base: &Path,
    ) -> Result<Self, ConfigErrors> {
        parse(text, env, base, "configuration", read_coordinator)
    }
}

impl Store {
    /// As [`Config::load`], of `[store]` alone, for programs that have neither sockets nor clients: an operator's file may
    /// hold no more, and the two key files are not looked at.
    ///
    /// # Errors
    /// As [`Config::load`], of that section.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        // nodes need them, operators have none
        let keys = ["CLUSTER_KEY_FILE", "NAMING_KEY_FILE"];
        let unused = keys.map(|key| (format!("PORTCULLIS__STORE__{key}"), "unused".to_owned()));
        let of_store = env.filter(|(name, _)| name.starts_with("PORTCULLIS__STORE__"));
        let store = load(file, of_store.chain(unused), read_store)?;
        Ok(Self { cluster_key_file: None, naming_key_file: None, ..store })
    }
}

/// What is read of a tree: the whole of it, or one program's part.
type Read<T> = fn(&Value, Files<'_>, &str, &Report) -> T;

fn load<T>(file: Option<&Path>, env: impl Iterator<Item = (String, String)>, read: Read<T>) -> Result<T, ConfigErrors> {
    let directory = file.and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
    let base = directory.unwrap_or(Path::new("."));
    let Some(path) = file else {
        return parse(None, env, base, "configuration", read);
    };
    let name = path.display().to_string();
    let text = file::read(path, file::MAX_FILE)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "names a file that is not UTF-8".to_owned()));
    match text {
        Ok(text) => parse(Some(&text), env, base, &name, read),
        Err(problem) => {
            let report = Report::default();
            report.refuse(name, problem);
            report.finish(None)
        }
    }
}

fn parse<T>(
    text: Option<&str>,
    env: impl Iterator<Item = (String, String)>,
    base: &Path,
    name: &str,
    read: Read<T>,
) -> Result<T, ConfigErrors> {
    let env: BTreeMap<String, String> = env.collect();
    let report = Report::default();
    let tree = layer::tree(text, &env, name, &report);
    if !report.sound(name) {
        return report.finish(None);
    }
    // An absolute base keeps the paths in the model true wherever the process goes.
    let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
    let host = match env.get("HOSTNAME") {
        Some(host) => host.clone(),
        None => std::fs::read_to_string("/etc/hostname").unwrap_or_default(),
    };
    let config = read(&tree, Files { base: &base }, &host, &report);
    report.finish(Some(config))
}

fn read_coordinator(tree: &Value, files: Files<'_>, host: &str, report: &Report) -> CoordinatorConfig {
    section::read_coordinator(Section::root(tree, report), files, host)
}

fn read_store(tree: &Value, files: Files<'_>, _: &str, report: &Report) -> Store {
    section::read_store(Section::root(tree, report), files)
}

fn read(tree: &Value, files: Files<'_>, host: &str, report: &Report) -> Config {
    let config = section::read(Section::root(tree, report), files, host);
    check::check(&config, report);
    config
}

/// This process's environment, for [`Config::load`]; what is not UTF-8 gets replacement characters.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    let lossy = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (lossy(name), lossy(value)))
}

/// Every key there is, sorted: `auth.issuer[].name`, `message.NAME.rate`. What documentation is held against.
#[must_use]
pub fn known_keys() -> Vec<String> {
    let skeleton = "[[auth.issuer]]\n[[operator]]\n[[room]]\nhistory = {}\n[message.x]\n[limit.x]\n[feed.x]\n";
    let report = Report::default();
    let tree = layer::tree(Some(skeleton), &BTreeMap::new(), "skeleton", &report);
    read(&tree, Files { base: Path::new("") }, "", &report);
    report.into_known()
}
