use std::ops::Range;

use async_trait::async_trait;
use grantry_protocol::StatusIndex;

use crate::{Result, StoreError};

/// How many numbers may be reserved at once: a whole list.
pub const MAX_STATUS_INDEXES: u32 = StatusIndex::PER_LIST;

/// How far a restore skips: a thousand numbers a second take 34 years to get there, so no backup is that old.
const RESTORE_SKIPS: u64 = 1 << 40;

/// How far a new epoch skips: four and a half hours of a thousand numbers a second, where a failover loses moments. Not
/// further, because the 256 lists that are skipped stay in use, and anybody may have them made.
const EPOCH_SKIPS: u64 = 1 << 24;

/// Which numbers were given out: one row of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusHead {
    /// The next number that is given out; none from here on was.
    pub next: u64,
    /// Below it are the tokens and grants that a restore has ended, all of them: no list tells of those any more.
    pub first: u64,
}

impl StatusHead {
    /// After a restore of a store whose backup had this head. Which numbers were given out since, nobody knows.
    #[must_use]
    pub const fn restored(self) -> Self {
        let next = at_next_list(self.next.saturating_add(RESTORE_SKIPS));
        Self { next, first: next }
    }

    /// After the store has lost commits of others, and goes on in a new epoch.
    #[must_use]
    pub const fn after_loss(self) -> Self {
        Self { next: at_next_list(self.next.saturating_add(EPOCH_SKIPS)), ..self }
    }

    /// The lists that may tell of a living token. `oldest` is the lowest number among the rows of tokens and grants. The
    /// list before the last is always among them: a node may still give out numbers of it, and write their rows later.
    pub fn lists_in_use(self, oldest: Option<u64>) -> Range<u64> {
        let end = self.next.div_ceil(StatusIndex::PER_LIST.into());
        let of_rows = oldest.map_or(end, |oldest| StatusIndex(oldest).list());
        of_rows.min(end.saturating_sub(2)).max(StatusIndex(self.first).list())..end
    }
}

const fn at_next_list(number: u64) -> u64 {
    number.next_multiple_of(StatusIndex::PER_LIST as u64)
}

/// What is said of tokens in lists that anybody can read, who then asks nobody (draft-ietf-oauth-status-list). A token
/// that was written with a `status_index` has a place there, and so has a grant.
#[async_trait]
pub trait StatusLists: Send + Sync {
    /// Gives out the next `count` numbers, once for as long as the store loses no commits. Those that are not used are
    /// lost. A store that has lost some may give out again what it does not know of, until it goes on in a new epoch:
    /// then it skips 2^24 numbers, and a restored one skips 2^40.
    ///
    /// # Errors
    /// `Rejected` unless `count` is from 1 to [`MAX_STATUS_INDEXES`].
    async fn status_index_reserve(&self, count: u32) -> Result<Range<u64>>;

    /// The numbers of the list whose tokens or grants are over before their time, ascending: ended by themselves or by a
    /// rule. What is said of each is of one instant, none before the call. Those that have expired since are among them
    /// for as long as their rows are there.
    async fn status_list_ended(&self, list: u64) -> Result<Vec<StatusIndex>>;

    /// The lists outside of which no token is that may still be honoured.
    async fn status_lists_in_use(&self) -> Result<Range<u64>>;
}

/// What every store refuses to give out.
///
/// # Errors
/// `Rejected` unless `count` is from 1 to [`MAX_STATUS_INDEXES`].
pub fn check_reservation(count: u32) -> Result<()> {
    match count {
        1..=MAX_STATUS_INDEXES => Ok(()),
        _ => Err(StoreError::Rejected(format!(
            "{count} status indexes at once, but from 1 to {MAX_STATUS_INDEXES} are possible"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_use_from_the_oldest_row_to_the_last_number() {
        let lists = |next, first, oldest| StatusHead { next, first }.lists_in_use(oldest);
        assert_eq!(lists(0, 0, None), 0..0, "nothing was given out");
        assert_eq!(lists(1, 0, None), 0..1);
        assert_eq!(lists(65_536, 0, None), 0..1, "the next number begins the next list");
        assert_eq!(lists(65_537, 0, None), 0..2);
        assert_eq!(lists(5 * 65_536, 0, None), 3..5, "a node may still have numbers of the list before");
        assert_eq!(lists(5 * 65_536, 0, Some(70_000)), 1..5);
        assert_eq!(lists(5 * 65_536, 0, Some(5 * 65_536 - 1)), 3..5);
        assert_eq!(lists(5 * 65_536, 5 * 65_536, Some(70_000)), 5..5, "a restore has ended all of them");
        assert_eq!(lists(5 * 65_536 + 1, 5 * 65_536, None), 5..6);
    }

    #[test]
    fn what_a_store_has_forgotten_is_skipped() {
        let head = StatusHead { next: 100, first: 0 };
        let restored = head.restored();
        assert_eq!(restored.next % u64::from(StatusIndex::PER_LIST), 0);
        assert!(restored.next >= 100 + RESTORE_SKIPS);
        assert_eq!(restored.first, restored.next);
        assert_eq!(
            restored.lists_in_use(Some(5)),
            StatusIndex(restored.next).list()..StatusIndex(restored.next).list()
        );
        let lost = head.after_loss();
        assert!(lost.next >= 100 + EPOCH_SKIPS && lost.first == 0);
        assert_eq!(lost.lists_in_use(Some(5)).start, 0, "what is not lost lives on");
    }
}
