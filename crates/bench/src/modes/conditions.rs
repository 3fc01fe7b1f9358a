use std::time::Duration;

use serde::Serialize;

/// What stands between a server and the rows that it has written.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// For `--conditions`.
    pub key: &'static str,
    pub name: &'static str,
    /// What a round trip to PostgreSQL takes longer.
    #[serde(skip)]
    pub round_trip: Duration,
    /// What a flush of PostgreSQL takes longer.
    #[serde(skip)]
    pub flush: Duration,
}

impl Condition {
    /// Whether PostgreSQL is reached through the proxy: only then, since the proxy itself takes time from the cores.
    pub fn is_far(&self) -> bool {
        !self.round_trip.is_zero()
    }
}

const NONE: Duration = Duration::ZERO;
const MILLI: Duration = Duration::from_millis(1);

pub static CONDITIONS: [Condition; 4] = [
    Condition { key: "as-is", name: "as it is", round_trip: NONE, flush: NONE },
    Condition { key: "far", name: "round trip + 1 ms", round_trip: MILLI, flush: NONE },
    Condition { key: "flush-1", name: "flush + 1 ms", round_trip: NONE, flush: MILLI },
    Condition { key: "flush-4", name: "flush + 4 ms", round_trip: NONE, flush: Duration::from_millis(4) },
];

/// For a flag.
///
/// # Errors
/// There is none of this key; all keys are named.
pub fn by_key(key: &str) -> Result<&'static Condition, String> {
    CONDITIONS.iter().find(|condition| condition.key == key).ok_or_else(|| {
        let keys: Vec<_> = CONDITIONS.iter().map(|condition| condition.key).collect();
        format!("give one of {}", keys.join(", "))
    })
}
