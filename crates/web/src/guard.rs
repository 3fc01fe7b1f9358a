//! What every request passes on its way in: a name for the log, a place among those that run at once, what web pages of
//! other origins may do ([`crate::cors`]), and a time by which it is answered. One layer, since each costs every request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::respond::Refusal;
use crate::{WebState, cors};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Stands before a group of paths.
#[derive(Clone)]
pub struct Guard {
    pub state: Arc<WebState>,
    /// The methods of these paths, if web pages may call them.
    pub open_to_pages: Option<&'static str>,
}

pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let Guard { state, open_to_pages } = guard;
    let started = Instant::now();
    let id = state.request_ids.next();
    request.extensions_mut().insert(id);
    let endpoint = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!("request", %id, method = %request.method());

    let mut response = run(&state, open_to_pages, request, next).instrument(span).await;

    let endpoint = endpoint.as_ref().map_or("other", MatchedPath::as_str);
    state.metrics.record(endpoint, response.status(), started.elapsed());
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

/// Who is turned away here gets no CORS headers either: finding out about its origin is work that this saves.
async fn run(
    state: &WebState,
    open_to_pages: Option<&'static str>,
    request: Request,
    next: Next,
) -> Response {
    let Some(_place) = Place::take(state) else {
        state.metrics.overload.increment(1);
        return Refusal::temporarily_unavailable("too many requests at once").into_response();
    };
    match open_to_pages {
        None => within_deadline(state, request, next).await,
        Some(methods) => {
            let run = async |request| within_deadline(state, request, next).await;
            cors::open_to_pages(state, methods, request, run).await
        }
    }
}

async fn within_deadline(state: &WebState, request: Request, next: Next) -> Response {
    match timeout(state.settings.limits.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::warn!("the request was not answered within limits.request_timeout");
            Refusal::temporarily_unavailable("the request took too long").into_response()
        }
    }
}

/// One of the requests that run at once; given back on drop.
struct Place<'a>(&'a WebState);

impl<'a> Place<'a> {
    fn take(state: &'a WebState) -> Option<Self> {
        let before = state.running.fetch_add(1, Ordering::Relaxed);
        let place = Self(state);
        state.metrics.running.increment(1);
        (before < state.settings.limits.max_concurrent_requests).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.running.decrement(1);
    }
}
