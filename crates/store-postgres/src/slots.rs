use std::collections::BTreeMap;

use grantry_protocol::{SlotKey, Timestamp, TokenId};
use grantry_store::Holder;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::columns::{bytes, id, optional_id, timestamp, uuid};
use crate::errors::{Cause, Error, Result};
use crate::link::Link;
use crate::statement::Statement;

/// A slot's row as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRow {
    pub slot: SlotKey,
    pub holder: Holder,
}

/// Rows of slots as one array a column.
#[derive(Default)]
struct SlotColumns<'s> {
    slots: Vec<&'s [u8]>,
    holders: Vec<Uuid>,
    expires_at: Vec<i64>,
    displaced: Vec<Option<Uuid>>,
}

impl<'s> FromIterator<&'s SlotRow> for SlotColumns<'s> {
    fn from_iter<I: IntoIterator<Item = &'s SlotRow>>(rows: I) -> Self {
        let mut columns = Self::default();
        for SlotRow { slot, holder } in rows {
            columns.slots.push(slot.as_bytes());
            columns.holders.push(uuid(holder.id.as_bytes()));
            columns.expires_at.push(holder.expires_at.as_millis());
            columns.displaced.push(holder.displaced.map(|id| uuid(id.as_bytes())));
        }
        columns
    }
}

/// Locks the slots of `$1` and, where they have rows, those of the tokens of `$5`, all in the order of their keys, as
/// issuing does. A slot of `$1` without a row gets one, so that nobody else takes it meanwhile; those are answered. The
/// condition that is never true locks a row without changing it.
pub const SLOTS_LOCK: Statement = Statement {
    name: "slots_lock",
    sql: "WITH freed AS (
              SELECT DISTINCT ON (s.slot) s.slot, t.id, t.expires_at
              FROM unnest($5::uuid[]) AS w(id)
              CROSS JOIN LATERAL (SELECT id, slot, expires_at FROM tokens WHERE id = w.id LIMIT 1) t
              JOIN slots s ON s.slot = t.slot
              WHERE t.slot <> ALL ($1) ORDER BY s.slot
          )
          INSERT INTO slots AS s (slot, holder, expires_at, displaced)
          SELECT w.slot, w.holder, w.expires_at, w.displaced FROM (
              SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::bigint[], $4::uuid[])
                  AS w(slot, holder, expires_at, displaced)
              UNION ALL SELECT slot, id, expires_at, NULL FROM freed
          ) w ORDER BY w.slot
          ON CONFLICT (slot) DO UPDATE SET holder = s.holder WHERE s.holder IS NULL
          RETURNING slot",
    types: &[Type::BYTEA_ARRAY, Type::UUID_ARRAY, Type::INT8_ARRAY, Type::UUID_ARRAY, Type::UUID_ARRAY],
};

/// Each slot once. Answers those that had no row and have the one that was handed in now.
pub async fn slots_lock(
    link: &Link,
    wanted: &BTreeMap<SlotKey, SlotRow>,
    of_tokens: &[Uuid],
) -> Result<Vec<SlotKey>> {
    if wanted.is_empty() && of_tokens.is_empty() {
        return Ok(Vec::new());
    }
    let rows: SlotColumns<'_> = wanted.values().collect();
    let params: [&(dyn ToSql + Sync); 5] =
        [&rows.slots, &rows.holders, &rows.expires_at, &rows.displaced, &of_tokens];
    let placed = link.query(&SLOTS_LOCK, &params).await?;
    placed.iter().map(|row| Ok(SlotKey::from_bytes(bytes(row, 0)?))).collect()
}

pub const SLOTS_SELECT: Statement = Statement {
    name: "slots_select",
    sql: "SELECT s.slot, s.holder, s.expires_at, s.displaced
          FROM (SELECT unnest($1::bytea[]) AS slot
                UNION
                SELECT t.slot FROM unnest($2::uuid[]) AS k(id)
                CROSS JOIN LATERAL (SELECT slot FROM tokens WHERE id = k.id LIMIT 1) t) w
          CROSS JOIN LATERAL (SELECT * FROM slots WHERE slot = w.slot LIMIT 1) s",
    types: &[Type::BYTEA_ARRAY, Type::UUID_ARRAY],
};

/// Of these slots and of those of these tokens, the ones that have a row.
pub async fn slots_select(link: &Link, slots: &[&[u8]], of_tokens: &[Uuid]) -> Result<Vec<SlotRow>> {
    if slots.is_empty() && of_tokens.is_empty() {
        return Ok(Vec::new());
    }
    link.query(&SLOTS_SELECT, &[&slots, &of_tokens]).await?.iter().map(slot_row).collect()
}

