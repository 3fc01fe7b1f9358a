//! Refreshing (RFC 6749 §6). The grant holds a counter and the refresh token carries it; however often a grant is
//! refreshed, it stays one row.
//!
//! 1. Authenticate the client. The grant is read meanwhile, so that both reads share a trip to the store; a text that
//!    was not made with our keys is not looked up.
//! 2. The client may refresh.
//! 3. The grant exists, was not ended, and is this client's. Another client's refresh token is refused and recorded in
//!    the audit trail (`foreign_uses.rs`); the grant stays as it is, since whoever found a token must not be able to end what it is for.
//! 4. The scope is part of the grant's (RFC 6749 §6), the audience part of the grant's (RFC 8707 §2.2). What the
//!    client is no longer registered for does not come out of a refresh: asked for by name it is refused, otherwise it
//!    is left out, and refused only if nothing remains.
//! 5. A new access token is made, in the slot that the grant's tokens were issued for and with the authority of the
//!    grant: a rule from after the grant ends it, too.
//! 6. One conditional update, decided under the store's lock and on the store's clock by `store/src/decide.rs`:
//!    - *Equal:* the counter moves on by one and the new access token is committed with it; under rotation `never` the
//!      counter stays.
//!    - *Behind by one within the grace:* the answer of the last refresh was lost, or two tabs raced. The same successor
//!      again, and the same access token if it is still good.
//!    - *Behind by more within the grace:* a slow retry behind a fast one. Refused, nothing is ended.
//!    - *Behind after the grace:* reuse, so one of two holders is a thief. The grant ends, and every token of it
//!      (RFC 9700 §4.14.2).
//!    - *Ahead:* the store has lost a commit. Refused and counted, and never called reuse.
//!    - *Over:* ended or expired meanwhile. Refused.
//! 7. Whatever the reason of a refusal in 3 and 6, its description is the same: the difference would only help a thief.

use std::sync::Arc;

use grantry_protocol::{
    ActiveTokenPolicy, Audience, Client, Grant, GrantState, OAuthError, PersistenceMode, RefreshRequest,
    RefreshTokenRotation, RequestId, ScopeSet, Slot,
};
use grantry_store::{AuditEntry, Rotation, RotationOutcome, StoredGrant};
use metrics::counter;
use serde_json::json;

use crate::issuing::count_issued;
use crate::tokens::opaque::{self, RefreshToken};
use crate::{Credentials, GrantError, Grants, TokenResponse};

impl Grants {
    /// # Errors
    /// `invalid_client`; `unauthorized_client`; `invalid_grant`; `invalid_scope`; `invalid_target`.
    pub async fn refresh(
        &self,
        credentials: &Credentials,
        request: RefreshRequest,
        request_id: RequestId,
    ) -> Result<TokenResponse, GrantError> {
        // 1.
        let (client, found) =
            tokio::join!(self.authenticate(credentials), self.find_grant(request.refresh_token.expose()));
        let client = client?.client;
        // 2.
        if !client.metadata.may_refresh() {
            return Err(
                OAuthError::unauthorized_client("the client is not registered for refresh_token").into()
            );
        }
        // 3.
        let Some((presented, stored)) = found? else { return Err(refused("unknown")) };
        if stored.grant.client_id != client.id {
            if self.foreign_uses.is_new(stored.grant.id, &client.id, self.clock.now()) {
                let audit = self.audit("grant.foreign_client", &client, presented, request_id);
                self.store.audit_append(audit).await?;
            }
            return Err(refused("foreign_client"));
        }
        // By its lifetimes it ends on the store's clock, not on ours.
        if stored.state(self.clock.now()) == GrantState::Revoked {
            return Err(refused("over"));
        }
        let grant = stored.grant;
        // 4.
        let scope = narrowed_scope(&client, &grant, request.wanted.scope)?;
        let audience = self.narrowed_audience(&client, &grant, request.wanted.audience)?;
        // 5.
        let token = self.new_token(&client, slot_of(&client, &grant, scope, audience), grant.authority());
        // 6.
        let policy = match self.settings().policy_for(&client) {
            ActiveTokenPolicy::Replace => ActiveTokenPolicy::Replace,
            ActiveTokenPolicy::Reuse | ActiveTokenPolicy::Multiple => ActiveTokenPolicy::Multiple,
        };
        let rotation = Arc::new(Rotation {
            grant: grant.id,
            presented: presented.counter,
            advance: client.metadata.refresh_token_rotation == RefreshTokenRotation::Always,
            grace: self.settings().refresh_grace.as_duration(),
            idle: self.settings().refresh_token_idle.as_duration(),
            token,
            policy,
            keep_until: self.clock.now() + self.settings().grant_end_memory(),
            reuse_audit: self.audit("grant.reuse", &client, presented, request_id),
        });
        let successor = |counter| Some(RefreshToken { grant: grant.id, counter });
        match self.persistence.rotate(Arc::clone(&rotation)).await? {
            RotationOutcome::Refreshed { counter } => {
                count("refreshed");
                count_issued(PersistenceMode::Sync);
                self.respond(&rotation.token, successor(counter)).await
            }
            RotationOutcome::Repeated { counter, token } => {
                count("repeated");
                self.respond(&token.token, successor(counter)).await
            }
            RotationOutcome::TooSlow => Err(refused("too_slow")),
            RotationOutcome::Reused => {
                tracing::warn!(
                    grant = %grant.id, client = %client.id, %request_id,
                    "a spent refresh token came back after the grace; its grant was ended"
                );
                Err(refused("reused"))
            }
            RotationOutcome::Ahead => {
                counter!("grantry_refresh_ahead_total").increment(1);
                tracing::warn!(
                    grant = %grant.id, client = %client.id, %request_id,
                    "a refresh token is newer than its grant: the store has lost commits that were acknowledged"
                );
                Err(refused("ahead"))
            }
            RotationOutcome::Over => Err(refused("over")),
            RotationOutcome::Unknown => Err(refused("unknown")),
        }
    }

