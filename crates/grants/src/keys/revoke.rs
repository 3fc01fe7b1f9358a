//! Emergency: a key is in the wrong hands. From the commit on nothing that it made is taken for ours, at any endpoint;
//! this process knows at once, the others within half a second.
//!
//! 1. A signing key leaves the published ones; JWTs that it signed are not active. With the key of a token MAC, the
//!    opaque tokens and refresh tokens of that version go. With a key of client secrets, every client that has a secret
//!    hashed with it is locked out until it is given a new one: that has to be confirmed.
//! 2. If the key is the one that makes new things, a new one is made in the same change and stands in its place, as if
//!    it had always been there: active at once, whatever other nodes' clocks say, and with the same end. Verifiers that
//!    meet its unknown `kid` fetch the keys again.
//! 3. If it was still to become active, the key before it goes on until the next one in the line, if there is one.
//!
//! What was made stays in the store. Under the policy `reuse` the same token id may be handed out again to its own
//! client with a new text, made with the new key; the text that was made with the revoked key stays refused. Whoever
//! wants the tokens themselves to end adds a revocation.

use grantry_protocol::Timestamp;
use grantry_store::{KeyPurpose, KeyRecord};
use serde_json::json;

use super::change::Next;
use super::snapshot::{Key, Snapshot};
use super::{KeyAdminError, KeyInfo, KeyName, KeyRing, KeyState};
use crate::{Actor, Grants};

impl Grants {
    /// `confirmed`: that clients may be locked out; asked for where that can happen.
    pub async fn key_revoke(
        &self,
        name: &KeyName,
        confirmed: bool,
        actor: &Actor,
    ) -> Result<KeyInfo, KeyAdminError> {
        let make = |present: &Snapshot, now: Timestamp| {
            let key = find(present, name).ok_or(KeyAdminError::NotFound)?;
            if key.record.revoked_at.is_some() {
                return Err(KeyAdminError::RevokedAlready);
            }
            // 1.
            if key.record.purpose == KeyPurpose::ClientSecret && !confirmed {
                return Err(KeyAdminError::NotConfirmed);
            }
            revoke(&self.keys, present, key, now)
        };
        let revoked = self.keys.change(actor, make).await?.ok_or(KeyAdminError::NotFound)?;
        self.keep_clients().await?;
        Ok(revoked)
    }
}

fn find<'s>(present: &'s Snapshot, name: &KeyName) -> Option<&'s Key> {
    match name {
        KeyName::Version(purpose, version) => present.find(*purpose, *version),
        KeyName::Kid(kid) => present.find_signing(kid),
    }
}

fn revoke(ring: &KeyRing, present: &Snapshot, key: &Key, now: Timestamp) -> Result<Next, KeyAdminError> {
    let (purpose, version) = (key.record.purpose, key.record.version);
    let mut records = present.records_with(key, |record| record.revoked_at = Some(now));
    let mut replacement = None;
    match present.state(key, now) {
        // 2.
        KeyState::Active => {
            let new = in_its_place(ring, present, key, now)?;
            replacement = Some(new.version);
            records.push(new);
        }
        // 3.
        KeyState::Pending => {
            if let Some(before) = present.before(key) {
                let succession = key.record.needed_until;
                replace_end(
                    &mut records,
                    before,
                    succession.map(|until| before.record.needed_until.map_or(until, |end| end.max(until))),
                );
            }
        }
        KeyState::Retiring | KeyState::Retired | KeyState::Revoked => {}
    }
    let target = KeyName::Version(purpose, version).to_string();
    let detail = json!({ "replaced_by": replacement });
    Ok(Next {
        records,
        master: present.master.clone(),
        about: Some((purpose, version)),
        action: "key.revoke",
        target,
        detail,
    })
}

fn in_its_place(
    ring: &KeyRing,
    present: &Snapshot,
    key: &Key,
    now: Timestamp,
) -> Result<KeyRecord, KeyAdminError> {
    let purpose = key.record.purpose;
    let version = present.next_version(purpose, true)?;
    let plain = key.line().generate(ring.rng.as_ref())?;
    Ok(KeyRecord {
        purpose,
        version,
        sealed: present.master.seal(ring.rng.as_ref(), purpose, version, &plain),
        created_at: now,
        active_from: key.record.active_from,
        needed_until: key.record.needed_until,
        revoked_at: None,
    })
}

fn replace_end(records: &mut [KeyRecord], key: &Key, needed_until: Option<Timestamp>) {
    let place = |record: &&mut KeyRecord| {
        record.purpose == key.record.purpose && record.version == key.record.version
    };
    if let Some(record) = records.iter_mut().find(place) {
        record.needed_until = needed_until;
    }
}
