//! `/admin/v1/tokens`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::problem::Problem;
use super::{authorize, read_json};
use crate::WebState;
use crate::respond::json_no_store;

/// `POST /admin/v1/tokens/inspect` with `{"token": "..."}`: what it is, where it lives, why it is not active. A POST,
/// so that the token does not stand in a log of addresses.
pub async fn inspect(State(state): State<Arc<WebState>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    authorize(&state, &head.headers, &head.extensions).await?;
    let body = read_json(&state, &head.headers, body).await?;
    let token = body.get("token").and_then(|token| token.as_str());
    let token = token.ok_or_else(|| Problem::invalid_field("token", "must be there, as a string"))?;
    let inspection = state.grants.inspect(token).await?;
    Ok(json_no_store(StatusCode::OK, &inspection))
}
