use std::sync::Arc;

use grantry_protocol::Rng;

use crate::PostgresStore;
use crate::connect::Connector;
use crate::listener::Listener;
use crate::migrate::{self, SchemaVersions};
use crate::open_error::OpenError;
use crate::options::PostgresOptions;
use crate::partitions::Partitions;
use crate::pool::{GivenUp, Pool};
use crate::pool_metrics::PoolMetrics;
use crate::prepared::PREPARED;
use crate::store::Links;
use crate::time::StoreTime;

/// A node has one probe under way; the other is for when it has given that up.
const PROBE_LINKS: usize = 2;

impl PostgresStore {
    /// Connects, and brings the schema up to date. The connections of the store itself are made when they are needed, on
    /// the runtime of whoever needs them.
    pub async fn open(
        url: &str,
        options: &PostgresOptions,
        time: StoreTime,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, OpenError> {
        options.check()?;
        Self::migrate(url, options).await?;
        let connector = Arc::new(Connector::new(url, options, PREPARED)?);
        let pool = |used_for, size| {
            let metrics = PoolMetrics::new(used_for);
            let given_up = if used_for == "probe" { GivenUp::Misled } else { GivenUp::Nothing };
            Pool::new(Arc::clone(&connector), size, options.busy_timeout, Arc::clone(&rng), metrics, given_up)
        };
        let links = Links {
            write: pool("write", options.write_links),
            read: pool("read", options.read_links),
            probe: pool("probe", PROBE_LINKS),
            listener: Listener::new(options.prepared.then(|| Arc::clone(&connector)), Arc::clone(&rng)),
        };
        let partitions = Partitions::new(options.retention_time);
        Ok(Self::assemble(links, time, partitions, options, rng))
    }

    /// Brings the schema up to date; nodes may go on working meanwhile.
    pub async fn migrate(url: &str, options: &PostgresOptions) -> Result<(), OpenError> {
        migrate::migrate(&Connector::for_schema(url, options)?).await
    }

    /// Which schema the database has, and which one it would have once it is opened. Changes neither.
    pub async fn schema_versions(url: &str, options: &PostgresOptions) -> Result<SchemaVersions, OpenError> {
        migrate::versions(&Connector::for_schema(url, options)?).await
    }
}
