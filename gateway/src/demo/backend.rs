//! The demo's end of the node: tokens of the `dev` issuer, the sessions of this node, kicks through the control log.

use std::sync::Arc;

use jsonwebtoken::{EncodingKey, Header};
use portcullis_common::clock::UnixMs;
use portcullis_common::config::model::KeySource;
use portcullis_common::ids::{RequestId, SessionId, UserId};
use portcullis_common::store::control::{ControlEntry, Target};
use portcullis_common::wire::code::Code;
use portcullis_common::wire::reject::Reject;

use super::{DemoBackend, DemoClaims, DemoFuture, DemoSession, LIST_MAX, MintedToken};
use crate::node::Node;

/// A node in the `dev` profile.
pub struct NodeBackend(Arc<Node>);

impl NodeBackend {
    /// The demo of this node.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self(node)
    }
}

impl DemoBackend for NodeBackend {
    fn mint(&self, name: &str, admin: bool) -> Result<MintedToken, Reject> {
        let node = &self.0;
        let internal = |detail: &'static str| Reject::new(Code::Internal, detail);
        let issuer = node.config.auth.issuer.first().ok_or_else(|| internal("no issuer"))?;
        let KeySource::Secret(secret) = &issuer.keys else { return Err(internal("no dev secret")) };
        let jti = RequestId::random(&mut rand::rng()).to_string();
        let claims = DemoClaims::new(&issuer.issuer, &issuer.audience, name, admin, node.clock.wall(), jti);
        let user = format!("{}{}", issuer.user_prefix, claims.sub);
        let user = UserId::parse(&user).map_err(|_| Reject::new(Code::Malformed, "no user id comes of this name"))?;
        let key = EncodingKey::from_secret(secret.expose());
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).map_err(|_| internal("signing failed"))?;
        Ok(MintedToken { token, expires_at: claims.expires_at(), user })
    }

    fn sessions(&self) -> DemoFuture<'_, Vec<DemoSession>> {
        Box::pin(async {
            let live = self.0.registry.select(LIST_MAX, |_| true);
            live.iter()
                .map(|s| DemoSession { session_id: s.holder.sid, user: s.user.clone(), since: s.opened })
                .collect()
        })
    }

    fn kick(&self, sid: SessionId) -> DemoFuture<'_, bool> {
        Box::pin(async move {
            let found = self.0.registry.get(sid).is_some();
            let entry = ControlEntry::Kick { target: Target::Session(sid), reason: "demo".to_owned() };
            found && self.0.stores.control.append(entry).await.is_ok()
        })
    }

    fn now(&self) -> UnixMs {
        self.0.clock.wall()
    }

    fn request_id(&self) -> RequestId {
        RequestId::random(&mut rand::rng())
    }
}
