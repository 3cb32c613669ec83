//! Nanoseconds, the read buffer hot, the best of many rounds: what a stage costs is what its type costs more than the type
//! before it.

use std::time::Instant;

use crate::callgrind::WHOLE;
use crate::case::Case;
use crate::{fan, guard, message, state};

/// Rounds, of which the best counts, all cases in turn: whatever else the machine does is not what is measured.
const ROUNDS: usize = 40;

/// Runs a round.
const RUNS: u32 = 2_000;

/// Budgets: nanoseconds of the whole, or this many times the bare typed decode.
const BUDGET: (f64, f64) = (2_000.0, 3.0);

/// Prints the table.
///
/// # Errors
/// A sentence, where neither budget is met.
pub fn print() -> Result<(), String> {
    let mut cases = message::cases();
    cases.extend(guard::cases());
    cases.extend(fan::cases());
    cases.extend(state::cases());
    let mut best = vec![f64::MAX; cases.len()];
    for _ in 0..ROUNDS {
        for (case, best) in cases.iter_mut().zip(&mut best) {
            *best = best.min(round(case));
        }
    }
    println!("{:<36} {:>8} {:>8}", "one message of 300 bytes", "ns", "more");
    let mut before = None;
    for (case, ns) in cases.iter().zip(&best) {
        let ladder = case.name.starts_with("pipeline up to ") || case.name == WHOLE;
        let more = before.filter(|_| ladder).map_or(String::new(), |before: f64| format!("{:+.0}", ns - before));
        println!("{:<36} {ns:>8.0} {more:>8}", case.name);
        before = ladder.then_some(*ns).or(before.filter(|_| !ladder));
    }
    let of = |name: &str| cases.iter().zip(&best).find(|(case, _)| case.name == name).map_or(f64::MAX, |(_, ns)| *ns);
    let (whole, typed) = (of(WHOLE), of("typed decode by serde"));
    println!("\nthe whole: {whole:.0} ns, {:.1} times the typed decode", whole / typed);
    if whole <= BUDGET.0 || whole <= BUDGET.1 * typed {
        Ok(())
    } else {
        Err(format!("more than {:.0} ns and more than {} times the typed decode", BUDGET.0, BUDGET.1))
    }
}

#[allow(clippy::disallowed_methods, reason = "a clock is what this is about")]
fn round(case: &mut Case) -> f64 {
    let began = Instant::now();
    let runs = u32::try_from(u64::from(RUNS) / case.operations).unwrap_or(RUNS).max(1);
    (0..runs).for_each(|_| (case.run)());
    let operations = f64::from(runs) * f64::from(u32::try_from(case.operations).unwrap_or(u32::MAX));
    began.elapsed().as_secs_f64() * 1e9 / operations
}
