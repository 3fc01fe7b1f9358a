use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use grantry_grants::{ActiveToken, Introspection};
use grantry_protocol::{AudienceClaim, IntrospectionRequest};
use serde::Serialize;

use super::Form;
use crate::WebState;
use crate::respond::{Refusal, json_no_store};

/// RFC 7662 §2.2.
#[derive(Serialize)]
struct ActiveBody<'a> {
    active: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    client_id: &'a str,
    token_type: &'static str,
    exp: i64,
    iat: i64,
    sub: &'a str,
    #[serde(skip_serializing_if = "AudienceClaim::is_empty")]
    aud: AudienceClaim<'a>,
    iss: &'a str,
    jti: String,
}

#[derive(Serialize)]
struct InactiveBody {
    active: bool,
}

/// `POST /oauth2/introspect` (RFC 7662 §2).
pub async fn post(State(state): State<Arc<WebState>>, request: Request) -> Result<Response, Refusal> {
    let form = Form::read(&state, request).await?;
    let params = form.params()?;
    let credentials = form.credentials(&state, &params)?;
    let request = IntrospectionRequest::parse(&params)?;
    let answer = state.grants.introspect(&credentials, request.token).await;
    match form.checked(&state, &credentials, answer)? {
        Introspection::Active(active) => Ok(render(&active)),
        Introspection::Inactive => Ok(json_no_store(StatusCode::OK, &InactiveBody { active: false })),
    }
}

fn render(active: &ActiveToken) -> Response {
    let token = &active.token;
    let body = ActiveBody {
        active: true,
        scope: token.scope.as_str(),
        client_id: token.client_id.as_str(),
        token_type: "Bearer",
        exp: token.expires_at.as_secs(),
        iat: token.issued_at.as_secs(),
        sub: token.subject.as_str(),
        aud: token.audience.as_claim(),
        iss: &active.issuer,
        jti: token.id.to_string(),
    };
    json_no_store(StatusCode::OK, &body)
}
