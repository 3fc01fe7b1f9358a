//! Refreshing (RFC 6749 §6). The grant holds a counter and the refresh token carries it; however often a grant is
//! refreshed, it stays one row.
//!
//! 1. Authenticate the client. The grant is read meanwhile, so that both reads share a trip to the store; a text that
//!    was not made with our keys is not looked up.
//! 2. The client may refresh.
//! 3. The grant exists, was not ended, and is this client's. Another client's refresh token is refused and recorded in
//!    the audit trail (`foreign_uses.rs`); the grant stays as it is, since whoever found a token must not be able to end
//!    what it is for. A grant that was opened in mode none comes with its refresh token; its row, if it was ever rotated,
//!    says how often.
//! 4. The scope is part of the grant's (RFC 6749 §6), the audience part of the grant's (RFC 8707 §2.2). What the
//!    client is no longer registered for does not come out of a refresh: asked for by name it is refused, otherwise it
//!    is left out, and refused only if nothing remains.
//! 5. A new access token is made, in the slot that the grant's tokens were issued for and with the authority of the
//!    grant: a rule from after the grant ends it, too. Where status lists are to tell of it, it gets its place there.
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
//!
//!    In mode none the access token gets no row. A grant without a row gets one here, by the same update, so two nodes
//!    cannot both spend its first refresh token. Under rotation `never` there is nothing to spend: nothing is written, and
//!    the answer has a refresh token that says the later idle end.
//! 7. Whatever the reason of a refusal in 3 and 6, its description is the same: the difference would only help a thief.

use std::sync::Arc;

use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Audience, Client, Grant, GrantState, OAuthError, PersistenceMode,
    RefreshRequest, RefreshTokenRotation, RequestId, ScopeSet, Slot, Timestamp,
};
use grantry_store::{AuditEntry, Rotation, RotationOutcome, StoredGrant, Unwritten};
use metrics::counter;
use serde_json::json;

