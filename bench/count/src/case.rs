//! What is measured: a name and something to run.

use crate::{fan, guard, hostile, message};

/// Something to run again and again, always the same work.
pub type Work = Box<dyn FnMut()>;

/// One row of the table.
pub struct Case {
    /// What it is called in the kept file.
    pub name: String,
    /// How many operations one run is: what is kept is the cost of one.
    pub operations: u64,
    /// The work.
    pub run: Work,
}

impl Case {
    /// A case whose run is one operation.
    pub fn one(name: impl Into<String>, run: impl FnMut() + 'static) -> Self {
        Self { name: name.into(), operations: 1, run: Box::new(run) }
    }

    /// Fills memories that stay: what is measured is not the first of its kind.
    pub fn warm(&mut self) {
        (0..3).for_each(|_| (self.run)());
    }
}

/// Every case, in the order of the table.
pub fn all() -> Vec<Case> {
    let mut cases = message::cases();
    cases.extend(guard::cases());
    cases.extend(fan::cases());
    cases.extend(hostile::cases());
    cases
}

/// The one function in which callgrind counts: by this name.
#[inline(never)]
pub fn measured(run: &mut Work) {
    run();
}
