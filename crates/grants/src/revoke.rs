//! Revocation (RFC 7009).
//!
//! 1. Authenticate the client; a public one names itself (RFC 7009 §2.1).
//! 2. What is not a token of ours, or can only have expired, is as good as revoked: done (RFC 7009 §2.2). A token without
//!    the row that it should have is ended for good: the row may still be on its way from another node and comes in as
//!    revoked, or a failover has lost it and left copies (`absent.rs`). Only a JWT says then whose it is; anything else
//!    whoever holds it may end.
//! 3. A token of another client is refused and stays (RFC 7009 §2.1).
//! 4. End it and announce it in the revocation log; committed before the answer. One that is over already is done.
//!    - A refresh token, whichever of its grant, ends the grant with every access token of it: a client that lost the
//!      answer of its last refresh holds a spent one, and means the same.
//!    - An access token ends alone.
//!    - Of what has no row the entry in the log is all that is written; for a grant of which nothing is known also an audit
//!      row, which names a public client only as what it says that it is.
//!    - An access token that shares its place in a status list with others of its grant ends together with the grant
//!      (RFC 7009 §2.1 leaves that open), so that what the list says is true. That holds too where the token alone has
//!      been ended before, by its id, which does not tell the grant.

use grantry_protocol::{AccessToken, AuthMethod, Client, ClientId, GrantId, OAuthError, RequestId, Subject};
use grantry_store::{AuditEntry, RevokeOutcome, Unwritten};
use serde_json::json;

use crate::status_lists::whose_place;
use crate::tokens::{Recognized, RecognizedRow};
use crate::{Credentials, GrantError, Grants};

/// A token of the caller's that is over now, whether it was before or not.
pub struct Revoked {
    pub is_refresh_token: bool,
    pub subject: Subject,
}

impl Grants {
    /// `None` where nothing is known of the token.
    pub async fn revoke(
        &self,
        credentials: &Credentials,
        token: &str,
        request_id: RequestId,
    ) -> Result<Option<Revoked>, GrantError> {
        // 1.
        let caller = self.authenticate(credentials).await?.client;
        // 2.
        if let Some((presented, stored)) = self.find_grant(token).await? {
            // 3.
            check_owner(&caller, &stored.grant.client_id)?;
            // 4.
            let keep_until = self.grant_end_remembered_until(presented.origin.as_ref());
            match presented.origin {
                None => self.persistence.revoke_grant(stored.grant.id, keep_until, None).await?,
                Some(origin) => self.persistence.revoke_unstored_grant(origin, keep_until, None).await?,
            };
            return Ok(Some(Revoked { is_refresh_token: true, subject: stored.grant.subject }));
        }
        if let Some(presented) = self.recognize_refresh(token) {
            // 2. Without a row of its grant.
            let id = presented.token.grant;
            self.end_absent_grant(id, self.absent_audit(&caller, id, request_id)).await?;
            return Ok(None);
        }
        let subject = match self.recognize_token(token) {
            None => None,
            Some(Recognized::Row(row)) => self.revoke_row(&caller, row).await?,
            Some(Recognized::Unstored(token)) => Some(self.revoke_unstored(&caller, *token).await?),
        };
        Ok(subject.map(|subject| Revoked { is_refresh_token: false, subject }))
    }

    async fn revoke_row(&self, caller: &Client, row: RecognizedRow) -> Result<Option<Subject>, GrantError> {
        if let Some(owner) = &row.client_id {
            check_owner(caller, owner)?;
        }
        let deferred = row.deferred_by.map(|by| self.settings().unwritten(row.id, by));
        let unwritten = deferred.or_else(|| self.absent_token(row.id));
        let subject = match self.persistence.find_token(row.id, row.deferred_by).await {
            Ok(Some(stored)) => {
                check_owner(caller, &stored.token.client_id)?;
                Some(stored.token.subject)
            }
            Ok(None) => None,
            Err(error) if error.is_unwritten() => None,
            Err(error) => return Err(error.into()),
        };
        self.persistence.revoke(row.id, unwritten, None).await?;
        Ok(subject)
    }

    async fn revoke_unstored(&self, caller: &Client, token: AccessToken) -> Result<Subject, GrantError> {
        // 3.
        check_owner(caller, &token.client_id)?;
        let (judged, now) = (self.store.token_judge_unstored(token).await?, self.clock.now());
        if judged.token.expires_at <= now {
            return Ok(judged.token.subject);
        }
        // 4. What a rule has ended needs no entry of its own.
        if !self.end_listed(&judged.token).await? && judged.state(now).is_honoured() {
            let unwritten = Unwritten { by: None, expires_by: judged.token.expires_at };
            self.persistence.revoke(judged.token.id, Some(unwritten), None).await?;
        }
        Ok(judged.token.subject)
    }

    /// Whether the grant is over now whose place in a status list the token shares; `false` where there is none.
    async fn end_listed(&self, token: &AccessToken) -> Result<bool, GrantError> {
        let Some(grant) = whose_place(token) else { return Ok(false) };
        let keep_until = self.grant_end_remembered_until(None);
        let outcome = self.persistence.revoke_grant(grant, keep_until, None).await?;
        Ok(outcome != RevokeOutcome::Unknown)
    }

    fn absent_audit(&self, caller: &Client, grant: GrantId, request_id: RequestId) -> AuditEntry {
        let is_public = caller.metadata.token_endpoint_auth_method == AuthMethod::None;
        let actor = if is_public { "public client".to_owned() } else { caller.id.to_string() };
        AuditEntry {
            at: self.clock.now(),
            actor,
            action: "grant.revoke_absent",
            target: grant.to_string(),
            detail: json!({ "client_id": caller.id.as_str() }),
            request_id: Some(request_id.to_string()),
        }
    }
}

fn check_owner(caller: &Client, owner: &ClientId) -> Result<(), OAuthError> {
    if caller.id == *owner {
        return Ok(());
    }
    Err(OAuthError::unauthorized_client("the token was issued to another client"))
}
