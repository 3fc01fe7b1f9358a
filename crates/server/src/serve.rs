//! `grantry serve`, from the settings to the last answer.
//!
//! 1. Take the addresses, so that a port in use is found before anything is made.
//! 2. Open the store, with the master key its keys, and start what runs beside the requests.
//! 3. See to it that somebody can administer.
//! 4. Serve, until a signal.
//! 5. Say "not ready", accept nothing more, let what is under way finish, and write the tokens that wait for their row,
//!    for as long as `limits.shutdown_grace`. A second signal ends it at once.

use std::sync::Arc;
use std::time::Duration;

use grantry_grants::{Feed, Grants, KeyRing, MasterKey};
use grantry_persistence::{Persistence, ReadinessProbe};
use grantry_store::Store;
use grantry_web::{PersistenceFacts, WebSettings, WebState, admin_router, public_site};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::ambient::{clock, rng};
use crate::banner::Banner;
use crate::clients_file::ClientsFile;
use crate::config::{Limits, Loaded};
use crate::failure::Failure;
use crate::listener::{Bound, Listener};
use crate::outbound::Outbound;
use crate::telemetry::{self, RenderMetrics};
use crate::tls::Certificate;
use crate::{cache, first_start, master_key, persistence, replication, settings, wire};

/// How long the store may take to close its files.
const CLOSING: Duration = Duration::from_secs(10);

pub fn serve(loaded: &Loaded) -> Result<(), Failure> {
    telemetry::start_logging(&loaded.config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("the runtime cannot be started: {error}")))?;
    let outcome = runtime.block_on(Box::pin(run(loaded)));
    runtime.shutdown_timeout(CLOSING);
    outcome
}

async fn run(loaded: &Loaded) -> Result<(), Failure> {
    let config = &loaded.config;
    let mut signals = Signals::listen()?;
    let (render_metrics, metrics) = telemetry::start_metrics()?;
    let mut background = Background(vec![metrics]);
    let outbound = Arc::new(Outbound::new(&config.outbound)?);
    // 1.
    let public = Bound::to("server.listen", config.server.listen).await?;
    let admin = Bound::to("server.admin_listen", config.server.admin_listen).await?;
    let certificate = Certificate::of(&config.server)?;
    let tls = certificate.as_ref().map(Certificate::acceptor).transpose()?;
    background.0.extend(certificate.map(|certificate| tokio::spawn(certificate.keep_current())));
    // 2.
    let journal = persistence::open(config).await?;
    let cached = cache::open(config, wire::open(config, clock()).await?, journal.node()).await?;
    background.0.extend(cached.background);
    let caches = cached.store;
    let store: Arc<dyn Store> = Arc::clone(&caches) as _;
    let (replication, watching) = replication::watch(Arc::clone(&store)).await;
    background.0.push(watching);
    let kept_clients = ClientsFile::open(config).await?;
    let master = master_key(loaded, kept_clients.as_ref(), store.as_ref()).await?;
    let keys = KeyRing::open(Arc::clone(&store), master, config.key_options(), clock(), rng()).await?;
    background.0.push(keys.start_reload(master_key::masters(loaded)));
    let issuer = config.server.issuer_at(public.address);
    let persistence = persistence::start(config, Arc::clone(&store), journal).await?;
    let readiness = background.start_beside(&persistence, &store);
    let settings =
        settings::of_file(loaded, config.token_settings(issuer.clone()), Some(Arc::clone(&caches)));
    let (shared, queue) = (Arc::clone(&store), Arc::clone(&persistence));
    let feed = Feed::new(Arc::clone(caches.tail()));
    let mut grants = Grants::new(shared, queue, keys, settings, outbound, clock(), rng()).with_feed(feed);
    if let Some(file) = kept_clients {
        let (keeping, writing) = file.take_over(grants, store, caches.tail().clients_changed()).await?;
        background.0.push(writing);
        grants = keeping;
    }
    let grants = Arc::new(grants);
    grants.settings_get().await?;
    background.0.push(grants.settings_follow(caches.tail().settings_changed()));
    // 3.
    let administrator = first_start::administrator(loaded, &grants, rng().as_ref()).await?;
    // 4.
    let addresses = (public.address, admin.address);
    let mode = grants.settings().persistence;
    let web = web_state(loaded, grants, readiness.clone(), render_metrics);
    let stop = watch::Sender::new(false);
    let mut listeners = start_listeners(&web, [public, admin], tls.as_ref(), &config.limits, &stop);
    drop(web);
    for risk in config.risks() {
        tracing::warn!("{risk}");
    }
    let (public, admin) = addresses;
    Banner { loaded, administrator, replication, mode, issuer, public, admin }.print();
    tracing::info!(%public, %admin, "serving");
    tokio::select! {
        () = signals.next() => {}
        Some(ended) = listeners.join_next() => {
            return Err(Failure::new(format!("a listener ended by itself, which it never should: {ended:?}")));
        }
    }
    // 5.
    readiness.stop();
    stop.send_replace(true);
    let grace = config.limits.shutdown_grace.as_duration();
    tracing::info!("stopping: requests that are under way have {grace:?} to finish");
    tokio::select! {
        () = persistence::finish(listeners, &persistence, grace) => tracing::info!("stopped"),
        () = signals.next() => tracing::warn!("stopped at once by a second signal"),
    }
    persistence::say_what_is_left(&persistence, &config.token_persistence);
    caches.stop().await;
    Ok(())
}

