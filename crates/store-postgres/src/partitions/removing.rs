use std::time::Duration;

use tokio_postgres::types::Type;

use super::parent::Parent;
use crate::errors::Result;
use crate::link::{Begin, Link};
use crate::statement::{Statement, now};
use crate::time::StoreTime;

/// By how much the clock that gave a token its expiry may be behind the database's, in milliseconds.
const SKEW: i64 = 60_000;
/// How long a partition's removal waits for transactions that may still read it.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Partitions that are gone.
    pub dropped: u64,
    /// Those that nothing is inserted into any more, but that something is in the way of; the next round tries again.
    pub waiting: u64,
}

/// How far the removal of a partition has come. Whoever does it may be killed at any point, and anybody goes on.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Attached,
    /// A DETACH was begun and not finished: readers of before may still see it.
    Detaching,
    Detached,
}

/// Marks those whose time is over, and removes what is marked.
pub async fn remove(link: &Link, parent: Parent, retention: Duration, time: &StoreTime) -> Result<Removed> {
    mark(link, parent, retention, time).await?;
    let mut removed = Removed::default();
    for (name, stage) in marked(link, parent).await? {
        // What is in the way of one is in the way of all, and to try each would take long.
        if removed.waiting > 0 {
            removed.waiting += 1;
            continue;
        }
        match take_out(link, parent, &name, stage).await {
            Ok(()) => removed.dropped += 1,
            Err(error) if error.ends_link() => return Err(error),
            Err(error) => {
                tracing::info!(partition = name, "dropping the partition is put off: {error}");
                link.rollback().await?;
                removed.waiting += 1;
            }
        }
    }
    Ok(removed)
}

/// In one statement with the condition: whoever has raised the record in between keeps the partition.
const PARTITIONS_MARK: Statement = Statement {
    name: "partitions_mark",
    sql: concat!(
        "UPDATE partitions SET dropping = true
         WHERE parent = $1 AND NOT dropping AND until_time + $2 <= ",
        now!("$4"),
        " AND expires_until + $3 < ",
        now!("$4")
    ),
    types: &[Type::TEXT, Type::INT8, Type::INT8, Type::INT8],
};

async fn mark(link: &Link, parent: Parent, retention: Duration, time: &StoreTime) -> Result<()> {
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX / 4);
    link.execute(&PARTITIONS_MARK, &[&parent.name(), &retention, &SKEW, &time.param()]).await?;
    Ok(())
}

const MARKED_SELECT: Statement = Statement {
    name: "marked_select",
    sql: "SELECT p.name, i.inhdetachpending
          FROM partitions p LEFT JOIN pg_inherits i ON i.inhrelid = to_regclass(p.name)
          WHERE p.parent = $1 AND p.dropping ORDER BY i.inhdetachpending DESC NULLS FIRST, p.from_time",
    types: &[Type::TEXT],
};

/// One that is half detached comes before those that are not: PostgreSQL detaches one at a time.
async fn marked(link: &Link, parent: Parent) -> Result<Vec<(String, Stage)>> {
    let rows = link.query(&MARKED_SELECT, &[&parent.name()]).await?;
    let stage = |pending: Option<bool>| match pending {
        Some(false) => Stage::Attached,
        Some(true) => Stage::Detaching,
        None => Stage::Detached,
    };
    Ok(rows.iter().map(|row| (row.get(0), stage(row.get(1)))).collect())
}

async fn take_out(link: &Link, parent: Parent, name: &str, stage: Stage) -> Result<()> {
    let detach = |how: &str| format!("ALTER TABLE {} DETACH PARTITION {name} {how}", parent.name());
    match stage {
        // Not in a transaction; it waits for old ones, and writers go on meanwhile.
        Stage::Attached => link.batch_within(&detach("CONCURRENTLY"), PATIENCE).await?,
        Stage::Detaching => link.batch_within(&detach("FINALIZE"), PATIENCE).await?,
        Stage::Detached => {}
    }
    drop_table(link, name).await
}

const PARTITION_DELETE: Statement = Statement {
    name: "partition_delete",
    sql: "DELETE FROM partitions WHERE name = $1 AND dropping",
    types: &[Type::TEXT],
};

/// Table and record go together, so that a table of ours always has a record.
async fn drop_table(link: &Link, name: &str) -> Result<()> {
    link.begin(Begin::Write).await?;
    link.execute(&PARTITION_DELETE, &[&name]).await?;
    link.batch(&format!("DROP TABLE IF EXISTS {name}")).await?;
    link.commit().await
}
