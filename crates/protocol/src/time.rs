use std::fmt;
use std::ops::Add;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down: the NumericDate of RFC 7519 §2.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub const fn truncated_to_secs(self) -> Self {
        Self::from_secs(self.as_secs())
    }

    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// The time from `earlier` to `self`; zero when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// The wall clock, handed in so that tests and the simulator own time.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// A clock that nobody sets: it goes on while the process, or the machine, sleeps.
pub trait BootClock: Send + Sync + 'static {
    fn since_boot(&self) -> Duration;
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub since_boot: Duration,
    pub wall: Timestamp,
}

impl Moment {
    pub fn now(clock: &dyn Clock, boot: &dyn BootClock) -> Self {
        Self { since_boot: boot.since_boot(), wall: clock.now() }
    }

    /// The longer of what the two clocks say: one of them may have stood still, or been set back.
    pub fn since(self, earlier: Self) -> Duration {
        self.since_boot.saturating_sub(earlier.since_boot).max(self.wall.since(earlier.wall))
    }
}

/// A clock that stands still until it is moved, in either direction.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn at(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.as_millis()))
    }

    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(millis(span), Ordering::Relaxed);
    }

    pub fn set(&self, to: Timestamp) {
        self.0.store(to.as_millis(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A length of time as people write it in the configuration and in client metadata: `"60m"`, `"24h"`, `"1s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(Duration);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no length of time; write a number and a unit, as in \"90s\", \"60m\", \"24h\" or \"30d\""
)]
pub struct InvalidLifetime(String);

impl Lifetime {
    /// A century; longer values are refused so that sums of times cannot overflow.
    pub const MAX: Self = Self(Duration::from_secs(100 * 365 * 24 * 3600));

    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    pub const fn as_duration(self) -> Duration {
        self.0
    }

    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl std::str::FromStr for Lifetime {
    type Err = InvalidLifetime;

    fn from_str(text: &str) -> Result<Self, InvalidLifetime> {
        let refused = || InvalidLifetime(text.chars().filter(|c| !c.is_control()).take(40).collect());
        let span = humantime::parse_duration(text.trim()).map_err(|_| refused())?;
        if span > Self::MAX.0 { Err(refused()) } else { Ok(Self(span)) }
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Lifetime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    /// A string with a unit, or a whole number of seconds as RFC 6749's `expires_in` has it.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a length of time such as \"60m\", or a number of seconds")]
        enum Written {
            Text(String),
            Secs(u64),
        }
        match Written::deserialize(deserializer)? {
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
            Written::Secs(secs) if secs <= Self::MAX.as_secs() => Ok(Self::from_secs(secs)),
            Written::Secs(secs) => Err(serde::de::Error::custom(InvalidLifetime(secs.to_string()))),
        }
    }
}

impl JsonSchema for Lifetime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Lifetime".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "lifetime", "examples": ["60m"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_read_with_a_unit_or_as_seconds() {
        assert_eq!("60m".parse::<Lifetime>().unwrap(), Lifetime::from_secs(3600));
        assert_eq!(serde_json::from_str::<Lifetime>("90").unwrap(), Lifetime::from_secs(90));
        assert_eq!(serde_json::to_string(&Lifetime::from_secs(3600)).unwrap(), "\"1h\"");
        for wrong in ["", "60", "m", "-5s", "1000000d", "1h\0"] {
            assert!(wrong.parse::<Lifetime>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn seconds_round_down_before_the_epoch_too() {
        assert_eq!(Timestamp::from_millis(-1).as_secs(), -1);
        assert_eq!(Timestamp::from_millis(1999).truncated_to_secs(), Timestamp::from_secs(1));
    }
}
