use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use grantry_grants::{ActiveGrant, ActiveToken, Introspection};
use grantry_protocol::{AudienceClaim, ConfiguredClaims, IntrospectionRequest, TokenId};
use serde::Serialize;

use super::Form;
use crate::WebState;
use crate::respond::{Refusal, json_no_store};

/// RFC 7662 §2.2. What is of access tokens only is absent for a refresh token, which has neither type nor `jti`.
#[derive(Serialize)]
struct ActiveBody<'a> {
    active: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    exp: i64,
    iat: i64,
    sub: &'a str,
    #[serde(skip_serializing_if = "AudienceClaim::is_empty")]
    aud: AudienceClaim<'a>,
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<TokenId>,
    #[serde(flatten)]
    configured: Option<&'a ConfiguredClaims>,
}

#[derive(Serialize)]
struct InactiveBody {
    active: bool,
}

/// `POST /oauth2/introspect` (RFC 7662 §2).
pub async fn post(state: &WebState, request: Request) -> Result<Response, Refusal> {
    let form = Form::read(state, request).await?;
    let params = form.params()?;
    let credentials = form.credentials(state, &params)?;
    let request = IntrospectionRequest::parse(&params)?;
    let answer = state.grants.introspect(&credentials, request.token).await;
    match form.checked(state, &credentials, answer)? {
        Introspection::Active(active) => Ok(render(&active)),
        Introspection::ActiveGrant(active) => Ok(render_refresh_token(&active)),
        Introspection::Inactive => Ok(json_no_store(StatusCode::OK, &InactiveBody { active: false })),
    }
}

fn render(active: &ActiveToken) -> Response {
    let token = &active.token;
    let body = ActiveBody {
        active: true,
        scope: token.scope.as_str(),
        client_id: token.client_id.as_str(),
        token_type: Some("Bearer"),
        exp: token.expires_at.as_secs(),
        iat: token.issued_at.as_secs(),
        sub: token.subject.as_str(),
        aud: token.audience.as_claim(),
        iss: &active.issuer,
        jti: Some(token.id),
        configured: Some(&active.claims),
    };
    json_no_store(StatusCode::OK, &body)
}

fn render_refresh_token(active: &ActiveGrant) -> Response {
    let grant = &active.grant;
    let body = ActiveBody {
        active: true,
        scope: grant.scope.as_str(),
        client_id: grant.client_id.as_str(),
        token_type: None,
        exp: grant.ends_at().as_secs(),
        iat: grant.rotated_at.as_secs(),
        sub: grant.subject.as_str(),
        aud: grant.audience.as_claim(),
        iss: &active.issuer,
        jti: None,
        configured: None,
    };
    json_no_store(StatusCode::OK, &body)
}
