//! The only place that reads a clock; measuring real time is what this program is for.

use std::time::{Duration, Instant, SystemTime};

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a report says when it was made, and a token id carries the time"
)]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Since 1970; zero if the machine's clock is before that.
pub fn since_epoch() -> Duration {
    wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// RFC 3339, in seconds and UTC.
pub fn date() -> String {
    humantime::format_rfc3339_seconds(wall()).to_string()
}
