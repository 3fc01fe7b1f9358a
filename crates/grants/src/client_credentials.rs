//! The client credentials grant (RFC 6749 §4.4).
//!
//! 1. Authenticate the client, capturing `seen`; it may use this grant.
//! 2. The scope is part of what it is registered for; none asked for means all of it (RFC 6749 §3.3).
//! 3. The audience comes from `resource` (RFC 8707), else from the configuration.
//! 4. These make the slot. Under the policy `reuse` its ACTIVE token is handed out again if it has enough life left.
//! 5. Otherwise a new token is made and persisted. If another request was faster, the slot's token is the answer: see
//!    `persistence/src/recovery/`.

use grantry_protocol::{GrantType, OAuthError, Slot, Wanted};

use crate::authenticate::AuthenticatedClient;
use crate::issuing::allowed_scope;
use crate::{Credentials, GrantError, Grants, TokenResponse};

impl Grants {
    pub async fn client_credentials(
        &self,
        credentials: &Credentials,
        wanted: Wanted,
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
        let scope = allowed_scope(&client, wanted.scope)?;
        // 3.
        let audience = self.allowed_audience(&client, wanted.audience)?;
        // 4.
        let slot = Slot::of_client(client.id.clone(), scope, audience, client.metadata.access_token_format);
        let holder = self.find_holder(&client, &slot).await?;
        // 5.
        let token = self.obtain_token(&client, slot, seen, holder).await?;
        self.respond(&client, &token, None).await
    }
}
