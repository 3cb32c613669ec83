//! Slow handshakes, slow readers and healthy clients on one node: the healthy ones notice nothing, and what the others
//! may hold is bounded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use portcullis_tests::blocking::{Knock, Raw, dial};
use portcullis_tests::inside::{Inside, until};
use portcullis_tests::tokens;
use serde_json::{Value, json};

const HEALTHY: usize = 100;
const SLOW_READERS: usize = 100;
const SLOW_HANDSHAKES: usize = 300;
const OUTBOX: usize = 32 << 10;

fn open(inside: &Inside, user: &str) -> Raw {
    Raw::open(inside.public, &tokens::good(user))
}

fn to_room(room: &str, payload: impl Into<Value>) -> Value {
    json!({"type": "quiet", "to": {"room": room}, "payload": payload.into()})
}

/// Half of a request head, the rest of which comes a byte at a time.
struct Trickle {
    stream: TcpStream,
    sent: usize,
}

impl Trickle {
    const HEAD: &'static [u8] =
        b"GET /ws HTTP/1.1\r\nHost: test.example\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn begin(inside: &Inside) -> Self {
        let mut stream = TcpStream::connect(inside.public).unwrap();
        stream.write_all(&Self::HEAD[..20]).unwrap();
        Self { stream, sent: 20 }
    }

    /// One byte more; the connection may be gone by now.
    fn drip(&mut self) {
        if let Some(byte) = Self::HEAD.get(self.sent) {
            self.sent += 1;
            let _ = self.stream.write_all(&[*byte]);
        }
    }

    /// Whether the server has given it up, with an answer or without.
    fn is_over(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut sink = [0; 1_024];
        loop {
            match self.stream.read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    }
}

/// Every healthy client is answered and gets what the others say.
fn all_well(healthy: &mut [Raw], round: usize) {
    healthy[round % HEALTHY].say(to_room("plain.well", round));
    for (n, raw) in healthy.iter_mut().enumerate() {
        if n != round % HEALTHY {
            assert_eq!(raw.message()["payload"], round);
        }
        assert_eq!(raw.ask(json!({"type": "health-check"}))["type"], "health-check");
    }
}

#[test]
fn healthy_clients_notice_nothing_of_slow_ones_and_memory_is_bounded() {
    let outbox = OUTBOX.to_string();
    let inside = Inside::start(&[
        ("listen.header_timeout", "2s"),
        ("size.message", "16384"),
        ("size.outbox", outbox.as_str()),
        ("session.close_timeout", "1s"),
    ]);
    let mut healthy: Vec<Raw> = (0..HEALTHY).map(|n| open(&inside, &format!("well{n}"))).collect();
    for raw in &mut healthy {
        raw.join("plain.well");
    }
    let slow: Vec<Raw> = (0..SLOW_READERS)
        .map(|n| {
            let stream = dial(Ipv4Addr::LOCALHOST, inside.public, 4_096);
            let mut raw = Knock::on(stream, &tokens::good(&format!("slow{n}")), None).answer().unwrap();
            raw.join("plain.flood");
            raw
        })
        .collect();
    let mut trickles: Vec<Trickle> = (0..SLOW_HANDSHAKES).map(|_| Trickle::begin(&inside)).collect();
    let mut flooder = open(&inside, "flooder");
    flooder.join("plain.flood");
    all_well(&mut healthy, 0);

    // the sessions there are, each with a full outbox
    let bound = i64::try_from((HEALTHY + SLOW_READERS + 1) * OUTBOX).unwrap();
    let text = "x".repeat(12 << 10);
    let mut round = 0;
    while inside.node.registry.count() > HEALTHY + 1 {
        round += 1;
        assert!(round < 10_000, "the slow readers are never closed");
        assert_eq!(flooder.ask(to_room("plain.flood", text.clone()))["type"], "ack");
        assert!(inside.node.metrics.outbox_bytes.get() <= bound);
        trickles.iter_mut().for_each(Trickle::drip);
        if round % 10 == 0 {
            all_well(&mut healthy, round);
        }
    }
    assert_eq!(inside.metric("portcullis_closes_total{code=\"slow_consumer\"}"), SLOW_READERS as f64);
    all_well(&mut healthy, round + 1);

    until("no handshake takes longer than it may, however it trickles", || {
        trickles.iter_mut().for_each(Trickle::drip);
        all_well(&mut healthy, round + 1);
        trickles.retain_mut(|trickle| !trickle.is_over());
        trickles.is_empty()
    });
    drop(slow);
    until("only the healthy are left", || inside.counts(HEALTHY + 1) && inside.node.caps.total() == HEALTHY + 1);
    until("nothing waits", || inside.node.metrics.outbox_bytes.get() == 0);
    all_well(&mut healthy, round + 2);
}
