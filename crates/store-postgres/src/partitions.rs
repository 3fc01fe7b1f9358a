//! The partitions of `tokens` and `revocation_log`: made ahead or on demand, dropped when their time is over.
//!
//! Both tables are cut along time: tokens along the time in their ids, log entries along `keep_until`. The table
//! `partitions` says which stretch a partition takes and until when something in it may be alive. Before rows are
//! inserted, [`Partitions::cover`] makes sure that there is a partition and that its record knows of their expiry; so
//! dropping ([`maintain`]) needs to look at the record only, and never takes a live token. The order is what counts:
//! the record is committed before the row is inserted, and a partition is marked in its record before it is detached.

mod making;
mod parent;
mod removing;
mod stretches;

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use grantry_protocol::{Timestamp, TokenId};
use grantry_store::StoreError;

use self::making::make;
use self::parent::Parent;
use self::stretches::{Stretches, Wanted};
use crate::errors::{Cause, Error, Result};
use crate::link::Link;
use crate::time::StoreTime;

pub use self::removing::Removed;

/// What is known of the partitions: as of the last time that something was not covered.
pub struct Partitions {
    tokens: Known,
    log: Known,
}

/// What one round of maintenance did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Maintained {
    /// Partitions that were made ahead.
    pub made: u64,
    pub tokens: Removed,
    pub log: Removed,
}

impl Partitions {
    /// `retention`: how long a token's row is kept at least. Decides how wide the partitions of tokens are.
    pub fn new(retention: Duration) -> Self {
        let known = |parent| Known {
            parent,
            retention,
            stretches: RwLock::default(),
            asking: tokio::sync::Mutex::new(()),
        };
        Self { tokens: known(Parent::Tokens), log: known(Parent::RevocationLog) }
    }

    /// Sees to it that each of these tokens, given by id and expiry, has a partition which stays as long as it lives.
    /// From memory as a rule; else over the link, on which no transaction may be open.
    pub async fn cover(
        &self,
        link: &Link,
        tokens: &[(TokenId, Timestamp)],
    ) -> std::result::Result<(), StoreError> {
        let wanted = tokens
            .iter()
            .map(|(id, expires_at)| Wanted { at: millis_of(id), expires_at: expires_at.as_millis() });
        Ok(self.tokens.cover(link, &wanted.collect::<Vec<_>>()).await?)
    }

    /// The same for entries of the revocation log, given by `keep_until`.
    pub async fn cover_log(
        &self,
        link: &Link,
        keep_until: &[Timestamp],
    ) -> std::result::Result<(), StoreError> {
        let wanted =
            keep_until.iter().map(|time| Wanted { at: time.as_millis(), expires_at: time.as_millis() });
        Ok(self.log.cover(link, &wanted.collect::<Vec<_>>()).await?)
    }

    /// After an insert met a partition that somebody else dropped: what is in memory holds no more. `cover` again, then
    /// insert again.
    pub fn forget(&self) {
        self.tokens.replace(Stretches::default());
        self.log.replace(Stretches::default());
    }
}

/// When the token was made, in milliseconds: the first 48 bits of its UUIDv7 (RFC 9562 §5.7).
fn millis_of(id: &TokenId) -> i64 {
    id.as_bytes()[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte))
}

struct Known {
    parent: Parent,
    retention: Duration,
    stretches: RwLock<Stretches>,
    /// Of many that miss the same, one asks.
    asking: tokio::sync::Mutex<()>,
}

impl Known {
    async fn cover(&self, link: &Link, wanted: &[Wanted]) -> Result<()> {
        if self.covers(wanted) {
            return Ok(());
        }
        let _asking = self.asking.lock().await;
        if self.covers(wanted) {
            return Ok(());
        }
        let mut stretches = making::stretches(link, self.parent).await?;
        let missing: Vec<_> =
            wanted.iter().map(|wanted| wanted.at).filter(|at| stretches.at(*at).is_none()).collect();
        if !missing.is_empty() {
            make(link, self.parent, self.retention, &missing).await?;
            stretches = making::stretches(link, self.parent).await?;
        }
        for (name, expires_until) in stretches.to_raise(wanted) {
            making::raise(link, &name, expires_until).await?;
            stretches.raise(&name, expires_until);
        }
        self.replace(stretches);
        if self.covers(wanted) {
            Ok(())
        } else {
            Err(Error::new(Cause::Busy, "a partition is just being dropped"))
        }
    }

    fn covers(&self, wanted: &[Wanted]) -> bool {
        let stretches = self.stretches.read().unwrap_or_else(PoisonError::into_inner);
        wanted.iter().all(|wanted| stretches.covers(wanted))
    }

    fn replace(&self, stretches: Stretches) {
        *self.stretches.write().unwrap_or_else(PoisonError::into_inner) = stretches;
    }
}

/// Makes partitions ahead and drops those whose time is over. What another transaction is in the way of is left for the
/// next time. `retention` is how long the row of a token is kept at least.
pub async fn maintain(
    link: &Link,
    time: &StoreTime,
    retention: Duration,
) -> std::result::Result<Maintained, StoreError> {
    let now = making::now(link, time).await?;
    let mut maintained = Maintained::default();
    for parent in Parent::ALL {
        maintained.made += making::make_ahead(link, parent, retention, now).await?;
    }
    maintained.tokens = removing::remove(link, Parent::Tokens, retention, time).await?;
    maintained.log = removing::remove(link, Parent::RevocationLog, retention, time).await?;
    Ok(maintained)
}
