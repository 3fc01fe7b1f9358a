//! The keys as they stand in the store now.

use super::{KeyAdminError, KeyInfo};
use crate::Grants;

impl Grants {
    /// By purpose and version.
    pub async fn key_list(&self) -> Result<Vec<KeyInfo>, KeyAdminError> {
        self.keys.reload().await?;
        let snapshot = self.keys.snapshot.load();
        let now = self.clock.now();
        Ok(snapshot.keys.iter().map(|key| KeyInfo::of(&snapshot, key, now)).collect())
    }
}
