//! Where clients and tokens are administered: at the running server, or at the store itself. Both take and give the
//! JSON of the admin API.

use grantry_grants::{
    Actor, ClientAdminError, Grants, KeyInfo, KeyName, KeyPurpose, NewClient, RevocationOutcome,
    RevocationTarget,
};
use grantry_jose::Algorithm;
use grantry_protocol::{Client, ClientId, ClientMetadata, Secret, Subject, scopes};
use serde_json::{Map, Value, json};

use crate::addresses::Endpoint;
use crate::admin_api::{AdminApi, Http};
use crate::cli::Access;
use crate::commands::{login, subject_tokens};
use crate::config::Loaded;
use crate::failure::Failure;
use crate::offline;

/// Clients that are asked for at once.
const PAGE: usize = 100;

pub enum Desk {
    Online(AdminApi),
    Offline(Box<Grants>),
}

impl Desk {
    pub async fn open(loaded: &Loaded, access: &Access) -> Result<Self, Failure> {
        if access.offline {
            return Ok(Self::Offline(Box::new(offline::grants(loaded).await?)));
        }
        let server = &loaded.config.server;
        let admin = match &access.admin_url {
            Some(url) => Endpoint::given(url),
            None => Endpoint::of_listener(server, server.admin_listen, "--admin-url")?,
        };
        let public = login::server(loaded, &access.server)?;
        let credentials = login::credentials(loaded, &access.login)?;
        let http = Http::new(server)?;
        let token = http.token(&public, &credentials, Some(scopes::ADMIN), &[]).await?;
        Ok(Self::Online(AdminApi::new(&http, &admin, token.access_token)?))
    }

    pub async fn client_list(&self) -> Result<Vec<Value>, Failure> {
        match self {
            Self::Online(api) => api.client_list(PAGE).await,
            Self::Offline(grants) => {
                let mut clients: Vec<Client> = Vec::new();
                loop {
                    let page = grants.client_list(clients.last().map(|client| &client.id), PAGE).await?;
                    if page.is_empty() {
                        return Ok(clients.iter().map(|client| client.to_json(None)).collect());
                    }
                    clients.extend(page);
                }
            }
        }
    }

