use async_trait::async_trait;
use grantry_protocol::{LogKind, Timestamp};
use grantry_store::{ClusterId, Observed, Result, Settings, SettingsChange, SettingsOutcome, StoredSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::RedisStore;
use crate::rows::{RowResult, Rows};

#[derive(Serialize, Deserialize)]
struct SettingsRow {
    version: u64,
    document: Map<String, Value>,
    updated_at: Timestamp,
}

#[async_trait]
impl Settings for RedisStore {
    async fn cluster_id(&self) -> Result<ClusterId> {
        Ok(self.cluster_id)
    }

    async fn settings_find(&self) -> Result<Observed<Option<StoredSettings>>> {
        self.look(|rows| {
            let value = rows.settings();
            Ok(Observed { seen: rows.log_head()?.seen(), value: value? })
        })
        .await
    }

    async fn settings_replace(&self, change: SettingsChange) -> Result<SettingsOutcome> {
        self.transact(|rows| {
            if rows.settings()?.map_or(0, |stored| stored.version) != change.from {
                return Ok(SettingsOutcome::VersionConflict);
            }
            let document = change.document.clone();
            let row = SettingsRow { version: change.from + 1, document, updated_at: rows.now };
            rows.put(rows.names.settings(), &row, None)?;
            rows.log_append(LogKind::SettingsChanged, Vec::new(), change.keep_until)?;
            rows.audit_row(&change.audit)?;
            Ok(SettingsOutcome::Done)
        })
        .await
    }
}

impl Rows {
    fn settings(&mut self) -> RowResult<Option<StoredSettings>> {
        let row: Option<SettingsRow> = self.get(self.names.settings())?;
        Ok(row.map(|SettingsRow { version, document, updated_at }| StoredSettings {
            version,
            document,
            updated_at,
        }))
    }
}
