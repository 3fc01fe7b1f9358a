//! A new key takes over from the newest of its line.
//!
//! 1. Find out how long anything that the old key has made, or is still to make, can live.
//! 2. Make the new key. It becomes active once every node has read it, and, if it signs, once every verifier that keeps
//!    the published keys for as long as it may has fetched them again.
//! 3. The old key makes new things until then, and is accepted for as long as 1. says. A key of client secrets has no
//!    such end: its hashes stay until the secrets change.
//! 4. The time from 2. has to count from the commit. Where the store took long, the new key is put off by as much.
//!
//! Tokens keep their ids. Under the policy `reuse` a token that is handed out again after the change has a new text,
//! made with the new key; the old text is good as well until the token expires, which is before the old key's end.

use std::time::Duration;

use grantry_jose::Algorithm;
use grantry_protocol::Timestamp;
use grantry_store::{KeyPurpose, KeyRecord};
use serde_json::json;
use zeroize::Zeroizing;

use super::change::{Next, UNDER_WAY};
use super::snapshot::{Line, Snapshot};
use super::{KeyAdminError, KeyInfo, KeyName, KeyRing};
use crate::{Actor, Grants};

/// A commit that takes no longer than this is made up for by what the lead has to spare.
const PROMPT: Duration = Duration::from_millis(500);

/// A key that is to take over.
pub(super) struct NewKey {
    pub line: Line,
    /// As it is sealed.
    pub plain: Zeroizing<Vec<u8>>,
    /// That no other key may have; absent where it cannot.
    pub kid: Option<String>,
    pub action: &'static str,
}

/// Until when something lives that a key has made, or makes until its successor is active.
struct Life {
    /// The latest end of anything that there is.
    last: Option<Timestamp>,
    /// The longest that anything new can live.
    span: Duration,
}

impl Life {
    fn ends_after(&self, succession: Timestamp) -> Timestamp {
        let new = succession + UNDER_WAY + self.span;
        self.last.map_or(new, |last| new.max(last + UNDER_WAY))
    }
}

impl Grants {
    /// `algorithm` is for signing keys only; without it the one that signs now.
    pub async fn key_rotate(
        &self,
        purpose: KeyPurpose,
        algorithm: Option<Algorithm>,
        actor: &Actor,
    ) -> Result<KeyInfo, KeyAdminError> {
        let line = match (purpose, algorithm) {
            (KeyPurpose::Signing, algorithm) => {
                Line::Signing(algorithm.unwrap_or(self.keys.options.signing_algorithm))
            }
            (KeyPurpose::TokenMac, None) => Line::TokenMac,
            (KeyPurpose::ClientSecret, None) => Line::ClientSecret,
            (_, Some(_)) => {
                let problem = format!("is for signing keys; a {} key has none", purpose.as_str());
                return Err(KeyAdminError::Invalid { field: "algorithm", problem });
            }
        };
        // An RSA key takes a while, so it is made aside.
        let rng = self.rng.clone();
        let made = tokio::task::spawn_blocking(move || line.generate(rng.as_ref())).await;
        let plain = made.map_err(|error| crate::GrantError::Internal(error.to_string()))??;
        self.key_take_over(NewKey { line, plain, kid: None, action: "key.rotate" }, actor).await
    }

    pub(super) async fn key_take_over(&self, new: NewKey, actor: &Actor) -> Result<KeyInfo, KeyAdminError> {
        // 1.
        let life = self.key_life(new.line).await?;
        let make =
            |present: &Snapshot, now: Timestamp| take_over(&self.keys, present, &new, life.as_ref(), now);
        let made = self.keys.change(actor, make).await?.ok_or(KeyAdminError::NotFound)?;
        // 4.
        let made = self.made_up_for(made, actor).await;
        self.keep_clients().await?;
        Ok(made)
    }

    async fn made_up_for(&self, made: KeyInfo, actor: &Actor) -> KeyInfo {
        if self.clock.now().since(made.created_at) <= PROMPT {
            return made;
        }
        match self.keys.change(actor, |present, now| put_off(&self.keys, present, &made, now)).await {
            Ok(Some(later)) => later,
            // It is as good as it was, but for those who fetched the keys in the last moment.
            _ => made,
        }
    }

    async fn key_life(&self, line: Line) -> Result<Option<Life>, KeyAdminError> {
        let tokens = self.store.token_last_expiry();
        let settings = self.settings();
        Ok(match line {
            Line::ClientSecret => None,
            Line::Signing(_) => {
                Some(Life { last: tokens.await?, span: settings.retention_time.as_duration() })
            }
            Line::TokenMac => {
                let (tokens, grants) = tokio::join!(tokens, self.store.grant_last_expiry());
                let span = settings.retention_time.max(settings.refresh_token_lifetime).as_duration();
                Some(Life { last: tokens?.max(grants?), span })
            }
        })
    }
}

fn take_over(
    ring: &KeyRing,
    present: &Snapshot,
    made: &NewKey,
    life: Option<&Life>,
    now: Timestamp,
) -> Result<Next, KeyAdminError> {
    if made.kid.as_ref().is_some_and(|kid| present.find_signing(kid).is_some()) {
        return Err(KeyAdminError::AlreadyExists);
    }
    let line = made.line;
    let purpose = line.purpose();
    let version = present.next_version(purpose, false)?;
    let last = present.last(line);
    // 2. Not before one that is still to become active: the line has an order.
    let active_from = now + ring.lead(line);
    let active_from = last.map_or(active_from, |last| active_from.max(last.record.active_from));
    let new = KeyRecord {
        purpose,
        version,
        sealed: present.master.seal(ring.rng.as_ref(), purpose, version, &made.plain),
        created_at: now,
        active_from,
        needed_until: None,
        revoked_at: None,
    };
    // 3.
    let needed_until = life.map(|life| life.ends_after(active_from));
    let mut records = last.map_or_else(
        || present.records(),
        |last| present.records_with(last, |record| record.needed_until = needed_until),
    );
    records.push(new);
    let target = KeyName::Version(purpose, version).to_string();
    let detail = json!({
        "active_from": active_from.as_secs(),
        "takes_over_from": last.map(|last| last.record.version),
        "needed_until": needed_until.map(Timestamp::as_secs),
    });
    let (master, action) = (present.master.clone(), made.action);
    Ok(Next { records, master, about: Some((purpose, version)), action, target, detail })
}

/// Only the last of its line: the order must not change.
fn put_off(
    ring: &KeyRing,
    present: &Snapshot,
    made: &KeyInfo,
    now: Timestamp,
) -> Result<Next, KeyAdminError> {
    let key = present.find(made.purpose, made.version).ok_or(KeyAdminError::NotFound)?;
    let last = present.last(key.line()).filter(|last| std::ptr::eq(*last, key));
    let key = last.ok_or(KeyAdminError::Conflict)?;
    let active_from = key.record.active_from.max(now + ring.lead(key.line()));
    let later = active_from.since(key.record.active_from);
    let mut records = present.records_with(key, |record| record.active_from = active_from);
    if let Some(before) = present.before(key).map(|before| &before.record) {
        let same =
            |record: &&mut KeyRecord| record.purpose == before.purpose && record.version == before.version;
        if let Some(record) = records.iter_mut().find(same) {
            record.needed_until = record.needed_until.map(|until| until + later);
        }
    }
    Ok(Next {
        records,
        master: present.master.clone(),
        about: Some((made.purpose, made.version)),
        action: "key.put_off",
        target: made.name().to_string(),
        detail: json!({ "active_from": active_from.as_secs() }),
    })
}
