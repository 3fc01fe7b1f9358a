use std::sync::Arc;

use grantry_protocol::{Clock, Timestamp};

/// What the store means by "now".
#[derive(Clone)]
pub enum StoreTime {
    /// The clock of Redis.
    Redis,
    /// A clock in its place, for tests that turn it.
    Clock(Arc<dyn Clock>),
}

impl StoreTime {
    /// `told` is what Redis answered to `TIME`: seconds and microseconds.
    pub fn now(&self, (seconds, micros): (i64, i64)) -> Timestamp {
        match self {
            Self::Redis => Timestamp::from_millis(seconds * 1000 + micros / 1000),
            Self::Clock(clock) => clock.now(),
        }
    }

    /// For a script: milliseconds, or nothing where it is to ask Redis.
    pub fn param(&self) -> Vec<u8> {
        match self {
            Self::Redis => Vec::new(),
            Self::Clock(clock) => clock.now().as_millis().to_string().into_bytes(),
        }
    }
}
