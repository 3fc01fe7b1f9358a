//! What every request passes on its way in: a name for the log, a place among those that run at once, what web pages of
//! other origins may do ([`crate::cors`]), and a time by which it is answered.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use crate::deadline::within;
use crate::request::{RequestName, named};
use crate::respond::Refusal;
use crate::{WebState, cors};

/// An answer that is being made. The one box of a request: what is around it is moved several times, and stays small.
pub type BoxFuture<'a> = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Stands before a group of paths of the router.
#[derive(Clone)]
pub struct Guard {
    pub state: Arc<WebState>,
    /// The methods of these paths, if web pages may call them.
    pub open_to_pages: Option<&'static str>,
}

/// The guard as a layer.
pub async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let Guard { state, open_to_pages } = guard;
    let endpoint = request.extensions().get::<MatchedPath>().cloned();
    let endpoint = endpoint.as_ref().map_or("other", MatchedPath::as_str);
    let run = |request| in_time(&state, next.run(request));
    pass(&state, endpoint, open_to_pages, request, run).await
}

/// Lets the request through to `run`. `endpoint` is its route, for the metrics.
pub async fn pass<'a>(
    state: &'a WebState,
    endpoint: &str,
    open_to_pages: Option<&'static str>,
    mut request: Request,
    run: impl FnOnce(Request) -> BoxFuture<'a> + Send + 'a,
) -> Response {
    let started = Instant::now();
    let id = state.request_ids.next();
    request.extensions_mut().insert(id);
    let name = RequestName { id, method: request.method().clone() };
    let answer = match open_to_pages {
        None => run(request),
        Some(methods) => cors::open_to_pages(state, methods, request, run),
    };
    let mut response = named(name, admitted(state, answer)).await;
    state.metrics.record(endpoint, response.status(), started.elapsed());
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

/// Who is turned away here gets no CORS headers either: finding out about its origin is work that this saves.
async fn admitted(state: &WebState, answer: BoxFuture<'_>) -> Response {
    let Some(_place) = Place::take(state) else {
        state.metrics.overload.increment(1);
        return Refusal::temporarily_unavailable("too many requests at once").into_response();
    };
    answer.await
}

/// The answer, or the one that it took too long.
pub fn in_time<'a>(
    state: &'a WebState,
    answer: impl Future<Output: IntoResponse + Send> + Send + 'a,
) -> BoxFuture<'a> {
    // Put where it stays before anything else is put around it, which would move it along.
    let answer = Box::pin(answer);
    Box::pin(async {
        match within(state.settings.limits.request_timeout, answer).await {
            Some(answer) => answer.into_response(),
            None => {
                tracing::warn!("the request was not answered within limits.request_timeout");
                Refusal::temporarily_unavailable("the request took too long").into_response()
            }
        }
    })
}

/// One of the requests that run at once; given back on drop.
struct Place<'a>(&'a WebState);

impl<'a> Place<'a> {
    fn take(state: &'a WebState) -> Option<Self> {
        let before = state.running.fetch_add(1, Ordering::Relaxed);
        let place = Self(state);
        (before < state.settings.limits.max_concurrent_requests).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
