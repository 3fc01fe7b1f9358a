use std::ops::Bound;
use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{GrantId, LogEntry, LogKind, SlotKey, TokenId};

use super::{MemoryStore, Placed};
use crate::{AssertionKey, GrantsSwept, NodeId, Result, Retention, Swept};

/// A token made within the millisecond in which an entry was logged may be the older of the two.
const MILLISECOND: Duration = Duration::from_millis(1);

#[async_trait]
impl Retention for MemoryStore {
    async fn retention_sweep(&self, retention: Duration, limit: usize) -> Result<Swept> {
        let now = self.clock.now();
        let mut state = self.state();
        let oldest = now.saturating_sub(retention);

        let old = state.tokens.range(..TokenId::lower_bound(oldest));
        let tokens: Vec<TokenId> =
            old.filter(|(_, row)| row.token.expires_at <= now).take(limit).map(|(id, _)| *id).collect();
        let mut slots = 0;
        for id in &tokens {
            let Some(row) = state.tokens.remove(id) else { continue };
            slots += u64::from(state.free(row.token.slot, *id));
            state.displace(row.token.status_index, Placed::Token(*id));
        }

        let oldest_token = state.tokens.first_key_value().map(|(id, _)| *id);
        let oldest_grant = state.grants.first_key_value().map(|(id, _)| *id);
        let forgettable = state.log.values().filter(|logged| {
            let after = logged.logged_at + MILLISECOND;
            logged.entry.keep_until <= now
                && oldest_token.is_none_or(|id| id >= TokenId::lower_bound(after))
                && (!concerns_grants(logged.entry.kind)
                    || oldest_grant.is_none_or(|id| id >= GrantId::lower_bound(after)))
        });
        let entries: Vec<LogEntry> = forgettable.take(limit).map(|logged| logged.entry.clone()).collect();
        for entry in &entries {
            state.log.remove(&entry.position);
            let rule = (entry.kind, entry.key.clone());
            if state.rules.get(&rule).is_some_and(|last| last.position == entry.position) {
                state.rules.remove(&rule);
            }
        }

        let silent = state.nodes.iter().filter(|(_, node)| node.last_heartbeat <= oldest);
        let nodes: Vec<NodeId> = silent.take(limit).map(|(id, _)| *id).collect();
        for id in &nodes {
            state.nodes.remove(id);
        }

        let expired = state.assertions.iter().filter(|(_, expires_at)| **expires_at <= now);
        let assertions: Vec<AssertionKey> = expired.take(limit).map(|(key, _)| *key).collect();
        for key in &assertions {
            state.assertions.remove(key);
        }

        let forgotten = state.early_ends.iter().filter(|(_, expires_by)| **expires_by <= now);
        let early_ends: Vec<TokenId> = forgotten.take(limit).map(|(id, _)| *id).collect();
        for id in &early_ends {
            state.early_ends.remove(id);
        }
        Ok(Swept {
            early_ends: early_ends.len() as u64,
            assertions: assertions.len() as u64,
            tokens: tokens.len() as u64,
            slots,
            log_entries: entries.len() as u64,
            nodes: nodes.len() as u64,
            partitions: 0,
        })
    }

    async fn retention_sweep_grants(
        &self,
        after: Option<GrantId>,
        retention: Duration,
        limit: usize,
    ) -> Result<GrantsSwept> {
        let oldest = self.clock.now().saturating_sub(retention);
        let mut state = self.state();
        let rows = state.grants.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let looked_at: Vec<(GrantId, Option<SlotKey>, bool)> = rows
            .take(limit)
            .map(|(id, stored)| (*id, stored.grant.slot, stored.over_at() <= oldest))
            .collect();
        let mut removed = 0;
        for (id, slot, _) in looked_at.iter().filter(|(_, _, is_over)| *is_over) {
            if let Some(stored) = state.grants.remove(id) {
                state.displace(stored.grant.status_index, Placed::Grant(*id));
            }
            removed += 1;
            if let Some(slot) = slot.filter(|slot| state.grant_slots.get(slot) == Some(id)) {
                state.grant_slots.remove(&slot);
            }
        }
        Ok(GrantsSwept { removed, last: looked_at.last().map(|(id, _, _)| *id) })
    }
}

/// The end of a single grant stands in its own row.
fn concerns_grants(kind: LogKind) -> bool {
    kind.is_rule() && kind != LogKind::Grant
}
