//! How long a node may go on after it has proved that it knows the whole log.
//!
//! The proof is a probe: it commits a write of the node's own on the primary and reads the log to its end. It dates from
//! the moment *before* the probe was sent. What was acknowledged before that moment is in what the probe has read,
//! because a server that still commits is the one that acknowledged it; what came later may not be.

use std::time::Duration;

use grantry_protocol::Moment;

/// The part of the bound that a node does not use: clocks differ in speed, and an answer takes time to be sent.
const MARGIN: u32 = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidStaleness {
    pub given: Duration,
}

impl std::fmt::Display for InvalidStaleness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (least, most) = (Freshness::LEAST, Freshness::MOST);
        write!(f, "must be {least:?} to {most:?}, not {:?}", self.given)
    }
}

impl std::error::Error for InvalidStaleness {}

/// The bound that is promised: no request that is sent later than `max_staleness` after a revocation was acknowledged
/// is answered as if it were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    max_staleness: Duration,
}

impl Freshness {
    pub const LEAST: Duration = Duration::from_millis(100);
    pub const MOST: Duration = Duration::from_secs(60);

    /// # Errors
    /// Outside of [`Self::LEAST`] to [`Self::MOST`].
    pub fn new(max_staleness: Duration) -> Result<Self, InvalidStaleness> {
        match (Self::LEAST..=Self::MOST).contains(&max_staleness) {
            true => Ok(Self { max_staleness }),
            false => Err(InvalidStaleness { given: max_staleness }),
        }
    }

    pub const fn max_staleness(self) -> Duration {
        self.max_staleness
    }

    /// How old a proof may be.
    pub fn usable(self) -> Duration {
        self.max_staleness - self.max_staleness / MARGIN
    }

    /// Whether a node may answer at `now` by what a probe has read that was sent at `proved` or later.
    pub fn is_fresh(self, proved: Moment, now: Moment) -> bool {
        now.since(proved) < self.usable()
    }

    /// How long after one probe the next is sent: some may fail before the proof is too old.
    pub fn interval(self) -> Duration {
        self.max_staleness / 4
    }
}

#[cfg(test)]
mod tests {
    use grantry_protocol::Timestamp;

    use super::*;

    const fn at(since_boot: u64, wall: i64) -> Moment {
        Moment { since_boot: Duration::from_millis(since_boot), wall: Timestamp::from_millis(wall) }
    }

    #[test]
    fn a_proof_holds_for_less_than_the_bound() {
        let freshness = Freshness::new(Duration::from_secs(1)).unwrap();
        let proved = at(5_000, 90_000);
        let table = [
            (at(5_000, 90_000), true),
            (at(5_899, 90_899), true),
            (at(5_900, 90_000), false),
            (at(5_000, 90_900), false),
            (at(5_899, 10_000), true),
            (at(9_000, 10_000), false),
            (at(5_001, 390_001), false),
        ];
        for (now, fresh) in table {
            assert_eq!(freshness.is_fresh(proved, now), fresh, "{now:?}");
        }
    }

    #[test]
    fn a_bound_that_cannot_be_kept_is_refused() {
        for millis in [0, 99, 60_001] {
            let given = Duration::from_millis(millis);
            assert_eq!(Freshness::new(given), Err(InvalidStaleness { given }));
        }
        assert!(Freshness::new(Freshness::LEAST).is_ok() && Freshness::new(Freshness::MOST).is_ok());
    }
}