/// The one that fits the store, and what a file has brought into it.
async fn master_key(
    loaded: &Loaded,
    kept_clients: Option<&ClientsFile>,
    store: &dyn Store,
) -> Result<MasterKey, Failure> {
    let Some(file) = kept_clients else {
        return master_key::load_or_make(loaded, store, rng().as_ref()).await;
    };
    file.bring_keys(store).await?;
    let master = master_key::load_or_make(loaded, store, rng().as_ref()).await;
    let master = master.map_err(|failure| file.explain(failure))?;
    file.expect_master(&master, store).await?;
    Ok(master)
}

fn web_state(
    loaded: &Loaded,
    grants: Arc<Grants>,
    readiness: ReadinessProbe,
    render_metrics: RenderMetrics,
) -> Arc<WebState> {
    let (limits, persistence) = (&loaded.config.limits, &loaded.config.token_persistence);
    let settings = WebSettings {
        limits: grantry_web::Limits {
            max_body_bytes: limits.max_body_bytes,
            body_timeout: limits.body_timeout.as_duration(),
            request_timeout: limits.request_timeout.as_duration(),
            max_concurrent_requests: limits.max_concurrent_requests,
            failed_attempts_per_client: limits.failed_attempts_per_client,
            failed_attempts_per_address: limits.failed_attempts_per_address,
            failed_attempts_window: limits.failed_attempts_window.as_duration(),
        },
        trusted_proxies: loaded.config.server.trusted_proxies.clone(),
        revoked_token_headers: loaded.config.tokens.revoked_token_headers_in_response,
        persistence: PersistenceFacts {
            pool_size: persistence.pool_size,
            journal: persistence.has_queue().then(|| persistence.journal.as_str()),
        },
    };
    WebState::new(grants, readiness, settings, render_metrics, rng().as_ref())
}

fn start_listeners(
    web: &Arc<WebState>,
    [public, admin]: [Bound; 2],
    tls: Option<&TlsAcceptor>,
    limits: &Limits,
    stop: &watch::Sender<bool>,
) -> JoinSet<()> {
    let tls = tls.cloned();
    let public =
        Listener { name: "public", bound: public, site: public_site(Arc::clone(web)), tls: tls.clone() };
    let admin = Listener { name: "admin", bound: admin, site: admin_router(Arc::clone(web)), tls };
    let mut listeners = JoinSet::new();
    listeners.spawn(public.run(limits.clone(), stop.subscribe()));
    listeners.spawn(admin.run(limits.clone(), stop.subscribe()));
    listeners
}

/// Tasks that run as long as the server does.
struct Background(Vec<JoinHandle<()>>);

impl Background {
    fn start_beside(&mut self, persistence: &Arc<Persistence>, store: &Arc<dyn Store>) -> ReadinessProbe {
        let probe = ReadinessProbe::default();
        self.0.push(tokio::spawn(probe.clone().run(Arc::clone(persistence), Arc::clone(store))));
        self.0.push(persistence.start_retention());
        probe
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::new(format!("signals cannot be heard: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
