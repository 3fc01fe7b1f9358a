use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::parent::Parent;
use super::stretches::{Stretch, Stretches};
use crate::errors::Result;
use crate::link::{Begin, Link};
use crate::statement::{Statement, now};
use crate::time::StoreTime;

/// The present one and two whole ones, so that a node may miss a round.
const AHEAD: i64 = 3;

const NOW_SELECT: Statement =
    Statement { name: "now_select", sql: concat!("SELECT ", now!("$1")), types: &[Type::INT8] };

/// The store's time in milliseconds.
pub async fn now(link: &Link, time: &StoreTime) -> Result<i64> {
    Ok(link.query_one(&NOW_SELECT, &[&time.param()]).await?.get(0))
}

const PARTITIONS_SELECT: Statement = Statement {
    name: "partitions_select",
    sql: "SELECT name, from_time, until_time, expires_until, dropping FROM partitions WHERE parent = $1",
    types: &[Type::TEXT],
};

pub async fn stretches(link: &Link, parent: Parent) -> Result<Stretches> {
    let rows = link.query(&PARTITIONS_SELECT, &[&parent.name()]).await?;
    Ok(rows.iter().map(stretch).collect())
}

fn stretch(row: &Row) -> Stretch {
    Stretch {
        name: row.get(0),
        from: row.get(1),
        until: row.get(2),
        expires_until: row.get(3),
        dropping: row.get(4),
    }
}

/// From the present on.
pub async fn make_ahead(link: &Link, parent: Parent, retention: Duration, now: i64) -> Result<u64> {
    let width = parent.width(retention);
    let begin = now.div_euclid(width) * width;
    let wanted: Vec<_> = (0..AHEAD).map(|step| now.max(begin + step * width)).collect();
    let known = stretches(link, parent).await?;
    if wanted.iter().all(|at| known.at(*at).is_some()) {
        return Ok(0);
    }
    make(link, parent, retention, &wanted).await
}

const TURN_LOCK: Statement = Statement {
    name: "turn_lock",
    sql: "SELECT FROM turns WHERE name = $1 FOR UPDATE",
    types: &[Type::TEXT],
};

/// Makes what is missing at these times; answers how many. Of two nodes that do it at once the second finds it done.
pub async fn make(link: &Link, parent: Parent, retention: Duration, wanted: &[i64]) -> Result<u64> {
    link.begin(Begin::Write).await?;
    let made = make_in_turn(link, parent, retention, wanted).await;
    match made {
        Ok(_) => link.commit().await?,
        // Should this fail, too, the link is closed, and that is a rollback.
        Err(_) => drop(link.rollback().await),
    }
    made
}

async fn make_in_turn(link: &Link, parent: Parent, retention: Duration, wanted: &[i64]) -> Result<u64> {
    link.query_one(&TURN_LOCK, &[&parent.name()]).await?;
    let mut known = stretches(link, parent).await?;
    let mut made = 0;
    for at in wanted {
        if known.at(*at).is_some() {
            continue;
        }
        parent.check(*at)?;
        let (from, until) = known.gap(*at, parent.width(retention));
        let stretch = Stretch {
            name: format!("{}_{}", parent.name(), from.to_string().replace('-', "m")),
            from,
            until,
            expires_until: parent.expires_until(until, retention),
            dropping: false,
        };
        create(link, parent, &stretch).await?;
        known.insert(stretch);
        made += 1;
    }
    Ok(made)
}

const PARTITION_INSERT: Statement = Statement {
    name: "partition_insert",
    sql: "INSERT INTO partitions (name, parent, from_time, until_time, expires_until) VALUES ($1, $2, $3, $4, $5)",
    types: &[Type::TEXT, Type::TEXT, Type::INT8, Type::INT8, Type::INT8],
};

/// ATTACH lets readers and writers of the parent go on; CREATE TABLE ... PARTITION OF would not.
async fn create(link: &Link, parent: Parent, stretch: &Stretch) -> Result<()> {
    let Stretch { name, from, until, expires_until, .. } = stretch;
    let sql = format!(
        "CREATE TABLE {name} (LIKE {parent} INCLUDING ALL);
         ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({}) TO ({})",
        parent.bound(*from),
        parent.bound(*until),
        parent = parent.name(),
    );
    link.batch(&sql).await?;
    link.execute(&PARTITION_INSERT, &[name, &parent.name(), from, until, expires_until]).await?;
    Ok(())
}

const PARTITION_RAISE: Statement = Statement {
    name: "partition_raise",
    sql: "UPDATE partitions SET expires_until = greatest(expires_until, $2) WHERE name = $1 AND NOT dropping",
    types: &[Type::TEXT, Type::INT8],
};

/// Committed by itself. Does nothing to one that is being dropped.
pub async fn raise(link: &Link, name: &str, expires_until: i64) -> Result<bool> {
    Ok(link.execute(&PARTITION_RAISE, &[&name, &expires_until]).await? == 1)
}
