use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::Mutex;

use super::uri;
use crate::{GrantError, Grants};

/// How many lists are named at most: some 600 KiB, and 655 million tokens.
const MOST_NAMED: u64 = 10_000;

/// Which lists there are. The store is asked one question at a time, however many want to know.
#[derive(Default)]
pub struct ListsInUse {
    /// How many questions were begun.
    begun: AtomicU64,
    last: Mutex<Answer>,
}

#[derive(Default)]
struct Answer {
    /// Of its question, from 1.
    number: u64,
    lists: Range<u64>,
    /// [`Grants::status_lists`], once somebody has asked for it.
    aggregation: Option<Bytes>,
}

impl Grants {
    pub(super) async fn is_in_use(&self, list: u64) -> Result<bool, GrantError> {
        self.ask_for_lists(|answer| answer.lists.contains(&list)).await
    }

    /// The lists that may tell of a living token, as JSON (draft-ietf-oauth-status-list §9.3): of more than 10,000 the
    /// newest, since tokens say by themselves where they are told of.
    pub async fn status_lists(&self) -> Result<Bytes, GrantError> {
        let aggregation = |lists: &Range<u64>| {
            let issuer = &self.settings().issuer;
            let uris: Vec<String> = newest(lists).map(|list| uri(issuer, list)).collect();
            Bytes::from(json!({ "status_lists": uris }).to_string())
        };
        let _waits = self.wait_for_lists()?;
        self.ask_for_lists(|answer| {
            answer.aggregation.get_or_insert_with(|| aggregation(&answer.lists)).clone()
        })
        .await
    }

    /// By an answer to a question that was begun after this was called.
    async fn ask_for_lists<T>(&self, read: impl FnOnce(&mut Answer) -> T) -> Result<T, GrantError> {
        let in_use = &self.lists.in_use;
        let before = in_use.begun.load(Ordering::Acquire);
        let mut last = in_use.last.lock().await;
        if last.number <= before {
            let number = in_use.begun.fetch_add(1, Ordering::AcqRel) + 1;
            let lists = self.store.status_lists_in_use().await?;
            let unchanged = last.aggregation.take().filter(|_| last.lists == lists);
            *last = Answer { number, lists, aggregation: unchanged };
        }
        Ok(read(&mut last))
    }
}

fn newest(lists: &Range<u64>) -> Range<u64> {
    lists.start.max(lists.end.saturating_sub(MOST_NAMED))..lists.end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_lists_the_newest_are_named() {
        assert_eq!(newest(&(0..0)), 0..0);
        assert_eq!(newest(&(3..10_003)), 3..10_003);
        assert_eq!(newest(&(3..10_004)), 4..10_004);
    }
}
