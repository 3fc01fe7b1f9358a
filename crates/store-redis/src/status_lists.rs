use std::ops::Range;

use async_trait::async_trait;
use grantry_protocol::{GrantId, StatusIndex, TokenId};
use grantry_store::{ReadRows, Result, StatusHead, StatusLists, check_reservation};
use redis::Pipeline;
use serde::{Deserialize, Serialize};

use crate::RedisStore;
use crate::names::Key;
use crate::rows::{RowResult, Rows};
use crate::tokens::{PAGE, all};
use crate::writes::{GrantRow, TokenRow};

#[derive(Serialize, Deserialize)]
struct HeadRow {
    next: u64,
    first: u64,
}

#[async_trait]
impl StatusLists for RedisStore {
    async fn status_index_reserve(&self, count: u32) -> Result<Range<u64>> {
        check_reservation(count)?;
        self.transact(|rows| {
            let head = rows.status_head()?;
            let next = head.next + u64::from(count);
            rows.put_status_head(StatusHead { next, ..head })?;
            Ok(head.next..next)
        })
        .await
    }

    /// So many at a time: what is said of each is of one instant, and none is from before the call.
    async fn status_list_ended(&self, list: u64) -> Result<Vec<StatusIndex>> {
        let names = &self.names;
        let tokens: Vec<TokenId> = self.places(names.tokens_by_status(), list).await?;
        let grants: Vec<GrantId> = self.places(names.grants_by_status(), list).await?;
        let mut ended = Vec::new();
        for ids in tokens.chunks(PAGE) {
            ended.extend(self.look(|rows| all(rows, ids, Rows::ended_token)).await?);
        }
        for ids in grants.chunks(PAGE) {
            ended.extend(self.look(|rows| all(rows, ids, Rows::ended_grant)).await?);
        }
        let mut ended: Vec<StatusIndex> = ended.into_iter().flatten().collect();
        ended.sort_unstable();
        Ok(ended)
    }

    async fn status_lists_in_use(&self) -> Result<Range<u64>> {
        let mut commands = Pipeline::new();
        for index in [self.names.tokens_by_status(), self.names.grants_by_status()] {
            commands.cmd("ZRANGE").arg(index).arg(0).arg(0).arg("WITHSCORES");
        }
        type First = Vec<(String, u64)>;
        let (token, grant): (First, First) = self.links.read(&self.names.head(), &commands).await?;
        let oldest = token.into_iter().chain(grant).map(|(_, number)| number).min();
        Ok(self.look(Rows::status_head).await?.lists_in_use(oldest))
    }
}

impl RedisStore {
    /// What has a place in the list.
    async fn places<T: std::str::FromStr>(&self, index: Key, list: u64) -> Result<Vec<T>> {
        let places = StatusIndex::of_list(list);
        let mut commands = Pipeline::new();
        let range = commands.cmd("ZRANGE").arg(index);
        range.arg(places.start).arg(format!("({}", places.end)).arg("BYSCORE");
        let (texts,): (Vec<String>,) = self.links.read(&self.names.head(), &commands).await?;
        Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }
}

impl Rows {
    fn status_head(&mut self) -> RowResult<StatusHead> {
        let row: Option<HeadRow> = self.get(self.names.status_head())?;
        Ok(row.map_or_else(StatusHead::default, |HeadRow { next, first }| StatusHead { next, first }))
    }

    fn put_status_head(&mut self, StatusHead { next, first }: StatusHead) -> RowResult<()> {
        self.put(self.names.status_head(), &HeadRow { next, first }, None)
    }

    /// Past what commits that were lost may have given out.
    pub fn status_head_skip(&mut self) -> RowResult<()> {
        let head = self.status_head()?;
        self.put_status_head(head.after_loss())
    }

    /// Its number, if it is over before its time.
    fn ended_token(&mut self, id: &TokenId) -> RowResult<Option<StatusIndex>> {
        let Some(TokenRow { token, ended }) = self.get(self.names.token(*id))? else { return Ok(None) };
        let is_ended = ended.is_some() || self.is_ended_by_rule(&(&token).into())?;
        Ok(token.status_index.filter(|_| is_ended))
    }

    fn ended_grant(&mut self, id: &GrantId) -> RowResult<Option<StatusIndex>> {
        let Some(GrantRow { grant, ended_at }) = self.grant_row(*id)? else { return Ok(None) };
        let is_ended = ended_at.is_some() || self.is_ended_by_rule(&(&grant).into())?;
        Ok(grant.status_index.filter(|_| is_ended))
    }
}
