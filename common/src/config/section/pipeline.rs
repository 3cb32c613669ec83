//! `[pipeline]`: what all message types have in common.

use super::super::model::Pipeline;
use super::super::read::Section;
use super::super::value::choice;
use crate::stage::{Stage, Stages};

pub(super) fn pipeline(mut s: Section<'_>) -> Pipeline {
    Pipeline { dry_run: dry_run(&mut s) }
}

/// Names of stages.
pub(super) fn dry_run(s: &mut Section<'_>) -> Stages {
    let legal: Vec<(&'static str, Stage)> = Stage::ALL.iter().map(|stage| (stage.name(), *stage)).collect();
    let stages = s.list("dry_run", choice(&legal)).unwrap_or_default();
    stages.into_iter().fold(Stages::NONE, Stages::with)
}
