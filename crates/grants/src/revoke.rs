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

use grantry_protocol::{Client, ClientId, OAuthError};

use crate::{Credentials, GrantError, Grants};

impl Grants {
    pub async fn revoke(&self, credentials: &Credentials, token: &str) -> Result<(), GrantError> {
        // 1.
        let caller = self.authenticate(credentials).await?.client;
        // 2.
        if let Some((_, stored)) = self.find_grant(token).await? {
            // 3.
            check_owner(&caller, &stored.grant.client_id)?;
            // 4.
            let keep_until = self.clock.now() + self.settings().grant_end_memory();
            self.persistence.revoke_grant(stored.grant.id, keep_until, None).await?;
        } else if let Some(recognized) = self.recognize_token(token) {
            let unwritten = recognized.deferred_by.map(|by| self.settings().unwritten(recognized.id, by));
            match self.persistence.find_token(recognized.id, recognized.deferred_by).await {
                Ok(Some(stored)) => check_owner(&caller, &stored.token.client_id)?,
                Ok(None) => return Ok(()),
                Err(error) if error.is_unwritten() => {}
                Err(error) => return Err(error.into()),
            }
            self.persistence.revoke(recognized.id, unwritten, None).await?;
        }
        Ok(())
    }
}

fn check_owner(caller: &Client, owner: &ClientId) -> Result<(), OAuthError> {
    if caller.id == *owner {
        return Ok(());
    }
    Err(OAuthError::unauthorized_client("the token was issued to another client"))
}