use crate::tokens::opaque::{self, RefreshToken};
use crate::tokens::{IssuedToken, RecognizedRefresh};
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
                let audit = self.audit("grant.foreign_client", &client, presented.token, request_id);
                self.store.audit_append(audit).await?;
            }
            return Err(refused("foreign_client"));
        }
        // By its lifetimes it ends on the store's clock, not on ours.
        if stored.state(self.clock.now()) == GrantState::Revoked {
            return Err(refused("over"));
        }
        let grant = &stored.grant;
        // 4.
        let scope = narrowed_scope(&client, grant, request.wanted.scope)?;
        let audience = self.narrowed_audience(&client, grant, request.wanted.audience)?;
        // 5.
        let token = self.new_token(&client, slot_of(&client, grant, scope, audience), grant.authority());
        // 6.
        let mode = self.settings().persistence_for(&client);
        let policy = match self.settings().policy_for(&client) {
            ActiveTokenPolicy::Replace => ActiveTokenPolicy::Replace,
            ActiveTokenPolicy::Reuse | ActiveTokenPolicy::Multiple => ActiveTokenPolicy::Multiple,
        };
        let token = self.placed_in_grant(&client, grant, mode, policy, token).await?;
        let advance = client.metadata.refresh_token_rotation == RefreshTokenRotation::Always;
        // A row differs from what the refresh token says, at the least by the access token.
        let has_row = presented.origin.as_ref() != Some(grant);
        if mode == PersistenceMode::None && !advance && !has_row {
            return self.refresh_unwritten(&client, presented.token, stored, token, policy).await;
        }
        let rotation = Rotation {
            grant: grant.id,
            origin: None,
            presented: presented.token.counter,
            advance,
            grace: self.settings().refresh_grace.as_duration(),
            idle: self.settings().refresh_token_idle.as_duration(),
            token,
            is_stored: mode != PersistenceMode::None,
            policy,
            token_life: self.settings().retention_time.as_duration(),
            keep_until: self.grant_end_remembered_until(presented.origin.as_ref()),
            reuse_audit: self.audit("grant.reuse", &client, presented.token, request_id),
        };
        self.rotate(&client, rotation, presented, request_id).await
    }

    async fn rotate(
        &self,
        client: &Client,
        rotation: Rotation,
        presented: RecognizedRefresh,
        request_id: RequestId,
    ) -> Result<TokenResponse, GrantError> {
        let grant = rotation.grant;
        let successor = |counter| match &presented.origin {
            None => Some(opaque::write_refresh(&self.keys, RefreshToken { grant, counter })),
            Some(origin) => Some(opaque::write_sealed_refresh(&self.keys, origin, counter)),
        };
        let rotation = Arc::new(Rotation { origin: presented.origin.clone().map(Arc::new), ..rotation });
        match self.persistence.rotate(Arc::clone(&rotation)).await? {
            RotationOutcome::Refreshed { counter } => {
                count("refreshed");
                let Rotation { token, is_stored, .. } = Arc::unwrap_or_clone(rotation);
                self.issued.count(if is_stored { PersistenceMode::Sync } else { PersistenceMode::None });
                self.respond(client, &IssuedToken { token, is_stored }, successor(counter)).await
            }
            RotationOutcome::Repeated { counter, token } => {
                count("repeated");
                self.respond(client, &IssuedToken::stored(token.token), successor(counter)).await
            }
            RotationOutcome::TooSlow => Err(refused("too_slow")),
            RotationOutcome::Reused => {
                tracing::warn!(
                    %grant, client = %client.id, %request_id,
                    "a spent refresh token came back after the grace; its grant was ended"
                );
                Err(refused("reused"))
            }
            RotationOutcome::Ahead => {
                counter!("grantry_refresh_ahead_total").increment(1);
                tracing::warn!(
                    %grant, client = %client.id, %request_id,
                    "a refresh token is newer than its grant: the store has lost commits that were acknowledged"
                );
                Err(refused("ahead"))
            }
            RotationOutcome::Over => Err(refused("over")),
            RotationOutcome::Unknown => Err(refused("unknown")),
        }
    }

    /// Of a grant without a row whose refresh token is not rotated.
    async fn refresh_unwritten(
        &self,
        client: &Client,
        presented: RefreshToken,
        stored: StoredGrant,
        token: AccessToken,
        policy: ActiveTokenPolicy,
    ) -> Result<TokenResponse, GrantError> {
        let now = self.clock.now();
        if presented.counter > 0 {
            counter!("grantry_refresh_ahead_total").increment(1);
            return Err(refused("ahead"));
        }
        if !stored.is_active(now) {
            return Err(refused("over"));
        }
        if policy == ActiveTokenPolicy::Replace {
            // By its id: the end of the slot would be one of the grant, too.
            let last = stored.grant.access_token;
            let expires_by = last.made_at() + self.settings().retention_time.as_duration();
            self.persistence.revoke(last, Some(Unwritten { by: None, expires_by }), None).await?;
        }
        let issued = self.issue_unstored(token, ActiveTokenPolicy::Multiple).await?;
        let idle_expires_at = now + self.settings().refresh_token_idle.as_duration();
        let grant = Grant { idle_expires_at, rotated_at: now, access_token: issued.token.id, ..stored.grant };
        count("refreshed");
        let refresh_token = opaque::write_sealed_refresh(&self.keys, &grant, 0);
        self.respond(client, &issued, Some(refresh_token)).await
    }

    /// What a refresh token of ours carries, and where its grant stands.
    pub(crate) async fn find_grant(
        &self,
        text: &str,
    ) -> Result<Option<(RecognizedRefresh, StoredGrant)>, GrantError> {
        let Some(recognized) = self.recognize_refresh(text) else { return Ok(None) };
        let found = match &recognized.origin {
            None => self.store.grant_find(recognized.token.grant).await?,
            Some(origin) => Some(self.store.grant_judge_unstored(origin.clone()).await?),
        };
        Ok(found.map(|stored| (recognized, stored)))
    }

    /// Until when the log has to know that a grant was ended. One that need not have a row is known by the log alone.
    pub(crate) fn grant_end_remembered_until(&self, origin: Option<&Grant>) -> Timestamp {
        let now = self.clock.now();
        let ends = origin.map_or(now, |origin| origin.expires_at.max(now));
        ends + self.settings().grant_end_memory()
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
