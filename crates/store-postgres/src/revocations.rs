use async_trait::async_trait;
use grantry_protocol::{Epoch, LogEntry, LogHead, LogKind, LogPage, Position, Rule, Seen, Timestamp};
use grantry_store::{Merge, MergeOutcome, Probe, Result as StoreResult, Revocations, RuleAppend};
use tokio::sync::watch;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::PostgresStore;
use crate::audit::audit_insert;
use crate::columns::{bytes, get, log_kind, saturating, seen, timestamp, unsigned};
use crate::errors::Result;
use crate::link::{Begin, Link};
use crate::listener::notify;
use crate::nodes::node_applied_upsert;
use crate::pipeline::pipelined;
use crate::rules::rules_contain;
use crate::statement::{Statement, now};
use crate::status_lists::head_skip;
use crate::store::{reading, transact};

/// The most entries that one statement appends: each of them walks through the arrays that they come in.
const APPENDED: usize = 1000;

#[async_trait]
impl Revocations for PostgresStore {
    async fn revocation_head(&self) -> StoreResult<LogHead> {
        reading!(self, |link| { log_head_select(link).await })
    }

    async fn revocation_list(&self, after: Position, limit: usize) -> StoreResult<Vec<LogEntry>> {
        let (after, limit) = (saturating(after.0), saturating(limit));
        reading!(self, |link| { entries_select(link, after, limit).await })
    }

    async fn revocation_rule_exists(&self, rule: &Rule) -> StoreResult<bool> {
        reading!(self, |link| { rules_contain(link, rule).await })
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

    async fn revocation_probe(&self, probe: Probe) -> StoreResult<LogPage> {
        let Probe { node, applied, limit } = probe;
        let (after, limit, now) = (saturating(applied.position.0), saturating(limit), self.time.param());
        transact!(self, self.probes, |link| {
            // A server that is no longer the primary still answers what is read. The write it refuses, or it commits
            // with a warning that nobody else has it.
            let ((), (head, read_at), mut entries, (), ()) = pipelined!(
                link.begin(Begin::Write),
                log_probe(link, now),
                entries_select(link, after, limit),
                node_applied_upsert(link, node, applied, now),
                link.commit()
            )?;
            entries.retain(|entry| entry.position <= head.position);
            Ok(LogPage { head, entries, now: read_at })
        })
    }

    async fn revocation_merge(&self, merge: Merge) -> StoreResult<MergeOutcome> {
        let Merge { from, raise_epoch, entries } = merge;
        let entries: Vec<Announced> = entries.into_iter().map(Announced::from).collect();
        let keep_until: Vec<Timestamp> = entries.iter().map(|entry| entry.keep_until).collect();
        transact!(self, |link| {
            self.partitions.cover_log(link, &keep_until).await?;
            let ((), _, head) =
                pipelined!(link.begin(Begin::Write), link.execute(&LOG_LOCK, &[]), log_head_select(link))?;
            if head != from {
                link.rollback().await?;
                return Ok(MergeOutcome::Moved);
            }
            if raise_epoch {
                link.execute(&EPOCH_RAISE, &[]).await?;
                head_skip(link).await?;
            }
            for entries in entries.chunks(APPENDED) {
                log_append(link, entries, self.time.param()).await?;
            }
            let (head, ()) = pipelined!(log_head_select(link), link.commit())?;
            Ok(MergeOutcome::Merged(head))
        })
    }

    fn revocation_bell(&self) -> watch::Receiver<u64> {
        self.listener.bell()
    }
}

/// An entry that has no position yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    pub kind: LogKind,
    pub key: Vec<u8>,
    pub keep_until: Timestamp,
}

impl From<LogEntry> for Announced {
    fn from(entry: LogEntry) -> Self {
        Self { kind: entry.kind, key: entry.key, keep_until: entry.keep_until }
    }
}

pub const LOG_HEAD_SELECT: Statement = Statement {
    name: "log_head_select",
    sql: "SELECT epoch, position, chain FROM log_head WHERE one",
    types: &[],
};

async fn log_head_select(link: &Link) -> Result<LogHead> {
    log_head(&link.query_one(&LOG_HEAD_SELECT, &[]).await?)
}

fn log_head(row: &Row) -> Result<LogHead> {
    let Seen { epoch, position } = seen(row, 0)?;
    Ok(LogHead { epoch, position, chain: bytes(row, 2)? })
}

/// The log's head, and when it was read.
pub const LOG_PROBE: Statement = Statement {
    name: "log_probe",
    sql: concat!("SELECT epoch, position, chain, ", now!("$1"), " FROM log_head WHERE one"),
    types: &[Type::INT8],
};

async fn log_probe(link: &Link, now: Option<i64>) -> Result<(LogHead, Timestamp)> {
    let row = link.query_one(&LOG_PROBE, &[&now]).await?;
    Ok((log_head(&row)?, timestamp(&row, 3)?))
}

/// An entry may be asked for by position alone, in whichever partition it lies.
pub const ENTRIES_SELECT: Statement = Statement {
    name: "entries_select",
    sql: "SELECT epoch, position, kind, key, keep_until FROM revocation_log
          WHERE position > $1 ORDER BY position LIMIT $2",
    types: &[Type::INT8, Type::INT8],
};

async fn entries_select(link: &Link, after: i64, limit: i64) -> Result<Vec<LogEntry>> {
    let rows = link.query(&ENTRIES_SELECT, &[&after, &limit]).await?;
    let entry = |row| {
        let Seen { epoch, position } = seen(row, 0)?;
        Ok(LogEntry {
            epoch,
            position,
            kind: log_kind(row, 2)?,
            key: get(row, 3)?,
            keep_until: timestamp(row, 4)?,
        })
    };
    rows.iter().map(entry).collect()
}

/// From here to the end of the transaction nobody else appends, so that positions have no gaps and appear in order.
/// Taken by a statement of its own: the next one sees the head as whoever was before left it.
pub const LOG_LOCK: Statement =
    Statement { name: "log_lock", sql: "SELECT FROM log_head WHERE one FOR NO KEY UPDATE", types: &[] };

/// Nobody else appends until the transaction ends, if `holds`.
pub async fn log_hold(link: &Link, holds: bool) -> Result<()> {
    if holds {
        link.execute(&LOG_LOCK, &[]).await?;
    }
    Ok(())
}

/// What is appended from here on is of the next epoch.
pub const EPOCH_RAISE: Statement = Statement {
    name: "epoch_raise",
    sql: concat!("UPDATE log_head SET epoch = epoch + 1 WHERE one RETURNING ", notify!()),
    types: &[],
};

/// Numbers the entries, continues the chain as `LogHead::append` does, keeps the last rule of each name, moves the head, and
/// tells those who listen.
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
          WHERE h.one RETURNING h.epoch, h.position, ",
        notify!()
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
