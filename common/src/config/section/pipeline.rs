//! `[pipeline]`, `[signatures]`, `[leaks]`, `[anomaly]`: what all message types have in common.

use super::super::file::Files;
use super::super::model::{Anomaly, LeakUse, Leaks, Pipeline, Signatures};
use super::super::read::Section;
use super::super::unit::duration;
use super::super::value::{boolean, choice, integer};
use super::{DAY, secs};
use crate::stage::{Stage, Stages};

pub(super) fn pipeline(mut s: Section<'_>) -> Pipeline {
    Pipeline { dry_run: dry_run(&mut s) }
}

pub(super) fn signatures(mut s: Section<'_>, files: Files<'_>) -> Signatures {
    Signatures { builtin: s.or("builtin", true, boolean), file: s.optional("file", |v| files.signatures(v)) }
}

/// `leaks`
pub(in super::super) const LEAKS: &[(&str, LeakUse)] =
    &[("as_written", LeakUse::AsWritten), ("mask", LeakUse::Mask), ("block", LeakUse::Block), ("off", LeakUse::Off)];

pub(super) fn leaks(mut s: Section<'_>, files: Files<'_>) -> Leaks {
    Leaks {
        default: s.or("default", LeakUse::Off, choice(LEAKS)),
        builtin: s.or("builtin", true, boolean),
        file: s.optional("file", |v| files.signatures(v)),
    }
}

pub(super) fn anomaly(mut s: Section<'_>) -> Anomaly {
    let points = || integer(1..=1_000_000);
    let anomaly = Anomaly {
        half_life: s.or("half_life", secs(60), duration(secs(1)..=DAY)),
        restrict: s.or("restrict", 100, points()),
        disconnect: s.or("disconnect", 250, points()),
    };
    if anomaly.disconnect < anomaly.restrict {
        s.report().refuse_together(&[&s.key("restrict")], &s.key("disconnect"), "is less than `restrict`");
    }
    anomaly
}

/// Names of stages.
pub(super) fn dry_run(s: &mut Section<'_>) -> Stages {
    let legal: Vec<(&'static str, Stage)> = Stage::ALL.iter().map(|stage| (stage.name(), *stage)).collect();
    let stages = s.list("dry_run", choice(&legal)).unwrap_or_default();
    stages.into_iter().fold(Stages::NONE, Stages::with)
}
