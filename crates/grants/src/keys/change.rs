//! How the keys are changed: read them, make the next list of them, and write that if nobody else was faster.

use std::time::Duration;

use grantry_protocol::Timestamp;
use grantry_store::{AuditEntry, KeyChange, KeyPurpose, KeyRecord};
use serde_json::Value;

use super::snapshot::{Key, Line, Snapshot};
use super::{KeyAdminError, KeyInfo, KeyRing, MasterKey};
use crate::Actor;

/// How often a change is tried again when somebody else's came in between.
const ATTEMPTS: u32 = 8;
/// Versions that only a revocation may use, so that it always can.
const KEPT_FOR_REVOCATIONS: u8 = 5;

/// Besides how long a node may take to read a new list (twice a second), what a busy one may take longer.
const NODES_LAG: Duration = Duration::from_secs(2);
/// For everything that no verifier outside keeps.
const MAC_LEAD: Duration = Duration::from_secs(5);
/// From a key's last use to the commit of what it made, and how far clocks may be apart.
pub(super) const UNDER_WAY: Duration = Duration::from_secs(60);

/// What a change makes of the keys.
pub(super) struct Next {
    pub records: Vec<KeyRecord>,
    /// Another one than the present, after it was replaced.
    pub master: MasterKey,
    /// Purpose and version of the key that the change is about, for the answer.
    pub about: Option<(KeyPurpose, u8)>,
    pub action: &'static str,
    pub target: String,
    pub detail: Value,
}

impl KeyRing {
    /// Applies a change to the newest keys and answers with the key that it is about. This process uses the new list
    /// from the moment on at which this returns; the others read it within half a second.
    pub(super) async fn change(
        &self,
        actor: &Actor,
        make: impl Fn(&Snapshot, Timestamp) -> Result<Next, KeyAdminError>,
    ) -> Result<Option<KeyInfo>, KeyAdminError> {
        let _reading = self.reading.lock().await;
        for _ in 0..ATTEMPTS {
            let present = self.read().await?;
            let now = self.clock.now();
            let mut next = make(&present, now)?;
            // The order in which the store gives them.
            next.records.sort_by_key(|record| (record.purpose.as_str(), record.version));
            // Before it is written: a list that cannot be opened must not be.
            let opened =
                Snapshot::open(&next.records, &next.master, self.options.signing_algorithm, Some(&present))?;
            let audit = AuditEntry {
                at: now,
                actor: actor.name.clone(),
                action: next.action,
                target: next.target,
                detail: next.detail,
                request_id: actor.request_id.clone(),
            };
            let change = KeyChange { from: present.records(), to: next.records, audit: Some(audit) };
            if self.store.key_replace(change).await? {
                let snapshot = self.keep(opened);
                let about = next.about.and_then(|(purpose, version)| snapshot.find(purpose, version));
                return Ok(about.map(|key| KeyInfo::of(&snapshot, key, now)));
            }
        }
        Err(KeyAdminError::Conflict)
    }

    /// From when on a new key may be used: by then every node and every verifier has it.
    pub(super) fn lead(&self, line: Line) -> Duration {
        match line {
            Line::Signing(_) => self.options.jwks_max_age.as_duration() + NODES_LAG,
            Line::TokenMac | Line::ClientSecret => MAC_LEAD,
        }
    }
}

impl Snapshot {
    /// A version that never was: one that comes back would make what was refused before good again.
    pub fn next_version(&self, purpose: KeyPurpose, in_emergency: bool) -> Result<u8, KeyAdminError> {
        let versions = self.keys.iter().filter(|key| key.record.purpose == purpose);
        let highest = versions.map(|key| key.record.version).max().unwrap_or(0);
        let last = if in_emergency { u8::MAX } else { u8::MAX - KEPT_FOR_REVOCATIONS };
        if highest >= last {
            return Err(KeyAdminError::NoVersionLeft(purpose.as_str()));
        }
        Ok(highest + 1)
    }

    /// The records with `change` applied to that of one key.
    pub fn records_with(&self, key: &Key, change: impl FnOnce(&mut KeyRecord)) -> Vec<KeyRecord> {
        let mut records = self.records();
        let place = |record: &&mut KeyRecord| {
            record.purpose == key.record.purpose && record.version == key.record.version
        };
        if let Some(record) = records.iter_mut().find(place) {
            change(record);
        }
        records
    }
}
