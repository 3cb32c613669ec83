//! Users of Redis as `docs/OPERATIONS.md` has them: what is documented is what is tested.

const OPERATIONS: &str = include_str!("../../../docs/OPERATIONS.md");

/// The rules of every `ACL SETUSER user …` of the document, in its order. A selector is one rule.
pub fn documented(user: &str) -> Vec<Vec<String>> {
    let lines = OPERATIONS.lines().filter_map(|line| line.strip_prefix("ACL SETUSER "));
    let own = lines.filter_map(|line| line.split('#').next()?.trim().strip_prefix(&format!("{user} ")));
    let all: Vec<Vec<String>> = own.map(rules).collect();
    assert!(!all.is_empty(), "the document has no user {user}");
    all
}

/// The names of the commands that are allowed, `+command` or `+command|sub`.
pub fn commands(user: &str) -> Vec<String> {
    documented(user).concat().iter().filter_map(|rule| rule.strip_prefix('+')).map(str::to_owned).collect()
}

fn rules(text: &str) -> Vec<String> {
    let (plain, selector) = text.split_once('(').map_or((text, None), |(plain, rest)| (plain, Some(rest)));
    let mut rules: Vec<String> = plain.split_ascii_whitespace().map(str::to_owned).collect();
    rules.extend(selector.map(|rest| format!("({}", rest.trim())));
    rules
}
