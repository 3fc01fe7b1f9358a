use async_trait::async_trait;
use grantry_protocol::{Epoch, LogEntry, LogHead, LogKind, Position, Seen, Timestamp};
use grantry_store::{Result as StoreResult, Revocations, RuleAppend};
use tokio_postgres::types::{ToSql, Type};

use crate::PostgresStore;
use crate::audit::audit_insert;
use crate::columns::{bytes, get, log_kind, saturating, seen, timestamp, unsigned};
use crate::errors::Result;
use crate::link::{Begin, Link};
use crate::pipeline::pipelined;
use crate::statement::{Statement, now};
use crate::store::{reading, transact};

#[async_trait]
impl Revocations for PostgresStore {
    async fn revocation_head(&self) -> StoreResult<LogHead> {
        reading!(self, |link| { log_head_select(link).await })
    }

    async fn revocation_list(&self, after: Position, limit: usize) -> StoreResult<Vec<LogEntry>> {
        let (after, limit) = (saturating(after.0), saturating(limit));
        reading!(self, |link| { entries_select(link, after, limit).await })
    }

    async fn revocation_append(&self, append: RuleAppend) -> StoreResult<Seen> {
        let RuleAppend { rule, keep_until, audit } = append;
        let entries = [Announced { kind: rule.kind(), key: rule.key().to_vec(), keep_until }];
        let audit = [audit];
        transact!(self, |link| {
            self.partitions.cover_log(link, &[keep_until]).await?;
            let ((), (), head, ()) = pipelined!(
                link.begin(Begin::Write),
                audit_insert(link, &audit),
                log_append(link, &entries, self.time.param()),
                link.commit()
            )?;
            Ok(head.unwrap_or(Seen::NOTHING))
        })
    }
}

/// An entry that has no position yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    pub kind: LogKind,
    pub key: Vec<u8>,
    pub keep_until: Timestamp,
}

pub const LOG_HEAD_SELECT: Statement = Statement {
    name: "log_head_select",
    sql: "SELECT epoch, position, chain FROM log_head WHERE one",
    types: &[],
};

async fn log_head_select(link: &Link) -> Result<LogHead> {
    let row = link.query_one(&LOG_HEAD_SELECT, &[]).await?;
    let Seen { epoch, position } = seen(&row, 0)?;
    Ok(LogHead { epoch, position, chain: bytes(&row, 2)? })
}

/// An entry may be asked for by position alone, in whichever partition it lies.
pub const ENTRIES_SELECT: Statement = Statement {
    name: "entries_select",
    sql: "SELECT position, kind, key, keep_until FROM revocation_log WHERE position > $1 ORDER BY position LIMIT $2",
    types: &[Type::INT8, Type::INT8],
};

async fn entries_select(link: &Link, after: i64, limit: i64) -> Result<Vec<LogEntry>> {
    let rows = link.query(&ENTRIES_SELECT, &[&after, &limit]).await?;
    let entry = |row| {
        Ok(LogEntry {
            position: Position(unsigned(row, 0)?),
            kind: log_kind(row, 1)?,
            key: get(row, 2)?,
            keep_until: timestamp(row, 3)?,
        })
    };
    rows.iter().map(entry).collect()
}

/// From here to the end of the transaction nobody else appends, so that positions have no gaps and appear in order.
/// Taken by a statement of its own: the next one sees the head as whoever was before left it.
pub const LOG_LOCK: Statement =
    Statement { name: "log_lock", sql: "SELECT FROM log_head WHERE one FOR NO KEY UPDATE", types: &[] };

/// Numbers the entries, continues the chain as `LogHead::append` does, keeps the last rule of each name, and moves the
/// head.
pub const LOG_APPEND: Statement = Statement {
    name: "log_append",
    sql: concat!(
        "WITH RECURSIVE chained(n, epoch, position, chain) AS (
              SELECT 0, epoch, position, chain FROM log_head WHERE one
              UNION ALL
              SELECT c.n + 1, c.epoch, c.position + 1,
                     sha256(c.chain || int8send(c.position + 1) || set_byte('\\x00', 0, ($1)[c.n + 1])
                            || int8send(octet_length(($2)[c.n + 1])) || ($2)[c.n + 1] || int8send(($3)[c.n + 1]))
              FROM chained c WHERE c.n < cardinality($1)
          ),
          entry AS MATERIALIZED (
              SELECT c.n, c.epoch, c.position, ($1)[c.n] AS kind, ($2)[c.n] AS key, ($3)[c.n] AS keep_until, ",
        now!("$4"),
        " AS logged_at
              FROM chained c WHERE c.n > 0
          ),
          inserted AS (
              INSERT INTO revocation_log (position, epoch, kind, key, keep_until, logged_at)
              SELECT position, epoch, kind, key, keep_until, logged_at FROM entry
          ),
          rule AS (
              SELECT DISTINCT ON (kind, key) kind, key, epoch, position, keep_until, logged_at
              FROM entry WHERE kind IN (2, 3, 4, 5, 7, 8) ORDER BY kind, key, n DESC
          ),
          ruled AS (
              INSERT INTO rules AS r (kind, key, epoch, position, keep_until, logged_at)
              SELECT kind, key, epoch, position, keep_until, logged_at FROM rule
              ON CONFLICT (kind, key) DO UPDATE SET
                  epoch = excluded.epoch, position = excluded.position, logged_at = excluded.logged_at,
                  keep_until = greatest(r.keep_until, excluded.keep_until)
              RETURNING r.epoch, r.position
          ),
          last AS (SELECT epoch, position FROM ruled ORDER BY epoch DESC, position DESC LIMIT 1)
          UPDATE log_head h SET
              position = h.position + cardinality($1),
              chain = (SELECT c.chain FROM chained c ORDER BY c.n DESC LIMIT 1),
              last_rule_epoch = coalesce((SELECT epoch FROM last), h.last_rule_epoch),
              last_rule_position = coalesce((SELECT position FROM last), h.last_rule_position)
          WHERE h.one RETURNING h.epoch, h.position"
    ),
    types: &[Type::INT2_ARRAY, Type::BYTEA_ARRAY, Type::INT8_ARRAY, Type::INT8],
};

/// To be sent last in a transaction. Answers where the log ends then; nothing if there was nothing to append.
pub async fn log_append(link: &Link, entries: &[Announced], now: Option<i64>) -> Result<Option<Seen>> {
    if entries.is_empty() {
        return Ok(None);
    }
    let kinds: Vec<i16> = entries.iter().map(|entry| entry.kind.code().into()).collect();
    let keys: Vec<&[u8]> = entries.iter().map(|entry| entry.key.as_slice()).collect();
    let until: Vec<i64> = entries.iter().map(|entry| entry.keep_until.as_millis()).collect();
    let params: [&(dyn ToSql + Sync); 4] = [&kinds, &keys, &until, &now];
    let (_, head) = pipelined!(link.execute(&LOG_LOCK, &[]), link.query_one(&LOG_APPEND, &params))?;
    Ok(Some(Seen { epoch: Epoch(unsigned(&head, 0)?), position: Position(unsigned(&head, 1)?) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_rule_is_kept_as_one() {
        let codes: Vec<_> = LogKind::ALL_KINDS
            .into_iter()
            .filter(|kind| kind.is_rule())
            .map(|kind| kind.code().to_string())
            .collect();
        assert!(LOG_APPEND.sql.contains(&format!("kind IN ({})", codes.join(", "))));
    }
}
