//! What happened in a simulation, counted.

use std::fmt;

/// What happened, all schedules together.
#[derive(Debug, Default, Clone, Copy)]
pub struct Told {
    pub schedules: u64,
    pub attempts: u64,
    pub admitted: u64,
    pub refused: u64,
    pub alone: u64,
    pub parked: u64,
    pub credit: u64,
    pub returned: u64,
    pub calls: u64,
    pub failed: u64,
    pub pauses: u64,
    pub forgot: u64,
    pub deaths: u64,
}

impl Told {
    pub fn add(&mut self, more: &Self) {
        self.schedules += more.schedules;
        self.attempts += more.attempts;
        self.admitted += more.admitted;
        self.refused += more.refused;
        self.alone += more.alone;
        self.parked += more.parked;
        self.credit += more.credit;
        self.returned += more.returned;
        self.calls += more.calls;
        self.failed += more.failed;
        self.pauses += more.pauses;
        self.forgot += more.forgot;
        self.deaths += more.deaths;
    }

    pub fn and(mut self, more: Self) -> Self {
        self.add(&more);
        self
    }

    /// A simulation in which something never happens proves nothing about it.
    pub fn assert_everything_happened(&self) {
        for (what, count) in [
            ("refused", self.refused),
            ("alone", self.alone),
            ("parked", self.parked),
            ("credit", self.credit),
            ("returned", self.returned),
            ("failed", self.failed),
            ("pauses", self.pauses),
            ("forgot", self.forgot),
            ("deaths", self.deaths),
        ] {
            assert!(count > 100, "{what}: {count}");
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schedules, attempts, admitted, refused, alone, parked, credit, returned, .. } = self;
        let Self { calls, failed, pauses, forgot, deaths, .. } = self;
        write!(
            f,
            "{schedules} schedules, {attempts} messages: {admitted} let in ({alone} by shares, {credit} on credit), \
             {refused} refused, {parked} parked, {returned} given back; {calls} calls, {failed} failed; {pauses} pauses, \
             {forgot} failovers and losses, {deaths} deaths"
        )
    }
}