    pub async fn client_get(&self, id: &ClientId) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.client_get(id).await,
            Self::Offline(grants) => Ok(grants.client_get(id).await?.to_json(None)),
        }
    }

    pub async fn client_create(
        &self,
        id: Option<ClientId>,
        fields: Map<String, Value>,
    ) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.client_create(id.as_ref(), fields).await,
            Self::Offline(grants) => {
                let metadata = ClientMetadata::from_fields(fields).map_err(ClientAdminError::from)?;
                let created =
                    grants.client_create(NewClient { id, secret: None, metadata }, &Actor::host()).await?;
                Ok(created.to_json())
            }
        }
    }

    /// `patch` is a merge patch (RFC 7396).
    pub async fn client_update(&self, id: &ClientId, patch: Map<String, Value>) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.client_update(id, patch).await,
            Self::Offline(grants) => {
                let change = |current: &ClientMetadata| ClientMetadata::from_fields(current.patched(&patch));
                Ok(grants.client_update(id, &Actor::host(), change).await?.to_json())
            }
        }
    }

    pub async fn client_rotate_secret(&self, id: &ClientId) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.client_rotate_secret(id).await,
            Self::Offline(grants) => Ok(grants.client_rotate_secret(id, &Actor::host()).await?.to_json()),
        }
    }

    pub async fn client_delete(&self, id: &ClientId) -> Result<(), Failure> {
        match self {
            Self::Online(api) => api.client_delete(id).await,
            Self::Offline(grants) => Ok(grants.client_delete(id, &Actor::host()).await?),
        }
    }

    /// Of the server that is asked; the queue exists nowhere else.
    pub async fn persistence_redrive(&self) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.persistence_redrive().await,
            Self::Offline(_) => Err(Failure::new(
                "parked tokens are with the running server: run this without --offline, or stop the server and drain \
                 its journal (grantry journal drain)",
            )),
        }
    }

    /// Of the server that is asked.
    pub async fn cluster(&self) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.cluster().await,
            Self::Offline(_) => Err(Failure::new(
                "what servers know is asked of a running server: run this without --offline",
            )),
        }
    }

    /// What is in force at the server that is asked, or would be with this machine's file.
    pub async fn settings_get(&self) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.settings_get().await,
            Self::Offline(grants) => Ok(grants.settings_get().await?.to_json()),
        }
    }

    /// `patch` is a merge patch (RFC 7396).
    pub async fn settings_update(&self, patch: Map<String, Value>) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.settings_update(patch).await,
            Self::Offline(grants) => {
                Ok(grants.settings_update(&patch, None, &Actor::host()).await?.to_json())
            }
        }
    }

    pub async fn key_list(&self) -> Result<Vec<Value>, Failure> {
        match self {
            Self::Online(api) => api.key_list().await,
            Self::Offline(grants) => Ok(grants.key_list().await?.iter().map(key_json).collect()),
        }
    }

    /// `fields` as `POST /admin/v1/keys` takes them.
    pub async fn key_create(&self, fields: Map<String, Value>) -> Result<Value, Failure> {
        let grants = match self {
            Self::Online(api) => return api.key_create(fields).await,
            Self::Offline(grants) => grants,
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let algorithm = Algorithm::ALL.into_iter().find(|known| Some(known.as_str()) == text("algorithm"));
        let actor = Actor::host();
        let made = match text("private_key_pem") {
            Some(pem) => grants.key_import(&Secret::new(pem), algorithm, &actor).await?,
            None => {
                let purpose = text("purpose").and_then(KeyPurpose::from_name).unwrap_or(KeyPurpose::Signing);
                grants.key_rotate(purpose, algorithm, &actor).await?
            }
        };
        Ok(key_json(&made))
    }

    pub async fn key_revoke(&self, name: &KeyName, confirmed: bool) -> Result<Value, Failure> {
        let revoked = match self {
            Self::Online(api) => {
                let (purpose, version) = match name {
                    KeyName::Version(purpose, version) => (purpose.as_str().to_owned(), *version),
                    KeyName::Kid(kid) => named_by_kid(&api.key_list().await?, kid)?,
                };
                return api.key_revoke(&purpose, version, confirmed).await;
            }
            Self::Offline(grants) => grants.key_revoke(name, confirmed, &Actor::host()).await,
        };
        revoked.map(|key| key_json(&key)).map_err(Failure::from)
    }

    /// At most `limit` grants and as many tokens of a subject, and whether there are more.
    pub async fn token_list(&self, subject: &Subject, limit: usize) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.token_list(subject, limit).await,
            Self::Offline(grants) => subject_tokens::list(grants, subject, limit).await,
        }
    }

    /// What `POST /admin/v1/revocations` takes: the name of a field, and its value.
    pub async fn revocation_create(&self, field: &str, value: Value) -> Result<Value, Failure> {
        let grants = match self {
            Self::Online(api) => return api.revocation_create(json!({ field: value })).await,
            Self::Offline(grants) => grants,
        };
        let text = value.as_str().unwrap_or_default();
        let target = match field {
            "token" => grants.revocation_target(text),
            "token_id" => text.parse().ok().map(RevocationTarget::Token),
            "grant_id" => text.parse().ok().map(RevocationTarget::Grant),
            "session_id" => text.parse().ok().map(RevocationTarget::Session),
            "client_id" => text.parse().ok().map(RevocationTarget::Client),
            "subject" => text.parse().ok().map(RevocationTarget::Subject),
            _ => Some(RevocationTarget::All),
        };
        let target = target.ok_or_else(|| {
            Failure::new(match field {
                "token" => "the token was not made with the keys of this deployment".to_owned(),
                _ => format!("{field} must be a UUID"),
            })
        })?;
        match grants.revocation_create(target, &Actor::host()).await? {
            RevocationOutcome::Revoked(position) => Ok(json!({ "position": position })),
            RevocationOutcome::AlreadyOver => Ok(json!({ "already_over": true })),
            RevocationOutcome::Unknown => {
                Err(Failure::new("there is no such token or grant, and by its id none that is valid"))
            }
        }
    }

    pub async fn token_inspect(&self, token: &str) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.token_inspect(token).await,
            Self::Offline(grants) => {
                Ok(serde_json::to_value(grants.inspect(token).await?).unwrap_or_default())
            }
        }
    }
}

fn key_json(key: &KeyInfo) -> Value {
    serde_json::to_value(key).unwrap_or_default()
}

fn named_by_kid(keys: &[Value], kid: &str) -> Result<(String, u8), Failure> {
    let key = keys.iter().find(|key| key["kid"] == kid);
    let name = key.and_then(|key| {
        Some((key["purpose"].as_str()?.to_owned(), u8::try_from(key["version"].as_u64()?).ok()?))
    });
    name.ok_or_else(|| Failure::new("there is no such key; grantry keys list shows all"))
}
