//! Where clients and tokens are administered: at the running server, or at the store itself. Both take and give the
//! JSON of the admin API.

use grantry_grants::{Actor, ClientAdminError, ClientWithSecret, Grants, NewClient};
use grantry_protocol::{AuthMethod, Client, ClientId, ClientMetadata, InvalidMetadata, scopes};
use serde_json::{Map, Value};

use crate::addresses::Endpoint;
use crate::admin_api::{AdminApi, Http};
use crate::cli::Access;
use crate::commands::login;
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
                        return Ok(clients.iter().map(client_json).collect());
                    }
                    clients.extend(page);
                }
            }
        }
    }

    pub async fn client_get(&self, id: &ClientId) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.client_get(id).await,
            Self::Offline(grants) => Ok(client_json(&grants.client_get(id).await?)),
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
                let metadata = metadata_of(fields).map_err(ClientAdminError::from)?;
                let created =
                    grants.client_create(NewClient { id, secret: None, metadata }, &Actor::host()).await?;
                Ok(with_secret_json(&created))
            }
        }
    }

    /// `patch` is a merge patch (RFC 7396).
    pub async fn client_update(&self, id: &ClientId, patch: Map<String, Value>) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.client_update(id, patch).await,
            Self::Offline(grants) => {
                let change = |current: &ClientMetadata| metadata_of(merged(current, &patch));
                Ok(with_secret_json(&grants.client_update(id, &Actor::host(), change).await?))
            }
        }
    }

    pub async fn client_rotate_secret(&self, id: &ClientId) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.client_rotate_secret(id).await,
            Self::Offline(grants) => {
                Ok(with_secret_json(&grants.client_rotate_secret(id, &Actor::host()).await?))
            }
        }
    }

    pub async fn client_delete(&self, id: &ClientId) -> Result<(), Failure> {
        match self {
            Self::Online(api) => api.client_delete(id).await,
            Self::Offline(grants) => Ok(grants.client_delete(id, &Actor::host()).await?),
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

fn metadata_of(fields: Map<String, Value>) -> Result<ClientMetadata, InvalidMetadata> {
    serde_path_to_error::deserialize(Value::Object(fields))
        .map_err(|error| InvalidMetadata { field: "metadata", problem: error.to_string() })
}

fn merged(current: &ClientMetadata, patch: &Map<String, Value>) -> Map<String, Value> {
    let mut fields = metadata_fields(current);
    for (name, value) in patch {
        match value {
            Value::Null => drop(fields.remove(name)),
            value => drop(fields.insert(name.clone(), value.clone())),
        }
    }
    fields
}

fn metadata_fields(metadata: &ClientMetadata) -> Map<String, Value> {
    match serde_json::to_value(metadata) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn client_json(client: &Client) -> Value {
    let mut fields = metadata_fields(&client.metadata);
    fields.insert("client_id".to_owned(), client.id.as_str().into());
    fields.insert("client_id_issued_at".to_owned(), client.created_at.as_secs().into());
    fields.insert("updated_at".to_owned(), client.updated_at.as_secs().into());
    Value::Object(fields)
}

fn with_secret_json(client: &ClientWithSecret) -> Value {
    let mut json = client_json(&client.client);
    if let Some(secret) = &client.secret {
        json["client_secret"] = secret.expose().into();
    }
    if client.client.metadata.token_endpoint_auth_method != AuthMethod::None {
        json["client_secret_expires_at"] = 0.into();
    }
    json
}
