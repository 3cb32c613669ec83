//! How a process signs what it says to the fleet, and by what clock it judges what it hears.

use std::sync::Arc;

use crate::clock::Clock;
use crate::store::record::{Issuer, Sealer};

/// For the bus and the control log.
#[derive(Clone)]
pub struct Trust {
    /// The cluster's keys.
    pub sealer: Sealer,
    /// This process. The epoch must be new at each start, because sequences begin at 1 again.
    pub issuer: Issuer,
    /// Wall time: what others say is refused when it is more than 30 s off.
    pub clock: Arc<dyn Clock>,
}
