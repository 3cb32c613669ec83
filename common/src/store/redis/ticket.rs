//! Connection tickets: a key a ticket, gone when it is redeemed or its time is over.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::Base;
use super::era::When;
use super::keys::{Kind, Place};
use super::link::garbled;
use super::script::{Args, Does, Script};
use crate::clock::millis;
use crate::store::StoreFuture;
use crate::store::ticket::Tickets;

static ISSUE: LazyLock<Script> = LazyLock::new(|| Script::in_era(Does::Grows, &[include_str!("lua/ticket_issue.lua")]));
static REDEEM: LazyLock<Script> =
    LazyLock::new(|| Script::in_era(Does::Shrinks, &[include_str!("lua/ticket_redeem.lua")]));

/// The first byte of a stored record.
const VERSION: u8 = b'1';

pub(super) struct RedisTickets {
    base: Arc<Base>,
}

impl RedisTickets {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { base }
    }
}

impl Tickets for RedisTickets {
    fn issue(&self, ticket: [u8; 32], record: Bytes, ttl: Duration) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let Base { keys, keep, .. } = &*self.base;
            let mut versioned = BytesMut::with_capacity(1 + record.len());
            versioned.put_u8(VERSION);
            versioned.put(record);
            let args = Args::new().with(&versioned[..]).with(millis(ttl.min(*keep)));
            let (place, named) = (keys.ticket(&ticket), |place: &Place<'_>| vec![place.key(Kind::Ticket)]);
            self.base.decide::<u8>(&ISSUE, When::Whole, place, named, &args).await?;
            Ok(())
        })
    }

    fn redeem(&self, ticket: [u8; 32]) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(async move {
            let (place, named) = (self.base.keys.ticket(&ticket), |place: &Place<'_>| vec![place.key(Kind::Ticket)]);
            let found: Option<Vec<u8>> = self.base.decide(&REDEEM, When::Whole, place, named, &Args::new()).await?;
            let Some(found) = found else { return Ok(None) };
            let mut record = Bytes::from(found);
            match record.split_to(record.len().min(1)).first() {
                Some(&VERSION) => Ok(Some(record)),
                _ => Err(garbled()),
            }
        })
    }
}
