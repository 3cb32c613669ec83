//! From file and environment to the model.

use std::collections::BTreeMap;
use std::path::Path;

use config::Value;

use super::error::{ConfigErrors, Report};
use super::file::{self, Files};
use super::model::Config;
use super::read::Section;
use super::{check, layer, section};

impl Config {
    /// Reads a configuration: the file's text, then `PORTCULLIS__SECTION__KEY` from `env` over it, then defaults.
    ///
    /// Files that it names are found relative to `base` and read (secrets, keys) or looked at (certificates); nothing
    /// else is touched but the host name, for `node.id`, where `env` has no `HOSTNAME`. In the environment everything
    /// is text: lists are separated by commas, `PORTCULLIS__AUTH__ISSUER__0__SECRET` is `auth.issuer[0].secret`, and
    /// the next free number appends.
    ///
    /// # Errors
    /// Everything that is wrong, at once; no message holds a configured value.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        base: &Path,
    ) -> Result<Self, ConfigErrors> {
        let Some(path) = file else {
            return Self::parse(None, env, base);
        };
        let name = path.display().to_string();
        let text = file::read(path, file::MAX_FILE)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "names a file that is not UTF-8".to_owned()));
        match text {
            Ok(text) => Self::parse_named(Some(&text), env, base, &name),
            Err(problem) => {
                let report = Report::default();
                report.refuse(name, problem);
                report.finish(None)
            }
        }
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
        Self::parse_named(text, env, base, "configuration")
    }

    fn parse_named(
        text: Option<&str>,
        env: impl Iterator<Item = (String, String)>,
        base: &Path,
        name: &str,
    ) -> Result<Self, ConfigErrors> {
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
    let skeleton = "[[auth.issuer]]\n[[operator]]\n[[room]]\nhistory = {}\n[message.x]\n";
    let report = Report::default();
    let tree = layer::tree(Some(skeleton), &BTreeMap::new(), "skeleton", &report);
    read(&tree, Files { base: Path::new("") }, "", &report);
    report.into_known()
}
