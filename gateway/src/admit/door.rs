//! The door of a node: its tables and clocks put to what admission asks, for sockets and tickets alike.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_common::clock::UnixMs;
use portcullis_common::ids::UserId;
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use super::auth::{AuthError, Identity};
use super::credential::Token;
use super::reputation;
use crate::events::DoorShut;
use crate::node::Node;
use crate::penalty;

impl Node {
    /// Who a new connection's or ticket's bearer is. A bad token is charged to the client's address; why it is bad stays
    /// in the log.
    ///
    /// # Errors
    /// `unauthenticated`; `store_unavailable` while the issuer's keys cannot be had.
    pub async fn authenticate(&self, token: &Token, client: IpAddr) -> Result<Identity, Reject> {
        let rules = self.rules.load_full();
        let (stuffing, names) = (&rules.config.stuffing, &*self.stores.reports);
        match rules.verifier.verify(token.expose()).await {
            Ok(identity) => {
                self.sightings.got_in(stuffing, names, client, &identity.user, self.clock.mono());
                Ok(identity)
            }
            Err(AuthError::Bad(bad)) => {
                self.sightings.token_refused(stuffing, names, client, bad, token.expose());
                Err(self.charge_login(client, bad.0))
            }
            Err(AuthError::Unavailable(detail)) => {
                Err(Reject::new(Code::StoreUnavailable, detail).retry(Duration::from_secs(2)))
            }
        }
    }

    /// Whether an address may talk to this node: bans of operators, and those of the file.
    ///
    /// # Errors
    /// `banned`.
    pub fn check_address(&self, ip: IpAddr, now: UnixMs) -> Result<(), Reject> {
        self.bans.check_address(ip, now)?;
        self.rules.load().bans.check_address(ip, now)
    }

    /// Whether a newcomer's address lets it in, before anything of a credential is read: bans, what others say about it,
    /// doors that the fleet has shut, penalties, and how often it connects. Cheap first.
    ///
    /// # Errors
    /// `banned`, `restricted`, `rate_limited`.
    pub fn check_newcomer(&self, ip: IpAddr) -> Result<(), Reject> {
        let now = self.clock.wall();
        self.check_address(ip, now)?;
        reputation::judge(self, ip, now)?;
        self.check_door(ip)?;
        self.check_restriction(None, ip)?;
        self.addresses.connect(ip, self.clock.nanos())
    }

    /// Whether a newcomer's token lets it in: what [`Node::check_identity`] asks, and penalties.
    ///
    /// # Errors
    /// `banned`, `restricted`; `unauthenticated` for a token that was revoked.
    pub fn check_bearer(&self, who: &Identity, ip: IpAddr) -> Result<(), Reject> {
        self.check_identity(who, self.clock.wall())?;
        self.check_restriction(Some(&who.user), ip)
    }

    /// How long penalties keep a user or an address out, and whether live sessions end.
    #[must_use]
    pub fn restriction(&self, user: Option<&UserId>, ip: IpAddr) -> Option<(Duration, bool)> {
        let now = self.now_at_store();
        let restriction = self.bans.restriction(user, Some(ip), now)?;
        Some((Duration::from_millis(restriction.until.0.saturating_sub(now.0)), restriction.close))
    }

    /// Whether the door is open to an address, whatever it brings: the fleet shuts it where tokens of many people are
    /// tried.
    ///
    /// # Errors
    /// `restricted`, with the exact time.
    fn check_door(&self, ip: IpAddr) -> Result<(), Reject> {
        let now = self.now_at_store();
        match self.bans.shut(ip, now) {
            Some(shut) => {
                DoorShut::emit(&self.metrics);
                let left = Duration::from_millis(shut.until.map_or(0, |until| until.0.saturating_sub(now.0)));
                Err(Reject::new(Code::Restricted, "the fleet has shut its doors to the address").retry(left))
            }
            None => Ok(()),
        }
    }

    /// Whether penalties let a newcomer in: before anybody is known its address, then the user too.
    ///
    /// # Errors
    /// `restricted`, with the exact time.
    fn check_restriction(&self, user: Option<&UserId>, ip: IpAddr) -> Result<(), Reject> {
        match self.restriction(user, ip) {
            Some((left, _)) => {
                Err(Reject::new(Code::Restricted, "the fleet restricts its user or network").retry(left))
            }
            None => Ok(()),
        }
    }

    /// Whether a token's bearer may: bans, revocations, and the bans of the file.
    ///
    /// # Errors
    /// `banned`; `unauthenticated` for a token that was revoked.
    pub fn check_identity(&self, who: &Identity, now: UnixMs) -> Result<(), Reject> {
        let token = who.token_id.as_deref();
        self.bans.check_identity(&who.user, token, who.issued, now)?;
        self.rules.load().bans.check_identity(&who.user, token, who.issued, now)
    }

    /// Charges a failed authentication to an address; the answer is the refusal to give.
    #[must_use]
    pub fn login_failed(&self, client: IpAddr, detail: &'static str) -> Reject {
        self.sightings.refused(&self.rules.load().config.stuffing, client);
        self.charge_login(client, detail)
    }

    fn charge_login(&self, client: IpAddr, detail: &'static str) -> Reject {
        self.addresses.login_failed(client, self.clock.nanos());
        self.penalties.charge_network(&self.rules.load().config.penalty, client, "failed login", penalty::LOGIN);
        Reject::new(Code::Unauthenticated, detail)
    }
}
