//! `[[operator]]`: who may command the fleet.

use super::super::model::{Operator, OperatorRole};
use super::super::read::Section;
use super::super::value::{choice, text, word};
use crate::control::key::PublicKey;

/// More would be a sign of keys that nobody takes away.
const MOST: usize = 256;

pub(super) fn operators(root: &mut Section<'_>) -> Vec<Operator> {
    let report = root.report();
    let mut operators: Vec<(usize, Operator)> = Vec::new();
    for (index, section) in root.elements("operator") {
        let Some(operator) = operator(section) else { continue };
        let refuse = |key: &str, problem: String| report.refuse(format!("operator[{index}].{key}"), problem);
        for (earlier, other) in &operators {
            if other.name == operator.name {
                refuse("name", format!("is also the name of operator[{earlier}]"));
            }
            if other.public_key == operator.public_key {
                refuse("public_key", format!("is also the key of operator[{earlier}]: nobody could say who it was"));
            }
        }
        operators.push((index, operator));
    }
    if operators.len() > MOST {
        report.refuse("operator", format!("has more than {MOST} entries"));
    }
    operators.into_iter().map(|(_, operator)| operator).collect()
}

fn operator(mut s: Section<'_>) -> Option<Operator> {
    let roles = [OperatorRole::Viewer, OperatorRole::Operator, OperatorRole::Admin].map(|role| (role.name(), role));
    let name = s.required("name", "the log calls the operator by it", word(64));
    let role = s.required("role", "\"viewer\", \"operator\" or \"admin\"", choice(&roles));
    let key = s.required("public_key", "`gatectl keygen` makes one", |v| {
        let what = "must be an Ed25519 public key, 32 bytes in base 64, as `gatectl keygen` prints it";
        PublicKey::parse(text(v)?).ok_or_else(|| what.to_owned())
    });
    Some(Operator { name: name?, role: role?, public_key: key? })
}
