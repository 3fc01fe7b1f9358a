//! Administration of clients. Every change is one transaction with its audit row and its entry in the revocation log.

use grantry_jose::{PublicKeySet, base64url};
use grantry_protocol::{
    AuthMethod, Client, ClientId, ClientKeySet, ClientMetadata, GrantType, InvalidMetadata, LogKind,
    ScopeSet, Secret, Timestamp, scopes,
};
use grantry_store::{Announcement, AuditEntry, ClientChange, ClientDeletion, ClientOutcome};
use serde_json::{Value, json};

use crate::{Actor, GrantError, Grants, NotKept};

/// Bytes of randomness in a secret that we make; RFC 6749 §10.10 asks for at least 16.
const SECRET_BYTES: usize = 32;
const MAX_SECRET_LEN: usize = 255;
/// How often a change is tried again when somebody else's came in between.
const ATTEMPTS: u32 = 5;

/// A client as an administrator asks for it. What is absent, Grantry makes.
#[derive(Default)]
pub struct NewClient {
    pub id: Option<ClientId>,
    pub secret: Option<Secret>,
    pub metadata: ClientMetadata,
}

/// The one moment at which the secret is known.
pub struct ClientWithSecret {
    pub client: Client,
    pub secret: Option<Secret>,
}

impl ClientWithSecret {
    pub fn to_json(&self) -> Value {
        self.client.to_json(self.secret.as_ref())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientAdminError {
    #[error("there is no client with this id")]
    NotFound,
    #[error("a client with this id exists already")]
    AlreadyExists,
    #[error("this is the last client that can reach the admin API; create or enable another one first")]
    LastAdministrator,
    #[error("there is an administrator already")]
    AdministratorExists,
    #[error("somebody else changed the client at the same time; read it again")]
    Conflict,
    #[error(transparent)]
    NotKept(#[from] NotKept),
    #[error(transparent)]
    Invalid(#[from] InvalidMetadata),
    #[error(transparent)]
    Failed(#[from] GrantError),
}

impl From<grantry_store::StoreError> for ClientAdminError {
    fn from(error: grantry_store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

type Result<T> = std::result::Result<T, ClientAdminError>;

impl Grants {
    pub async fn client_get(&self, id: &ClientId) -> Result<Client> {
        self.store.client_find(id).await?.value.ok_or(ClientAdminError::NotFound)
    }

    /// At most `limit` clients with an id above `after`, in the order of their ids.
    pub async fn client_list(&self, after: Option<&ClientId>, limit: usize) -> Result<Vec<Client>> {
        Ok(self.store.client_list(after, limit).await?)
    }

    pub async fn client_create(&self, new: NewClient, actor: &Actor) -> Result<ClientWithSecret> {
        self.check_metadata(&new.metadata)?;
        let id = new.id.unwrap_or_else(|| self.random_client_id());
        let secret = self.secret_for(&new.metadata, new.secret)?;
        let now = self.clock.now();
        let client = Client {
            secret: secret.as_ref().map(|secret| self.keys.hash_client_secret(&id, secret)),
            id,
            metadata: new.metadata,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        let audit = audit_entry(now, actor, "client.create", &client.id, client.metadata.to_fields().into());
        match self.store.client_insert(client.clone(), audit).await? {
            ClientOutcome::AlreadyExists => return Err(ClientAdminError::AlreadyExists),
            outcome => done(outcome)?,
        }
        self.keep_clients().await?;
        Ok(ClientWithSecret { client, secret })
    }

    /// Changes the metadata by `change`, which sees the present one and may refuse. Gives the new secret when the
    /// change made one necessary.
    pub async fn client_update(
        &self,
        id: &ClientId,
        actor: &Actor,
        change: impl Fn(&ClientMetadata) -> std::result::Result<ClientMetadata, InvalidMetadata>,
    ) -> Result<ClientWithSecret> {
        for _ in 0..ATTEMPTS {
            let current = self.client_get(id).await?;
            let metadata = change(&current.metadata)?;
            self.check_metadata(&metadata)?;
            let (secret, hash) = match (metadata.token_endpoint_auth_method.has_secret(), current.secret) {
                (false, _) => (None, None),
                (true, Some(kept)) => (None, Some(kept)),
                (true, None) => {
                    let secret = self.random_secret();
                    let hash = self.keys.hash_client_secret(id, &secret);
                    (Some(secret), Some(hash))
                }
            };
            let detail = changed_fields(&current.metadata, &metadata);
            let client = Client { metadata, secret: hash, ..current.clone() };
            if let Some(client) = self.write_client(&current, client, actor, "client.update", detail).await? {
                return Ok(ClientWithSecret { client, secret });
            }
        }
        Err(ClientAdminError::Conflict)
    }

    /// Gives the client a new secret; the old one ends at once, tokens stay.
    pub async fn client_rotate_secret(&self, id: &ClientId, actor: &Actor) -> Result<ClientWithSecret> {
        self.client_set_secret(id, self.random_secret(), actor).await
    }

    async fn client_set_secret(
        &self,
        id: &ClientId,
        secret: Secret,
        actor: &Actor,
    ) -> Result<ClientWithSecret> {
        for _ in 0..ATTEMPTS {
            let current = self.client_get(id).await?;
            let method = current.metadata.token_endpoint_auth_method;
            if !method.has_secret() {
                return Err(InvalidMetadata {
                    field: "token_endpoint_auth_method",
                    problem: format!("a client of the method \"{}\" has no secret", method.as_str()),
                }
                .into());
            }
            let client =
                Client { secret: Some(self.keys.hash_client_secret(id, &secret)), ..current.clone() };
            if let Some(client) =
                self.write_client(&current, client, actor, "client.rotate_secret", Value::Null).await?
            {
                return Ok(ClientWithSecret { client, secret: Some(secret) });
            }
        }
        Err(ClientAdminError::Conflict)
    }

    pub async fn client_delete(&self, id: &ClientId, actor: &Actor) -> Result<()> {
        let now = self.clock.now();
        let deletion = ClientDeletion {
            id: id.clone(),
            keep_until: now + self.settings().rule_memory(),
            audit: audit_entry(now, actor, "client.delete", id, Value::Null),
        };
        done(self.store.client_delete(deletion).await?)?;
        Ok(self.keep_clients().await?)
    }

    /// An administrator for a store that has none, or whose administrators have lost their secrets. With an id that
    /// exists, that client gets a new secret (the given one, if any) and the rights back.
    pub async fn administrator_recover(
        &self,
        id: Option<ClientId>,
        secret: Option<Secret>,
    ) -> Result<ClientWithSecret> {
        let metadata = of_administrator();
        let actor = Actor::host();
        let id = id.unwrap_or_else(|| self.random_client_id());
        let new = NewClient { id: Some(id.clone()), secret: secret.clone(), metadata };
        match self.client_create(new, &actor).await {
            Err(ClientAdminError::AlreadyExists) => {}
            outcome => return outcome,
        }
        self.client_update(&id, &actor, |current| Ok(with_administration(current))).await?;
        let secret = secret.map_or_else(|| Ok(self.random_secret()), checked_secret)?;
        self.client_set_secret(&id, secret, &actor).await
    }

    /// The first administrator of a store that has none; of nodes that try at the same time one makes its own.
    ///
    /// # Errors
    /// [`ClientAdminError::AdministratorExists`] if there is one, [`ClientAdminError::AlreadyExists`] if another client
    /// has the id.
    pub async fn administrator_create_first(&self, id: ClientId, secret: Secret) -> Result<()> {
        let secret = checked_secret(secret)?;
        let now = self.clock.now();
        let client = Client {
            secret: Some(self.keys.hash_client_secret(&id, &secret)),
            id,
            metadata: of_administrator(),
            created_at: now,
            updated_at: now,
            version: 1,
        };
        let detail = client.metadata.to_fields().into();
        let audit = audit_entry(now, &Actor::host(), "client.create", &client.id, detail);
        done(self.store.client_insert_first_administrator(client, audit).await?)?;
        Ok(self.keep_clients().await?)
    }

    /// Whether any client can reach the admin API.
    pub async fn has_administrator(&self) -> Result<bool> {
        let mut after: Option<ClientId> = None;
        loop {
            let page = self.store.client_list(after.as_ref(), 100).await?;
            if page.iter().any(Client::is_administrator) {
                return Ok(true);
            }
            match page.last() {
                Some(last) => after = Some(last.id.clone()),
                None => return Ok(false),
            }
        }
    }

    /// `None` when somebody else changed the client since it was read.
    async fn write_client(
        &self,
        current: &Client,
        mut client: Client,
        actor: &Actor,
        action: &'static str,
        detail: Value,
    ) -> Result<Option<Client>> {
        let now = self.clock.now();
        client.version = current.version + 1;
        client.updated_at = now;
        // Disabling ends the client's tokens; any other change ends nothing.
        let disables = current.metadata.enabled && !client.metadata.enabled;
        let announcement = Announcement {
            kind: if disables { LogKind::Client } else { LogKind::ClientChanged },
            keep_until: now + self.settings().rule_memory(),
        };
        let audit = audit_entry(now, actor, action, &client.id, detail);
        match self.store.client_update(ClientChange { client: client.clone(), announcement, audit }).await? {
            ClientOutcome::VersionConflict => return Ok(None),
            outcome => done(outcome)?,
        }
        self.keep_clients().await?;
        Ok(Some(client))
    }

    fn secret_for(&self, metadata: &ClientMetadata, given: Option<Secret>) -> Result<Option<Secret>> {
        let method = metadata.token_endpoint_auth_method;
        match (method.has_secret(), given) {
            (false, None) => Ok(None),
            (false, Some(_)) => {
                Err(invalid_secret(format!("a client of the method \"{}\" has no secret", method.as_str())))
            }
            (true, None) => Ok(Some(self.random_secret())),
            (true, Some(secret)) => checked_secret(secret).map(Some),
        }
    }

    pub(crate) fn check_metadata(
        &self,
        metadata: &ClientMetadata,
    ) -> std::result::Result<(), InvalidMetadata> {
        metadata.validate(&self.settings().metadata_rules())?;
        check_keys("jwks", metadata.jwks.as_ref())?;
        let issuer = metadata.jwt_bearer_issuer.as_ref();
        check_keys("jwt_bearer_issuer", issuer.and_then(|issuer| issuer.jwks.as_ref()))
    }

    fn random_secret(&self) -> Secret {
        let mut bytes = [0; SECRET_BYTES];
        self.rng.fill(&mut bytes);
        Secret::new(base64url(bytes))
    }

    fn random_client_id(&self) -> ClientId {
        let mut bytes = [0; 12];
        self.rng.fill(&mut bytes);
        base64url(bytes).parse().expect("base64url is printable ASCII")
    }
}

/// A set from which no signature could ever be verified would lock the client out.
fn check_keys(field: &'static str, set: Option<&ClientKeySet>) -> std::result::Result<(), InvalidMetadata> {
    match set.map(|set| PublicKeySet::parse(set.as_json())) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(InvalidMetadata { field, problem: error.to_string() }),
    }
}

/// `client-secret` of RFC 6749 appendix A.2.
pub(crate) fn checked_secret(secret: Secret) -> Result<Secret> {
    let text = secret.expose();
    if !text.is_empty()
        && text.len() <= MAX_SECRET_LEN
        && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
    {
        return Ok(secret);
    }
    Err(invalid_secret(format!("must be 1 to {MAX_SECRET_LEN} printable ASCII characters")))
}

pub(crate) fn invalid_secret(problem: String) -> ClientAdminError {
    InvalidMetadata { field: "client_secret", problem }.into()
}

fn of_administrator() -> ClientMetadata {
    ClientMetadata {
        client_name: Some("Administrator".to_owned()),
        scope: ScopeSet::parse(scopes::ADMIN).expect("a scope of ours is well formed"),
        ..ClientMetadata::default()
    }
}

fn with_administration(current: &ClientMetadata) -> ClientMetadata {
    let mut metadata = current.clone();
    metadata.enabled = true;
    if !metadata.grant_types.contains(&GrantType::ClientCredentials) {
        metadata.grant_types.push(GrantType::ClientCredentials);
    }
    // Who has lost the private key cannot come in by it either.
    if !metadata.token_endpoint_auth_method.has_secret() {
        metadata.token_endpoint_auth_method = AuthMethod::ClientSecretBasic;
    }
    if let Ok(scope) = ScopeSet::parse(&format!("{} {}", metadata.scope, scopes::ADMIN)) {
        metadata.scope = scope;
    }
    metadata
}

pub(crate) fn done(outcome: ClientOutcome) -> Result<()> {
    match outcome {
        ClientOutcome::Done => Ok(()),
        ClientOutcome::AlreadyExists => Err(ClientAdminError::AlreadyExists),
        ClientOutcome::NotFound => Err(ClientAdminError::NotFound),
        ClientOutcome::VersionConflict => Err(ClientAdminError::Conflict),
        ClientOutcome::LastAdministrator => Err(ClientAdminError::LastAdministrator),
        ClientOutcome::AdministratorExists => Err(ClientAdminError::AdministratorExists),
    }
}

pub(crate) fn audit_entry(
    at: Timestamp,
    actor: &Actor,
    action: &'static str,
    target: &ClientId,
    detail: Value,
) -> AuditEntry {
    AuditEntry {
        at,
        actor: actor.name.clone(),
        action,
        target: target.to_string(),
        detail,
        request_id: actor.request_id.clone(),
    }
}

/// Each changed field with its old and its new value.
fn changed_fields(old: &ClientMetadata, new: &ClientMetadata) -> Value {
    let (old, new) = (old.to_fields(), new.to_fields());
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    names
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| (name.clone(), json!({ "from": old.get(name), "to": new.get(name) })))
        .collect()
}
