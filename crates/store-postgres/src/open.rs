use std::sync::Arc;

use grantry_protocol::Rng;

use crate::PostgresStore;
use crate::connect::Connector;
use crate::migrate::{self, SchemaVersions};
use crate::open_error::OpenError;
use crate::options::PostgresOptions;
use crate::partitions::Partitions;
use crate::pool::Pool;
use crate::pool_metrics::PoolMetrics;
use crate::prepared::PREPARED;
use crate::time::StoreTime;

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
            Pool::new(Arc::clone(&connector), size, options.busy_timeout, Arc::clone(&rng), metrics)
        };
        let (write, read) = (pool("write", options.write_links), pool("read", options.read_links));
        let partitions = Partitions::new(options.retention_time);
        Ok(Self::assemble(write, read, time, partitions, options, rng))
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
