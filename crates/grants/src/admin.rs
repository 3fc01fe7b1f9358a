//! Who may administer: the holder of a live token of this very server with the scope `grantry:admin` (RFC 6750).

use grantry_protocol::{AccessToken, OAuthError, scopes};

use crate::{GrantError, Grants};

/// Who did it, for the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A client's id, or `host`.
    pub name: String,
    pub request_id: Option<String>,
}

impl Actor {
    /// Somebody at the host itself, who can read the store and its keys anyway.
    pub fn host() -> Self {
        Self { name: "host".to_owned(), request_id: None }
    }
}

impl Grants {
    /// # Errors
    /// `invalid_grant` when the token is not active, `invalid_scope` when it does not reach this far; the web layer
    /// says `invalid_token` and `insufficient_scope` (RFC 6750 §3.1).
    pub async fn authorize_admin(&self, bearer: &str, request_id: String) -> Result<Actor, GrantError> {
        let token = self.authorize(bearer, scopes::ADMIN).await?;
        Ok(Actor { name: token.client_id.to_string(), request_id: Some(request_id) })
    }

    /// The token, if it is active and has the scope.
    pub(crate) async fn authorize(&self, bearer: &str, scope: &str) -> Result<AccessToken, GrantError> {
        let not_active = || OAuthError::invalid_grant("the access token is not active");
        let stored = self.find_token(bearer).await?.ok_or_else(not_active)?;
        if !stored.state(self.clock.now()).is_honoured() {
            return Err(not_active().into());
        }
        if !stored.token.scope.contains(scope) {
            return Err(OAuthError::invalid_scope(format!("the scope {scope} is needed")).into());
        }
        Ok(stored.token)
    }
}
