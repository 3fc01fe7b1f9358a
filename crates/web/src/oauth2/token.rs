use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use grantry_grants::TokenResponse;
use grantry_protocol::{Secret, TokenRequest};
use serde::Serialize;

use super::Form;
use crate::WebState;
use crate::respond::{Refusal, json_no_store};

/// RFC 6749 §5.1.
#[derive(Serialize)]
struct Body<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
}

/// `POST /oauth2/token` (RFC 6749 §3.2).
pub async fn post(state: &WebState, request: Request) -> Result<Response, Refusal> {
    let form = Form::read(state, request).await?;
    let params = form.params()?;
    let credentials = form.credentials(state, &params)?;
    let answer = match TokenRequest::parse(&params)? {
        TokenRequest::ClientCredentials(wanted) => {
            state.grants.client_credentials(&credentials, wanted).await
        }
        // Boxed, so that everybody else's request does not carry the room that they take.
        TokenRequest::Refresh(request) => {
            Box::pin(state.grants.refresh(&credentials, request, form.request_id)).await
        }
        TokenRequest::JwtBearer(request) => Box::pin(state.grants.jwt_bearer(&credentials, request)).await,
    };
    let answer = form.checked(state, &credentials, answer)?;
    Ok(render(&answer))
}

fn render(answer: &TokenResponse) -> Response {
    let body = Body {
        access_token: answer.access_token.expose(),
        token_type: "Bearer",
        expires_in: answer.expires_in,
        refresh_token: answer.refresh_token.as_ref().map(Secret::expose),
        scope: answer.scope.as_str(),
    };
    json_no_store(StatusCode::OK, &body)
}
