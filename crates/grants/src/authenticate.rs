//! Client authentication (RFC 6749 §2.3), used by the token, introspection and revocation endpoints.
//!
//! 1. Look the client up, and with it how much of the revocation log is known: whatever the request creates carries
//!    that as `seen`.
//!
//! With a secret, or with nothing:
//!
//! 2. Compare the presented secret's keyed hash with the stored one. An unknown client takes the same steps.
//! 3. Only after that tell why, and only to a caller that knows the secret: wrong method, disabled.
//!
//! With an assertion (`private_key_jwt`, RFC 7523 §2.2):
//!
//! 2. The client is registered for exactly this method, and one of its keys has signed the assertion. Until that is
//!    proven nothing is told. That the keys of a known client have to be looked through, or fetched, takes time that an
//!    unknown one does not, and cannot be hidden.
//! 3. It was made by this client, about this client, for this server and for now (`assertions.rs`).
//! 4. The client is enabled.
//! 5. Last, since it is written down: it was not used before.

use grantry_jose::{InvalidJws, unverified_claims};
use grantry_protocol::{AuthMethod, Client, OAuthError, Secret, Seen};
use grantry_store::Observed;

use crate::assertions::Claims;
use crate::key_sets::{Owner, Unverified};
use crate::{GrantError, Grants};

/// How a client proves who it is; nothing of it has been checked.
pub enum Proof {
    /// Only a `client_id`.
    None,
    /// In the `Authorization` header.
    Basic(Secret),
    /// In the body.
    Post(Secret),
    /// A JWT signed by the client (RFC 7523 §2.2).
    Assertion(Secret),
}

impl Proof {
    const fn method(&self) -> AuthMethod {
        match self {
            Self::None => AuthMethod::None,
            Self::Basic(_) => AuthMethod::ClientSecretBasic,
            Self::Post(_) => AuthMethod::ClientSecretPost,
            Self::Assertion(_) => AuthMethod::PrivateKeyJwt,
        }
    }

    fn secret(&self) -> &str {
        match self {
            Self::Basic(secret) | Self::Post(secret) => secret.expose(),
            Self::None | Self::Assertion(_) => "",
        }
    }
}

/// What a client presented.
pub struct Credentials {
    pub client_id: String,
    pub proof: Proof,
}

impl Credentials {
    /// Whoever the assertion says it is from; `client_id` is the parameter, which may be left out (RFC 7521 §4.2).
    ///
    /// # Errors
    /// `invalid_client` where the assertion names nobody, or somebody else.
    pub fn from_assertion(assertion: Secret, client_id: Option<&str>) -> Result<Self, OAuthError> {
        let claims: Option<Claims> = unverified_claims(assertion.expose());
        let subject = claims.and_then(|claims| claims.sub);
        let subject = subject.ok_or_else(|| OAuthError::invalid_client(REFUSED))?;
        if client_id.is_some_and(|id| id != subject) {
            return Err(OAuthError::invalid_client("client_id is not the client that the assertion names"));
        }
        Ok(Self { client_id: subject, proof: Proof::Assertion(assertion) })
    }
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
        let id = credentials.client_id.parse().map_err(|_| refused())?;
        let Observed { seen, value: client } = self.store.client_find(&id).await?;
        let client = match &credentials.proof {
            // Boxed, so that everybody else's request does not carry the room that it takes.
            Proof::Assertion(assertion) => Box::pin(self.check_assertion(client, assertion)).await?,
            Proof::None | Proof::Basic(_) | Proof::Post(_) => self.check_secret(client, credentials)?,
        };
        Ok(AuthenticatedClient { client, seen })
    }

    fn check_secret(&self, client: Option<Client>, credentials: &Credentials) -> Result<Client, OAuthError> {
        // 2.
        let presented = credentials.proof.secret();
        let stored = client.as_ref().and_then(|client| client.secret);
        let secret_matches = self.keys.check_client_secret(&credentials.client_id, presented, stored);
        let client = client.ok_or_else(refused)?;
        let is_public = client.metadata.token_endpoint_auth_method == AuthMethod::None;
        let proven = if is_public { credentials.proof.method() == AuthMethod::None } else { secret_matches };
        if !proven {
            return Err(refused());
        }
        // 3.
        let registered = client.metadata.token_endpoint_auth_method;
        if credentials.proof.method() != registered {
            let description = format!("the client is registered for the method {}", registered.as_str());
            return Err(OAuthError::invalid_client(description));
        }
        enabled(client)
    }

    async fn check_assertion(
        &self,
        client: Option<Client>,
        assertion: &Secret,
    ) -> Result<Client, GrantError> {
        // 2.
        let client =
            client.filter(|client| client.metadata.token_endpoint_auth_method == AuthMethod::PrivateKeyJwt);
        let keys = client.as_ref().and_then(|client| Some((client, client.metadata.keys()?)));
        let verified = match keys {
            Some((client, source)) => {
                self.key_sets.verify(&client.id, Owner::Client, source, assertion.expose()).await
            }
            None => Err(Unverified::Signature(InvalidJws::UnknownKey)),
        };
        let claims: Claims = match verified {
            Ok(claims) => claims,
            Err(Unverified::Signature(_) | Unverified::NoKeys) => return Err(refused().into()),
            Err(Unverified::Unavailable(why)) => return Err(GrantError::Unavailable(why)),
        };
        let client = client.ok_or_else(refused)?;
        // 3.
        let id = client.id.as_str();
        if claims.sub.as_deref() != Some(id) {
            return Err(OAuthError::invalid_client("the assertion's sub must be the client").into());
        }
        let checked = claims
            .check(id, &self.settings().issuer, self.clock.now())
            .map_err(OAuthError::invalid_client)?;
        // 4.
        let client = enabled(client)?;
        // 5.
        if !self.use_up(checked).await? {
            return Err(OAuthError::invalid_client("the assertion was used before").into());
        }
        Ok(client)
    }
}

fn enabled(client: Client) -> Result<Client, OAuthError> {
    if client.metadata.enabled {
        return Ok(client);
    }
    Err(OAuthError::invalid_client("the client is disabled"))
}

fn refused() -> OAuthError {
    OAuthError::invalid_client(REFUSED)
}
