use std::time::Duration;

use grantry_protocol::{Timestamp, TokenId};
use uuid::Uuid;

use crate::errors::{Cause, Error, Result};

/// A table that is partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    Tokens,
    RevocationLog,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Widths that divide a day, in seconds, widest first.
const ROUND: [u64; 11] = [
    DAY,
    12 * HOUR,
    6 * HOUR,
    4 * HOUR,
    3 * HOUR,
    2 * HOUR,
    HOUR,
    30 * MINUTE,
    15 * MINUTE,
    10 * MINUTE,
    5 * MINUTE,
];

/// The latest time that the id of a token can have: 48 bits (RFC 9562 §5.7).
const LAST_OF_IDS: i64 = (1 << 48) - 1;
/// Some 300,000 years from now; later ones would come near the end of the numbers.
const LAST_OF_LOG: i64 = i64::MAX / 1000;

impl Parent {
    pub const ALL: [Self; 2] = [Self::Tokens, Self::RevocationLog];

    /// The table's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::RevocationLog => "revocation_log",
        }
    }

    /// How wide a partition is, in milliseconds. Of tokens a 24th of the time that they are kept, so that at most so
    /// much more lies around, from 5 minutes to a day; of the log a day.
    pub fn width(self, retention: Duration) -> i64 {
        let secs = match self {
            Self::RevocationLog => DAY,
            Self::Tokens => {
                let fitting = ROUND.into_iter().find(|width| *width <= retention.as_secs() / 24);
                fitting.unwrap_or(5 * MINUTE)
            }
        };
        i64::try_from(secs * 1000).unwrap_or(i64::MAX)
    }

    /// Until when something in a new partition may be alive. A token lives for less than the time that it is kept.
    pub fn expires_until(self, until: i64, retention: Duration) -> i64 {
        match self {
            Self::Tokens => (Timestamp::from_millis(until) + retention).as_millis(),
            Self::RevocationLog => until,
        }
    }

    /// How a bound of a partition is written in SQL.
    pub fn bound(self, at: i64) -> String {
        match self {
            Self::Tokens if at > LAST_OF_IDS => "MAXVALUE".into(),
            Self::Tokens => {
                let id = TokenId::lower_bound(Timestamp::from_millis(at));
                format!("'{}'", Uuid::from_bytes(*id.as_bytes()))
            }
            Self::RevocationLog => at.to_string(),
        }
    }

    pub fn check(self, at: i64) -> Result<()> {
        let last = match self {
            Self::Tokens => LAST_OF_IDS,
            Self::RevocationLog => LAST_OF_LOG,
        };
        if (-LAST_OF_LOG..=last).contains(&at) {
            return Ok(());
        }
        Err(Error::new(Cause::Rejected, format!("no partition of {} can take a row at {at}", self.name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_tokens_are_a_24th_of_the_retention_time_rounded_down() {
        let minutes = |retention: u64| Parent::Tokens.width(Duration::from_secs(retention)) / 60_000;
        let cases =
            [(0, 5), (HOUR, 5), (6 * HOUR, 15), (DAY, 60), (2 * DAY, 120), (7 * DAY, 360), (400 * DAY, 1440)];
        for (retention, wanted) in cases {
            assert_eq!(minutes(retention), wanted, "{retention}");
        }
    }

    #[test]
    fn bounds_are_written_as_the_column_has_them() {
        assert_eq!(Parent::RevocationLog.bound(86_400_000), "86400000");
        assert_eq!(Parent::Tokens.bound(0), "'00000000-0000-0000-0000-000000000000'");
        assert_eq!(Parent::Tokens.bound(1), "'00000000-0001-0000-0000-000000000000'");
        assert_eq!(Parent::Tokens.bound(1 << 48), "MAXVALUE");
    }
}
