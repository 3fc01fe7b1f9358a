//! Where the issuer answers (RFC 8414).

use std::sync::Arc;

use reqwest::Client;
use serde::Deserialize;
use tokio::sync::OnceCell;
use url::Url;

use crate::http_client::{Failure, PATIENCE, send};
use crate::{Endpoints, Settings, StartError};

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
/// Where Grantry has its feed, if its metadata does not say.
const FEED: &str = "/oauth2/revocations";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    pub jwks: Url,
    pub token: Option<Url>,
    pub introspection: Option<Url>,
    pub revocations: Url,
}

/// The members of the metadata that we look at.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
    token_endpoint: Option<String>,
    introspection_endpoint: Option<String>,
    revocations_endpoint: Option<String>,
}

pub struct Discovery {
    client: Client,
    settings: Settings,
    found: OnceCell<Arc<Places>>,
}

impl Discovery {
    pub fn new(client: Client, settings: Settings) -> Self {
        Self { client, settings, found: OnceCell::new() }
    }

    /// Found once; who fails asks again.
    pub async fn places(&self) -> Result<Arc<Places>, Failure> {
        self.found.get_or_try_init(|| self.find()).await.map(Arc::clone)
    }

    async fn find(&self) -> Result<Arc<Places>, Failure> {
        let Endpoints { jwks, token, introspection, revocations } = self.settings.endpoints.clone();
        let issuer = &self.settings.issuer;
        let metadata = match (jwks, token, introspection) {
            (Some(jwks_uri), Some(token), Some(introspection)) => Metadata {
                issuer: issuer.clone(),
                jwks_uri,
                token_endpoint: Some(token),
                introspection_endpoint: Some(introspection),
                revocations_endpoint: revocations,
            },
            (jwks, token, introspection) => {
                let read = self.read().await?;
                Metadata {
                    issuer: read.issuer,
                    jwks_uri: jwks.unwrap_or(read.jwks_uri),
                    token_endpoint: token.or(read.token_endpoint),
                    introspection_endpoint: introspection.or(read.introspection_endpoint),
                    revocations_endpoint: revocations.or(read.revocations_endpoint),
                }
            }
        };
        let url = |key, text: &str| self.settings.check_url(key, text).map_err(|error| misled(&error));
        let feed = metadata.revocations_endpoint.unwrap_or_else(|| format!("{issuer}{FEED}"));
        Ok(Arc::new(Places {
            jwks: url("jwks_uri", &metadata.jwks_uri)?,
            token: metadata.token_endpoint.map(|text| url("token_endpoint", &text)).transpose()?,
            introspection: metadata
                .introspection_endpoint
                .map(|text| url("introspection_endpoint", &text))
                .transpose()?,
            revocations: url("revocations_endpoint", &feed)?,
        }))
    }

    async fn read(&self) -> Result<Metadata, Failure> {
        let at = self.settings.check_url("issuer", &self.settings.issuer);
        let mut at = at.map_err(|error| misled(&error))?;
        // RFC 8414 §3.1: between the host and the path.
        let path = format!("{WELL_KNOWN}{}", at.path().trim_end_matches('/'));
        at.set_path(&path);
        let body = send(self.client.get(at), PATIENCE).await?;
        let metadata: Metadata =
            serde_json::from_slice(&body).map_err(|error| Failure::Answer(error.to_string()))?;
        // RFC 8414 §3.3: or it could be another issuer's, with other keys.
        if metadata.issuer != self.settings.issuer {
            return Err(Failure::Answer("the metadata is that of another issuer".to_owned()));
        }
        Ok(metadata)
    }
}

fn misled(error: &StartError) -> Failure {
    Failure::Answer(format!("metadata: {error}"))
}
