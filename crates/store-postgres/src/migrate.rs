//! The schema is brought up to date while nodes work with it: during an upgrade the version before and this one share it.
//!
//! A migration is a file of SQL. Its first line says the oldest version of the code (which is the number of migrations
//! that it knows) that still works with the schema afterwards: `-- oldest code: 1`. A migration is one transaction,
//! unless its second line is `-- without a transaction`; then its statements, each ending with `;` at the end of a line,
//! run one by one, for `CREATE INDEX CONCURRENTLY`, and have to bear being run again after a failure half-way. The same
//! goes for one whose second line is `-- for each partition of TABLE without INDEX`: its statements are run for each
//! partition that has no part of this index yet, with the partition's name for `{partition}`.
//!
//! Nodes that start together take turns by the lock of the one row of `schema_version`. No advisory locks: poolers and
//! PostgreSQL-like clusters do not have them.

#[cfg(feature = "testing")]
use std::hash::{Hash, Hasher};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_postgres::types::Type;

use crate::connect::Connector;
use crate::errors::{Cause, Error, Result};
use crate::link::{Begin, Link};
use crate::open_error::OpenError;
use crate::statement::Statement;

/// Applied in this order; never changed after a release.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_applied.sql"),
    include_str!("migrations/0003_settings.sql"),
    include_str!("migrations/0004_status_lists.sql"),
    include_str!("migrations/0005_grants_by_status.sql"),
    include_str!("migrations/0006_tokens_by_status.sql"),
];

/// For all that opening or migrating does; building an index of a large table takes its time.
pub const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// How long to wait for the turn, and for locks that the running nodes hold, altogether.
const TURN_PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(50);
/// The first version with everything that we use: detaching a partition without blocking writers.
const OLDEST_SERVER: u32 = 14;

/// The schema that a database has, and the one that this version of grantry works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaVersions {
    /// 0 for a new database. May be more than `needed`: a newer version has been here, whose schema this one can use.
    pub found: usize,
    pub needed: usize,
}

impl SchemaVersions {
    /// Whether opening the store will change the schema.
    pub const fn is_behind(&self) -> bool {
        self.found < self.needed
    }
}

/// What the row of `schema_version` says.
struct State {
    version: usize,
    /// The oldest version of the code that works with it.
    oldest_code: usize,
}

/// Distinguishes one schema from another.
#[cfg(feature = "testing")]
pub fn fingerprint(hasher: &mut impl Hasher) {
    MIGRATIONS.hash(hasher);
}

/// Migrations of ours and, after them, of a release to come.
#[cfg(feature = "testing")]
pub async fn migrate_beyond(connector: &Connector, coming: &[&str]) -> std::result::Result<(), OpenError> {
    migrate_by(connector, &[MIGRATIONS, coming].concat()).await
}

/// Refuses what is not ours to use. Changes nothing.
pub async fn versions(connector: &Connector) -> std::result::Result<SchemaVersions, OpenError> {
    let link = connect(connector).await?;
    checked(connector, &link, MIGRATIONS.len()).await
}

pub async fn migrate(connector: &Connector) -> std::result::Result<(), OpenError> {
    migrate_by(connector, MIGRATIONS).await
}

async fn migrate_by(connector: &Connector, migrations: &[&str]) -> std::result::Result<(), OpenError> {
    let link = connect(connector).await?;
    let versions = checked(connector, &link, migrations.len()).await?;
    let deadline = Instant::now() + TURN_PATIENCE;
    for (index, migration) in migrations.iter().enumerate().skip(versions.found) {
        let number = index + 1;
        while let Err(error) = apply(connector, &link, number, migration).await {
            if !is_passing(&error) || Instant::now() >= deadline {
                return Err(OpenError::Migration {
                    server: connector.server.clone(),
                    migration: number,
                    source: error.into(),
                });
            }
            let _ = link.rollback().await;
            sleep_until(Instant::now() + PAUSE).await;
        }
    }
    Ok(())
}

