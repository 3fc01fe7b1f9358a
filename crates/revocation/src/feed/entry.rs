use grantry_protocol::{Epoch, LogEntry, LogKind, Position, Seen, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::FeedKey;

/// An entry of the log that ends something. As JSON it is `[epoch, position, kind, "KEY", keep_until]`: the kind by its
/// code, the key in base64url, the time in whole seconds, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedEntry {
    pub at: Seen,
    pub kind: LogKind,
    pub key: FeedKey,
    /// When the last thing that the entry ends has expired by itself.
    pub keep_until: Timestamp,
}

impl FeedEntry {
    /// `None` for an entry that ends nothing.
    pub fn of(entry: &LogEntry) -> Option<Self> {
        let ends = entry.kind == LogKind::Token || entry.kind.is_rule();
        ends.then(|| Self {
            at: entry.seen(),
            kind: entry.kind,
            key: FeedKey::of(entry.kind, &entry.key),
            keep_until: entry.keep_until,
        })
    }
}

impl Serialize for FeedEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Seen { epoch, position } = self.at;
        let keep_until = secs_rounded_up(self.keep_until);
        (epoch.0, position.0, self.kind.code(), self.key, keep_until).serialize(serializer)
    }
}

/// A kind that is not known is an error: it may end something.
impl<'de> Deserialize<'de> for FeedEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (epoch, position, code, key, keep_until) =
            <(u64, u64, u8, FeedKey, i64)>::deserialize(deserializer)?;
        let kind = LogKind::from_code(code)
            .filter(|kind| *kind == LogKind::Token || kind.is_rule())
            .ok_or_else(|| serde::de::Error::custom(format_args!("{code} is no kind of end")))?;
        let at = Seen { epoch: Epoch(epoch), position: Position(position) };
        Ok(Self { at, kind, key, keep_until: Timestamp::from_secs(keep_until) })
    }
}

pub(super) fn secs_rounded_up(at: Timestamp) -> i64 {
    Timestamp::from_millis(at.as_millis().saturating_add(999)).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_an_array_and_its_time_is_never_cut_short() {
        let entry = FeedEntry {
            at: Seen { epoch: Epoch(2), position: Position(41) },
            kind: LogKind::Grant,
            key: FeedKey::ALL,
            keep_until: Timestamp::from_millis(1_001),
        };
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(text, r#"[2,41,7,"AAAAAAAAAAAAAAAAAAAAAA",2]"#);
        let read: FeedEntry = serde_json::from_str(&text).unwrap();
        assert_eq!(read, FeedEntry { keep_until: Timestamp::from_secs(2), ..entry });
    }

    #[test]
    fn an_entry_of_a_kind_that_is_not_known_is_an_error() {
        for kind in [0, 6, 9, 10, 255] {
            let text = format!(r#"[1,1,{kind},"AAAAAAAAAAAAAAAAAAAAAA",1]"#);
            assert!(serde_json::from_str::<FeedEntry>(&text).is_err(), "{kind}");
        }
    }

    #[test]
    fn what_ends_nothing_is_left_out() {
        for kind in LogKind::ALL_KINDS {
            let key = b"0123456789abcdef".to_vec();
            let keep_until = Timestamp::from_secs(9);
            let entry = LogEntry { epoch: Epoch(1), position: Position(1), kind, key, keep_until };
            let is_left_out = matches!(kind, LogKind::ClientChanged | LogKind::SettingsChanged);
            assert_eq!(FeedEntry::of(&entry).is_none(), is_left_out, "{kind:?}");
        }
    }
}
