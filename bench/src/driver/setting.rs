//! In which setting a figure was taken: said behind what it is, where generators tell the same of several.

use crate::finding::Finding;

/// How the ids begin, and what is behind that.
const SETTINGS: [(&str, &str); 11] = [
    ("nodes0.", "one node, memory store"),
    ("nodes1.", "one node and Redis"),
    ("nodes2.", "two nodes and Redis"),
    ("nodes2-even.", "two nodes and Redis, 100 messages/s"),
    ("wide.1000", "in turn with more"),
    ("policy.memory.off.", "memory store, policies off"),
    ("policy.memory.defaults.", "memory store, policies at their defaults"),
    ("policy.memory.all.", "memory store, all policies"),
    ("policy.redis.off.", "Redis, policies off"),
    ("policy.redis.defaults.", "Redis, policies at their defaults"),
    ("policy.redis.all.", "Redis, all policies"),
];

/// The figure as a generator told it, with its setting.
#[must_use]
pub fn told(finding: Finding) -> Finding {
    let own_words = finding.id.contains(".users");
    match SETTINGS.iter().find(|(head, _)| !own_words && finding.id.starts_with(head)) {
        Some((_, setting)) => Finding { what: format!("{}, {setting}", finding.what), ..finding },
        None => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn figures_that_read_alike_differ_by_their_setting() {
        let told = |id: &str| told(Finding::new(id, "CPU", 1.0, "us", Value::Null)).what;
        assert_eq!(told("nodes1.1000"), "CPU, one node and Redis");
        assert_eq!(told("nodes2-even.10"), "CPU, two nodes and Redis, 100 messages/s");
        assert_eq!(told("policy.redis.all.w8.ratio"), "CPU, Redis, all policies");
        assert_eq!((told("policy.redis.all.users").as_str(), told("echo.w1.raw").as_str()), ("CPU", "CPU"));
    }
}
