use std::time::Duration;

use grantry_protocol::{Seen, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FeedEntry, position};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedPageKind {
    /// All that was in force at `now`.
    Snapshot,
    /// All that follows the position that was asked for.
    Entries,
}

/// One answer of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedPage {
    pub kind: FeedPageKind,
    /// The entries come to here.
    #[serde(with = "position")]
    pub head: Seen,
    /// How long before the answer the node had last proved that it knows the whole log; as `age_ms`, rounded up.
    #[serde(rename = "age_ms", with = "millis")]
    pub age: Duration,
    /// How old a proof may be; as `max_staleness_ms`.
    #[serde(rename = "max_staleness_ms", with = "millis")]
    pub max_staleness: Duration,
    /// By the node's clock, as `now_secs`, rounded up. A snapshot may lack what was to be kept until this, or for less.
    #[serde(rename = "now_secs", with = "secs")]
    pub now: Timestamp,
    pub entries: Vec<FeedEntry>,
}

mod millis {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = span.as_nanos().div_ceil(1_000_000);
        serializer.serialize_u64(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

mod secs {
    use super::super::entry::secs_rounded_up;
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(secs_rounded_up(*at))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use grantry_protocol::{Epoch, Position};

    use super::*;

    #[test]
    fn a_page_is_read_as_it_was_written_and_no_age_is_made_younger() {
        let page = FeedPage {
            kind: FeedPageKind::Snapshot,
            head: Seen { epoch: Epoch(1), position: Position(7) },
            age: Duration::from_micros(12_001),
            max_staleness: Duration::from_secs(1),
            now: Timestamp::from_millis(5_001),
            entries: Vec::new(),
        };
        let text = serde_json::to_string(&page).unwrap();
        let expected = concat!(
            r#"{"kind":"snapshot","head":"1.7","age_ms":13,"max_staleness_ms":1000,"now_secs":6,"#,
            r#""entries":[]}"#
        );
        assert_eq!(text, expected);
        let read: FeedPage = serde_json::from_str(&text).unwrap();
        let (age, now) = (Duration::from_millis(13), Timestamp::from_secs(6));
        assert_eq!(read, FeedPage { age, now, ..page });
    }
}
