//! The last entries of the log, one by one, for those who follow it through this node.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock};

use grantry_protocol::{LogEntry, LogPage, Seen, Timestamp};
use grantry_revocation::FeedEntry;
use metrics::{Gauge, gauge};
use tokio::sync::watch;

/// How many are remembered: 3 MB. Who has missed more is told everything that is in force.
pub const REMEMBERED: usize = 65_536;

pub struct Recent {
    state: RwLock<State>,
    /// The last entry that ends something; where the log was read anew, its head.
    news: watch::Sender<Seen>,
    size: Gauge,
}

struct State {
    head: Seen,
    last: LastEntries,
    /// By the store's clock: the log may lack what was to be kept until this, or for less.
    now: Timestamp,
}

/// In order, and no more than [`REMEMBERED`].
pub struct LastEntries {
    /// Whatever comes after this is here, but for what the log itself has forgotten.
    floor: Seen,
    entries: VecDeque<FeedEntry>,
}

/// What follows a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    pub head: Seen,
    /// `None` where more has come than is remembered, or from elsewhere than this log.
    pub entries: Option<Vec<FeedEntry>>,
    pub now: Timestamp,
}

impl Default for LastEntries {
    fn default() -> Self {
        Self { floor: Seen::NOTHING, entries: VecDeque::new() }
    }
}

impl LastEntries {
    pub fn extend<'a>(&mut self, entries: impl IntoIterator<Item = &'a LogEntry>) {
        self.entries.extend(entries.into_iter().filter_map(FeedEntry::of));
        let surplus = self.entries.len().saturating_sub(REMEMBERED);
        let forgotten = self.entries.drain(..surplus).next_back();
        self.floor = forgotten.map_or(self.floor, |entry| entry.at);
    }

    fn after(&self, after: Seen) -> Option<Vec<FeedEntry>> {
        let first = self.entries.partition_point(|entry| entry.at <= after);
        (self.floor <= after).then(|| self.entries.range(first..).copied().collect())
    }
}

impl Recent {
    pub(super) fn new() -> Self {
        let now = Timestamp::from_millis(i64::MIN);
        Self {
            state: RwLock::new(State { head: Seen::NOTHING, last: LastEntries::default(), now }),
            news: watch::Sender::new(Seen::NOTHING),
            size: gauge!("grantry_feed_remembered_entries"),
        }
    }

    /// Changes once there is an entry to tell of.
    pub fn news(&self) -> watch::Receiver<Seen> {
        self.news.subscribe()
    }

    /// What comes after the position, or after nothing: where the log ends.
    pub fn following(&self, after: Option<Seen>) -> Following {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let is_of_this_log = |after: &Seen| after.epoch == state.head.epoch && *after <= state.head;
        let entries = after.filter(is_of_this_log).and_then(|after| state.last.after(after));
        Following { head: state.head, entries, now: state.now }
    }

    /// The log was read anew, up to `head`; `last` may have come later.
    pub(super) fn restart(&self, head: Seen, mut last: LastEntries) {
        last.entries.truncate(last.entries.partition_point(|entry| entry.at <= head));
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        (state.head, state.last) = (head, last);
        drop(state);
        self.news.send_replace(head);
    }

    /// The page was taken in up to `head`.
    pub(super) fn learn(&self, page: &LogPage, head: Seen) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let known = state.head;
        let is_new = |entry: &&LogEntry| entry.seen() > known && entry.seen() <= head;
        state.last.extend(page.entries.iter().filter(is_new));
        let last = state.last.entries.back().map(|entry| entry.at).filter(|at| *at > known);
        (state.head, state.now) = (head, state.now.max(page.now));
        self.size.set(state.last.entries.len() as f64);
        drop(state);
        if let Some(last) = last {
            self.news.send_replace(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use grantry_protocol::{Epoch, LogHead, LogKind, Position};

    use super::*;

    const fn at(epoch: u64, position: u64) -> Seen {
        Seen { epoch: Epoch(epoch), position: Position(position) }
    }

    struct Log {
        head: LogHead,
        recent: Recent,
    }

    impl Log {
        /// At position 3 of the first epoch.
        fn new() -> Self {
            let head = LogHead { position: Position(3), ..LogHead::EMPTY };
            let recent = Recent::new();
            recent.restart(head.seen(), LastEntries { floor: head.seen(), ..LastEntries::default() });
            Self { head, recent }
        }

        fn append(&mut self, kinds: &[LogKind]) {
            let mut entries = Vec::new();
            for kind in kinds {
                let (entry, head) = self.head.append(*kind, b"name".to_vec(), Timestamp::from_secs(9));
                entries.push(entry);
                self.head = head;
            }
            let page = LogPage { head: self.head, entries, now: Timestamp::from_secs(1) };
            self.recent.learn(&page, self.head.seen());
        }

        fn after(&self, after: Seen) -> Option<Vec<u64>> {
            let entries = self.recent.following(Some(after)).entries?;
            Some(entries.iter().map(|entry| entry.at.position.0).collect())
        }
    }

    #[test]
    fn what_follows_is_told_and_what_ends_nothing_is_left_out() {
        let mut log = Log::new();
        log.append(&[LogKind::Client, LogKind::ClientChanged, LogKind::All]);
        assert_eq!(log.after(at(1, 3)), Some(vec![4, 6]));
        assert_eq!(log.after(at(1, 5)), Some(vec![6]));
        assert_eq!(log.after(at(1, 6)), Some(vec![]));
        assert_eq!(log.recent.following(None).head, at(1, 6));
        for elsewhere in [at(1, 2), at(1, 7), at(0, 5), at(2, 5)] {
            assert_eq!(log.after(elsewhere), None, "{elsewhere:?}");
        }
    }

    #[test]
    fn where_the_log_was_read_anew_its_entries_are_told_up_to_its_head() {
        let (mut head, mut last, mut entries) = (LogHead::EMPTY, LastEntries::default(), Vec::new());
        for _ in 0..4 {
            let (entry, next) = head.append(LogKind::Client, b"name".to_vec(), Timestamp::from_secs(9));
            entries.push(entry);
            head = next;
        }
        // The log has forgotten the second one.
        entries.remove(1);
        last.extend(&entries);
        let log = Log { head, recent: Recent::new() };
        log.recent.restart(at(1, 3), last);
        assert_eq!(log.after(at(1, 0)), Some(vec![1, 3]));
        assert_eq!(log.after(at(1, 2)), Some(vec![3]));
        assert_eq!(log.after(at(1, 4)), None);
    }

    #[test]
    fn news_are_of_ends_alone() {
        let mut log = Log::new();
        let mut news = log.recent.news();
        log.append(&[LogKind::SettingsChanged]);
        assert!(!news.has_changed().unwrap());
        log.append(&[LogKind::Client, LogKind::ClientChanged]);
        assert_eq!(*news.borrow_and_update(), at(1, 5));
    }

    #[test]
    fn no_more_than_a_number_is_remembered_and_whoever_missed_more_is_not_told_a_part() {
        let mut log = Log::new();
        log.append(&vec![LogKind::Client; REMEMBERED]);
        assert_eq!(log.after(at(1, 3)).unwrap().len(), REMEMBERED);
        log.append(&[LogKind::Client; 2]);
        assert_eq!(log.after(at(1, 4)), None);
        assert_eq!(log.after(at(1, 5)).unwrap().len(), REMEMBERED);
    }
}
