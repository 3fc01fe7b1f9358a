//! Client authentication (RFC 6749 §2.3), used by the token, introspection and revocation endpoints.
//!
//! 1. Look the client up, and with it how much of the revocation log is known: whatever the request creates carries
//!    that as `seen`.
//! 2. Compare the presented secret's keyed hash with the stored one. An unknown client takes the same steps.
//! 3. Only after that tell why, and only to a caller that knows the secret: wrong method, disabled.

use grantry_protocol::{AuthMethod, Client, OAuthError, Secret, Seen};
use grantry_store::Observed;

use crate::{GrantError, Grants};

/// How a client presented itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentedMethod {
    Basic,
    Post,
    /// Only a `client_id`.
    None,
}

impl PresentedMethod {
    const fn as_registered(self) -> AuthMethod {
        match self {
            Self::Basic => AuthMethod::ClientSecretBasic,
            Self::Post => AuthMethod::ClientSecretPost,
            Self::None => AuthMethod::None,
        }
    }
}

/// What a client presented; nothing of it has been checked.
pub struct Credentials {
    pub client_id: String,
    pub secret: Option<Secret>,
    pub method: PresentedMethod,
}

#[derive(Debug, Clone)]
pub(crate) struct AuthenticatedClient {
    pub client: Client,
    pub seen: Seen,
}

const REFUSED: &str = "client authentication failed";

impl Grants {
    /// # Errors
    /// `invalid_client`.
    pub(crate) async fn authenticate(
        &self,
        credentials: &Credentials,
    ) -> Result<AuthenticatedClient, GrantError> {
        // 1.
        let id = credentials.client_id.parse().map_err(|_| OAuthError::invalid_client(REFUSED))?;
        let Observed { seen, value: client } = self.store.client_find(&id).await?;
        // 2.
        let presented = credentials.secret.as_ref().map_or("", Secret::expose);
        let stored = client.as_ref().and_then(|client| client.secret);
        let secret_matches = self.keys.check_client_secret(id.as_str(), presented, stored);
        let Some(client) = client else { return Err(OAuthError::invalid_client(REFUSED).into()) };
        let is_public = client.metadata.token_endpoint_auth_method == AuthMethod::None;
        let proven = if is_public { credentials.method == PresentedMethod::None } else { secret_matches };
        if !proven {
            return Err(OAuthError::invalid_client(REFUSED).into());
        }
        // 3.
        let registered = client.metadata.token_endpoint_auth_method;
        if credentials.method.as_registered() != registered {
            let description = format!("the client is registered for the method {}", registered.as_str());
            return Err(OAuthError::invalid_client(description).into());
        }
        if !client.metadata.enabled {
            return Err(OAuthError::invalid_client("the client is disabled").into());
        }
        Ok(AuthenticatedClient { client, seen })
    }
}
