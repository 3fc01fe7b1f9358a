//! An index from all that the log still has, page by page, while others append to it.

use grantry_protocol::{LogEntry, LogHead, Position};

use super::Index;

/// A log that is being read from its beginning.
#[derive(Debug)]
pub struct Reading {
    index: Index,
    after: Position,
}

impl Reading {
    /// `head` is where the log ended before the first page was read; the chain is believed from there.
    pub fn from(head: LogHead) -> Self {
        Self { index: Index::empty(head), after: Position(0) }
    }

    /// Behind which position the next page begins.
    pub const fn after(&self) -> Position {
        self.after
    }

    /// Takes a page in; answers whether the log was read up to the head with which this began.
    pub fn take(&mut self, page: &[LogEntry]) -> bool {
        page.iter().for_each(|entry| self.index.learn(entry));
        match page.last() {
            Some(last) if last.position < self.index.head.position => {
                self.after = last.position;
                false
            }
            _ => true,
        }
    }

    pub fn finish(self) -> Index {
        self.index
    }
}
