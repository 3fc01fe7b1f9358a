//! Introspection (RFC 7662).
//!
//! 1. Authenticate the caller (RFC 7662 §2.1). The token is looked up meanwhile, so that both reads share a trip to
//!    the store; nothing of it is told to a caller that fails.
//! 2. A token that was not made with our keys is inactive; the store is not asked for it. Otherwise its row is read,
//!    with all that may have ended it, in one snapshot.
//! 3. The caller may see it if it is its own, meant for it, or if the caller holds `grantry:introspect`. To anybody
//!    else it is inactive: that it exists is nobody else's business (RFC 7662 §4).
//! 4. It is active if it is ACTIVE or RETIRED.

use grantry_protocol::{AccessToken, AuthMethod, Client, OAuthError, scopes};

use crate::{Credentials, GrantError, Grants};

pub enum Introspection {
    Inactive,
    Active(Box<ActiveToken>),
}

/// The members of RFC 7662 §2.2 come from here.
pub struct ActiveToken {
    pub token: AccessToken,
    pub issuer: String,
}

impl Grants {
    pub async fn introspect(
        &self,
        credentials: &Credentials,
        token: &str,
    ) -> Result<Introspection, GrantError> {
        // 1.
        let (caller, stored) =
            tokio::join!(self.authenticate_confidential(credentials), self.find_token(token));
        let caller = caller?;
        // 2.
        let Some(stored) = stored? else { return Ok(Introspection::Inactive) };
        // 3.
        if !may_see(&caller, &stored.token) {
            return Ok(Introspection::Inactive);
        }
        // 4.
        if !stored.state(self.clock.now()).is_honoured() {
            return Ok(Introspection::Inactive);
        }
        Ok(Introspection::Active(Box::new(ActiveToken {
            token: stored.token,
            issuer: self.settings.issuer.clone(),
        })))
    }

    /// Anybody can name a public client's id, so it proves nothing here.
    async fn authenticate_confidential(&self, credentials: &Credentials) -> Result<Client, GrantError> {
        let client = self.authenticate(credentials).await?.client;
        if client.metadata.token_endpoint_auth_method == AuthMethod::None {
            return Err(OAuthError::invalid_client("a public client cannot introspect tokens").into());
        }
        Ok(client)
    }
}

fn may_see(caller: &Client, token: &AccessToken) -> bool {
    token.client_id == caller.id
        || token.audience.contains(caller.id.as_str())
        || caller.metadata.resources.iter().any(|resource| token.audience.contains(resource))
        || caller.metadata.scope.contains(scopes::INTROSPECT)
}
