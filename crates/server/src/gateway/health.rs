//! For load balancers and for Prometheus, on the admin listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use grantry_verifier::Verifier;

use crate::telemetry::RenderMetrics;

#[derive(Clone)]
pub struct Health(Arc<State>);

struct State {
    verifier: Arc<Verifier>,
    stopping: AtomicBool,
}

impl Health {
    pub fn new(verifier: Arc<Verifier>) -> Self {
        Self(Arc::new(State { verifier, stopping: AtomicBool::new(false) }))
    }

    /// Not ready from here on.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    fn word(&self) -> &'static str {
        match (self.0.stopping.load(Ordering::Relaxed), self.0.verifier.is_ready()) {
            (true, _) => "stopping",
            (false, true) => "ready",
            (false, false) => "unavailable",
        }
    }
}

pub fn operations(health: Health, render_metrics: RenderMetrics) -> Router {
    let metrics = async move || {
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render_metrics()).into_response()
    };
    Router::new()
        .route("/healthz", get(async || answer(StatusCode::OK, "ok")))
        .route("/readyz", get(async move || readyz(&health)))
        .route("/metrics", get(metrics))
}

/// Whether a check would be answered: the keys and the revocations of the issuer are known.
fn readyz(health: &Health) -> Response {
    match health.word() {
        "ready" => answer(StatusCode::OK, "ready"),
        word => {
            let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, word);
            response.headers_mut().insert(RETRY_AFTER, 1.into());
            response
        }
    }
}

fn answer(status: StatusCode, word: &str) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, format!("{{\"status\":\"{word}\"}}\n")).into_response()
}
