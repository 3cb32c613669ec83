//! A result beside its budget, and its line of JSON.

use serde::Deserialize;
use serde_json::{Value, json};

use super::budget::{self, Budget};
use crate::Outcome;
use crate::finding::Finding;

/// What came of a measurement.
#[derive(Debug, Clone)]
pub enum Result {
    /// A figure.
    Found(Finding),
    /// The fault that kept it from coming out.
    Failed(String),
    /// Why nobody tried.
    Skipped(String),
}

/// A result beside its budget.
#[derive(Debug, Clone)]
pub struct Row {
    /// What came out.
    pub result: Result,
    /// How to get it again.
    pub command: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Found {
        id: String,
        what: String,
        value: f64,
        unit: String,
        #[serde(default)]
        detail: Value,
        command: String,
    },
    Failed {
        fault: String,
        command: String,
    },
    Skipped {
        skipped: String,
        command: String,
    },
}

impl Row {
    /// A figure.
    #[must_use]
    pub fn found(finding: Finding, command: &str) -> Self {
        Self { result: Result::Found(finding), command: command.to_owned() }
    }

    /// A fault.
    #[must_use]
    pub fn failed_with(fault: String, command: &str) -> Self {
        Self { result: Result::Failed(fault), command: command.to_owned() }
    }

    /// Nobody tried.
    #[must_use]
    pub fn skipped(why: String, command: &str) -> Self {
        Self { result: Result::Skipped(why), command: command.to_owned() }
    }

    /// The figure, if there is one.
    #[must_use]
    pub fn finding(&self) -> Option<&Finding> {
        match &self.result {
            Result::Found(finding) => Some(finding),
            _ => None,
        }
    }

    /// Whether something that should have worked did not.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self.result, Result::Failed(_))
    }

    /// What was promised, if anything.
    #[must_use]
    pub fn budget(&self) -> Option<Budget> {
        budget::of(&self.finding()?.id)
    }

    /// Whether the budget is met; `None` where there is none.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        Some(self.budget()?.allows(self.finding()?.value))
    }

    /// One line of the report.
    #[must_use]
    pub fn json(&self) -> Value {
        match &self.result {
            Result::Found(finding) => json!({
                "id": finding.id, "what": finding.what, "value": finding.value, "unit": finding.unit,
                "budget": self.budget().map(|budget| budget.to_string()), "met": self.met(), "command": self.command,
                "detail": finding.detail,
            }),
            Result::Failed(fault) => json!({ "fault": fault, "command": self.command }),
            Result::Skipped(why) => json!({ "skipped": why, "command": self.command }),
        }
    }

    /// Reads [`Row::json`]; budgets are those of today.
    ///
    /// # Errors
    /// It is no such line.
    pub fn read(line: &str) -> Outcome<Self> {
        Ok(match serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))? {
            Line::Found { id, what, value, unit, detail, command } => {
                Self { result: Result::Found(Finding { id, what, value, unit, detail }), command }
            }
            Line::Failed { fault, command } => Self { result: Result::Failed(fault), command },
            Line::Skipped { skipped, command } => Self { result: Result::Skipped(skipped), command },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_as_it_was_written() {
        let finding = Finding::new("echo.w1.ratio", "whole path / raw echo", 1.501, "x", json!({ "n": 1 }));
        let rows = [
            Row::found(finding, "run"),
            Row::failed_with("no server".to_owned(), "run"),
            Row::skipped("nats is not here".to_owned(), "run"),
        ];
        for row in &rows {
            assert_eq!(Row::read(&row.json().to_string()).expect("a line").json(), row.json());
        }
        assert_eq!((rows[0].met(), rows[1].failed(), rows[2].failed()), (Some(false), true, false));
        assert!(Row::read(r#"{"run":{}}"#).is_err());
    }
}
