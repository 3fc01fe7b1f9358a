use async_trait::async_trait;
use grantry_protocol::{Grant, GrantId, SessionId, SlotKey, Subject, Timestamp, TokenId};
use grantry_store::{Grants, Result as StoreResult, StoredGrant};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::PostgresStore;
use crate::columns::{
    Coded, checked, from_json, get, id, id_below, optional_bytes, optional_id, optional_timestamp,
    saturating, seen, status_index, timestamp, to_json, unreadable, unsigned, uuid,
};
use crate::errors::{Cause, Error, Result};
use crate::link::Link;
use crate::readers::Ask;
use crate::rules::ended_by_rule;
use crate::slots::changed_all;
use crate::statement::Statement;
use crate::store::reading;
use crate::transaction::judge_unstored_grant;

#[async_trait]
impl Grants for PostgresStore {
    async fn grant_find(&self, id: GrantId) -> StoreResult<Option<StoredGrant>> {
        self.readers.ask(|answer| Ask::Grant(id, answer)).await
    }

    async fn grant_judge_unstored(&self, grant: Grant) -> StoreResult<StoredGrant> {
        reading!(self, |link| { judge_unstored_grant(link, &grant, self.time.param()).await })
    }

    async fn grant_find_by_slot(&self, slot: SlotKey) -> StoreResult<Option<StoredGrant>> {
        self.readers.ask(|answer| Ask::SlotsGrant(slot, answer)).await
    }

    async fn grant_list(
        &self,
        subject: &Subject,
        before: Option<GrantId>,
        limit: usize,
    ) -> StoreResult<Vec<StoredGrant>> {
        let before = id_below(before.as_ref().map(GrantId::as_bytes));
        reading!(self, |link| {
            let rows = link.query(&GRANTS_LIST, &[&subject.as_str(), &before, &saturating(limit)]).await?;
            rows.iter().map(|row| stored_grant(row, 0)).collect()
        })
    }

    async fn grant_count(&self) -> StoreResult<u64> {
        reading!(self, |link| { unsigned(&link.query_one(&GRANTS_COUNT, &[]).await?, 0) })
    }

    async fn grant_last_expiry(&self) -> StoreResult<Option<Timestamp>> {
        reading!(self, |link| { optional_timestamp(&link.query_one(&GRANTS_LAST_EXPIRY, &[]).await?, 0) })
    }
}

/// What [`stored_grant`] reads, of `grants g` and `log_head h`.
macro_rules! grant_columns {
    () => {
        concat!(
            "g.id, g.slot, g.client_id, g.subject, g.subject_kind, g.scope, g.audience, g.session_id, g.seen_epoch,
             g.seen_position, g.created_at, g.expires_at, g.idle_expires_at, g.counter, g.rotated_at, g.access_token,
             g.ended_at, g.status_index, ",
            ended_by_rule!("g", ".id")
        )
    };
}

/// The first column after them.
const AFTER_COLUMNS: usize = 19;

fn stored_grant(row: &Row, first: usize) -> Result<StoredGrant> {
    let grant = Grant {
        id: id(row, first, GrantId::from_bytes)?,
        slot: optional_bytes(row, first + 1)?.map(SlotKey::from_bytes),
        client_id: checked(row, first + 2)?,
        subject: checked(row, first + 3)?,
        subject_kind: Coded::of_column(row, first + 4)?,
        scope: checked(row, first + 5)?,
        audience: from_json(row, first + 6)?,
        session: optional_id(row, first + 7, SessionId::from_bytes)?,
        seen: seen(row, first + 8)?,
        created_at: timestamp(row, first + 10)?,
        expires_at: timestamp(row, first + 11)?,
        idle_expires_at: timestamp(row, first + 12)?,
        counter: u32::try_from(get::<i64>(row, first + 13)?)
            .map_err(|error| unreadable(row, first + 13, error))?,
        rotated_at: timestamp(row, first + 14)?,
        access_token: id(row, first + 15, TokenId::from_bytes)?,
        status_index: status_index(row, first + 17)?,
    };
    let ended_at = optional_timestamp(row, first + 16)?;
    Ok(StoredGrant { grant, ended_at, ended_by_rule: get(row, first + 18)? })
}

pub const GRANTS_FIND: Statement = Statement {
    name: "grants_find",
    sql: concat!(
        "SELECT w.n, ",
        grant_columns!(),
        " FROM unnest($1::uuid[]) WITH ORDINALITY AS w(id, n)
          CROSS JOIN log_head h
          CROSS JOIN LATERAL (SELECT * FROM grants g WHERE g.id = w.id LIMIT 1) g"
    ),
    types: &[Type::UUID_ARRAY],
};

/// By their place among the ids.
pub async fn grants_find(link: &Link, ids: &[Uuid]) -> Result<Vec<(usize, StoredGrant)>> {
    link.query(&GRANTS_FIND, &[&ids]).await?.iter().map(placed).collect()
}

