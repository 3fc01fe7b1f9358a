//! Introspection (RFC 7662).
//!
//! 1. Authenticate the caller (RFC 7662 §2.1). The token is looked up meanwhile, so that both reads share a trip to
//!    the store; nothing of it is told to a caller that fails.
//! 2. A token that was not made with our keys is inactive; the store is not asked for it. Otherwise its row is read,
//!    or its grant's, with all that may have ended it, in one snapshot. A token without a row says itself what it is; the
//!    revocation log is asked whether it was ended.
//! 3. The caller may see it if it is its own, or if the caller holds `grantry:introspect`; an access token also if it is
//!    meant for the caller. To anybody else it is inactive: that it exists is nobody else's business (RFC 7662 §4).
//! 4. An access token is active if it is ACTIVE or RETIRED. A refresh token is active if its grant is, and it is the
//!    current one or, within the grace, the one before: what a refresh would take.
//! 5. The answer about an access token has the claims that are configured for its client by now.

use grantry_protocol::{
    AccessToken, AuthMethod, Client, ConfiguredClaims, Grant, OAuthError, Timestamp, scopes,
};
use grantry_store::{StoredGrant, StoredToken};

use crate::tokens::opaque::RefreshToken;
use crate::{Credentials, GrantError, Grants};

pub enum Introspection {
    Inactive,
    Active(Box<ActiveToken>),
    ActiveGrant(Box<ActiveGrant>),
}

/// The members of RFC 7662 §2.2 come from here.
pub struct ActiveToken {
    pub token: AccessToken,
    pub issuer: String,
    pub claims: ConfiguredClaims,
}

/// The same for a refresh token. It expires when its grant does.
pub struct ActiveGrant {
    pub grant: Grant,
    pub issuer: String,
}

pub(crate) enum Found {
    Token(StoredToken),
    Grant(RefreshToken, StoredGrant),
}

impl Grants {
    pub async fn introspect(
        &self,
        credentials: &Credentials,
        token: &str,
    ) -> Result<Introspection, GrantError> {
        // 1.
        let (caller, found) = tokio::join!(self.authenticate_confidential(credentials), self.find_any(token));
        let caller = caller?;
        let (now, issuer) = (self.clock.now(), self.settings().issuer.clone());
        match found? {
            // 2.
            None => Ok(Introspection::Inactive),
            // 3. and 4.
            Some(Found::Token(StoredToken { token, .. })) if !may_see(&caller, &token) => {
                Ok(Introspection::Inactive)
            }
            Some(Found::Token(stored)) if !stored.state(now).is_honoured() => Ok(Introspection::Inactive),
            // 5.
            Some(Found::Token(StoredToken { token, .. })) => {
                let claims = self.configured_claims(&caller, &token).await?;
                Ok(Introspection::Active(Box::new(ActiveToken { token, issuer, claims })))
            }
            Some(Found::Grant(_, StoredGrant { grant, .. })) if !may_see_grant(&caller, &grant) => {
                Ok(Introspection::Inactive)
            }
            Some(Found::Grant(presented, stored)) if !self.is_good(presented, &stored, now) => {
                Ok(Introspection::Inactive)
            }
            Some(Found::Grant(_, StoredGrant { grant, .. })) => {
                Ok(Introspection::ActiveGrant(Box::new(ActiveGrant { grant, issuer })))
            }
        }
    }

    /// Anybody can name a public client's id, so it proves nothing here.
    async fn authenticate_confidential(&self, credentials: &Credentials) -> Result<Client, GrantError> {
        let client = self.authenticate(credentials).await?.client;
        if client.metadata.token_endpoint_auth_method == AuthMethod::None {
            return Err(OAuthError::invalid_client("a public client cannot introspect tokens").into());
        }
        Ok(client)
    }

    /// Those of the token's client, over those of all.
    async fn configured_claims(
        &self,
        caller: &Client,
        token: &AccessToken,
    ) -> Result<ConfiguredClaims, GrantError> {
        let settings = self.settings();
        let merged =
            |client: &Client| client.metadata.access_token_claims.over(&settings.claims).into_owned();
        if token.client_id == caller.id {
            return Ok(merged(caller));
        }
        let client = self.store.client_find(&token.client_id).await?.value;
        Ok(client.as_ref().map_or_else(|| settings.claims.clone(), merged))
    }

    async fn find_any(&self, text: &str) -> Result<Option<Found>, GrantError> {
        if let Some((presented, stored)) = self.find_grant(text).await? {
            return Ok(Some(Found::Grant(presented.token, stored)));
        }
        Ok(self.find_token(text).await?.map(Found::Token))
    }

    /// Whether a refresh would take it, as far as one can tell without doing it.
    pub(crate) fn is_good(&self, presented: RefreshToken, stored: &StoredGrant, now: Timestamp) -> bool {
        let grant = &stored.grant;
        let within_grace = now.since(grant.rotated_at) <= self.settings().refresh_grace.as_duration();
        stored.is_active(now)
            && match grant.counter.checked_sub(presented.counter) {
                Some(0) => true,
                Some(1) => within_grace,
                _ => false,
            }
    }
}

fn may_see(caller: &Client, token: &AccessToken) -> bool {
    token.client_id == caller.id
        || token.audience.contains(caller.id.as_str())
        || caller.metadata.resources.iter().any(|resource| token.audience.contains(resource))
        || caller.metadata.scope.contains(scopes::INTROSPECT)
}

/// No resource server is ever sent a refresh token.
fn may_see_grant(caller: &Client, grant: &Grant) -> bool {
    grant.client_id == caller.id || caller.metadata.scope.contains(scopes::INTROSPECT)
}
