use std::ops::Range;

use async_trait::async_trait;
use grantry_protocol::{GrantId, StatusIndex, TokenId};

use super::{MemoryStore, State};
use crate::{Result, StatusLists, check_reservation};

/// What a place in a status list tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placed {
    Token(TokenId),
    Grant(GrantId),
}

impl State {
    pub(super) fn place(&mut self, index: Option<StatusIndex>, placed: Placed) {
        self.places.extend(index.map(|index| (index, placed)));
    }

    pub(super) fn displace(&mut self, index: Option<StatusIndex>, placed: Placed) {
        if let Some(index) = index {
            self.places.remove(&(index, placed));
        }
    }

    /// Whether it is over before its time.
    fn is_over_early(&self, placed: Placed) -> bool {
        match placed {
            Placed::Token(id) => self
                .tokens
                .get(&id)
                .is_some_and(|row| row.ended.is_some() || self.is_ended_by_rule(&(&row.token).into())),
            Placed::Grant(id) => self.grants.get(&id).is_some_and(|stored| {
                stored.ended_at.is_some() || self.is_ended_by_rule(&(&stored.grant).into())
            }),
        }
    }
}

#[async_trait]
impl StatusLists for MemoryStore {
    async fn status_index_reserve(&self, count: u32) -> Result<Range<u64>> {
        check_reservation(count)?;
        let head = &mut self.state().status_head;
        let first = head.next;
        head.next += u64::from(count);
        Ok(first..head.next)
    }

    async fn status_list_ended(&self, list: u64) -> Result<Vec<StatusIndex>> {
        let state = self.state();
        let Range { start, end } = StatusIndex::of_list(list);
        let of_list = state.places.range((StatusIndex(start), FIRST)..(StatusIndex(end), FIRST));
        let ended = of_list.filter(|(_, placed)| state.is_over_early(*placed));
        Ok(ended.map(|(index, _)| *index).collect())
    }

    async fn status_lists_in_use(&self) -> Result<Range<u64>> {
        let state = self.state();
        Ok(state.status_head.lists_in_use(state.places.first().map(|(index, _)| index.0)))
    }
}

/// Nothing comes before it.
const FIRST: Placed = Placed::Token(TokenId::from_bytes([0; TokenId::LEN]));
