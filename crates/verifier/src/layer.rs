//! Layers for tower, and so for axum: [`RequireToken`] lets in who shows a good token and leaves it in the request's
//! extensions as `Arc<Verified>`; [`RequireScope`], within it, who has a scope.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::{Layer, Service};

use crate::{Refusal, ResourceMetadata, Verified, Verifier, bearer_token};

/// Refuses requests without a good access token.
#[derive(Clone)]
pub struct RequireToken {
    verifier: Arc<Verifier>,
}

impl RequireToken {
    pub const fn new(verifier: Arc<Verifier>) -> Self {
        Self { verifier }
    }
}

impl<S> Layer<S> for RequireToken {
    type Service = TokenService<S>;

    fn layer(&self, inner: S) -> TokenService<S> {
        TokenService { inner, verifier: Arc::clone(&self.verifier) }
    }
}

#[derive(Clone)]
pub struct TokenService<S> {
    inner: S,
    verifier: Arc<Verifier>,
}

type Answering<S, R> =
    Pin<Box<dyn Future<Output = Result<<S as Service<R>>::Response, <S as Service<R>>::Error>> + Send>>;

impl<S, B, A> Service<Request<B>> for TokenService<S>
where
    S: Service<Request<B>, Response = Response<A>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    A: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S, Request<B>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that was ready; its copy need not be.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let verifier = Arc::clone(&self.verifier);
        Box::pin(async move {
            let checked = match bearer_token(request.headers()) {
                Ok(token) => verifier.check(token).await,
                Err(refusal) => Err(refusal),
            };
            match checked {
                Ok(verified) => {
                    request.extensions_mut().insert(verified);
                    inner.call(request).await
                }
                Err(refusal) => {
                    tracing::debug!(%refusal, "a request is not let in");
                    Ok(refusal.response(verifier.resource()))
                }
            }
        })
    }
}

/// Refuses requests whose token lacks a scope. A request that no [`RequireToken`] has let in is refused, too.
#[derive(Clone)]
pub struct RequireScope {
    required: Arc<str>,
    resource: Option<ResourceMetadata>,
}

impl RequireScope {
    /// One value, or several with spaces between them, all of which are required.
    pub fn new(verifier: &Verifier, required: &str) -> Self {
        Self { required: required.into(), resource: verifier.resource().cloned() }
    }
}

impl<S> Layer<S> for RequireScope {
    type Service = ScopeService<S>;

    fn layer(&self, inner: S) -> ScopeService<S> {
        ScopeService { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub struct ScopeService<S> {
    inner: S,
    layer: RequireScope,
}

impl<S, B, A> Service<Request<B>> for ScopeService<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    A: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S, Request<B>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let verified = request.extensions().get::<Arc<Verified>>();
        let checked = match verified {
            Some(verified) => verified.require_scope(&self.layer.required),
            None => Err(Refusal::Missing),
        };
        match checked {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(refusal) => {
                let response = refusal.response(self.layer.resource.as_ref());
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}