pub const SLOTS_GRANTS_FIND: Statement = Statement {
    name: "slots_grants_find",
    sql: concat!(
        "SELECT w.n, ",
        grant_columns!(),
        " FROM unnest($1::bytea[]) WITH ORDINALITY AS w(slot, n)
          CROSS JOIN log_head h
          CROSS JOIN LATERAL (SELECT * FROM grants g WHERE g.slot = w.slot AND g.is_last_of_slot LIMIT 1) g"
    ),
    types: &[Type::BYTEA_ARRAY],
};

/// By their place among the slots.
pub async fn slots_grants_find(link: &Link, slots: &[&[u8]]) -> Result<Vec<(usize, StoredGrant)>> {
    link.query(&SLOTS_GRANTS_FIND, &[&slots]).await?.iter().map(placed).collect()
}

fn placed(row: &Row) -> Result<(usize, StoredGrant)> {
    Ok((unsigned::<usize>(row, 0)? - 1, stored_grant(row, 1)?))
}

pub const GRANTS_LIST: Statement = Statement {
    name: "grants_list",
    sql: concat!(
        "SELECT ",
        grant_columns!(),
        " FROM (SELECT * FROM grants WHERE subject = $1 AND id < $2 ORDER BY id DESC LIMIT $3) g
          CROSS JOIN log_head h ORDER BY g.id DESC"
    ),
    types: &[Type::TEXT, Type::UUID, Type::INT8],
};

pub const GRANTS_COUNT: Statement =
    Statement { name: "grants_count", sql: "SELECT count(*) FROM grants", types: &[] };

pub const GRANTS_LAST_EXPIRY: Statement =
    Statement { name: "grants_last_expiry", sql: "SELECT max(expires_at) FROM grants", types: &[] };

/// The grants of `$1` and those last opened for the slots of `$2`, locked in the order of their ids, with whether each
/// is still the last of its slot.
pub const GRANTS_LOCK: Statement = Statement {
    name: "grants_lock",
    sql: concat!(
        "SELECT ",
        grant_columns!(),
        ", g.is_last_of_slot
          FROM grants g
          CROSS JOIN log_head h
          WHERE g.id IN (
              SELECT unnest($1::uuid[])
              UNION
              SELECT o.id FROM unnest($2::bytea[]) AS w(slot)
              CROSS JOIN LATERAL (SELECT id FROM grants WHERE slot = w.slot AND is_last_of_slot LIMIT 1) o)
          ORDER BY g.id FOR NO KEY UPDATE OF g"
    ),
    types: &[Type::UUID_ARRAY, Type::BYTEA_ARRAY],
};

/// With each grant, whether none was opened for its slot since.
pub async fn grants_lock(link: &Link, ids: &[Uuid], slots: &[&[u8]]) -> Result<Vec<(StoredGrant, bool)>> {
    if ids.is_empty() && slots.is_empty() {
        return Ok(Vec::new());
    }
    let rows = link.query(&GRANTS_LOCK, &[&ids, &slots]).await?;
    rows.iter().map(|row| Ok((stored_grant(row, 0)?, get(row, AFTER_COLUMNS)?))).collect()
}

pub const GRANTS_DISPLACE: Statement = Statement {
    name: "grants_displace",
    sql: "UPDATE grants SET is_last_of_slot = false WHERE id = ANY ($1) AND is_last_of_slot",
    types: &[Type::UUID_ARRAY],
};

/// They are the last of their slots no more.
pub async fn grants_displace(link: &Link, ids: &[Uuid]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    changed_all(link.execute(&GRANTS_DISPLACE, &[&ids]).await?, ids.len())
}

/// A slot whose last grant is another meanwhile is a conflict.
pub const GRANTS_INSERT: Statement = Statement {
    name: "grants_insert",
    sql: "INSERT INTO grants (id, slot, is_last_of_slot, client_id, subject, subject_kind, scope, audience, session_id,
                              seen_epoch, seen_position, created_at, expires_at, idle_expires_at, counter, rotated_at,
                              access_token, ended_at, status_index)
          SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::boolean[], $4::text[], $5::text[], $6::smallint[],
                               $7::text[], $8::text[], $9::uuid[], $10::bigint[], $11::bigint[], $12::bigint[],
                               $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::uuid[], $18::bigint[],
                               $19::bigint[])",
    types: &[
        Type::UUID_ARRAY,
        Type::BYTEA_ARRAY,
        Type::BOOL_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT2_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
    ],
};

