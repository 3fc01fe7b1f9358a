use axum::extract::Request;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use grantry_grants::Revoked;
use grantry_protocol::RevocationRequest;

use super::Form;
use crate::WebState;
use crate::respond::Refusal;

/// Under the names that WSO2 Identity Server gives them.
const REVOKED_ACCESS_TOKEN: HeaderName = HeaderName::from_static("revokedaccesstoken");
const REVOKED_REFRESH_TOKEN: HeaderName = HeaderName::from_static("revokedrefreshtoken");
const AUTHORIZED_USER: HeaderName = HeaderName::from_static("authorizeduser");

/// `POST /oauth2/revoke` (RFC 7009 §2); 200 with an empty body once the token is over, whatever it was before.
pub async fn post(state: &WebState, request: Request) -> Result<Response, Refusal> {
    let form = Form::read(state, request).await?;
    let params = form.params()?;
    let credentials = form.credentials(state, &params)?;
    let request = RevocationRequest::parse(&params)?;
    let answer = state.grants.revoke(&credentials, request.token, form.request_id).await;
    let revoked = form.checked(state, &credentials, answer)?;
    let mut response = StatusCode::OK.into_response();
    if let Some(revoked) = revoked.filter(|_| state.settings.revoked_token_headers) {
        describe(response.headers_mut(), request.token, &revoked);
    }
    Ok(response)
}

/// Says what was presented, and whose it was. What else of a grant has ended is not listed: the store does not have the
/// texts of tokens.
fn describe(headers: &mut HeaderMap, token: &str, revoked: &Revoked) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let name = if revoked.is_refresh_token { REVOKED_REFRESH_TOKEN } else { REVOKED_ACCESS_TOKEN };
    if let Ok(mut value) = HeaderValue::from_str(token) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    // As UTF-8, where it is not ASCII.
    if let Ok(value) = HeaderValue::from_bytes(revoked.subject.as_str().as_bytes()) {
        headers.insert(AUTHORIZED_USER, value);
    }
}
