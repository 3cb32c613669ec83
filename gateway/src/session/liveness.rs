//! Ping, pong and the deadlines of a session: plain state, told the time.

use std::time::Duration;

use portcullis_common::clock::{Mono, UnixMs};
use portcullis_common::config::model;
use portcullis_common::wire::code::Close;

/// What a session has to do at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send a ping with this payload.
    Ping([u8; 8]),
    /// Tell the client that its token runs out.
    Warn,
    /// Give the client a new CSRF token.
    Rotate,
    /// The token ran out.
    Expired,
    /// Close: no pong came. The session may go on elsewhere.
    Silent,
    /// Close for good: idle, or as old as a session may get.
    Close(Close, &'static str),
}

/// The deadlines of one session. All moments are the worker's monotonic clock; token expiry is wall time, turned into
/// a moment when the token is taken.
#[derive(Debug)]
pub struct Liveness {
    /// The last byte from the peer.
    heard: Mono,
    /// The last application message.
    active: Mono,
    /// When the ping in flight was sent, in ns; its payload is this number.
    pinged: Option<u64>,
    expires: Mono,
    warned: bool,
    rotate: Mono,
    end: Mono,
    /// When [`Liveness::due`] may next have something; never too late, sometimes too early.
    next: Mono,
}

impl Liveness {
    /// A connection that begins at `now` with a token good until `expires`, of a session that counts since `since`.
    #[must_use]
    pub fn new(
        rules: &model::Session,
        csrf: &model::Csrf,
        now: Mono,
        wall: UnixMs,
        expires: UnixMs,
        since: UnixMs,
    ) -> Self {
        Self {
            heard: now,
            active: now,
            pinged: None,
            expires: moment(now, wall, expires),
            warned: false,
            rotate: now.after(csrf.rotate),
            end: moment(now, wall, since.after(rules.absolute_timeout)),
            next: now,
        }
    }

    /// Bytes came.
    pub fn heard(&mut self, now: Mono) {
        self.heard = now;
    }

    /// An application message came.
    pub fn active(&mut self, now: Mono) {
        self.active = now;
    }

    /// A new token, good until `expires`.
    pub fn refreshed(&mut self, now: Mono, wall: UnixMs, expires: UnixMs) {
        self.expires = moment(now, wall, expires);
        self.warned = false;
        self.next = now;
    }

    /// A pong came: the round trip, if it answers the ping in flight.
    pub fn pong(&mut self, payload: &[u8], nanos: u64) -> Option<Duration> {
        let sent = self.pinged?;
        if payload != sent.to_be_bytes() {
            return None;
        }
        self.pinged = None;
        self.next = Mono::default();
        Some(Duration::from_nanos(nanos.saturating_sub(sent)))
    }

    /// When the session ends at the latest, whatever its token says.
    #[must_use]
    pub fn limit(&self, now: Mono, wall: UnixMs) -> UnixMs {
        wall.after(self.end.since(now))
    }

    /// What to do now, most important first; call again until `None`.
    pub fn due(&mut self, rules: &model::Session, csrf: &model::Csrf, now: Mono, nanos: u64) -> Option<Due> {
        if now >= self.end {
            return Some(Due::Close(Close::Timeout, "absolute timeout"));
        }
        if now >= self.expires {
            return Some(Due::Expired);
        }
        if rules.idle_timeout.is_some_and(|idle| now >= self.active.after(idle)) {
            return Some(Due::Close(Close::Timeout, "idle"));
        }
        if let Some(sent) = self.pinged
            && now >= Mono(sent / 1_000_000).after(rules.pong_timeout)
        {
            return Some(Due::Silent);
        }
        if !self.warned && now.after(rules.expiry_warning) >= self.expires {
            self.warned = true;
            return Some(Due::Warn);
        }
        if now >= self.rotate {
            self.rotate = now.after(csrf.rotate);
            return Some(Due::Rotate);
        }
        if self.pinged.is_none() && now >= self.heard.after(rules.ping_interval) {
            self.pinged = Some(nanos);
            return Some(Due::Ping(nanos.to_be_bytes()));
        }
        self.next = self.upcoming(rules);
        None
    }

    /// When to call [`Liveness::due`] again at the latest.
    #[must_use]
    pub fn next(&self) -> Mono {
        self.next
    }

    fn upcoming(&self, rules: &model::Session) -> Mono {
        let probe = match self.pinged {
            Some(sent) => Mono(sent / 1_000_000).after(rules.pong_timeout),
            None => self.heard.after(rules.ping_interval),
        };
        let idle = rules.idle_timeout.map_or(Mono(u64::MAX), |idle| self.active.after(idle));
        let warning = millis_before(self.expires, rules.expiry_warning);
        let expiry = if self.warned { self.expires } else { warning };
        probe.min(idle).min(expiry).min(self.rotate).min(self.end)
    }
}

fn moment(now: Mono, wall: UnixMs, expires: UnixMs) -> Mono {
    Mono(now.0.saturating_add(expires.0.saturating_sub(wall.0)))
}

