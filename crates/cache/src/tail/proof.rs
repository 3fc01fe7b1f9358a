//! What others are told of this node's knowledge, who rely on it themselves.

use std::time::Duration;

use grantry_protocol::Moment;
use grantry_revocation::Freshness;
use grantry_store::{Outage, Result, StoreError};

use super::{Recent, Tail};

impl Tail {
    /// When the last proof was begun, if it still holds; else a probe is waited for that begins now or later. To be had
    /// before anything is read: what it proves is known then.
    ///
    /// # Errors
    /// [`Outage::Stale`] if no such probe is completed within `max_staleness`. Also where coherence is `none`.
    pub async fn proof(&self) -> Result<Moment> {
        match self.last_proof().filter(|proved| self.is_fresh(*proved)) {
            Some(proved) => Ok(proved),
            None => self.proof_from_now().await,
        }
    }

    /// A proof by a probe that begins now or later.
    ///
    /// # Errors
    /// [`Outage::Stale`] if none is completed within `max_staleness`.
    pub async fn proof_from_now(&self) -> Result<Moment> {
        let pass = self.probed_from_now().await?;
        pass.0.ok_or_else(|| StoreError::unavailable(Outage::Stale, "this node has not read the log yet"))
    }

    /// When the last proof was begun, however long ago.
    pub fn last_proof(&self) -> Option<Moment> {
        self.progress.borrow().proved
    }

    pub fn age(&self, proved: Moment) -> Duration {
        self.now().since(proved)
    }

    pub const fn freshness(&self) -> Freshness {
        self.freshness
    }

    pub const fn recent(&self) -> &Recent {
        &self.recent
    }
}
