//! `grantry gateway`, from the settings to the last answer.
//!
//! 1. Take the addresses, so that a port in use is found before anything is asked of the issuer.
//! 2. Start to follow the issuer. Until its keys and revocations are known, checks are answered 503.
//! 3. Serve, until a signal.
//! 4. Say "not ready", accept nothing more, and let what is under way finish, for as long as `limits.shutdown_grace`. A
//!    second signal ends it at once.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use grantry_protocol::Secret;
use grantry_verifier::{
    ClientCredentials, Endpoints, Introspection, ResourceMetadata, Revocations as Following, Settings,
    Verifier,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::health::{Health, operations};
use super::load::LoadedGateway;
use super::metrics::GatewayMetrics;
use super::original::CHECK_PATH;
use super::rules::Rules;
use super::settings::{Gateway, Login, Revocations};
use super::site::{CheckSite, Checks};
use crate::failure::Failure;
use crate::listener::{Bound, Listener};
use crate::serve::Signals;
use crate::telemetry;
use crate::tls::Certificate;

pub fn serve(loaded: LoadedGateway) -> Result<(), Failure> {
    telemetry::start_logging(&loaded.gateway.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("the runtime cannot be started: {error}")))?;
    runtime.block_on(Box::pin(run(loaded)))
}

async fn run(loaded: LoadedGateway) -> Result<(), Failure> {
    let LoadedGateway { gateway, rules, file } = loaded;
    let mut signals = Signals::listen()?;
    let (render_metrics, _upkeep) = telemetry::start_metrics()?;
    // 1.
    let checks = Bound::to("gateway.listen", gateway.listen).await?;
    let admin = Bound::to("gateway.admin_listen", gateway.admin_listen).await?;
    let addresses = (checks.address, admin.address);
    let certificate = Certificate::of(&gateway.tls())?;
    let tls = certificate.as_ref().map(Certificate::acceptor).transpose()?;
    if let Some(certificate) = certificate {
        tokio::spawn(certificate.keep_current());
    }
    // 2.
    let verifier = start_verifier(&gateway)?;
    // 3.
    let limits = gateway.limits.of_listener();
    let metadata = metadata(&gateway, &rules)?;
    let site = CheckSite(Arc::new(Checks {
        verifier: Arc::clone(&verifier),
        rules,
        metadata,
        proxy: gateway.proxy.ok_or_else(|| Failure::new("gateway.proxy must be set"))?,
        trusted: gateway.trusted_proxies.clone(),
        max_concurrent: limits.max_concurrent_requests,
        request_timeout: limits.request_timeout.as_duration(),
        running: AtomicUsize::new(0),
        metrics: GatewayMetrics::new(),
    }));
    let health = Health::new(verifier);
    let stop = watch::Sender::new(false);
    let mut listeners = JoinSet::new();
    let checks = Listener { name: "checks", bound: checks, site, tls };
    listeners.spawn(checks.run(limits.clone(), stop.subscribe()));
    let admin =
        Listener { name: "admin", bound: admin, site: operations(health.clone(), render_metrics), tls: None };
    listeners.spawn(admin.run(limits.clone(), stop.subscribe()));
    say_where(&gateway, file.as_deref(), addresses);
    tokio::select! {
        () = signals.next() => {}
        Some(ended) = listeners.join_next() => {
            return Err(Failure::new(format!("a listener ended by itself, which it never should: {ended:?}")));
        }
    }
    // 4.
    health.stop();
    stop.send_replace(true);
    let grace = limits.shutdown_grace.as_duration();
    tracing::info!("stopping: checks that are under way have {grace:?} to finish");
    let finish = async { while listeners.join_next().await.is_some() {} };
    tokio::select! {
        finished = tokio::time::timeout(grace, finish) => match finished {
            Ok(()) => tracing::info!("stopped"),
            Err(_) => tracing::warn!("stopped, with checks that took longer than gateway.limits.shutdown_grace"),
        },
        () = signals.next() => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(())
}

fn metadata(gateway: &Gateway, rules: &Rules) -> Result<Option<ResourceMetadata>, Failure> {
    let Some(resource) = &gateway.resource else { return Ok(None) };
    let issuer = gateway.issuer.as_deref().unwrap_or_default();
    let made = ResourceMetadata::new(resource, issuer, &rules.scopes());
    made.map(Some).map_err(|error| Failure::new(format!("gateway.{error}")))
}

fn start_verifier(gateway: &Gateway) -> Result<Arc<Verifier>, Failure> {
    let settings = verifier_settings(gateway)?;
    let started = Verifier::start(settings);
    started.map_err(|error| Failure::new(format!("gateway.{error}")))
}

fn verifier_settings(gateway: &Gateway) -> Result<Settings, Failure> {
    let revocations = match (gateway.revocations, credentials(&gateway.feed)) {
        (Revocations::Follow, Some(credentials)) => Following::Followed(credentials),
        (Revocations::Follow, None) => return Err(Failure::new("gateway.feed.client_id must be set")),
        (Revocations::Off, _) => Following::Off,
    };
    let endpoints = &gateway.endpoints;
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| Failure::of_file(path, "read", &error))
    };
    let mut settings =
        Settings::new(gateway.issuer.as_deref().unwrap_or_default(), String::new(), revocations);
    settings.audiences.clone_from(&gateway.audience);
    settings.max_staleness = gateway.max_staleness.as_duration();
    settings.introspection = credentials(&gateway.introspection).map(Introspection::new);
    settings.endpoints = Endpoints {
        jwks: endpoints.jwks.clone(),
        token: endpoints.token.clone(),
        introspection: endpoints.introspection.clone(),
        revocations: endpoints.revocations.clone(),
    };
    settings.token_capacity = gateway.token_capacity;
    settings.extra_roots = gateway.ca_file.as_ref().map(read).transpose()?;
    settings.plain_http = gateway.private_network;
    settings.check().map_err(|error| Failure::new(format!("gateway.{error}")))?;
    Ok(settings)
}

fn credentials(login: &Login) -> Option<ClientCredentials> {
    let (client_id, secret) = (login.client_id.clone()?, login.client_secret.as_ref()?);
    Some(ClientCredentials { client_id, client_secret: Secret::new(secret.expose()) })
}

/// A gateway runs as well where nobody reads what it says.
fn say_where(gateway: &Gateway, file: Option<&std::path::Path>, (checks, admin): (SocketAddr, SocketAddr)) {
    let scheme = gateway.tls().scheme();
    let settings = file.map_or("environment".into(), |path| path.to_string_lossy());
    let issuer = gateway.issuer.as_deref().unwrap_or_default();
    let mut text = format!(
        "Grantry gateway {}\n  checks    {scheme}://{checks}{CHECK_PATH}\n  admin     http://{admin}\n  issuer    {issuer}\n  \
         settings  {settings}\n",
        env!("CARGO_PKG_VERSION"),
    );
    if gateway.revocations == Revocations::Off {
        text.push_str("\ngateway.revocations is off: a revoked JWT passes until it expires.\n");
    }
    let _ = writeln!(std::io::stdout(), "{text}");
    tracing::info!(%checks, %admin, "serving");
}