/// With each grant, whether it is the last of its slot. In the order of their slots, so that two who open for the same
/// slots wait for one another in one direction alone.
pub async fn grants_insert(link: &Link, grants: &[(&StoredGrant, bool)]) -> Result<()> {
    if grants.is_empty() {
        return Ok(());
    }
    let mut sorted = grants.to_vec();
    sorted.sort_unstable_by_key(|(stored, _)| (stored.grant.slot, stored.grant.id));
    let of = |column: fn(&Grant) -> i64| -> Vec<i64> {
        sorted.iter().map(|(stored, _)| column(&stored.grant)).collect()
    };
    let text = |column: fn(&Grant) -> &str| -> Vec<&str> {
        sorted.iter().map(|(stored, _)| column(&stored.grant)).collect()
    };
    let audiences: Vec<String> =
        sorted.iter().map(|(stored, _)| to_json(&stored.grant.audience)).collect::<Result<_>>()?;
    let kinds: Vec<i16> = sorted.iter().map(|(stored, _)| stored.grant.subject_kind.code()).collect();
    let slots: Vec<Option<&[u8]>> = sorted
        .iter()
        .map(|(stored, _)| stored.grant.slot.as_ref().map(|slot| slot.as_bytes().as_slice()))
        .collect();
    let sessions: Vec<Option<Uuid>> =
        sorted.iter().map(|(stored, _)| stored.grant.session.map(|id| uuid(id.as_bytes()))).collect();
    let status_indexes: Vec<Option<i64>> =
        sorted.iter().map(|(stored, _)| stored.grant.status_index.map(|index| saturating(index.0))).collect();
    let params: [&(dyn ToSql + Sync); 19] = [
        &sorted.iter().map(|(stored, _)| uuid(stored.grant.id.as_bytes())).collect::<Vec<_>>(),
        &slots,
        &sorted.iter().map(|(_, is_last)| *is_last).collect::<Vec<_>>(),
        &text(|grant| grant.client_id.as_str()),
        &text(|grant| grant.subject.as_str()),
        &kinds,
        &text(|grant| grant.scope.as_str()),
        &audiences,
        &sessions,
        &of(|grant| saturating(grant.seen.epoch.0)),
        &of(|grant| saturating(grant.seen.position.0)),
        &of(|grant| grant.created_at.as_millis()),
        &of(|grant| grant.expires_at.as_millis()),
        &of(|grant| grant.idle_expires_at.as_millis()),
        &of(|grant| i64::from(grant.counter)),
        &of(|grant| grant.rotated_at.as_millis()),
        &sorted.iter().map(|(stored, _)| uuid(stored.grant.access_token.as_bytes())).collect::<Vec<_>>(),
        &sorted.iter().map(|(stored, _)| stored.ended_at.map(Timestamp::as_millis)).collect::<Vec<_>>(),
        &status_indexes,
    ];
    link.execute(&GRANTS_INSERT, &params).await.map(drop)
}

/// Nobody spends a refresh token twice, whatever was read before.
pub const GRANTS_UPDATE: Statement = Statement {
    name: "grants_update",
    sql: "UPDATE grants g SET counter = w.counter, rotated_at = w.rotated_at, idle_expires_at = w.idle_expires_at,
                              access_token = w.access_token, ended_at = w.ended_at
          FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[], $7::bigint[])
              AS w(id, counter_before, counter, rotated_at, idle_expires_at, access_token, ended_at)
          WHERE g.id = w.id AND g.counter = w.counter_before AND g.ended_at IS NULL",
    types: &[
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
    ],
};

/// With each grant, the counter that it was read with.
pub async fn grants_update(link: &Link, grants: &[(u32, &StoredGrant)]) -> Result<()> {
    if grants.is_empty() {
        return Ok(());
    }
    let of = |column: fn(&Grant) -> i64| -> Vec<i64> {
        grants.iter().map(|(_, stored)| column(&stored.grant)).collect()
    };
    let params: [&(dyn ToSql + Sync); 7] = [
        &grants.iter().map(|(_, stored)| uuid(stored.grant.id.as_bytes())).collect::<Vec<_>>(),
        &grants.iter().map(|(before, _)| i64::from(*before)).collect::<Vec<_>>(),
        &of(|grant| i64::from(grant.counter)),
        &of(|grant| grant.rotated_at.as_millis()),
        &of(|grant| grant.idle_expires_at.as_millis()),
        &grants.iter().map(|(_, stored)| uuid(stored.grant.access_token.as_bytes())).collect::<Vec<_>>(),
        &grants.iter().map(|(_, stored)| stored.ended_at.map(Timestamp::as_millis)).collect::<Vec<_>>(),
    ];
    changed_all(link.execute(&GRANTS_UPDATE, &params).await?, grants.len())
}

/// Looks at so many grants after `$1` and removes those that were over by `$3`. Answers where it got to and how many it
/// removed.
pub const GRANTS_SWEEP: Statement = Statement {
    name: "grants_sweep",
    sql: "WITH looked_at AS MATERIALIZED (
              SELECT id, least(expires_at, idle_expires_at, ended_at) AS over_at
              FROM grants WHERE id > $1 ORDER BY id LIMIT $2
          ),
          over AS (
              SELECT g.id FROM grants g
              WHERE g.id IN (SELECT id FROM looked_at WHERE over_at <= $3)
                AND least(g.expires_at, g.idle_expires_at, g.ended_at) <= $3
              FOR UPDATE SKIP LOCKED
          ),
          gone AS (DELETE FROM grants WHERE id IN (SELECT id FROM over) RETURNING id)
          SELECT (SELECT id FROM looked_at ORDER BY id DESC LIMIT 1), (SELECT count(*) FROM gone)",
    types: &[Type::UUID, Type::INT8, Type::INT8],
};

/// A slot's last grant that is its last no more has been displaced while the lock was waited for.
pub fn overtaken() -> Error {
    Error::new(Cause::Collision, "another grant was opened for the slot meanwhile")
}
