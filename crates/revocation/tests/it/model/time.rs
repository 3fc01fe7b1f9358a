//! Time in steps: only ages matter, and an age beyond every bound is like any other.

use std::time::Duration;

use grantry_protocol::{Moment, Timestamp};
use grantry_revocation::Freshness;

const MAX_STALENESS: Duration = Duration::from_secs(1);
/// So that the bound lies between one step and two, and so does the age up to which a proof is good.
const STEP: Duration = Duration::from_millis(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age(u8);

impl Age {
    pub const NEW: Self = Self(0);
    /// Older than any bound.
    pub const OLD: Self = Self(2);

    pub fn older(self) -> Self {
        Self(self.0 + 1).min(Self::OLD)
    }

    fn duration(self) -> Duration {
        STEP * u32::from(self.0)
    }

    /// Whether a node may still answer by a proof of this age.
    pub fn is_fresh(self) -> bool {
        let at = |age: Self| Moment { since_boot: age.duration(), wall: Timestamp::from_millis(0) };
        Freshness::new(MAX_STALENESS).expect("a second is allowed").is_fresh(at(Self::NEW), at(self))
    }

    /// Whether the promise is due for what was acknowledged so long ago.
    pub fn is_due(self) -> bool {
        self.duration() > MAX_STALENESS
    }
}
