//! Revocation (RFC 7009).
//!
//! 1. Authenticate the client; a public one names itself (RFC 7009 §2.1).
//! 2. What is not a token of ours, or has no row any more, is as good as revoked: done (RFC 7009 §2.2). A token whose row
//!    may still be on its way from another node is ended for good, so that its row comes in as revoked. Whose token it
//!    is cannot be known yet; whoever holds it may end it.
//! 3. A token of another client is refused and stays (RFC 7009 §2.1).
//! 4. End it and announce it in the revocation log; committed before the answer. One that is over already is done.
//!    - A refresh token, whichever of its grant, ends the grant with every access token of it: a client that lost the
//!      answer of its last refresh holds a spent one, and means the same.
//!    - An access token ends alone.
//!    - Of what has no row the entry in the log is all that is written.

use grantry_protocol::{AccessToken, Client, ClientId, OAuthError, Subject};
use grantry_store::Unwritten;

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
        let subject = match self.recognize_token(token) {
            None => None,
            Some(Recognized::Row(row)) => self.revoke_row(&caller, row).await?,
            Some(Recognized::Unstored(token)) => Some(self.revoke_unstored(&caller, *token).await?),
        };
        Ok(subject.map(|subject| Revoked { is_refresh_token: false, subject }))
    }

    async fn revoke_row(&self, caller: &Client, row: RecognizedRow) -> Result<Option<Subject>, GrantError> {
        let unwritten = row.deferred_by.map(|by| self.settings().unwritten(row.id, by));
        let subject = match self.persistence.find_token(row.id, row.deferred_by).await {
            Ok(Some(stored)) => {
                check_owner(caller, &stored.token.client_id)?;
                Some(stored.token.subject)
            }
            Ok(None) => return Ok(None),
            Err(error) if error.is_unwritten() => None,
            Err(error) => return Err(error.into()),
        };
        self.persistence.revoke(row.id, unwritten, None).await?;
        Ok(subject)
    }

    async fn revoke_unstored(&self, caller: &Client, token: AccessToken) -> Result<Subject, GrantError> {
        // 3.
        check_owner(caller, &token.client_id)?;
        // 4. What a rule has ended needs no entry of its own.
        let judged = self.store.token_judge_unstored(token).await?;
        if judged.state(self.clock.now()).is_honoured() {
            let unwritten = Unwritten { by: None, expires_by: judged.token.expires_at };
            self.persistence.revoke(judged.token.id, Some(unwritten), None).await?;
        }
        Ok(judged.token.subject)
    }
}

fn check_owner(caller: &Client, owner: &ClientId) -> Result<(), OAuthError> {
    if caller.id == *owner {
        return Ok(());
    }
    Err(OAuthError::unauthorized_client("the token was issued to another client"))
}
