use async_trait::async_trait;
use grantry_protocol::{Grant, GrantId, SlotKey, Subject, Timestamp};
use grantry_store::{Grants, ReadRows, Result, StoredGrant, judge_unstored_grant};
use redis::Pipeline;

use crate::RedisStore;
use crate::rows::Rows;
use crate::tokens::all;

const PAGE: usize = 500;

#[async_trait]
impl Grants for RedisStore {
    async fn grant_find(&self, id: GrantId) -> Result<Option<StoredGrant>> {
        self.look(|rows| rows.grant(id)).await
    }

    async fn grant_judge_unstored(&self, grant: Grant) -> Result<StoredGrant> {
        self.look(|rows| judge_unstored_grant(rows, &grant)).await
    }

    async fn grant_find_by_slot(&self, slot: SlotKey) -> Result<Option<StoredGrant>> {
        self.look(|rows| rows.slots_grant(slot)).await
    }

    async fn grant_list(
        &self,
        subject: &Subject,
        before: Option<GrantId>,
        limit: usize,
    ) -> Result<Vec<StoredGrant>> {
        let below = before.map_or_else(|| "+".to_owned(), |id| format!("({id}"));
        let ids: Vec<GrantId> =
            self.index_page(self.names.grants_of(subject), &below, "-", true, limit).await?;
        let found = self.look(|rows| all(rows, &ids, |rows, id| rows.grant(*id))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn grant_count(&self) -> Result<u64> {
        let mut commands = Pipeline::new();
        commands.cmd("ZCARD").arg(self.names.grants());
        Ok(self.links.read::<(u64,)>(&self.names.head(), &commands).await?.0)
    }

    async fn grant_last_expiry(&self) -> Result<Option<Timestamp>> {
        let (mut last, mut after) = (None, "-".to_owned());
        loop {
            let ids: Vec<GrantId> = self.index_page(self.names.grants(), &after, "+", false, PAGE).await?;
            let row = |rows: &mut Rows, id: &GrantId| rows.grant_row(*id);
            let found = self.look(|rows| all(rows, &ids, row)).await?;
            last = found.into_iter().flatten().map(|row| Some(row.grant.expires_at)).fold(last, Option::max);
            match ids.last() {
                Some(id) if ids.len() == PAGE => after = format!("({id}"),
                _ => return Ok(last),
            }
        }
    }
}
