//! Work on the store itself, without a server: `--offline` and `admin recover`. A server may run on the same file
//! meanwhile.

use std::sync::Arc;
use std::time::Duration;

use grantry_grants::{Grants, KeyRing};
use grantry_persistence::Persistence;
use grantry_store::NodeId;

use crate::ambient::{clock, rng};
use crate::config::Loaded;
use crate::failure::Failure;
use crate::outbound::NoRequests;
use crate::{master_key, settings, wire};

/// How long the store may take to close its file.
const CLOSING: Duration = Duration::from_secs(10);

/// The flows, on a store that a server has made before. Must be called inside [`run`].
pub async fn grants(loaded: &Loaded) -> Result<Grants, Failure> {
    let config = &loaded.config;
    wire::expect_store(config).await?;
    let store = wire::open(config, clock()).await?;
    let master = master_key::load(loaded, store.as_ref()).await?;
    let keys = KeyRing::open(Arc::clone(&store), master, config.key_options(), clock(), rng()).await?;
    let persistence = Persistence::start(
        Arc::clone(&store),
        clock(),
        config.persistence_settings(),
        NodeId::random(rng().as_ref()),
    );
    let tokens = config.token_settings(config.server.issuer_at(config.server.listen));
    let settings = settings::of_file(loaded, tokens, None);
    let grants = Grants::new(store, persistence, keys, settings, Arc::new(NoRequests), clock(), rng());
    // How long a revocation is remembered depends on how long servers let tokens live.
    grants.settings_get().await?;
    Ok(grants)
}

/// Runs what is done in one go at the terminal.
pub fn run<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("the runtime cannot be started: {error}")))?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(CLOSING);
    outcome
}
