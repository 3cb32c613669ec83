//! Connection tickets: a key a ticket, gone when it is redeemed or its time is over.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::Base;
use super::keys::Kind;
use super::link::garbled;
use super::script::{Args, Does, Script};
use crate::clock::millis;
use crate::store::StoreFuture;
use crate::store::ticket::Tickets;

static ISSUE: LazyLock<Script> = LazyLock::new(|| Script::new(Does::Grows, &[include_str!("lua/ticket_issue.lua")]));
static REDEEM: LazyLock<Script> =
    LazyLock::new(|| Script::new(Does::Shrinks, &[include_str!("lua/ticket_redeem.lua")]));

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
            let Base { link, keys, keep, .. } = &*self.base;
            let mut versioned = BytesMut::with_capacity(1 + record.len());
            versioned.put_u8(VERSION);
            versioned.put(record);
            let args = Args::new().with(&versioned[..]).with(millis(ttl.min(*keep)));
            ISSUE.run::<u8>(link, &[keys.ticket(&ticket).key(Kind::Ticket)], &args).await?;
            Ok(())
        })
    }

    fn redeem(&self, ticket: [u8; 32]) -> StoreFuture<'_, Option<Bytes>> {
        Box::pin(async move {
            let Base { link, keys, .. } = &*self.base;
            let key = keys.ticket(&ticket).key(Kind::Ticket);
            let found: Option<Vec<u8>> = REDEEM.run(link, &[key], &Args::new()).await?;
            let Some(found) = found else { return Ok(None) };
            let mut record = Bytes::from(found);
            match record.split_to(record.len().min(1)).first() {
                Some(&VERSION) => Ok(Some(record)),
                _ => Err(garbled()),
            }
        })
    }
}
