use grantry_persistence::journal::{JournalMode, JournalOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TokenPersistence;

/// A journal that may only be small gets smaller segments, since room is won back a segment at a time.
const LEAST_SEGMENTS: u64 = 8;

/// `token_persistence.journal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Journal {
    Fsync,
    Os,
    Off,
}

impl Journal {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Os => "os",
            Self::Off => "off",
        }
    }

    /// What of the answered tokens can be lost that a commit before the answer would have kept, and by what.
    pub const fn risk(self) -> Option<&'static str> {
        match self {
            Self::Fsync => None,
            Self::Os => Some(
                "token_persistence.journal is \"os\": if this machine loses power, tokens that were answered and not \
                 yet written are lost",
            ),
            Self::Off => Some(
                "token_persistence.journal is \"off\": if this process dies, tokens that were answered and not yet \
                 written are lost",
            ),
        }
    }
}

impl TokenPersistence {
    /// What a 200 promises less than in mode sync.
    pub fn risk(&self) -> Option<&'static str> {
        self.has_queue().then(|| self.journal.risk()).flatten()
    }

    /// `None` where there is no journal.
    pub fn journal_options(&self) -> Option<JournalOptions> {
        let mode = match self.journal {
            _ if !self.has_queue() => return None,
            Journal::Fsync => JournalMode::Fsync,
            Journal::Os => JournalMode::Os,
            Journal::Off => return None,
        };
        let defaults = JournalOptions::new(mode);
        Some(JournalOptions {
            segment_bytes: defaults.segment_bytes.min(self.journal_max_bytes / LEAST_SEGMENTS),
            max_bytes: self.journal_max_bytes,
            queue_capacity: self.queue_capacity,
            ..defaults
        })
    }
}