/// Whether it may be otherwise soon: another node has the turn, or makes the same tables; a lock was not to be had.
fn is_passing(error: &Error) -> bool {
    matches!(error.cause(), Cause::Busy | Cause::Collision | Cause::Conflict | Cause::AlreadyThere)
}

async fn connect(connector: &Connector) -> std::result::Result<Link, OpenError> {
    let unreachable = |error: Error| OpenError::Unreachable {
        server: connector.server.clone(),
        message: error.to_string(),
    };
    let mut link = connector.connect(Instant::now() + connector.patience, connector.patience).await;
    if let Ok(link) = &mut link {
        link.allow(PATIENCE);
    }
    link.map_err(unreachable)
}

const SERVER_SELECT: Statement = Statement {
    name: "server_select",
    sql: "SELECT current_setting('server_version_num')::integer / 10000, current_setting('server_version'),
                 to_regclass('schema_version') IS NOT NULL,
                 (SELECT c.relname::text FROM pg_class c
                  WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
                    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
                  LIMIT 1)",
    types: &[],
};

async fn checked(
    connector: &Connector,
    link: &Link,
    known: usize,
) -> std::result::Result<SchemaVersions, OpenError> {
    let server = || connector.server.clone();
    let failed = |error: Error| OpenError::Store { server: server(), source: error.into() };
    let row = link.query_one(&SERVER_SELECT, &[]).await.map_err(failed)?;
    let (number, found, is_ours): (i32, String, bool) = (row.get(0), row.get(1), row.get(2));
    if number < OLDEST_SERVER.cast_signed() {
        return Err(OpenError::TooOld { server: server(), found, needed: OLDEST_SERVER });
    }
    if !is_ours {
        return match row.get::<_, Option<String>>(3) {
            Some(table) => Err(OpenError::AnotherProgram { server: server(), table }),
            None => Ok(SchemaVersions { found: 0, needed: known }),
        };
    }
    let state = state(link, &STATE_SELECT).await.map_err(failed)?;
    if known < state.oldest_code {
        return Err(OpenError::NewerSchema { server: server(), found: state.version, known });
    }
    Ok(SchemaVersions { found: state.version, needed: known })
}

const STATE_SELECT: Statement = Statement {
    name: "schema_state_select",
    sql: "SELECT version, oldest_code FROM schema_version",
    types: &[],
};

/// Whoever has the lock has the turn.
const STATE_LOCK: Statement = Statement {
    name: "schema_state_lock",
    sql: "SELECT version, oldest_code FROM schema_version FOR UPDATE",
    types: &[],
};

async fn state(link: &Link, statement: &Statement) -> Result<State> {
    let row = link.query_one(statement, &[]).await?;
    let number = |column| usize::try_from(row.get::<_, i32>(column)).unwrap_or(0);
    Ok(State { version: number(0), oldest_code: number(1) })
}

/// Made with the first migration, so that tables of ours are never without it.
const STATE_TABLE: &str = "
    CREATE TABLE schema_version (
        one         boolean PRIMARY KEY DEFAULT true CHECK (one),
        version     integer NOT NULL,             -- the last migration
        oldest_code integer NOT NULL              -- the number of migrations that code must know at least to work here
    );
    INSERT INTO schema_version (version, oldest_code) VALUES (0, 1);";

const STATE_UPDATE: Statement = Statement {
    name: "schema_state_update",
    sql: "UPDATE schema_version SET version = $1, oldest_code = $2",
    types: &[Type::INT4, Type::INT4],
};