fn slot_row(row: &Row) -> Result<SlotRow> {
    Ok(SlotRow {
        slot: SlotKey::from_bytes(bytes(row, 0)?),
        holder: Holder {
            id: id(row, 1, TokenId::from_bytes)?,
            expires_at: timestamp(row, 2)?,
            displaced: optional_id(row, 3, TokenId::from_bytes)?,
        },
    })
}

pub const SLOTS_UPDATE: Statement = Statement {
    name: "slots_update",
    sql: "UPDATE slots s SET holder = w.holder, expires_at = w.expires_at, displaced = w.displaced
          FROM unnest($1::bytea[], $2::uuid[], $3::bigint[], $4::uuid[]) AS w(slot, holder, expires_at, displaced)
          WHERE s.slot = w.slot",
    types: &[Type::BYTEA_ARRAY, Type::UUID_ARRAY, Type::INT8_ARRAY, Type::UUID_ARRAY],
};

/// They are locked.
pub async fn slots_update(link: &Link, rows: &[SlotRow]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns: SlotColumns<'_> = rows.iter().collect();
    let params: [&(dyn ToSql + Sync); 4] =
        [&columns.slots, &columns.holders, &columns.expires_at, &columns.displaced];
    changed_all(link.execute(&SLOTS_UPDATE, &params).await?, rows.len())
}

pub const SLOTS_DELETE: Statement = Statement {
    name: "slots_delete",
    sql: "DELETE FROM slots s USING unnest($1::bytea[], $2::uuid[]) AS w(slot, holder)
          WHERE s.slot = w.slot AND s.holder = w.holder",
    types: &[Type::BYTEA_ARRAY, Type::UUID_ARRAY],
};

/// Only from the holders that they were read with: the slot of a token that was written while the transaction locked
/// what it needs has been read, and is not locked.
pub async fn slots_delete(link: &Link, slots: &[(SlotKey, TokenId)]) -> Result<()> {
    if slots.is_empty() {
        return Ok(());
    }
    let (keys, holders): (Vec<&[u8]>, Vec<Uuid>) =
        slots.iter().map(|(slot, holder)| (slot.as_bytes().as_slice(), uuid(holder.as_bytes()))).unzip();
    changed_all(link.execute(&SLOTS_DELETE, &[&keys, &holders]).await?, keys.len())
}

/// What was decided about is as it was read, so each row is there.
pub fn changed_all(changed: u64, wanted: usize) -> Result<()> {
    if changed == wanted as u64 {
        return Ok(());
    }
    Err(Error::new(Cause::Conflict, format!("{changed} of {wanted} rows were as they had been read")))
}

/// Walks on from `$1` over so many slots, and frees those whose holder had expired by `$2`. There is no index by
/// expiry, since each refresh would pay for it. Answers where it got to and how many it freed.
pub const SLOTS_SWEEP: Statement = Statement {
    name: "slots_sweep",
    sql: "WITH looked_at AS MATERIALIZED (
              SELECT slot, expires_at FROM slots WHERE slot > $1 ORDER BY slot LIMIT $3
          ),
          over AS (
              SELECT s.slot FROM slots s WHERE s.slot IN (
                  SELECT slot FROM looked_at WHERE expires_at <= $2 ORDER BY slot LIMIT $4)
                AND s.expires_at <= $2
              FOR UPDATE SKIP LOCKED
          ),
          gone AS (DELETE FROM slots WHERE slot IN (SELECT slot FROM over) RETURNING slot)
          SELECT (SELECT slot FROM looked_at ORDER BY slot DESC LIMIT 1), (SELECT count(*) FROM gone)",
    types: &[Type::BYTEA, Type::INT8, Type::INT8, Type::INT8],
};

/// What one step of the walk did.
pub struct SlotsSwept {
    /// Absent once there are no more.
    pub last: Option<SlotKey>,
    pub freed: u64,
}

pub async fn slots_sweep(
    link: &Link,
    after: Option<SlotKey>,
    expired_by: Timestamp,
    look_at: i64,
    limit: i64,
) -> Result<SlotsSwept> {
    let after: &[u8] = after.as_ref().map_or(&[], |slot| slot.as_bytes().as_slice());
    let row = link.query_one(&SLOTS_SWEEP, &[&after, &expired_by.as_millis(), &look_at, &limit]).await?;
    let last = crate::columns::optional_bytes(&row, 0)?.map(SlotKey::from_bytes);
    Ok(SlotsSwept { last, freed: crate::columns::unsigned(&row, 1)? })
}
