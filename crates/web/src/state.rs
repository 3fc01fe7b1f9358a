use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use grantry_grants::Grants;
use grantry_persistence::ReadinessProbe;
use grantry_protocol::{RequestIds, Rng};
use ipnet::IpNet;

use crate::attempts::Attempts;
use crate::metadata;
use crate::metrics::HttpMetrics;

/// The bounds of `[limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A longer body is answered 413.
    pub max_body_bytes: usize,
    /// A body that takes longer to arrive, however steadily, is answered 408.
    pub body_timeout: Duration,
    /// From the request's head to its answer; 503 after it.
    pub request_timeout: Duration,
    /// One more is answered 503 at once.
    pub max_concurrent_requests: usize,
    /// Failed authentications of one client id from one address within the window; one more is answered 429.
    pub failed_attempts_per_client: u32,
    /// The same for an address, whatever client id it names.
    pub failed_attempts_per_address: u32,
    pub failed_attempts_window: Duration,
}

#[derive(Debug, Clone)]
pub struct WebSettings {
    pub limits: Limits,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether a revocation is answered with what it ended, in headers.
    pub revoked_token_headers: bool,
    pub persistence: PersistenceFacts,
}

/// What `[token_persistence]` says, for operators who ask.
#[derive(Debug, Clone, Copy)]
pub struct PersistenceFacts {
    pub pool_size: usize,
    /// `fsync`, `os` or `off`; absent where there is no queue.
    pub journal: Option<&'static str>,
}

/// What the handlers share.
pub struct WebState {
    pub(crate) grants: Arc<Grants>,
    pub(crate) readiness: ReadinessProbe,
    pub(crate) settings: WebSettings,
    pub(crate) render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
    pub(crate) request_ids: RequestIds,
    pub(crate) attempts: Attempts,
    pub(crate) metrics: HttpMetrics,
    pub(crate) running: AtomicUsize,
    /// Never changes while the server runs.
    pub(crate) metadata: Bytes,
}

impl WebState {
    pub fn new(
        grants: Arc<Grants>,
        readiness: ReadinessProbe,
        settings: WebSettings,
        render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
        rng: &dyn Rng,
    ) -> Arc<Self> {
        let attempts = Attempts::new(&settings.limits);
        let metadata = metadata::render(&grants.settings().issuer);
        Arc::new(Self {
            grants,
            readiness,
            settings,
            render_metrics,
            request_ids: RequestIds::new(rng),
            attempts,
            metrics: HttpMetrics::new(),
            running: AtomicUsize::new(0),
            metadata,
        })
    }
}
