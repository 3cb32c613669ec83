//! How the store of a fleet is doing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{LinkState, RedisBus, RedisControl, RedisStore};
use crate::store::watch::{Probe, StoreCounts, StoreWatch};

/// Over the roles of one process.
pub struct RedisWatch {
    store: RedisStore,
    link: watch::Receiver<LinkState>,
    bus: Arc<RedisBus>,
    control: Arc<RedisControl>,
}

impl RedisWatch {
    /// Watches, and has the bus probe itself from now on (on the present runtime).
    #[must_use]
    pub fn start(store: RedisStore, bus: Arc<RedisBus>, control: Arc<RedisControl>) -> Self {
        bus.start_probe();
        Self { link: store.state(), store, bus, control }
    }
}

impl StoreWatch for RedisWatch {
    fn answers(&self) -> bool {
        *self.link.borrow() == LinkState::Up
    }

    fn log_age(&self) -> Option<Duration> {
        self.control.staleness()
    }

    fn log_current(&self) -> bool {
        self.control.is_current()
    }

    fn evicts(&self) -> bool {
        self.store.evicts()
    }

    fn probe(&self) -> Probe {
        self.bus.probe()
    }

    fn counts(&self) -> StoreCounts {
        StoreCounts {
            bus: self.bus.counts(),
            control: self.control.counts(),
            pushes_lost: self.store.pushes_lost(),
            copies_failed: self.control.copies_failed(),
        }
    }
}
