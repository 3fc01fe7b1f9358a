//! Who may administer: the holder of a live token of this very server with the scope `grantry:admin` (RFC 6750).

use grantry_protocol::{OAuthError, scopes};

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
        let not_active = || OAuthError::invalid_grant("the access token is not active");
        let stored = self.find_token(bearer).await?.ok_or_else(not_active)?;
        if !stored.state(self.clock.now()).is_honoured() {
            return Err(not_active().into());
        }
        if !stored.token.scope.contains(scopes::ADMIN) {
            return Err(OAuthError::invalid_scope("the scope grantry:admin is needed").into());
        }
        Ok(Actor { name: stored.token.client_id.to_string(), request_id: Some(request_id) })
    }
}
