use async_trait::async_trait;
use grantry_protocol::{LogKind, Seen};
use grantry_store::{
    ClusterId, Observed, Result as StoreResult, Settings, SettingsChange, SettingsOutcome, StoredSettings,
};
use serde_json::{Map, Value};
use tokio_postgres::types::Type;

use crate::PostgresStore;
use crate::audit::audit_insert;
use crate::columns::{from_json, id, saturating, seen, timestamp, to_json, unsigned};
use crate::errors::Result;
use crate::link::{Begin, Link};
use crate::pipeline::pipelined;
use crate::revocations::{Announced, log_append};
use crate::statement::{Statement, now};
use crate::store::{reading, transact};

#[async_trait]
impl Settings for PostgresStore {
    async fn cluster_id(&self) -> StoreResult<ClusterId> {
        reading!(self, |link| { cluster_select(link).await })
    }

    async fn settings_find(&self) -> StoreResult<Observed<Option<StoredSettings>>> {
        reading!(self, |link| { settings_select(link).await })
    }

    async fn settings_replace(&self, change: SettingsChange) -> StoreResult<SettingsOutcome> {
        let SettingsChange { from, document, audit, keep_until } = change;
        let (entry, audit) =
            ([Announced { kind: LogKind::SettingsChanged, key: Vec::new(), keep_until }], [audit]);
        transact!(self, |link| {
            self.partitions.cover_log(link, &[keep_until]).await?;
            let ((), updated) = pipelined!(
                link.begin(Begin::Write),
                settings_update(link, from, &document, self.time.param())
            )?;
            if !updated {
                link.rollback().await?;
                return Ok(SettingsOutcome::VersionConflict);
            }
            pipelined!(
                audit_insert(link, &audit),
                log_append(link, &entry, self.time.param()),
                link.commit()
            )?;
            Ok(SettingsOutcome::Done)
        })
    }
}

pub const CLUSTER_SELECT: Statement =
    Statement { name: "cluster_select", sql: "SELECT id FROM cluster WHERE one", types: &[] };

async fn cluster_select(link: &Link) -> Result<ClusterId> {
    id(&link.query_one(&CLUSTER_SELECT, &[]).await?, 0, ClusterId)
}

/// With where the log ended in the same snapshot.
pub const SETTINGS_SELECT: Statement = Statement {
    name: "settings_select",
    sql: "SELECT h.epoch, h.position, s.version, s.document, s.updated_at
          FROM log_head h CROSS JOIN settings s WHERE h.one AND s.one",
    types: &[],
};

async fn settings_select(link: &Link) -> Result<Observed<Option<StoredSettings>>> {
    let row = link.query_one(&SETTINGS_SELECT, &[]).await?;
    let seen: Seen = seen(&row, 0)?;
    let value = match unsigned(&row, 2)? {
        0 => None,
        version => {
            Some(StoredSettings { version, document: from_json(&row, 3)?, updated_at: timestamp(&row, 4)? })
        }
    };
    Ok(Observed { seen, value })
}

/// Only over the version that the change was made from.
pub const SETTINGS_UPDATE: Statement = Statement {
    name: "settings_update",
    sql: concat!(
        "UPDATE settings SET version = version + 1, document = $2, updated_at = ",
        now!("$3"),
        " WHERE one AND version = $1"
    ),
    types: &[Type::INT8, Type::TEXT, Type::INT8],
};

async fn settings_update(
    link: &Link,
    from: u64,
    document: &Map<String, Value>,
    now: Option<i64>,
) -> Result<bool> {
    let row: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&saturating(from), &to_json(document)?, &now];
    Ok(link.execute(&SETTINGS_UPDATE, &row).await? == 1)
}
