//! The last entry about each name: a slot, a client, a subject, a grant, a session, or everything.

use std::collections::HashMap;

use grantry_protocol::{LogEntry, LogKind, Seen, Timestamp};

/// What is remembered of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub at: Seen,
    pub keep_until: Timestamp,
}

impl Known {
    /// Both entries in one: a later rule ends all that the earlier one does.
    pub fn and(self, other: Self) -> Self {
        Self { at: self.at.max(other.at), keep_until: self.keep_until.max(other.keep_until) }
    }

    pub fn entry(self, kind: LogKind, key: &[u8]) -> LogEntry {
        let Seen { epoch, position } = self.at;
        LogEntry { epoch, position, kind, key: key.to_vec(), keep_until: self.keep_until }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Names(HashMap<LogKind, HashMap<Box<[u8]>, Known>>);

impl Names {
    pub fn len(&self) -> usize {
        self.0.values().map(HashMap::len).sum()
    }

    pub fn last(&self, kind: LogKind, key: &[u8]) -> Option<Seen> {
        self.0.get(&kind)?.get(key).map(|known| known.at)
    }

    pub fn learn(&mut self, kind: LogKind, key: &[u8], known: Known) {
        let kept = self.0.entry(kind).or_default().entry(key.into()).or_insert(known);
        *kept = kept.and(known);
    }

    pub fn forget(&mut self, kind: LogKind, key: &[u8], now: Timestamp) {
        let Some(names) = self.0.get_mut(&kind) else { return };
        if names.get(key).is_some_and(|known| known.keep_until <= now) {
            names.remove(key);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (LogKind, &[u8], Known)> {
        self.0.iter().flat_map(|(kind, names)| names.iter().map(|(key, known)| (*kind, &key[..], *known)))
    }
}
