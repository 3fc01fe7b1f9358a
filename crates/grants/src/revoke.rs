//! Revocation (RFC 7009).
//!
//! 1. Authenticate the client; a public one names itself (RFC 7009 §2.1).
//! 2. What is not a token of ours, or has no row any more, is as good as revoked: done (RFC 7009 §2.2).
//! 3. A token of another client is refused and stays (RFC 7009 §2.1).
//! 4. End it and announce it in the revocation log; committed before the answer. One that is over already is done.

use grantry_protocol::OAuthError;

use crate::{Credentials, GrantError, Grants};

impl Grants {
    pub async fn revoke(&self, credentials: &Credentials, token: &str) -> Result<(), GrantError> {
        // 1.
        let caller = self.authenticate(credentials).await?.client;
        // 2.
        let Some(stored) = self.find_token(token).await? else { return Ok(()) };
        // 3.
        if stored.token.client_id != caller.id {
            return Err(OAuthError::unauthorized_client("the token was issued to another client").into());
        }
        // 4.
        self.persistence.revoke(stored.token.id, None).await?;
        Ok(())
    }
}