fn millis_before(moment: Mono, by: Duration) -> Mono {
    Mono(moment.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use portcullis_common::config::model::{Csrf, OnLimit, OnStoreLoss, Session};

    use super::*;

    fn rules() -> (Session, Csrf) {
        let seconds = Duration::from_secs;
        let session = Session {
            on_store_loss: OnStoreLoss::Available,
            max_store_loss: Duration::from_secs(600),
            max_per_user: 5,
            on_limit: OnLimit::Reject,
            absolute_timeout: seconds(3_600),
            idle_timeout: Some(seconds(300)),
            ping_interval: seconds(25),
            pong_timeout: seconds(20),
            expiry_warning: seconds(60),
            close_timeout: seconds(5),
            max_rooms: 64,
            resume_window: Duration::from_secs(120),
        };
        (session, Csrf { exempt: vec![], rotate: seconds(1_000), grace: seconds(60) })
    }

    fn at(seconds: u64) -> (Mono, u64) {
        (Mono(seconds * 1_000), seconds * 1_000_000_000)
    }

    fn due(live: &mut Liveness, seconds: u64) -> Option<Due> {
        let (session, csrf) = rules();
        live.due(&session, &csrf, at(seconds).0, at(seconds).1)
    }

    fn begin(expires_s: u64) -> Liveness {
        let (session, csrf) = rules();
        Liveness::new(&session, &csrf, Mono(0), UnixMs(0), UnixMs(expires_s * 1_000), UnixMs(0))
    }

    #[test]
    fn a_silent_peer_is_pinged_once_and_closed_when_no_pong_comes() {
        let mut live = begin(100_000);
        assert_eq!(due(&mut live, 24), None);
        assert_eq!(live.next(), Mono(25_000));
        assert_eq!(due(&mut live, 25), Some(Due::Ping(at(25).1.to_be_bytes())));
        assert_eq!(due(&mut live, 44), None, "one ping at a time");
        assert_eq!(due(&mut live, 45), Some(Due::Silent));
    }

    #[test]
    fn only_the_pong_to_the_ping_in_flight_counts_and_measures_the_round_trip() {
        let mut live = begin(100_000);
        assert_eq!(live.pong(b"unasked!", 1), None);
        let Some(Due::Ping(payload)) = due(&mut live, 25) else { panic!("no ping") };
        assert_eq!(live.pong(b"forged!!", at(26).1), None);
        assert_eq!(live.pong(&payload, at(26).1), Some(Duration::from_secs(1)));
        assert_eq!(live.pong(&payload, at(27).1), None, "once");
        live.heard(at(26).0);
        assert_eq!(due(&mut live, 50), None);
        assert!(matches!(due(&mut live, 51), Some(Due::Ping(_))));
    }

    #[test]
    fn a_token_is_warned_about_once_then_ends_the_session_unless_it_is_refreshed() {
        let mut live = begin(120);
        live.active(at(59).0);
        live.heard(at(59).0);
        assert_eq!(due(&mut live, 59), None);
        assert_eq!(live.next(), Mono(60_000));
        assert_eq!(due(&mut live, 60), Some(Due::Warn));
        assert_eq!(due(&mut live, 61), None);
        live.refreshed(at(61).0, UnixMs(61_000), UnixMs(200_000));
        live.heard(at(140).0);
        assert_eq!(due(&mut live, 140), Some(Due::Warn), "the new token has a warning of its own");
        live.heard(at(200).0);
        assert_eq!(due(&mut live, 200), Some(Due::Expired));
    }

    #[test]
    fn a_resumed_session_is_as_old_as_it_was() {
        let (session, csrf) = rules();
        let begun = UnixMs(9_000_000);
        let mut live =
            Liveness::new(&session, &csrf, Mono(0), begun.after(Duration::from_secs(3_599)), UnixMs(u64::MAX), begun);
        assert_eq!(due(&mut live, 0), None);
        assert_eq!(due(&mut live, 1), Some(Due::Close(Close::Timeout, "absolute timeout")));
    }

    #[test]
    fn pongs_do_not_make_an_idle_session_active_and_nothing_outlives_the_absolute_timeout() {
        let mut live = begin(100_000);
        live.heard(at(299).0);
        assert_eq!(due(&mut live, 299), None);
        assert_eq!(due(&mut live, 300), Some(Due::Close(Close::Timeout, "idle")));
        live.active(at(3_599).0);
        live.heard(at(3_599).0);
        assert_eq!(due(&mut live, 3_599), Some(Due::Rotate));
        assert_eq!(due(&mut live, 3_600), Some(Due::Close(Close::Timeout, "absolute timeout")));
    }

    #[test]
    fn the_next_moment_is_never_later_than_anything_that_becomes_due() {
        let mut live = begin(120);
        let mut asked = Mono(0);
        for second in 0..200u64 {
            if let Some(found) = due(&mut live, second) {
                assert!(asked <= at(second).0, "{found:?} at {second} s was announced for {asked:?}");
                if matches!(found, Due::Close(..) | Due::Silent | Due::Expired) {
                    return;
                }
                continue;
            }
            asked = live.next();
        }
    }
}
