//! Rows of tokens, slots, grants and assertions have a time to live and leave by themselves; the clean-up takes them out
//! of the indexes, and removes what has none.

use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{GrantId, LogEntry, LogKind, Position, Timestamp, TokenId};
use grantry_store::{AssertionKey, GrantsSwept, Result, Retention, StoredGrant, Swept, WriteRows};
use redis::Pipeline;

use crate::RedisStore;
use crate::errors::Error;
use crate::log::EntryRow;
use crate::names::{self, Key, hex, unhex};
use crate::rows::{RowResult, Rows, decode};
use crate::tokens::all;
use crate::writes::TokenRow;

/// A token made within the millisecond in which an entry was logged may be the older of the two.
const MILLISECOND: Duration = Duration::from_millis(1);
/// How many times `limit` tokens are looked at for some that may go: those before them are old and alive.
const LOOKED_AT: usize = 10;

#[async_trait]
impl Retention for RedisStore {
    async fn retention_sweep(&self, retention: Duration, limit: usize) -> Result<Swept> {
        let now = self.look(|rows| Ok(rows.now)).await?;
        let oldest = now.saturating_sub(retention);
        let (tokens, slots) = self.sweep_tokens(oldest, limit).await?;
        Ok(Swept {
            tokens,
            slots,
            log_entries: self.sweep_log(now, limit).await?,
            nodes: self.sweep_nodes(oldest, limit).await?,
            assertions: self.sweep_assertions(now, limit).await?,
            early_ends: self.sweep_early_ends(now, limit).await?,
            partitions: 0,
        })
    }

    async fn retention_sweep_grants(
        &self,
        after: Option<GrantId>,
        retention: Duration,
        limit: usize,
    ) -> Result<GrantsSwept> {
        let above = after.map_or_else(|| "-".to_owned(), |id| format!("({id}"));
        let ids: Vec<GrantId> = self.index_page(self.names.grants(), &above, "+", false, limit).await?;
        let removed = self
            .transact(|rows| {
                let oldest = rows.now.saturating_sub(retention);
                let removed = all(rows, &ids, |rows, id| rows.grant_forget(*id, oldest))?;
                Ok(removed.into_iter().filter(|removed| *removed).count() as u64)
            })
            .await?;
        Ok(GrantsSwept { removed, last: ids.last().copied() })
    }
}

impl RedisStore {
    async fn sweep_tokens(&self, oldest: Timestamp, limit: usize) -> Result<(u64, u64)> {
        let below = format!("({}", TokenId::lower_bound(oldest));
        let most = limit.saturating_mul(LOOKED_AT);
        let ids: Vec<TokenId> = self.index_page(self.names.tokens(), "-", &below, false, most).await?;
        self.transact(|rows| {
            let may_go = all(rows, &ids, |rows, id| {
                let row: Option<TokenRow> = rows.get(rows.names.token(*id))?;
                Ok(row.is_none_or(|row| row.token.expires_at <= rows.now))
            })?;
            let going: Vec<TokenId> =
                ids.iter().zip(may_go).filter(|(_, may_go)| *may_go).map(|(id, _)| *id).take(limit).collect();
            let freed = all(rows, &going, |rows, id| rows.token_forget(*id))?;
            Ok((going.len() as u64, freed.into_iter().filter(|freed| *freed).count() as u64))
        })
        .await
    }

    async fn sweep_log(&self, now: Timestamp, limit: usize) -> Result<u64> {
        let first_token: Vec<TokenId> = self.index_page(self.names.tokens(), "-", "+", false, 1).await?;
        let first_grant: Vec<GrantId> = self.index_page(self.names.grants(), "-", "+", false, 1).await?;
        let is_forgettable = |(entry, logged_at): &(LogEntry, Timestamp)| {
            let after = *logged_at + MILLISECOND;
            first_token.first().is_none_or(|id| *id >= TokenId::lower_bound(after))
                && (!concerns_grants(entry.kind)
                    || first_grant.first().is_none_or(|id| *id >= GrantId::lower_bound(after)))
        };
        // In the order of the log, however long each is kept.
        let most = limit.saturating_mul(LOOKED_AT);
        let mut positions: Vec<Position> = self
            .past(self.names.log_until(), now, most)
            .await?
            .iter()
            .filter_map(|text| text.parse().ok())
            .map(Position)
            .collect();
        positions.sort_unstable();
        let logged = self.logged(&positions).await?;
        let entries: Vec<LogEntry> =
            logged.into_iter().filter(is_forgettable).take(limit).map(|(entry, _)| entry).collect();
        self.transact(|rows| all(rows, &entries, Rows::log_forget)).await?;
        Ok(entries.len() as u64)
    }

