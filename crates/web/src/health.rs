//! For load balancers and for Prometheus.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use grantry_persistence::Readiness;
use serde_json::json;

use crate::WebState;
use crate::respond::{RETRY_SECONDS, json_no_store, retry_after};

/// `GET /healthz`: the process runs. Restarting it would not help against anything else.
pub async fn healthz() -> Response {
    json_no_store(StatusCode::OK, &json!({ "status": "ok" }))
}

/// `GET /readyz`: whether the node can issue a token, as the last probe of that path found.
pub async fn readyz(State(state): State<Arc<WebState>>) -> Response {
    let (status, word) = match state.readiness.readiness() {
        Readiness::Ready => return json_no_store(StatusCode::OK, &json!({ "status": "ready" })),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Readiness::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Readiness::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
    };
    retry_after(json_no_store(status, &json!({ "status": word })), RETRY_SECONDS)
}

/// `GET /metrics`, in the text format of Prometheus.
pub async fn metrics(State(state): State<Arc<WebState>>) -> Response {
    state.metrics.running.set(state.running.load(Ordering::Relaxed) as f64);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.render_metrics)()).into_response()
}
