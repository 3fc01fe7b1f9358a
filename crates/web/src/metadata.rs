//! What clients read to find their way: server metadata (RFC 8414) and the public keys (RFC 7517).

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use grantry_jose::JwkSet;
use grantry_protocol::{AuthMethod, GrantType};
use serde_json::json;

/// Seconds for which clients may keep either answer; a new key is published at least that long before its first use.
const MAX_AGE: &str = "public, max-age=300";

pub fn render(issuer: &str) -> Bytes {
    let methods: Vec<&str> = AuthMethod::ALL.iter().map(|method| method.as_str()).collect();
    // Introspection is for clients that can prove who they are.
    let confidential: Vec<&str> = AuthMethod::ALL
        .iter()
        .filter(|method| **method != AuthMethod::None)
        .map(|method| method.as_str())
        .collect();
    let grants: Vec<&str> = GrantType::ALL.iter().map(|grant| grant.as_str()).collect();
    let document = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "token_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint": format!("{issuer}/oauth2/introspect"),
        "introspection_endpoint_auth_methods_supported": confidential,
        "revocation_endpoint": format!("{issuer}/oauth2/revoke"),
        "revocation_endpoint_auth_methods_supported": methods,
        "jwks_uri": format!("{issuer}/oauth2/jwks"),
        "grant_types_supported": grants,
        "response_types_supported": [],
    });
    document.to_string().into()
}

pub fn render_jwks(keys: &JwkSet) -> Bytes {
    serde_json::to_vec(keys).unwrap_or_default().into()
}

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 §3).
pub async fn authorization_server(State(state): State<Arc<crate::WebState>>) -> Response {
    cacheable("application/json", state.metadata.clone())
}

/// `GET /oauth2/jwks` (RFC 7517 §5).
pub async fn jwks(State(state): State<Arc<crate::WebState>>) -> Response {
    cacheable("application/jwk-set+json", state.jwks.clone())
}

fn cacheable(content_type: &'static str, body: Bytes) -> Response {
    ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, MAX_AGE)], body).into_response()
}
