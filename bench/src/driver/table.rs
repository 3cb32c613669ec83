//! The report as Markdown.

use super::Row;

/// What machine it was, then one table: what, measured, budget, met, command. Scenarios that failed come last, with the reason.
#[must_use]
pub fn markdown(rows: &[Row], machine: &str) -> String {
    let mut out =
        format!("{machine}\n\n| what | measured | budget | met? | command |\n| --- | ---: | ---: | --- | --- |\n");
    for row in rows {
        let Ok(finding) = &row.outcome else { continue };
        let budget = row.budget.map_or_else(|| "–".to_owned(), |budget| budget.to_string());
        let met = match row.met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        let measured = format!("{} {}", finding.value, finding.unit);
        out.push_str(&format!(
            "| {} | {} | {budget} | {met} | `{}` |\n",
            finding.what.replace('|', "\\|"),
            measured.trim_end(),
            row.command
        ));
    }
    for row in rows {
        if let Err(fault) = &row.outcome {
            out.push_str(&format!("\nFailed: {fault} (`{}`)\n", row.command));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::budget::Budget;
    use crate::finding::Finding;

    #[test]
    fn a_missed_budget_and_a_failed_scenario_can_be_seen() {
        let finding = Finding::new("x", "a figure", 5.0, "us", serde_json::Value::Null);
        let rows = [
            Row { outcome: Ok(finding), budget: Some(Budget::AtMost(4.0)), command: "run".to_owned() },
            Row { outcome: Err("no server".to_owned()), budget: None, command: "run".to_owned() },
        ];
        let table = markdown(&rows, "1 CPU");
        assert!(table.contains("| a figure | 5 us | ≤ 4 | **no** | `run` |"), "{table}");
        assert!(table.contains("Failed: no server (`run`)"), "{table}");
    }
}
