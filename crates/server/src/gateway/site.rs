//! One check, from the proxy's question to its answer.
//!
//! 1. There is a place for it among those that run at once, and a time by which it is answered.
//! 2. It comes from a trusted proxy: what it says of the original request can be believed.
//!    What clients are told about the resource (RFC 9728) is no question: anybody that the proxy lets through may read it.
//! 3. The original request can be read in one way only ([`super::original`], [`super::path`]).
//! 4. The rule of its path ([`super::rules`]). On a public path nobody looks at the token.
//! 5. The token, from `Authorization` alone (RFC 6750 §2.1), is good, not revoked, and has the scopes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::request::Parts;
use axum::response::Response;
use grantry_verifier::{Refusal, ResourceMetadata, Verifier, bearer_token};
use grantry_web::Site;
use ipnet::IpNet;
use tokio::time::{Instant, timeout};

use super::answer::{Identity, Outcome};
use super::metrics::GatewayMetrics;
use super::original::{Original, Proxy};
use super::rules::{Needed, Rules};

/// Of a path in the log, in characters.
const LOGGED_PATH: usize = 200;

#[derive(Clone)]
pub struct CheckSite(pub Arc<Checks>);

pub struct Checks {
    pub verifier: Arc<Verifier>,
    pub rules: Rules,
    pub proxy: Proxy,
    pub metadata: Option<ResourceMetadata>,
    pub trusted: Vec<IpNet>,
    pub max_concurrent: usize,
    pub request_timeout: Duration,
    pub running: AtomicUsize,
    pub metrics: GatewayMetrics,
}

impl Site for CheckSite {
    async fn answer(&self, request: Request) -> Response {
        let checks = &*self.0;
        let started = Instant::now();
        // A body is none of the gateway's business, and is not read.
        let (parts, _) = request.into_parts();
        let outcome = checks.within_bounds(&parts).await;
        checks.log(&outcome, &parts);
        checks.metrics.record(&outcome, started.elapsed());
        outcome.into_response(checks.metadata.as_ref())
    }
}

impl Checks {
    async fn within_bounds(&self, request: &Parts) -> Outcome {
        // 1.
        let Some(_place) = Place::take(self) else { return Outcome::Overloaded };
        match timeout(self.request_timeout, self.check(request)).await {
            Ok(Ok(outcome) | Err(outcome)) => outcome,
            Err(_) => Outcome::TooSlow,
        }
    }

    async fn check(&self, request: &Parts) -> Result<Outcome, Outcome> {
        // 2.
        let peer = peer(request).map(|peer| peer.ip().to_canonical());
        if !peer.is_some_and(|peer| self.trusted.iter().any(|network| network.contains(&peer))) {
            return Err(Outcome::Untrusted);
        }
        if let Some(metadata) = self.metadata.as_ref().filter(|own| own.path() == request.uri.path()) {
            return Ok(Outcome::Metadata(metadata.clone()));
        }
        // 3.
        let Original { method, path } = self.proxy.original(request).map_err(Outcome::Misread)?;
        // 4.
        let scopes = match self.rules.judge(&method, &path).map_err(Outcome::Denied)? {
            Needed::Nothing => return Ok(Outcome::Public),
            Needed::Token(scopes) => scopes,
        };
        // 5.
        let token = bearer_token(&request.headers).map_err(Outcome::Refused)?;
        let verified = self.verifier.check(token).await.map_err(Outcome::Refused)?;
        if !scopes.iter().all(|scope| verified.has_scope(scope)) {
            return Err(Outcome::Refused(Refusal::InsufficientScope { required: scopes.join(" ") }));
        }
        Identity::of(&verified).map(Outcome::Allowed).ok_or(Outcome::Unspeakable)
    }

    /// What is wrong with the deployment is a warning; what callers do wrong is said to those who look for it. Never the
    /// query, which may have a token in it.
    fn log(&self, outcome: &Outcome, request: &Parts) {
        let said = || {
            let (method, uri) = self.proxy.said(request).unwrap_or_default();
            let path: String = uri.split('?').next().unwrap_or_default().chars().take(LOGGED_PATH).collect();
            (method.to_owned(), path)
        };
        match outcome {
            Outcome::Metadata(_) | Outcome::Public | Outcome::Allowed(_) => {}
            Outcome::Untrusted => {
                let peer = peer(request);
                tracing::warn!(?peer, "refused: not in gateway.trusted_proxies");
            }
            Outcome::Misread(misread @ super::original::Misread::Proxy(_)) => {
                tracing::warn!(reason = %misread, "refused");
            }
            Outcome::Misread(misread) => {
                let (method, path) = said();
                tracing::info!(reason = %misread, method, path, "refused");
            }
            Outcome::Denied(denied) => {
                let (method, path) = said();
                tracing::info!(reason = %denied, method, path, "refused");
            }
            Outcome::Unspeakable => {
                tracing::warn!("refused: the token's subject or client has a name that no header can carry");
            }
            Outcome::Refused(refusal @ Refusal::Unavailable { .. }) => {
                tracing::debug!(reason = %refusal, "answered 503");
            }
            Outcome::Refused(refusal) => {
                let (method, path) = said();
                tracing::debug!(reason = %refusal, method, path, "refused");
            }
            Outcome::Overloaded => tracing::debug!("answered 503: gateway.limits.max_concurrent_requests"),
            Outcome::TooSlow => tracing::warn!("answered 503: gateway.limits.request_timeout"),
        }
    }
}

fn peer(request: &Parts) -> Option<SocketAddr> {
    request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// One of the checks that run at once; given back on drop.
struct Place<'a>(&'a Checks);

impl<'a> Place<'a> {
    fn take(checks: &'a Checks) -> Option<Self> {
        let before = checks.running.fetch_add(1, Ordering::Relaxed);
        let place = Self(checks);
        checks.metrics.running.increment(1);
        (before < checks.max_concurrent).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.running.decrement(1);
    }
}
