use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use grantry_protocol::{AccessToken, NodeNumber, SlotKey, Subject, Timestamp, TokenId};
use grantry_store::{
    DeferredToken, Issue, ReadRows, Result, StoredToken, TokenPage, TokenWrite, Tokens, WriteOutcome, apply,
    judge, judge_unstored,
};
use redis::Pipeline;

use crate::RedisStore;
use crate::names::{Key, Names};
use crate::rows::{RowError, RowResult, Rows};
use crate::writes::TokenRow;

/// Rows that are looked at together where all are walked through.
pub const PAGE: usize = 500;

#[async_trait]
impl Tokens for RedisStore {
    async fn token_write(&self, batch: Vec<TokenWrite>) -> Result<Vec<WriteOutcome>> {
        let known = batch.iter().flat_map(|write| named(&self.names, write)).collect();
        Ok(self.transact_knowing(known, |rows| apply_all(rows, &batch)).await?)
    }

    async fn token_find(&self, id: TokenId) -> Result<Option<StoredToken>> {
        self.look(|rows| rows.token(id)).await
    }

    async fn token_find_deferred(&self, id: TokenId, by: NodeNumber) -> Result<DeferredToken> {
        self.look(|rows| {
            if let Some(stored) = rows.token(id)? {
                return Ok(DeferredToken::Stored(Box::new(stored)));
            }
            if rows.early_end_exists(id)? {
                return Ok(DeferredToken::EndedEarly);
            }
            let Some(node) = rows.node_of(by)? else { return Ok(DeferredToken::Absent) };
            let mark = rows.node_row(node)?.drained_below;
            Ok(if mark.is_none_or(|mark| mark <= id) {
                DeferredToken::Expected
            } else {
                DeferredToken::Absent
            })
        })
        .await
    }

    async fn token_judge(&self, issue: Arc<Issue>) -> Result<StoredToken> {
        self.look(|rows| {
            let now = rows.now;
            judge(rows, &issue, now)
        })
        .await
    }

    async fn token_judge_unstored(&self, token: AccessToken) -> Result<StoredToken> {
        self.look(|rows| judge_unstored(rows, token.clone())).await
    }

    async fn token_find_holder(&self, slot: SlotKey) -> Result<Option<StoredToken>> {
        self.look(|rows| match rows.holder(slot)? {
            Some(holder) => rows.token(holder.id),
            None => Ok(None),
        })
        .await
    }

    async fn token_list(
        &self,
        subject: &Subject,
        before: Option<TokenId>,
        limit: usize,
        among: usize,
    ) -> Result<TokenPage> {
        let ids = self.token_ids_before(before, among).await?;
        let mut page = TokenPage { tokens: Vec::new(), next: None };
        for id in &ids {
            let found = self.token_find(*id).await?;
            page.tokens.extend(found.filter(|stored| stored.token.subject == *subject));
            if page.tokens.len() == limit {
                page.next = Some(*id);
                return Ok(page);
            }
        }
        page.next = ids.last().copied().filter(|_| ids.len() == among);
        Ok(page)
    }

    async fn token_newest(&self, before: Option<TokenId>, limit: usize) -> Result<Vec<StoredToken>> {
        let ids = self.token_ids_before(before, limit).await?;
        let found = self.look(|rows| all(rows, &ids, |rows, id| rows.token(*id))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn token_last_expiry(&self) -> Result<Option<Timestamp>> {
        let (mut last, mut before) = (None, None);
        loop {
            let ids = self.token_ids_before(before, PAGE).await?;
            let row = |rows: &mut Rows, id: &TokenId| rows.get::<TokenRow>(rows.names.token(*id));
            let found = self.look(|rows| all(rows, &ids, row)).await?;
            last = found.into_iter().flatten().map(|row| Some(row.token.expires_at)).fold(last, Option::max);
            before = ids.last().copied();
            if ids.len() < PAGE {
                return Ok(last);
            }
        }
    }

    async fn token_count(&self) -> Result<u64> {
        let mut commands = Pipeline::new();
        commands.cmd("ZCARD").arg(self.names.tokens());
        Ok(self.links.read::<(u64,)>(&self.names.head(), &commands).await?.0)
    }
}

impl RedisStore {
    async fn token_ids_before(&self, before: Option<TokenId>, limit: usize) -> Result<Vec<TokenId>> {
        let below = before.map_or_else(|| "+".to_owned(), |id| format!("({id}"));
        self.index_page(self.names.tokens(), &below, "-", true, limit).await
    }
}

/// Does each write in turn. Where a row is missing the others go on, so that what they miss is read with it.
fn apply_all(rows: &mut Rows, batch: &[TokenWrite]) -> RowResult<Vec<WriteOutcome>> {
    all(rows, batch, apply)
}

/// What each makes of the rows, once all that they need was read.
pub fn all<I, T>(
    rows: &mut Rows,
    items: &[I],
    each: impl Fn(&mut Rows, &I) -> RowResult<T>,
) -> RowResult<Vec<T>> {
    let mut made = Vec::with_capacity(items.len());
    for item in items {
        match each(rows, item) {
            Ok(one) => made.push(one),
            Err(RowError::Unread) => {}
            Err(RowError::Failed(error)) => return Err(RowError::Failed(error)),
        }
    }
    if made.len() == items.len() { Ok(made) } else { Err(RowError::Unread) }
}

/// The rows that a write begins with: without them it would be asked once more.
fn named(names: &Names, write: &TokenWrite) -> BTreeSet<Key> {
    let of_token = |id, slot| [names.token(id), names.slot(slot)];
    match write {
        TokenWrite::Issue(issue) => of_token(issue.token.id, issue.token.slot).into(),
        TokenWrite::Settle(issue) => {
            let mut keys: BTreeSet<Key> = of_token(issue.token.id, issue.token.slot).into();
            keys.insert(names.early_end(issue.token.id));
            keys
        }
        TokenWrite::Open(opening) => {
            let mut keys: BTreeSet<Key> = of_token(opening.token.id, opening.token.slot).into();
            keys.insert(names.grant(opening.grant.id));
            keys
        }
        TokenWrite::Rotate(rotation) => {
            let mut keys: BTreeSet<Key> = of_token(rotation.token.id, rotation.token.slot).into();
            keys.insert(names.grant(rotation.grant));
            keys
        }
        TokenWrite::EndSlot(_) => [names.head()].into(),
        TokenWrite::Revoke { id, .. } => [names.token(*id), names.head()].into(),
        TokenWrite::RevokeGrant { id, .. } => [names.grant(*id), names.head()].into(),
        TokenWrite::ConsumeAssertion { key, .. } => [names.assertion(*key)].into(),
        TokenWrite::Heartbeat { node, .. } => [names.node(*node)].into(),
    }
}
