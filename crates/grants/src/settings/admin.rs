//! Changing settings at run time, on every node. A change is one transaction with its audit row and its entry in the
//! revocation log, by which the other nodes hear of it.

use std::sync::Arc;

use arc_swap::Guard;
use grantry_protocol::Seen;
use grantry_store::{AuditEntry, SettingsChange, SettingsOutcome};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::document::{Document, check_patch, leaves, merge};
use super::{InvalidSetting, SettingsState, TokenSettings};
use crate::{Actor, GrantError, Grants};

/// How often a change is tried again when somebody else's came in between.
const ATTEMPTS: u32 = 5;

#[derive(Debug, thiserror::Error)]
pub enum SettingsAdminError {
    #[error(transparent)]
    Invalid(#[from] InvalidSetting),
    #[error("somebody else has changed the settings since they were read; read them again")]
    PreconditionFailed,
    #[error("somebody else changed the settings at the same time, again and again; try again")]
    Conflict,
    #[error(transparent)]
    Failed(#[from] GrantError),
}

impl From<grantry_store::StoreError> for SettingsAdminError {
    fn from(error: grantry_store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl Grants {
    /// What is in force at this moment.
    pub fn settings(&self) -> Guard<Arc<TokenSettings>> {
        self.settings.tokens()
    }

    /// Brings this node up to what is stored; to be called before the first request.
    pub async fn settings_get(&self) -> Result<SettingsState, GrantError> {
        Ok(self.settings.reload().await?)
    }

    /// Follows what other nodes change until the handle is aborted. `changed` says how far the revocation log has come
    /// where the settings were last changed.
    pub fn settings_follow(&self, changed: watch::Receiver<Seen>) -> JoinHandle<()> {
        self.settings.follow(changed)
    }

    /// Changes the settings by a merge patch (RFC 7396): `null` gives a key back to the node's file. Once this returns,
    /// they are in force at this node, for what is made from now on. With `versions` only where the stored version is one
    /// of them.
    pub async fn settings_update(
        &self,
        patch: &Map<String, Value>,
        versions: Option<&[u64]>,
        actor: &Actor,
    ) -> Result<SettingsState, SettingsAdminError> {
        check_patch(patch, &self.settings.file)?;
        for _ in 0..ATTEMPTS {
            let stored = self.store.settings_find().await?.value;
            let (from, before) =
                stored.map_or_else(Default::default, |stored| (stored.version, stored.document));
            if versions.is_some_and(|versions| !versions.contains(&from)) {
                return Err(SettingsAdminError::PreconditionFailed);
            }
            let mut document = before.clone();
            merge(&mut document, patch);
            let document = Document::parse(&document, &self.settings.file)?;
            document.over(&self.settings.file)?;
            let document = document.to_map();
            if document == before {
                return Ok(self.settings.reload().await?);
            }
            let now = self.clock.now();
            let audit = AuditEntry {
                at: now,
                actor: actor.name.clone(),
                action: "settings.update",
                target: "settings".to_owned(),
                detail: changed_keys(&before, &document),
                request_id: actor.request_id.clone(),
            };
            let keep_until = now + self.settings().rule_memory();
            let change = SettingsChange { from, document, audit, keep_until };
            match self.store.settings_replace(change).await? {
                SettingsOutcome::Done => return Ok(self.settings.reload().await?),
                SettingsOutcome::VersionConflict => {}
            }
        }
        Err(SettingsAdminError::Conflict)
    }
}

/// Each with its old and its new value; `null` is what the file says.
fn changed_keys(before: &Map<String, Value>, after: &Map<String, Value>) -> Value {
    let (before, after) = (leaves(before), leaves(after));
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
    keys.filter(|key| before.get(*key) != after.get(*key))
        .map(|key| (key.clone(), json!({ "from": before.get(key), "to": after.get(key) })))
        .collect()
}
