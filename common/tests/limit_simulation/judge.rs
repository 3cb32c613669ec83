//! What must be true of everything that was let in.

/// One message that was let in.
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    /// True time, in seconds.
    pub at: f64,
    /// By a node's share, because the store did not decide.
    pub alone: bool,
}

/// The promise.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// Tokens a second.
    pub rate: f64,
    /// Tokens at once.
    pub burst: f64,
    /// Nodes.
    pub nodes: f64,
    /// The largest batch of a node, over all views of the fleet that there were.
    pub batch: f64,
    /// A fleet that grew: shares of the nodes together, as a multiple of the whole.
    pub shares: f64,
}

/// Moments, in true seconds, at which something was forgotten.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// The store forgot: at most a full count.
    pub store: Vec<f64>,
    /// A node died: at most its share of the burst.
    pub nodes: Vec<f64>,
}

impl Promise {
    /// What leased tokens may add to rate and burst.
    pub fn slack(&self) -> f64 {
        (self.rate * 3.0).min(self.nodes * self.batch)
    }

    /// In every window: what the store let in.
    ///
    /// # Errors
    /// The first window with more.
    pub fn keeps(&self, all: &[Admitted], forgot: &Forgotten) -> Result<(), String> {
        let leased: Vec<f64> = all.iter().filter(|one| !one.alone).map(|one| one.at).collect();
        let alone: Vec<f64> = all.iter().filter(|one| one.alone).map(|one| one.at).collect();
        let both: Vec<f64> = all.iter().map(|one| one.at).collect();
        let store = Extra { at: &forgot.store, worth: self.burst + self.nodes };
        // a fleet of one fewer has larger shares
        let node = Extra { at: &forgot.nodes, worth: (self.burst / (self.nodes - 1.0).max(1.0)).max(1.0) };
        let shares = self.burst.max(self.nodes) * self.shares + self.nodes;
        within("leased", &leased, self.rate, self.burst + self.slack(), &[store])?;
        within("by shares", &alone, self.rate * self.shares, shares, &[node])?;
        within("in all", &both, self.rate * 1.5, self.burst + self.slack() + shares, &[store, node])
    }
}

/// What is forgiven at some moments.
#[derive(Clone, Copy)]
struct Extra<'a> {
    at: &'a [f64],
    worth: f64,
}

/// At most `rate · T + burst` in every window, and what is forgiven in it.
fn within(what: &str, all: &[f64], rate: f64, burst: f64, extra: &[Extra<'_>]) -> Result<(), String> {
    // how many came before, less what the time before allowed: lowest so far
    let mut lowest = f64::MAX;
    for (n, at) in all.iter().enumerate() {
        let forgiven = |extra: &Extra<'_>| extra.at.partition_point(|moment| moment <= at) as f64 * extra.worth;
        let allowed = rate * at + extra.iter().map(forgiven).sum::<f64>();
        lowest = lowest.min(n as f64 - allowed);
        let most = (n + 1) as f64 - allowed - lowest;
        if most > burst + 1e-3 {
            return Err(format!(
                "{most:.2} let in {what} beyond the rate, {burst:.2} allowed, in a window to {at:.3} s"
            ));
        }
    }
    Ok(())
}
