use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use grantry_protocol::RevocationRequest;

use super::Form;
use crate::WebState;
use crate::respond::Refusal;

/// `POST /oauth2/revoke` (RFC 7009 §2); 200 with an empty body once the token is over, whatever it was before.
pub async fn post(state: &WebState, request: Request) -> Result<Response, Refusal> {
    let form = Form::read(state, request).await?;
    let params = form.params()?;
    let credentials = form.credentials(state, &params)?;
    let request = RevocationRequest::parse(&params)?;
    let answer = state.grants.revoke(&credentials, request.token).await;
    form.checked(state, &credentials, answer)?;
    Ok(StatusCode::OK.into_response())
}