    async fn logged(&self, positions: &[Position]) -> Result<Vec<(LogEntry, Timestamp)>> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = Pipeline::new();
        for Position(position) in positions {
            commands.cmd("ZRANGE").arg(self.names.log()).arg(position).arg(position).arg("BYSCORE");
        }
        let texts: Vec<Vec<Vec<u8>>> = self.links.read(&self.names.head(), &commands).await?;
        let logged = texts.iter().flatten().map(|text| {
            let row: EntryRow = decode(text)?;
            Ok::<_, Error>((row.entry()?, row.logged_at))
        });
        Ok(logged.collect::<std::result::Result<_, _>>()?)
    }

    async fn sweep_nodes(&self, oldest: Timestamp, limit: usize) -> Result<u64> {
        let ids = self.node_ids().await?;
        self.transact(|rows| {
            let nodes = all(rows, &ids, |rows, id| rows.node(*id))?;
            let silent = nodes.iter().filter(|node| node.last_heartbeat <= oldest).take(limit);
            let silent: Vec<_> = silent.map(|node| node.id).collect();
            all(rows, &silent, |rows, id| rows.node_remove(*id))?;
            Ok(silent.len() as u64)
        })
        .await
    }

    async fn sweep_assertions(&self, now: Timestamp, limit: usize) -> Result<u64> {
        let members = self.past(self.names.assertions(), now, limit).await?;
        let key = |text: &String| unhex(text)?.try_into().ok().map(AssertionKey);
        let keys: Vec<AssertionKey> = members.iter().filter_map(key).collect();
        self.transact(|rows| {
            all(rows, &keys, |rows, key| {
                let until: Option<Timestamp> = rows.get(rows.names.assertion(*key))?;
                // Used anew since.
                if until.is_some_and(|until| until > now) {
                    return Ok(());
                }
                rows.remove(rows.names.assertion(*key));
                rows.command("ZREM", rows.names.assertions(), &[hex(&key.0).as_bytes()]);
                Ok(())
            })
        })
        .await?;
        Ok(keys.len() as u64)
    }

    async fn sweep_early_ends(&self, now: Timestamp, limit: usize) -> Result<u64> {
        let members = self.past(self.names.early_ends(), now, limit).await?;
        let ids: Vec<TokenId> = members.iter().filter_map(|text| text.parse().ok()).collect();
        self.transact(|rows| {
            for id in &ids {
                rows.remove(rows.names.early_end(*id));
                rows.command("ZREM", rows.names.early_ends(), &[id.to_string().as_bytes()]);
            }
            Ok(())
        })
        .await?;
        Ok(ids.len() as u64)
    }

    /// Members of an index by time whose time has come, the oldest first.
    async fn past(&self, index: Key, now: Timestamp, limit: usize) -> Result<Vec<String>> {
        let mut commands = Pipeline::new();
        let range = commands.cmd("ZRANGE").arg(index).arg("-inf").arg(now.as_millis());
        range.arg("BYSCORE").arg("LIMIT").arg(0).arg(names::limit(limit));
        Ok(self.links.read::<(Vec<String>,)>(&self.names.head(), &commands).await?.0)
    }
}

impl Rows {
    /// Answers whether it held its slot.
    fn token_forget(&mut self, id: TokenId) -> RowResult<bool> {
        let row: Option<TokenRow> = self.get(self.names.token(id))?;
        let (text, mut held) = (id.to_string(), false);
        // A row that has left by itself does not tell.
        if row.as_ref().is_none_or(|row| row.token.status_index.is_some()) {
            self.command("ZREM", self.names.tokens_by_status(), &[text.as_bytes()]);
        }
        if let Some(TokenRow { token, .. }) = row {
            held = grantry_store::ReadRows::holder(self, token.slot)?.is_some_and(|holder| holder.id == id);
            self.slot_free(token.slot, id)?;
        }
        self.remove(self.names.token(id));
        self.command("ZREM", self.names.tokens(), &[text.as_bytes()]);
        Ok(held)
    }

    /// If it was over by `oldest`; answers whether.
    fn grant_forget(&mut self, id: GrantId, oldest: Timestamp) -> RowResult<bool> {
        let text = id.to_string();
        let Some(row) = self.grant_row(id)? else {
            self.command("ZREM", self.names.grants(), &[text.as_bytes()]);
            self.command("ZREM", self.names.grants_by_status(), &[text.as_bytes()]);
            return Ok(true);
        };
        let stored = StoredGrant { grant: row.grant, ended_at: row.ended_at, ended_by_rule: false };
        if stored.over_at() > oldest {
            return Ok(false);
        }
        if let Some(slot) = stored.grant.slot
            && self.get::<GrantId>(self.names.slots_grant(slot))? == Some(id)
        {
            self.remove(self.names.slots_grant(slot));
        }
        self.remove(self.names.grant(id));
        self.command("ZREM", self.names.grants(), &[text.as_bytes()]);
        self.command("ZREM", self.names.grants_of(&stored.grant.subject), &[text.as_bytes()]);
        if stored.grant.status_index.is_some() {
            self.command("ZREM", self.names.grants_by_status(), &[text.as_bytes()]);
        }
        Ok(true)
    }
}

/// The end of a single grant stands in its own row.
fn concerns_grants(kind: LogKind) -> bool {
    kind.is_rule() && kind != LogKind::Grant
}
