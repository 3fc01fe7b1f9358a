//! What clients read to find their way: server metadata (RFC 8414) and the public keys (RFC 7517).

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use grantry_jose::Algorithm;
use grantry_protocol::{AuthMethod, GrantType};
use serde_json::json;

use crate::WebState;

pub fn render(issuer: &str) -> Bytes {
    let methods: Vec<&str> = AuthMethod::ALL.iter().map(|method| method.as_str()).collect();
    // Introspection is for clients that can prove who they are.
    let confidential: Vec<&str> = AuthMethod::ALL
        .iter()
        .filter(|method| **method != AuthMethod::None)
        .map(|method| method.as_str())
        .collect();
    let grants: Vec<&str> = GrantType::ALL.iter().map(|grant| grant.as_str()).collect();
    // Of client assertions; RFC 8414 §2 wants them named wherever private_key_jwt is.
    let algorithms: Vec<&str> = Algorithm::ALL.iter().map(|algorithm| algorithm.as_str()).collect();
    let document = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint": format!("{issuer}/oauth2/introspect"),
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": format!("{issuer}/oauth2/revoke"),
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        // No registered name: how resource servers follow what is revoked (docs/feed.md).
        "revocations_endpoint": format!("{issuer}/oauth2/revocations"),
        // draft-ietf-oauth-status-list §9.1.
        "status_list_aggregation_endpoint": format!("{issuer}/oauth2/status-list"),
        "jwks_uri": format!("{issuer}/oauth2/jwks"),
        "grant_types_supported": grants,
        "response_types_supported": [],
    });
    document.to_string().into()
}

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 §3).
pub async fn authorization_server(State(state): State<Arc<WebState>>) -> Response {
    cacheable(&state, "application/json", state.metadata.clone())
}

/// `GET /oauth2/jwks` (RFC 7517 §5). Rendered anew each time: which keys are published depends on the clock.
pub async fn jwks(State(state): State<Arc<WebState>>) -> Response {
    let keys = serde_json::to_vec(&state.grants.jwks()).unwrap_or_default();
    cacheable(&state, "application/jwk-set+json", keys.into())
}

/// A new key is published at least as long before its first use as either answer may be kept.
fn cacheable(state: &WebState, content_type: &'static str, body: Bytes) -> Response {
    let max_age = state.grants.key_options().jwks_max_age.as_secs();
    ([(CONTENT_TYPE, content_type.to_owned()), (CACHE_CONTROL, format!("public, max-age={max_age}"))], body)
        .into_response()
}
