//! Tickets: single use.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Fixture, Step, checks, ms};

checks![
    a_ticket_gives_its_record_once,
    an_unknown_ticket_gives_nothing,
    a_ticket_is_worth_nothing_after_its_time,
    of_many_who_show_a_ticket_at_once_one_gets_the_record,
    tickets_do_not_mix,
    ; long:
];

impl Fixture {
    async fn issue(&self, ticket: u8, record: &'static str, ttl: u64) {
        self.stores.tickets.issue([ticket; 32], Bytes::from_static(record.as_bytes()), ms(ttl)).await.unwrap();
    }

    async fn redeem(&self, ticket: u8) -> Option<Bytes> {
        self.stores.tickets.redeem([ticket; 32]).await.unwrap()
    }
}

async fn a_ticket_gives_its_record_once(f: Fixture) {
    f.issue(1, "claims", 60_000).await;
    assert_eq!(f.redeem(1).await.as_deref(), Some(b"claims".as_slice()));
    assert_eq!(f.redeem(1).await, None);
}

async fn an_unknown_ticket_gives_nothing(f: Fixture) {
    f.issue(1, "claims", 60_000).await;
    assert_eq!(f.redeem(2).await, None);
    assert!(f.redeem(1).await.is_some());
}

async fn a_ticket_is_worth_nothing_after_its_time(f: Fixture) {
    f.issue(1, "claims", 200).await;
    f.advance(250).await;
    assert_eq!(f.redeem(1).await, None);
}

async fn of_many_who_show_a_ticket_at_once_one_gets_the_record(f: Fixture) {
    for ticket in 0..10 {
        f.issue(ticket, "claims", 60_000).await;
        let got = Arc::new(Mutex::new(0));
        let tries = (0..30).map(|_| {
            let (stores, got) = (f.stores.clone(), Arc::clone(&got));
            Box::pin(async move {
                let record = stores.tickets.redeem([ticket; 32]).await.unwrap();
                *got.lock().unwrap() += u32::from(record.is_some());
            }) as Step<'static, ()>
        });
        f.together(tries.collect::<Vec<_>>()).await;
        assert_eq!(*got.lock().unwrap(), 1);
    }
}

async fn tickets_do_not_mix(f: Fixture) {
    f.issue(1, "one", 60_000).await;
    f.issue(2, "two", 100).await;
    f.advance(150).await;
    assert_eq!(f.redeem(2).await, None);
    assert_eq!(f.redeem(1).await.as_deref(), Some(b"one".as_slice()));
}
