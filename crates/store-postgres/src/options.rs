use std::ops::RangeInclusive;
use std::time::Duration;

use crate::open_error::OpenError;

/// How the store is run. The defaults suit a server that talks to PostgreSQL, or to a pooler in session mode.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Whether statements are prepared once a connection. `false` for a pooler in transaction mode: nothing then
    /// depends on the session. Our settings (the timeouts, `enable_seqscan=off`, `jit=off`) hold within transactions
    /// only; for single reads it is up to the operator to give the role the same by `ALTER ROLE ... SET`. Every statement
    /// is planned anew.
    pub prepared: bool,
    /// The most connections that write; 1 to 8.
    pub write_links: usize,
    /// The most connections that read; 1 to 16.
    pub read_links: usize,
    /// How long a call may take altogether: waiting for a connection, for locks and for answers. At least 100 ms.
    pub busy_timeout: Duration,
    /// How long the server works on one statement; at most `busy_timeout`.
    pub statement_timeout: Duration,
    /// How long the server waits for one lock; at most `statement_timeout`.
    pub lock_timeout: Duration,
    /// How long one address may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a token's row is kept at least; decides how wide partitions are.
    pub retention_time: Duration,
    /// What the server shows in `pg_stat_activity`.
    pub application_name: String,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            prepared: true,
            write_links: 8,
            read_links: 3,
            busy_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(4),
            lock_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(2),
            retention_time: Duration::from_secs(24 * 3600),
            application_name: "grantry".into(),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

impl PostgresOptions {
    /// Refuses what is out of bounds, naming the option and the bounds.
    pub fn check(&self) -> Result<(), OpenError> {
        count("write_links", self.write_links, 1..=8)?;
        count("read_links", self.read_links, 1..=16)?;
        span("busy_timeout", self.busy_timeout, SECOND / 10..=60 * SECOND)?;
        span("statement_timeout", self.statement_timeout, SECOND / 100..=self.busy_timeout)?;
        span("lock_timeout", self.lock_timeout, SECOND / 100..=self.statement_timeout)?;
        span("connect_timeout", self.connect_timeout, SECOND / 100..=60 * SECOND)?;
        span("retention_time", self.retention_time, 60 * SECOND..=100 * 365 * 24 * HOUR)
    }
}

fn count(option: &'static str, found: usize, bounds: RangeInclusive<usize>) -> Result<(), OpenError> {
    if bounds.contains(&found) {
        return Ok(());
    }
    let wanted = format!("from {} to {}", bounds.start(), bounds.end());
    Err(OpenError::Option { option, found: found.to_string(), wanted })
}

fn span(option: &'static str, found: Duration, bounds: RangeInclusive<Duration>) -> Result<(), OpenError> {
    if bounds.contains(&found) {
        return Ok(());
    }
    let wanted = format!("from {:?} to {:?}", bounds.start(), bounds.end());
    Err(OpenError::Option { option, found: format!("{found:?}"), wanted })
}
