//! Every route on one page.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use tower::Service;

use crate::guard::{self, BoxFuture, Guard, in_time, pass};
use crate::{WebState, admin, health, metadata, oauth2, respond};

/// What a listener serves. Each request carries its peer's address as `ConnectInfo`.
pub trait Site: Clone + Send + Sync + 'static {
    fn answer(&self, request: Request) -> impl Future<Output = Response> + Send;
}

impl Site for Router {
    async fn answer(&self, request: Request) -> Response {
        match self.clone().call(request).await {
            Ok(response) => response,
            Err::<_, Infallible>(never) => match never {},
        }
    }
}

/// What the internet may reach.
#[derive(Clone)]
pub struct PublicSite {
    state: Arc<WebState>,
    others: Router,
}

/// What is asked for with every token is called from here: the boxes of a router cost such a request as much as its flow
/// does (docs/benchmarks.md). The rest is found by the router.
impl Site for PublicSite {
    async fn answer(&self, request: Request) -> Response {
        let state = &*self.state;
        let path = if request.method() == Method::POST { request.uri().path() } else { "" };
        let (endpoint, open_to_pages, run): (_, _, Handler<'_>) = match path {
            "/oauth2/introspect" => ("/oauth2/introspect", None, |state, request| {
                in_time(state, oauth2::introspect::post(state, request))
            }),
            "/oauth2/token" => ("/oauth2/token", Some("POST"), |state, request| {
                in_time(state, oauth2::token::post(state, request))
            }),
            "/oauth2/revoke" => ("/oauth2/revoke", Some("POST"), |state, request| {
                in_time(state, oauth2::revoke::post(state, request))
            }),
            _ => return Box::pin(self.others.answer(request)).await,
        };
        pass(state, endpoint, open_to_pages, request, move |request| run(state, request)).await
    }
}

type Handler<'a> = fn(&'a WebState, Request) -> BoxFuture<'a>;

/// What the router has to know of a path that is called before it is asked: that it takes POST and nothing else.
fn called() -> MethodRouter<Arc<WebState>> {
    post(respond::not_found)
}

pub fn public_site(state: Arc<WebState>) -> PublicSite {
    // What web pages may reach, if their origin is registered. Introspection is for resource servers, which are none.
    let posted = Router::new().route("/oauth2/token", called()).route("/oauth2/revoke", called());
    let read = Router::new()
        .route("/oauth2/jwks", get(metadata::jwks))
        .route("/oauth2/status-list", get(oauth2::status_list::get_all))
        .route("/oauth2/status-list/{list}", get(oauth2::status_list::get))
        .route("/.well-known/oauth-authorization-server", get(metadata::authorization_server));
    let closed = Router::new()
        .route("/oauth2/introspect", called())
        .route("/oauth2/revocations", get(oauth2::revocations::get));
    let others = guarded(posted, &state, Some("POST"))
        .merge(guarded(read, &state, Some("GET, HEAD")))
        .merge(guarded(closed.fallback(respond::not_found), &state, None))
        .merge(health_routes())
        .with_state(Arc::clone(&state));
    PublicSite { state, others }
}

/// What operators reach.
pub fn admin_router(state: Arc<WebState>) -> Router {
    let administration = Router::new()
        .route("/admin/v1/clients", get(admin::clients::list).post(admin::clients::create))
        .route(
            "/admin/v1/clients/{client_id}",
            get(admin::clients::read)
                .put(admin::clients::replace)
                .patch(admin::clients::patch)
                .delete(admin::clients::delete),
        )
        .route("/admin/v1/clients/{client_id}/secret", post(admin::clients::rotate_secret))
        .route("/admin/v1/cluster", get(admin::cluster::read))
        .route("/admin/v1/keys", get(admin::keys::list).post(admin::keys::create))
        .route("/admin/v1/keys/{purpose}/{version}/revoke", post(admin::keys::revoke))
        .route("/admin/v1/persistence", get(admin::persistence::read))
        .route("/admin/v1/persistence/redrive", post(admin::persistence::redrive))
        .route("/admin/v1/revocations", get(admin::revocations::list).post(admin::revocations::create))
        .route("/admin/v1/revocations/{position}", get(admin::revocations::read))
        .route("/admin/v1/settings", get(admin::settings::read).patch(admin::settings::patch))
        .route("/admin/v1/tokens", get(admin::tokens::list))
        .route("/admin/v1/tokens/inspect", post(admin::tokens::inspect));
    let operations = health_routes().route("/metrics", get(health::metrics));
    guarded(administration.fallback(respond::not_found), &state, None).merge(operations).with_state(state)
}

fn guarded(
    routes: Router<Arc<WebState>>,
    state: &Arc<WebState>,
    open_to_pages: Option<&'static str>,
) -> Router<Arc<WebState>> {
    let guard = Guard { state: Arc::clone(state), open_to_pages };
    routes
        .method_not_allowed_fallback(respond::method_not_allowed)
        .layer(from_fn_with_state(guard, guard::guard))
}

/// Not behind the guard: an overloaded server still has to say how it is.
fn health_routes() -> Router<Arc<WebState>> {
    Router::new().route("/healthz", get(health::healthz)).route("/readyz", get(health::readyz))
}
