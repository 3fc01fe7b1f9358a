use async_trait::async_trait;
use grantry_protocol::LogKind;

use super::MemoryStore;
use crate::{ClusterId, Observed, Result, Settings, SettingsChange, SettingsOutcome, StoredSettings};

#[async_trait]
impl Settings for MemoryStore {
    async fn cluster_id(&self) -> Result<ClusterId> {
        Ok(self.cluster)
    }

    async fn settings_find(&self) -> Result<Observed<Option<StoredSettings>>> {
        let state = self.state();
        Ok(Observed { seen: state.head.0.seen(), value: state.settings.clone() })
    }

    async fn settings_replace(&self, change: SettingsChange) -> Result<SettingsOutcome> {
        let now = self.clock.now();
        let mut state = self.state();
        if state.settings.as_ref().map_or(0, |present| present.version) != change.from {
            return Ok(SettingsOutcome::VersionConflict);
        }
        let (version, document) = (change.from + 1, change.document);
        state.settings = Some(StoredSettings { version, document, updated_at: now });
        state.announce(LogKind::SettingsChanged, Vec::new(), change.keep_until, now);
        state.record(change.audit);
        Ok(SettingsOutcome::Done)
    }
}
