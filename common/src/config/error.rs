//! Every error of a configuration at once, each with the path of its key.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

/// One thing that is wrong. Neither field ever holds a configured value, so an error may be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, as in `auth.issuer[0].algorithms[1]`; the name of a variable or a file where there is no key.
    pub path: String,
    /// What is wrong and what is legal, without the path.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

/// All that is wrong with a configuration, sorted by path (numbers in numerical order); never empty in an `Err`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects errors, and the keys that were asked for, while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: RefCell<Vec<ConfigError>>,
    known: RefCell<BTreeSet<String>>,
}

impl Report {
    /// Adds an error.
    pub(super) fn refuse(&self, path: impl Into<String>, problem: impl Into<String>) {
        self.errors.borrow_mut().push(ConfigError { path: path.into(), problem: problem.into() });
    }

    /// Whether nothing is wrong at `path`, beneath it, or with what contains it.
    pub(super) fn sound(&self, path: &str) -> bool {
        !self.errors.borrow().iter().any(|e| within(&e.path, path) || within(path, &e.path))
    }

    /// Adds an error about what several keys say together, unless one of them is wrong by itself already.
    pub(super) fn refuse_together(&self, keys: &[&str], path: &str, problem: impl Into<String>) {
        if self.sound(path) && keys.iter().all(|k| self.sound(k)) {
            self.refuse(path, problem);
        }
    }

    /// Notes that a key exists.
    pub(super) fn know(&self, key: String) {
        self.known.borrow_mut().insert(key);
    }

    /// The keys that were asked for.
    pub(super) fn into_known(self) -> Vec<String> {
        self.known.into_inner().into_iter().collect()
    }

    /// The end of reading: the value when nothing was refused, else every error.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, ConfigErrors> {
        let mut errors = self.errors.into_inner();
        errors.sort_by(|a, b| (order(&a.path), &a.problem).cmp(&(order(&b.path), &b.problem)));
        errors.dedup();
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            _ => Err(ConfigErrors(errors)),
        }
    }
}

/// Whether `path` is `outer` or lies beneath it.
fn within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Sorts `room[2]` before `room[10]`.
fn order(path: &str) -> Vec<(bool, u64, &str)> {
    path.split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_or((true, 0, part), |n| (false, n, "")))
        .collect()
}

/// The one of `legal` that `written` was probably meant to be: at most two edits away, and fewer than its length.
pub(super) fn suggestion<'l>(written: &str, legal: impl IntoIterator<Item = &'l str>) -> Option<&'l str> {
    if written.len() > 64 {
        return None;
    }
    let lower = written.to_ascii_lowercase();
    legal
        .into_iter()
        .map(|l| (distance(&lower, &l.to_ascii_lowercase()), l))
        .filter(|&(d, l)| d <= 2 && d < l.len())
        .min()
        .map(|(_, l)| l)
}

/// The optimal string alignment distance (an exchange of neighbours is one edit), in three rows.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let at = |row: &[usize], n: usize| row.get(n).copied().unwrap_or(usize::MAX - 1);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &cb) in b.iter().enumerate() {
            let change = at(&last, j) + usize::from(ca != cb);
            let mut best = change.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let crossed =
                i > 0 && j > 0 && a.get(i - 1).is_some_and(|&p| p == cb) && b.get(j - 1).is_some_and(|&p| p == ca);
            if crossed {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_two_letters_is_recognised_and_three_are_not() {
        let keys = ["max_per_user", "on_limit", "ping_interval"];
        assert_eq!(suggestion("max_per_usr", keys), Some("max_per_user"));
        assert_eq!(suggestion("MAX_PER_USER", keys), Some("max_per_user"));
        assert_eq!(suggestion("on_limti", keys), Some("on_limit"));
        assert_eq!(suggestion("on_lim", keys), Some("on_limit"));
        assert_eq!(suggestion("on_li", keys), None);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn errors_are_sorted_with_numbers_in_numerical_order() {
        let report = Report::default();
        for path in ["room[10].pattern", "room[2].pattern", "auth.leeway"] {
            report.refuse(path, "is wrong");
        }
        let errors = report.finish::<()>(None).unwrap_err();
        let paths: Vec<&str> = errors.0.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(paths, ["auth.leeway", "room[2].pattern", "room[10].pattern"]);
        assert!(errors.to_string().starts_with("auth.leeway: is wrong\nroom[2].pattern: is wrong\n"));
    }

    #[test]
    fn what_is_wrong_by_itself_is_not_blamed_a_second_time() {
        let report = Report::default();
        report.refuse("tls.mode", "is wrong");
        report.refuse_together(&["tls.mode"], "tls.cert_file", "is missing");
        report.refuse_together(&["tls.modern"], "listen.public", "is wrong too");
        let errors = report.finish::<()>(None).unwrap_err();
        assert_eq!(errors.0.len(), 2, "{errors}");
        assert!(within("a.b", "a") && within("a[0]", "a") && !within("ab", "a"));
    }
}
