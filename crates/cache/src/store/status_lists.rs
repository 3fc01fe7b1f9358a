//! There are no copies of lists here: whoever serves them keeps them, and says for how long.

use std::ops::Range;

use async_trait::async_trait;
use grantry_protocol::StatusIndex;
use grantry_store::{Result, StatusLists};

use super::{ATTEMPTS, CachedStore, too_slow};

#[async_trait]
impl StatusLists for CachedStore {
    async fn status_index_reserve(&self, count: u32) -> Result<Range<u64>> {
        self.inner.status_index_reserve(count).await
    }

    async fn status_list_ended(&self, list: u64) -> Result<Vec<StatusIndex>> {
        fresh!(self, self.inner.status_list_ended(list).await?)
    }

    async fn status_lists_in_use(&self) -> Result<Range<u64>> {
        fresh!(self, self.inner.status_lists_in_use().await?)
    }
}
