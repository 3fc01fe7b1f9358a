//! `/admin/v1/persistence`: what waits for its row on the node that answers, and what the store has refused.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use grantry_grants::node_text;
use serde_json::json;

use super::authorize;
use super::problem::Problem;
use crate::WebState;
use crate::respond::json_no_store;

type Answer = Result<Response, Problem>;

/// `GET /admin/v1/persistence`. What is at risk would be lost with the node's machine.
pub async fn read(State(state): State<Arc<WebState>>, request: Request) -> Answer {
    authorize(&state, request.headers(), request.extensions()).await?;
    let facts = state.settings.persistence;
    let found = state.grants.persistence_state().await?;
    let drained_below = found
        .drained_below
        .map(|mark| json!({ "token_id": mark.to_string(), "made_at": mark.made_at().as_secs() }));
    let body = json!({
        "default_mode": state.grants.settings().persistence,
        "pool_size": facts.pool_size,
        "journal": facts.journal,
        "node_id": node_text(found.node),
        "node_number": found.number,
        "queue_depth": found.queue.depth,
        "lag_seconds": found.queue.lag.as_secs_f64(),
        "tokens_at_risk": found.queue.depth + found.queue.parked,
        "parked": found.queue.parked,
        "drained_below": drained_below,
    });
    Ok(json_no_store(StatusCode::OK, &body))
}

/// `POST /admin/v1/persistence/redrive`: the writers try again what the store has refused.
pub async fn redrive(State(state): State<Arc<WebState>>, request: Request) -> Answer {
    let actor = authorize(&state, request.headers(), request.extensions()).await?;
    let redriven = state.grants.persistence_redrive(&actor).await?;
    Ok(json_no_store(StatusCode::OK, &json!({ "redriven": redriven })))
}
