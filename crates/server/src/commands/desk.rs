//! Where clients and tokens are administered: at the running server, or at the store itself. Both take and give the
//! JSON of the admin API.

use grantry_grants::{Actor, ClientAdminError, Grants, NewClient};
use grantry_protocol::{Client, ClientId, ClientMetadata, scopes};
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

    pub async fn token_inspect(&self, token: &str) -> Result<Value, Failure> {
        match self {
            Self::Online(api) => api.token_inspect(token).await,
            Self::Offline(grants) => {
                Ok(serde_json::to_value(grants.inspect(token).await?).unwrap_or_default())
            }
        }
    }
}
