use std::ops::Range;

use async_trait::async_trait;
use grantry_protocol::{Epoch, Position, Seen, StatusIndex};
use grantry_store::{Result, StatusHead, StatusLists, check_reservation};
use rusqlite::{Connection, OptionalExtension, params};

use crate::SqliteStore;
use crate::columns::saturating;
use crate::rows::Judging;
use crate::rules::ended_by_rule;

/// Places that are looked at together: others who read wait no longer than that takes.
const CHUNK: usize = 4096;

#[async_trait]
impl StatusLists for SqliteStore {
    async fn status_index_reserve(&self, count: u32) -> Result<Range<u64>> {
        check_reservation(count)?;
        let first = self.writer.run(move |tx| head_advance(tx, count)).await?;
        Ok(first..first + u64::from(count))
    }

    async fn status_list_ended(&self, list: u64) -> Result<Vec<StatusIndex>> {
        let places = StatusIndex::of_list(list);
        let mut ended = Vec::new();
        for first in places.clone().step_by(CHUNK) {
            let chunk = first..places.end.min(first.saturating_add(CHUNK as u64));
            ended.extend(self.readers.run(move |snapshot| ended_select(snapshot, &chunk)).await?);
        }
        Ok(ended)
    }

    async fn status_lists_in_use(&self) -> Result<Range<u64>> {
        self.readers.run(|snapshot| Ok(head_select(snapshot)?.lists_in_use(oldest_select(snapshot)?))).await
    }
}

const HEAD_ADVANCE: &str = "
    UPDATE status_head SET next_index = next_index + ?1 WHERE one = 1 RETURNING next_index - ?1";

/// The first of the numbers.
fn head_advance(connection: &Connection, count: u32) -> rusqlite::Result<u64> {
    connection.prepare_cached(HEAD_ADVANCE)?.query_row([count], |row| row.get(0))
}

const HEAD_SELECT: &str = "SELECT next_index, first_index FROM status_head WHERE one = 1";

pub fn head_select(connection: &Connection) -> rusqlite::Result<StatusHead> {
    let head = |row: &rusqlite::Row<'_>| Ok(StatusHead { next: row.get(0)?, first: row.get(1)? });
    connection.prepare_cached(HEAD_SELECT)?.query_row([], head)
}

const HEAD_UPDATE: &str = "UPDATE status_head SET next_index = ?1, first_index = ?2 WHERE one = 1";

pub fn head_update(connection: &Connection, head: StatusHead) -> rusqlite::Result<()> {
    let row = params![saturating(head.next), saturating(head.first)];
    connection.prepare_cached(HEAD_UPDATE)?.execute(row).map(drop)
}

const TOKENS_ENDED: &str = concat!(
    "SELECT status_index FROM tokens t
     WHERE t.status_index >= ?1 AND t.status_index < ?2 AND (t.ended IS NOT NULL OR ",
    ended_by_rule!("t", "grant_id", "(?3, ?4)"),
    ")"
);

const GRANTS_ENDED: &str = concat!(
    "SELECT status_index FROM grants t
     WHERE t.status_index >= ?1 AND t.status_index < ?2 AND (t.ended_at IS NOT NULL OR ",
    ended_by_rule!("t", "id", "(?3, ?4)"),
    ")"
);

fn ended_select(rows: &impl Judging, places: &Range<u64>) -> rusqlite::Result<Vec<StatusIndex>> {
    let (first, end) = (saturating(places.start), saturating(places.end));
    let rule = rows.last_rule()?.unwrap_or(Seen { epoch: Epoch(0), position: Position(0) });
    let mut ended = Vec::new();
    for statement in [TOKENS_ENDED, GRANTS_ENDED] {
        let mut statement = rows.prepare_cached(statement)?;
        let found = params![first, end, rule.epoch.0, rule.position.0];
        for number in statement.query_map(found, |row| row.get(0))? {
            ended.push(StatusIndex(number?));
        }
    }
    ended.sort_unstable();
    Ok(ended)
}

const OLDEST_TOKEN: &str = "
    SELECT status_index FROM tokens WHERE status_index >= 0 ORDER BY status_index LIMIT 1";

const OLDEST_GRANT: &str = "
    SELECT status_index FROM grants WHERE status_index >= 0 ORDER BY status_index LIMIT 1";

/// The lowest number that a row has.
fn oldest_select(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let oldest = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, u64>(0)).optional();
    let (token, grant) = (oldest(OLDEST_TOKEN)?, oldest(OLDEST_GRANT)?);
    Ok(token.into_iter().chain(grant).min())
}

#[cfg(test)]
pub const HOT: [&str; 7] =
    [HEAD_ADVANCE, HEAD_SELECT, HEAD_UPDATE, TOKENS_ENDED, GRANTS_ENDED, OLDEST_TOKEN, OLDEST_GRANT];
