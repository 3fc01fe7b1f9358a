//! The client credentials grant (RFC 6749 §4.4).
//!
//! 1. Authenticate the client, capturing `seen`; it may use this grant.
//! 2. The scope is part of what it is registered for; none asked for means all of it (RFC 6749 §3.3).
//! 3. The audience comes from `resource` (RFC 8707), else from the configuration.
//! 4. These make the slot. Under the policy `reuse` its ACTIVE token is handed out again if it has enough life left.
//! 5. Otherwise a new token is made and persisted. If another request was faster, the slot's token is the answer: see
//!    `persistence/src/recovery/`.

use std::sync::Arc;

use grantry_persistence::Persisted;
use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Audience, Client, GrantType, OAuthError, ScopeSet, Secret, Slot, TokenId,
    TokenRequest,
};
use grantry_store::{Issue, StoredToken};
use metrics::counter;

use crate::authenticate::AuthenticatedClient;
use crate::{Credentials, GrantError, Grants};

/// A successful answer of the token endpoint (RFC 6749 §5.1).
pub struct TokenResponse {
    pub access_token: Secret,
    /// Seconds.
    pub expires_in: u64,
    pub scope: ScopeSet,
}

impl Grants {
    pub async fn client_credentials(
        &self,
        credentials: &Credentials,
        request: TokenRequest,
    ) -> Result<TokenResponse, GrantError> {
        // 1.
        let AuthenticatedClient { client, seen } = self.authenticate(credentials).await?;
        if !client.metadata.grant_types.contains(&GrantType::ClientCredentials) {
            return Err(OAuthError::unauthorized_client(
                "the client is not registered for client_credentials",
            )
            .into());
        }
        // 2.
        let scope = allowed_scope(&client, request.scope)?;
        // 3.
        let audience = self.allowed_audience(&client, request.audience)?;
        // 4.
        let slot = Slot::of_client(client.id.clone(), scope, audience, client.metadata.access_token_format);
        let policy = self.settings.policy_for(&client);
        let min_life = self.settings.reuse_minimum_life_for(&client);
        let mut observed = None;
        if policy == ActiveTokenPolicy::Reuse {
            match self.store.token_find_holder(slot.key()).await? {
                Some(holder) if holder.is_reusable(self.clock.now(), min_life) => {
                    return self.hand_out_again(&holder);
                }
                holder => observed = holder.map(|holder| holder.token.id),
            }
        }
        // 5.
        let now = self.clock.now();
        let id: TokenId = self.token_ids.next(now, self.rng.as_ref());
        let token = AccessToken::issue(id, slot, seen, now, self.settings.lifetime_for(&client));
        let issue = Arc::new(Issue { token, policy, observed, min_life });
        match self.persistence.issue(Arc::clone(&issue)).await? {
            Persisted::Issued => {
                counter!("grantry_tokens_issued_total", "mode" => "sync").increment(1);
                self.respond(&issue.token)
            }
            Persisted::Winner(winner) => self.hand_out_again(&winner),
        }
    }

    fn allowed_audience(&self, client: &Client, requested: Audience) -> Result<Audience, GrantError> {
        if requested.is_empty() {
            return Ok(self.settings.default_audience.clone());
        }
        if !client.metadata.allows_audience(&requested) {
            return Err(OAuthError::invalid_target("the client may not ask for this resource").into());
        }
        Ok(requested)
    }

    fn hand_out_again(&self, stored: &StoredToken) -> Result<TokenResponse, GrantError> {
        counter!("grantry_tokens_reused_total").increment(1);
        self.respond(&stored.token)
    }

    fn respond(&self, token: &AccessToken) -> Result<TokenResponse, GrantError> {
        Ok(TokenResponse {
            access_token: self.write_token(token)?,
            expires_in: token.expires_in(self.clock.now()),
            scope: token.scope.clone(),
        })
    }
}

fn allowed_scope(client: &Client, requested: Option<ScopeSet>) -> Result<ScopeSet, OAuthError> {
    let registered = &client.metadata.scope;
    match requested {
        None => Ok(registered.clone()),
        Some(scope) if scope.is_subset_of(registered) => Ok(scope),
        Some(_) => Err(OAuthError::invalid_scope("the client is not registered for all of this scope")),
    }
}
