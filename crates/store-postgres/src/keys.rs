use async_trait::async_trait;
use grantry_protocol::Timestamp;
use grantry_store::{KeyChange, KeyPurpose, KeyRecord, Keys, Result as StoreResult};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::PostgresStore;
use crate::audit::audit_insert;
use crate::columns::{get, optional_timestamp, timestamp, unreadable};
use crate::errors::Result;
use crate::link::{Begin, Link};
use crate::pipeline::pipelined;
use crate::statement::Statement;
use crate::store::{reading, transact};
use crate::turns::{Turn, turn_take};

#[async_trait]
impl Keys for PostgresStore {
    async fn key_list(&self) -> StoreResult<Vec<KeyRecord>> {
        reading!(self, |link| { keys_select(link).await })
    }

    async fn key_replace(&self, change: KeyChange) -> StoreResult<bool> {
        let audit: Vec<_> = change.audit.into_iter().collect();
        transact!(self, |link| {
            let ((), (), present) =
                pipelined!(link.begin(Begin::Write), turn_take(link, Turn::Keys), keys_select(link))?;
            if present != change.from {
                link.rollback().await?;
                return Ok(false);
            }
            pipelined!(
                keys_delete(link),
                keys_insert(link, &change.to),
                audit_insert(link, &audit),
                link.commit()
            )?;
            Ok(true)
        })
    }
}

pub const KEYS_SELECT: Statement = Statement {
    name: "keys_select",
    sql: "SELECT purpose, version, sealed, created_at, active_from, needed_until, revoked_at
          FROM keys ORDER BY purpose, version",
    types: &[],
};

async fn keys_select(link: &Link) -> Result<Vec<KeyRecord>> {
    link.query(&KEYS_SELECT, &[]).await?.iter().map(key_record).collect()
}

fn key_record(row: &Row) -> Result<KeyRecord> {
    let version: i16 = get(row, 1)?;
    Ok(KeyRecord {
        purpose: KeyPurpose::from_name(get(row, 0)?)
            .ok_or_else(|| unreadable(row, 0, "a purpose that is not known"))?,
        version: version.try_into().map_err(|error| unreadable(row, 1, error))?,
        sealed: get(row, 2)?,
        created_at: timestamp(row, 3)?,
        active_from: timestamp(row, 4)?,
        needed_until: optional_timestamp(row, 5)?,
        revoked_at: optional_timestamp(row, 6)?,
    })
}

pub const KEYS_DELETE: Statement = Statement { name: "keys_delete", sql: "DELETE FROM keys", types: &[] };

async fn keys_delete(link: &Link) -> Result<()> {
    link.execute(&KEYS_DELETE, &[]).await.map(drop)
}

pub const KEYS_INSERT: Statement = Statement {
    name: "keys_insert",
    sql: "INSERT INTO keys (purpose, version, sealed, created_at, active_from, needed_until, revoked_at)
          SELECT * FROM unnest($1::text[], $2::smallint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[],
                               $7::bigint[])",
    types: &[
        Type::TEXT_ARRAY,
        Type::INT2_ARRAY,
        Type::BYTEA_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
    ],
};

async fn keys_insert(link: &Link, keys: &[KeyRecord]) -> Result<()> {
    let purposes: Vec<&str> = keys.iter().map(|key| key.purpose.as_str()).collect();
    let versions: Vec<i16> = keys.iter().map(|key| key.version.into()).collect();
    let sealed: Vec<&[u8]> = keys.iter().map(|key| key.sealed.as_slice()).collect();
    let created: Vec<i64> = keys.iter().map(|key| key.created_at.as_millis()).collect();
    let active: Vec<i64> = keys.iter().map(|key| key.active_from.as_millis()).collect();
    let needed: Vec<Option<i64>> =
        keys.iter().map(|key| key.needed_until.map(Timestamp::as_millis)).collect();
    let revoked: Vec<Option<i64>> = keys.iter().map(|key| key.revoked_at.map(Timestamp::as_millis)).collect();
    let rows: [&(dyn ToSql + Sync); 7] =
        [&purposes, &versions, &sealed, &created, &active, &needed, &revoked];
    link.execute(&KEYS_INSERT, &rows).await.map(drop)
}