/// Nothing if another node was first.
async fn apply(connector: &Connector, link: &Link, number: usize, sql: &str) -> Result<()> {
    let header = Header::of(sql)?;
    link.begin(Begin::Write).await?;
    if number == 1 && link.query_opt(&IS_THERE, &[]).await?.is_none() {
        link.batch(STATE_TABLE).await?;
    }
    if state(link, &STATE_LOCK).await?.version >= number {
        return link.commit().await;
    }
    if header.how == How::InTransaction {
        link.batch(sql).await?;
    } else {
        // The turn is held meanwhile. The last statement's snapshot would be, too, until another one comes, and an index
        // that is built concurrently waits for every snapshot from before.
        link.batch("SELECT").await?;
        let mut own = connector.connect(Instant::now() + connector.patience, connector.patience).await?;
        own.allow(PATIENCE);
        match header.how {
            How::ForEachPartition { parent, index } => for_each_partition(&own, sql, parent, index).await?,
            _ => statement_by_statement(&own, sql).await?,
        }
    }
    let numbers = [number, header.oldest_code].map(|number| i32::try_from(number).unwrap_or(i32::MAX));
    link.execute(&STATE_UPDATE, &[&numbers[0], &numbers[1]]).await?;
    link.commit().await
}

const IS_THERE: Statement = Statement {
    name: "schema_version_is_there",
    sql: "SELECT 1 WHERE to_regclass('schema_version') IS NOT NULL",
    types: &[],
};

async fn statement_by_statement(link: &Link, sql: &str) -> Result<()> {
    for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        link.batch(statement).await?;
    }
    Ok(())
}

/// Those that are being dropped are left as they are: nothing is inserted into them any more.
const PARTITIONS_WITHOUT: Statement = Statement {
    name: "partitions_without_index",
    sql: "SELECT p.name FROM partitions p
          WHERE p.parent = $1 AND NOT p.dropping AND NOT EXISTS (
              SELECT FROM pg_index i JOIN pg_inherits h ON h.inhrelid = i.indexrelid
              WHERE i.indrelid = to_regclass(p.name) AND h.inhparent = to_regclass($2))
          ORDER BY p.from_time",
    types: &[Type::TEXT, Type::TEXT],
};

async fn partitions_without(link: &Link, parent: &str, index: &str) -> Result<Vec<String>> {
    let rows = link.query(&PARTITIONS_WITHOUT, &[&parent, &index]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn for_each_partition(link: &Link, sql: &str, parent: &str, index: &str) -> Result<()> {
    for name in partitions_without(link, parent, index).await? {
        if let Err(error) = statement_by_statement(link, &sql.replace("{partition}", &name)).await
            && partitions_without(link, parent, index).await?.contains(&name)
        {
            return Err(error);
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum How<'m> {
    InTransaction,
    StatementByStatement,
    ForEachPartition { parent: &'m str, index: &'m str },
}

struct Header<'m> {
    oldest_code: usize,
    how: How<'m>,
}

impl<'m> Header<'m> {
    fn of(sql: &'m str) -> Result<Self> {
        let mut lines = sql.lines();
        let oldest_code = lines.next().and_then(|line| line.strip_prefix("-- oldest code: ")?.parse().ok());
        let missing = || Error::new(Cause::Corrupt, "a migration does not say which code works with it");
        let second = lines.next().unwrap_or_default();
        let partitions =
            second.strip_prefix("-- for each partition of ").and_then(|of| of.split_once(" without "));
        let how = match partitions {
            Some((parent, index)) => How::ForEachPartition { parent, index },
            None if second == "-- without a transaction" => How::StatementByStatement,
            None => How::InTransaction,
        };
        Ok(Self { oldest_code: oldest_code.ok_or_else(missing)?, how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_says_which_code_works_with_it() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            let header = Header::of(migration).unwrap();
            assert!((1..=index + 1).contains(&header.oldest_code), "migration {}", index + 1);
        }
    }

    #[test]
    fn a_migration_can_be_for_partitions() {
        let header =
            Header::of("-- oldest code: 3\n-- for each partition of a without b\nSELECT 1;").unwrap();
        assert_eq!(header.how, How::ForEachPartition { parent: "a", index: "b" });
    }

    #[test]
    fn a_migration_can_ask_for_no_transaction() {
        let header = Header::of("-- oldest code: 3\n-- without a transaction\nSELECT 1;").unwrap();
        assert_eq!((header.oldest_code, header.how), (3, How::StatementByStatement));
    }
}
