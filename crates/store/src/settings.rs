use std::fmt;

use async_trait::async_trait;
use grantry_protocol::{Rng, Timestamp};
use serde_json::{Map, Value};

use crate::{AuditEntry, Observed, Result};

/// Names a store among all others, so that what nodes share beside it is never taken for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    pub fn random(rng: &dyn Rng) -> Self {
        let mut bytes = [0; 16];
        rng.fill(&mut bytes);
        Self(bytes)
    }
}

/// 32 lowercase hexadecimal digits.
impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What operators have changed at run time, over what is in their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSettings {
    /// Counts from 1.
    pub version: u64,
    /// What was changed and not given back, as the admin API has it. The store does not look into it.
    pub document: Map<String, Value>,
    /// On the store's clock.
    pub updated_at: Timestamp,
}

/// The next version of all settings. Applied only where the stored version is the one that it was made from.
#[derive(Debug, Clone)]
pub struct SettingsChange {
    /// 0: nothing was ever changed.
    pub from: u64,
    pub document: Map<String, Value>,
    pub audit: AuditEntry,
    /// Until when the entry in the revocation log has to be remembered; it ends nothing.
    pub keep_until: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsOutcome {
    Done,
    /// Somebody else changed the settings since they were read. Nothing was written.
    VersionConflict,
}

#[async_trait]
pub trait Settings: Send + Sync {
    /// Made with the store, kept when the store is copied to another kind or restored from its backup.
    async fn cluster_id(&self) -> Result<ClusterId>;

    /// `None` if nothing was ever changed. A later entry of the kind `SettingsChanged` in the revocation log says that
    /// this is out of date.
    async fn settings_find(&self) -> Result<Observed<Option<StoredSettings>>>;

    /// With its entry in the revocation log and its audit row in the same transaction.
    async fn settings_replace(&self, change: SettingsChange) -> Result<SettingsOutcome>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_reads_as_hexadecimal_digits() {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&[0x0a, 0xff]);
        assert_eq!(ClusterId(bytes).to_string(), "0aff0000000000000000000000000000");
    }
}