    /// What a refresh token of ours carries, and the row of its grant.
    pub(crate) async fn find_grant(
        &self,
        text: &str,
    ) -> Result<Option<(RefreshToken, StoredGrant)>, GrantError> {
        let Some(token) = opaque::read_refresh(&self.keys, text) else { return Ok(None) };
        Ok(self.store.grant_find(token.grant).await?.map(|stored| (token, stored)))
    }

    fn narrowed_audience(
        &self,
        client: &Client,
        grant: &Grant,
        requested: Audience,
    ) -> Result<Audience, OAuthError> {
        // The configuration's own audience needs nobody's leave.
        let may = |name: &String| {
            self.settings().default_audience.contains(name)
                || client.metadata.allowed_resources.as_ref().is_none_or(|allowed| allowed.contains(name))
        };
        if requested.is_empty() {
            let left =
                Audience::new(grant.audience.names().iter().filter(|name| may(name)).cloned().collect());
            // No audience at all would be more than any.
            if left.is_empty() && !grant.audience.is_empty() {
                return Err(OAuthError::invalid_target(
                    "the client may no longer ask for any of these resources",
                ));
            }
            return Ok(left);
        }
        if !requested.names().iter().all(|name| grant.audience.contains(name) && may(name)) {
            return Err(OAuthError::invalid_target("the resource is not among those of the grant"));
        }
        Ok(requested)
    }

    fn audit(
        &self,
        action: &'static str,
        actor: &Client,
        presented: RefreshToken,
        request_id: RequestId,
    ) -> AuditEntry {
        AuditEntry {
            at: self.clock.now(),
            actor: actor.id.to_string(),
            action,
            target: presented.grant.to_string(),
            detail: json!({ "counter": presented.counter }),
            request_id: Some(request_id.to_string()),
        }
    }
}

fn narrowed_scope(
    client: &Client,
    grant: &Grant,
    requested: Option<ScopeSet>,
) -> Result<ScopeSet, OAuthError> {
    let registered = &client.metadata.scope;
    let Some(requested) = requested else {
        if grant.scope.is_subset_of(registered) {
            return Ok(grant.scope.clone());
        }
        let left: Vec<&str> = grant.scope.values().filter(|value| registered.contains(value)).collect();
        let left = ScopeSet::parse(&left.join(" ")).unwrap_or_default();
        return if left.is_empty() {
            Err(OAuthError::invalid_scope("the client is no longer registered for any of the grant's scope"))
        } else {
            Ok(left)
        };
    };
    if !requested.is_subset_of(&grant.scope) {
        return Err(OAuthError::invalid_scope("the scope is more than what was granted"));
    }
    if !requested.is_subset_of(registered) {
        return Err(OAuthError::invalid_scope("the client is no longer registered for all of this scope"));
    }
    Ok(requested)
}

/// As it was when the grant was opened, whatever the client's binding is by now: a grant without a slot of its own in
/// the store was given tokens with slots of their own.
fn slot_of(client: &Client, grant: &Grant, scope: ScopeSet, audience: Audience) -> Slot {
    let (client_id, subject) = (grant.client_id.clone(), grant.subject.clone());
    Slot {
        subject_kind: grant.subject_kind,
        grant: grant.slot.is_none().then_some(grant.id),
        ..Slot::of_user(client_id, subject, scope, audience, client.metadata.access_token_format)
    }
}

fn count(outcome: &'static str) {
    counter!("grantry_refreshes_total", "outcome" => outcome).increment(1);
}

// 7.
fn refused(outcome: &'static str) -> GrantError {
    count(outcome);
    OAuthError::invalid_grant("the refresh token is not valid").into()
}
