//! Clients that are kept outside of a store that forgets them.

use async_trait::async_trait;
use grantry_protocol::{
    Client, ClientId, ClientMetadata, ClientSecretHash, InvalidMetadata, Secret, Timestamp,
};
use grantry_store::{ClientOutcome, KeyPurpose};

use crate::clients::{ClientAdminError, audit_entry, checked_secret, done, invalid_secret};
use crate::{Actor, Grants};

/// Keeps the clients, and the keys that their secrets were hashed with, as they are in the store.
#[async_trait]
pub trait ClientKeeper: Send + Sync {
    /// Returns once everything is kept that was in the store when it was called.
    async fn keep(&self) -> Result<(), NotKept>;
}

/// A change is in force, and gone after a restart unless a later attempt keeps it. Why is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the change is in force, but it could not be written to the file that keeps clients (store.clients_file); the server \
     goes on trying, and its log says why. A restart before that undoes the change"
)]
pub struct NotKept;

/// A client as it was kept, or as a person wrote it down.
pub struct KeptClient {
    pub id: ClientId,
    pub metadata: ClientMetadata,
    pub secret: KeptSecret,
    /// Absent for one that a person wrote down.
    pub past: Option<Past>,
}

/// What only a store knows of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    pub version: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

pub enum KeptSecret {
    None,
    Plain(Secret),
    /// With when the key was made that it was hashed with: another key may have the same number.
    Hashed(ClientSecretHash, Timestamp),
}

impl Grants {
    /// The same with somebody who keeps clients. A change is answered when it is kept.
    #[must_use]
    pub fn with_client_keeper(self, keeper: std::sync::Arc<dyn ClientKeeper>) -> Self {
        Self { keeper: Some(keeper), ..self }
    }

    pub(crate) async fn keep_clients(&self) -> Result<(), NotKept> {
        match &self.keeper {
            Some(keeper) => keeper.keep().await,
            None => Ok(()),
        }
    }

    /// Brings a client into the store, as it was; `false` where the store has one of its id. It is not kept by this.
    ///
    /// # Errors
    /// Names the field that is wrong.
    pub async fn client_import(&self, kept: KeptClient) -> Result<bool, ClientAdminError> {
        self.check_metadata(&kept.metadata)?;
        let now = self.clock.now();
        let past = kept.past.unwrap_or(Past { version: 1, created_at: now, updated_at: now });
        let client = Client {
            secret: self.kept_hash(&kept)?,
            id: kept.id,
            metadata: kept.metadata,
            created_at: past.created_at,
            updated_at: past.updated_at,
            version: past.version,
        };
        let detail = client.metadata.to_fields().into();
        let audit = audit_entry(now, &Actor::host(), "client.import", &client.id, detail);
        match self.store.client_insert(client, audit).await? {
            ClientOutcome::AlreadyExists => Ok(false),
            outcome => done(outcome).map(|()| true),
        }
    }

    fn kept_hash(&self, kept: &KeptClient) -> Result<Option<ClientSecretHash>, ClientAdminError> {
        let method = kept.metadata.token_endpoint_auth_method;
        match (&kept.secret, method.has_secret()) {
            (KeptSecret::None, false) => Ok(None),
            (KeptSecret::None, true) => Err(invalid_secret(format!(
                "is missing, and a client of the method \"{}\" has one: write it here, and the start replaces it by its hash",
                method.as_str()
            ))),
            (_, false) => {
                Err(invalid_secret(format!("a client of the method \"{}\" has no secret", method.as_str())))
            }
            (KeptSecret::Plain(secret), true) => {
                let secret = checked_secret(Secret::new(secret.expose()))?;
                Ok(Some(self.keys.hash_client_secret(&kept.id, &secret)))
            }
            (KeptSecret::Hashed(hash, made), true) => {
                match self.keys.made_at(KeyPurpose::ClientSecret, hash.key_version) {
                    Some(at) if at == *made => Ok(Some(*hash)),
                    _ => Err(InvalidMetadata {
                        field: "kept",
                        problem: "its secret was hashed with a key that the store does not have: write a client_secret in \
                                  its place"
                            .to_owned(),
                    }
                    .into()),
                }
            }
        }
    }
}
