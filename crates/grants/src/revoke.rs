//! Revocation (RFC 7009).
//!
//! 1. What is not a token of ours, or has no row any more, is as good as revoked: done (RFC 7009 §2.2).
//! 2. A token of another client is refused and stays (RFC 7009 §2.1).
//! 3. End it and announce it in the revocation log; committed before the answer. One that is over already is done.

use grantry_protocol::{Client, OAuthError};

use crate::{GrantError, Grants};

impl Grants {
    pub async fn revoke(&self, caller: &Client, token: &str) -> Result<(), GrantError> {
        // 1.
        let Some(recognized) = self.recognize_token(token) else { return Ok(()) };
        let Some(stored) = self.store.token_find(recognized.id).await? else { return Ok(()) };
        // 2.
        if stored.token.client_id != caller.id {
            return Err(OAuthError::unauthorized_client("the token was issued to another client").into());
        }
        // 3.
        self.persistence.revoke(recognized.id).await?;
        Ok(())
    }
}
