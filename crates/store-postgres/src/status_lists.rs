use std::ops::Range;

use async_trait::async_trait;
use grantry_protocol::StatusIndex;
use grantry_store::{Result as StoreResult, StatusHead, StatusLists, check_reservation};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::PostgresStore;
use crate::columns::{saturating, status_index, unsigned};
use crate::errors::Result;
use crate::link::Link;
use crate::rules::ended_by_rule;
use crate::statement::Statement;
use crate::store::{reading, transact};

#[async_trait]
impl StatusLists for PostgresStore {
    async fn status_index_reserve(&self, count: u32) -> StoreResult<Range<u64>> {
        check_reservation(count)?;
        let first: u64 = transact!(self, |link| {
            Ok(unsigned(&link.query_one(&HEAD_ADVANCE, &[&i64::from(count)]).await?, 0)?)
        })?;
        Ok(first..first + u64::from(count))
    }

    async fn status_list_ended(&self, list: u64) -> StoreResult<Vec<StatusIndex>> {
        let places = StatusIndex::of_list(list);
        let (first, end) = (saturating(places.start), saturating(places.end));
        reading!(self, |link| { list_ended(link, first, end).await })
    }

    async fn status_lists_in_use(&self) -> StoreResult<Range<u64>> {
        reading!(self, |link| {
            let row = link.query_one(&LISTS_IN_USE, &[]).await?;
            Ok(head(&row)?.lists_in_use(status_index(&row, 2)?.map(|oldest| oldest.0)))
        })
    }
}

pub const HEAD_ADVANCE: Statement = Statement {
    name: "status_head_advance",
    sql: "UPDATE status_head SET next_index = next_index + $1 WHERE one RETURNING next_index - $1",
    types: &[Type::INT8],
};

pub const HEAD_LOCK: Statement = Statement {
    name: "status_head_lock",
    sql: "SELECT next_index, first_index FROM status_head WHERE one FOR UPDATE",
    types: &[],
};

pub const HEAD_UPDATE: Statement = Statement {
    name: "status_head_update",
    sql: "UPDATE status_head SET next_index = $1, first_index = $2 WHERE one",
    types: &[Type::INT8, Type::INT8],
};

/// Past what commits that were lost may have given out.
pub async fn head_skip(link: &Link) -> Result<()> {
    let StatusHead { next, first } = head(&link.query_one(&HEAD_LOCK, &[]).await?)?.after_loss();
    link.execute(&HEAD_UPDATE, &[&saturating(next), &saturating(first)]).await.map(drop)
}

fn head(row: &Row) -> Result<StatusHead> {
    Ok(StatusHead { next: unsigned(row, 0)?, first: unsigned(row, 1)? })
}

/// In one snapshot. Partitions are cut along time, and a list may have tokens of several.
pub const LIST_ENDED: Statement = Statement {
    name: "status_list_ended",
    sql: concat!(
        "SELECT t.status_index FROM log_head h CROSS JOIN tokens t
         WHERE h.one AND t.status_index >= $1 AND t.status_index < $2 AND (t.ended IS NOT NULL OR ",
        ended_by_rule!("t", ".grant_id"),
        ") UNION ALL
         SELECT g.status_index FROM log_head h CROSS JOIN grants g
         WHERE h.one AND g.status_index >= $1 AND g.status_index < $2 AND (g.ended_at IS NOT NULL OR ",
        ended_by_rule!("g", ".id"),
        ")"
    ),
    types: &[Type::INT8, Type::INT8],
};

async fn list_ended(link: &Link, first: i64, end: i64) -> Result<Vec<StatusIndex>> {
    let rows = link.query(&LIST_ENDED, &[&first, &end]).await?;
    let mut ended: Vec<u64> = rows.iter().map(|row| unsigned(row, 0)).collect::<Result<_>>()?;
    ended.sort_unstable();
    Ok(ended.into_iter().map(StatusIndex).collect())
}

/// With the head, the lowest number that a row has.
pub const LISTS_IN_USE: Statement = Statement {
    name: "status_lists_in_use",
    sql: "SELECT s.next_index, s.first_index, least(
              (SELECT status_index FROM tokens WHERE status_index >= 0 ORDER BY status_index LIMIT 1),
              (SELECT status_index FROM grants WHERE status_index >= 0 ORDER BY status_index LIMIT 1))
          FROM status_head s WHERE s.one",
    types: &[],
};
